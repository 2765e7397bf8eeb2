package isolate

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	os.Exit(Tests(nil, m.Run, Order{Alone: []string{"TestPlayAlone"}}))
}

func TestInsideEverythingIsOwn(t *testing.T) {
	if !Inside() || os.Getenv(SwitchVar) == "0" {
		t.Fatal("not isolated")
	}
	if os.Getpid() > 100 {
		t.Errorf("pid %d: not in a pid namespace of its own", os.Getpid())
	}
	links, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(links), "\n"); n != 3 { // two lines of heading, and lo
		t.Errorf("not an empty network namespace:\n%s", links)
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.TrimSpace(string(groups))) {
		if path := line[strings.LastIndex(line, ":")+1:]; strings.TrimSpace(path) != "/" && strings.TrimSpace(path) != "/e2e-runner" {
			t.Errorf("cgroup %q is not the root of what is seen", line)
		}
	}
	for _, h := range hierarchies() {
		if err := os.Mkdir(h+"/probe", 0o755); err != nil {
			t.Error(err)
		}
		defer os.Remove(h + "/probe")
	}
}

// The groups of a run that was killed as a whole go with the next run; those of one that lives, or has just begun, stay.
func TestSweep(t *testing.T) {
	now := time.Now()
	for _, h := range hierarchies() {
		dead, begun := h+"/e2e-dead", h+"/e2e-begun"
		for _, dir := range []string{dead, dead + "/berth-0123abcd", begun} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(dir) })
		}
		if err := os.Chtimes(dead, now, now.Add(-2*young)); err != nil {
			t.Fatal(err)
		}
		if err := sweep(now); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", dead, err)
		}
		if _, err := os.Stat(begun); err != nil {
			t.Error(err)
		}
	}
	// This test's own group is the root of what it sees; a live one beside it is played by the runner's.
	if empty(hierarchies()[0]) {
		t.Error("a group with processes counts as empty")
	}
}
