package isolate

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// playVar makes the TestPlay… tests below do something: it names a directory that they share.
const playVar = "BERTH_ISOLATE_PLAY"

// played is the directory of a play; a test outside of one is over at once.
func played(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(playVar)
	if dir == "" {
		t.Skip("a part in the plays of TestTests")
	}
	return dir
}

// meet says that this test has begun, and waits until the other has.
func meet(t *testing.T, me, other string) {
	t.Helper()
	dir := played(t)
	if err := os.WriteFile(filepath.Join(dir, me), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	limit := time.After(10 * time.Second)
	for tick := time.NewTicker(time.Millisecond); ; {
		if _, err := os.Stat(filepath.Join(dir, other)); err == nil {
			t.Logf("%s saw %s", me, other)
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s waits in vain for %s", me, other)
		}
	}
}

func TestPlayLeft(t *testing.T)  { meet(t, "left", "right") }
func TestPlayRight(t *testing.T) { meet(t, "right", "left") }

// TestPlayAlone is the one that runs alone: all others are over.
func TestPlayAlone(t *testing.T) {
	if entries, err := os.ReadDir(played(t)); err != nil || len(entries) != 2 {
		t.Errorf("%v %v: it runs before the others have ended", entries, err)
	}
	t.Log("alone")
}

func TestPlayFails(t *testing.T) {
	played(t)
	t.Error("as it shall")
}

func TestPlayExits(t *testing.T) {
	played(t)
	os.Exit(7)
}

func TestPlayHangs(t *testing.T) {
	played(t)
	<-t.Context().Done()
}

// play runs this program again with flags, and returns its exit code and what it printed, durations and line numbers left out.
func play(t *testing.T, lanes int, flags ...string) (int, string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", flags...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, stageVar) }),
		playVar+"="+t.TempDir(), fmt.Sprintf("%s=%d", LanesVar, lanes))
	var out bytes.Buffer
	code, err := func() (int, error) { cmd.Stdout, cmd.Stderr = &out, &out; return run(cmd) }()
	if err != nil {
		t.Fatal(err)
	}
	return code, regexp.MustCompile(` \([0-9.]+s\)|lanes_test.go:[0-9]+: `).ReplaceAllString(out.String(), "")
}

func TestTests(t *testing.T) {
	both := "^TestPlay(Left|Right)$"
	tests := map[string]struct {
		lanes int
		flags []string
		code  int
		want  []string // in this order, each in one piece
	}{
		"two at once, one after them": {2, []string{"-test.v", "-test.run=^TestPlay(Left|Right|Alone)$"}, 0, []string{"    alone\n--- PASS: TestPlayAlone\nPASS\n"}},
		"quiet when all is well":      {2, []string{"-test.run", both}, 0, []string{"\nPASS\n"}},
		"as package testing does it":  {1, []string{"-test.v", "-test.run=^TestPlay(Alone|Fails)$"}, 1, []string{"=== RUN   TestPlayAlone\n", "--- FAIL: TestPlayFails\n", "FAIL\n"}},
		"one fails":                   {2, []string{"-test.run=^TestPlay(Left|Right|Fails)$"}, 1, []string{"--- FAIL: TestPlayFails\n    as it shall\n", "FAIL\n"}},
		"one ends the process":        {2, []string{"-test.run=^TestPlay(Left|Right|Exits)$"}, 7, []string{"--- FAIL: TestPlayExits (it ended with 7)\n", "FAIL\n"}},
		"one has no end":              {2, []string{"-test.timeout=2s", "-test.run=^TestPlay(Left|Right|Hangs)$"}, 2, []string{"panic: test timed out after", "TestPlayHangs (", "\nFAIL\n"}},
		"the first failure ends it":   {1, []string{"-test.failfast", "-test.v", "-test.run=^TestPlay(Fails|Hangs)$"}, 1, []string{"--- FAIL: TestPlayFails\n"}},
		"twice":                       {2, []string{"-test.count=2", "-test.v", "-test.run", both}, 0, []string{"PASS: TestPlayLeft", "PASS: TestPlayLeft"}},
		"left out":                    {2, []string{"-test.skip=Fails", "-test.run=^TestPlay(Left|Right|Fails)$"}, 0, []string{"\nPASS\n"}},
		"a seed":                      {2, []string{"-test.shuffle=7", "-test.run", both}, 0, []string{"-test.shuffle 7\nPASS\n"}},
		"one":                         {2, []string{"-test.v", "-test.run=^TestPlayFails$"}, 1, []string{"=== RUN   TestPlayFails\n    as it shall\n--- FAIL: TestPlayFails\nFAIL\n"}},
		"none":                        {2, []string{"-test.run=^Nothing$"}, 0, []string{"testing: warning: no tests to run\nPASS\n"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, out := play(t, tc.lanes, tc.flags...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			rest := "\n" + out
			for _, want := range tc.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Errorf("no %q in its place in\n%s", want, out)
				}
				rest = after
			}
			if strings.Count(out, "PASS\n")+strings.Count(out, "FAIL\n") != 1 {
				t.Errorf("not one verdict:\n%s", out)
			}
		})
	}
}

func TestParts(t *testing.T) {
	order := Order{First: []string{"TestLong", "TestAbsent"}, Alone: []string{"TestLoad"}}
	together, alone := order.parts([]string{"TestA", "TestLoad", "TestB", "TestLong"})
	if diff := cmp.Diff([][]string{{"TestLong", "TestA", "TestB"}, {"TestLoad"}}, [][]string{together, alone}); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := order.check([]string{"TestLong", "TestLoad"}); err == nil || err.Error() != "no test is called TestAbsent" {
		t.Error(err)
	}
}
