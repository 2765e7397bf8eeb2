package e2e

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// besides runs a pod called p with a container called side beside its main one.
func besides(t *testing.T, side string) (*harness.Berth, harness.Pod) {
	t.Helper()
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("p.yaml", manifest{name: "p", replicas: -1, main: run("sleep"), more: []string{"{name: side, " + side + "}"}}.String())
	b.Up()
	return b, b.UntilPod("p", "to run", running)
}

// execution is what a command is given and what has to come of it.
type execution struct {
	args []string
	in   string
	code int // -1: any but 0
	out  string
	says string // on standard error, among other things
}

func (e execution) check(t *testing.T, r harness.Result) {
	t.Helper()
	if e.code >= 0 && r.Code != e.code || e.code < 0 && r.Code == 0 {
		t.Errorf("exit code %d, want %d; %s", r.Code, e.code, r.Stderr)
	}
	if r.Stdout != e.out || !strings.Contains(r.Stderr, e.says) {
		t.Errorf("stdout %q, stderr %q", r.Stdout, r.Stderr)
	}
}

// exec runs a program in a container: its streams, its exit code, its user and its limits.
func TestExec(t *testing.T) {
	b, p := besides(t, run("sleep"))
	tests := map[string]execution{
		"output":            {[]string{"exec", "p", "--", "echo", "hello"}, "", 0, "hello\n", ""},
		"exit code":         {[]string{"exec", "p", "--", "sh", "-c", "exit 42"}, "", 42, "", ""},
		"two streams":       {[]string{"exec", "p", "--", "sh", "-c", "echo a; echo b >&2"}, "", 0, "a\n", "b\n"},
		"input":             {[]string{"exec", "-i", "p", "--", "cat"}, "through\n", 0, "through\n", ""},
		"container":         {[]string{"exec", "p", "-c", "side", "--", "sh", "-c", "kill -0 1 && echo 1"}, "", 0, "1\n", ""},
		"no such program":   {[]string{"exec", "p", "--", "/none"}, "", -1, "", "/none"},
		"no such pod":       {[]string{"exec", "none", "--", "true"}, "", 1, "", "none"},
		"no such container": {[]string{"exec", "p", "-c", "none", "--", "true"}, "", 1, "", "none"},
		"much output":       {[]string{"exec", "p", "--", "sh", "-c", "tool burst 20000 | tail -n 1"}, "", 0, "line 19999\n", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tc.check(t, b.CLIWithInput(tc.in, tc.args...))
		})
	}
	all := b.Must("exec", "p", "--", "/bin/tool", "burst", "50000")
	if n := strings.Count(all, "\n"); n != 50000 || !strings.HasSuffix(all, "line 49999\n") {
		t.Errorf("%d of 50000 lines", n)
	}
	if !harness.Running(p.Container("main").PID) {
		t.Error("the container did not outlive this")
	}
}

// A log is followed across the end of a container and the beginning of the next.
func TestLogsFollowAcrossRestart(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("p.yaml", pod("p", shell("echo started as $$; tool count 20 5 & sleep 0.3; echo ending; exit 1")).String())
	b.Up()
	cmd := b.Command("logs", "-f", "p")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.UntilPod("p", "to have started", func(p harness.Pod) error {
		if p.Container("main").PID == 0 && p.Container("main").Restarts == 0 {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	starts, limit := 0, time.After(harness.Patience)
	for starts < 2 {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("the log ended after %d starts", starts)
			}
			if strings.HasPrefix(line, "started") {
				starts++
			}
		case <-limit:
			t.Fatalf("%d starts seen", starts)
		}
	}
}

// Every line of a program that writes much is in the log, once and in order.
func TestLogIsComplete(t *testing.T) {
	const n = 60000
	b := harness.New(t)
	b.Load(images.Tool)
	m := pod("burst", run("burst", fmt.Sprint(n)))
	m.pod = "restartPolicy: Never"
	b.Write("burst.yaml", m.String())
	b.Up()
	b.UntilPod("burst", "to have ended", func(p harness.Pod) error {
		if p.Phase != "Succeeded" {
			return fmt.Errorf("%s", p.Phase)
		}
		return nil
	})
	b.Until("the whole log", func() error {
		log := b.Must("logs", "burst")
		want := 0
		for line := range strings.Lines(log) {
			if line != fmt.Sprintf("line %d\n", want) {
				return fmt.Errorf("line %d is %q", want, line)
			}
			want++
		}
		if want != n {
			return fmt.Errorf("%d of %d lines", want, n)
		}
		return nil
	})
}
