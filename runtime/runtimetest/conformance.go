package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"berth/runtime"
)

// Machine is a runtime under test, and what the suite must know of it.
type Machine struct {
	Pods       runtime.Pods
	Containers runtime.Containers
	Executor   runtime.Executor
	Dialer     runtime.Dialer
	Events     runtime.Events
	Images     runtime.Images
	Volumes    runtime.Volumes
	// Reopen returns the same machine as a controller gets it that was started anew.
	Reopen func(t *testing.T) Machine
	// Image can be pulled, and has the programs below.
	Image string
	// Sleep runs until it gets SIGTERM; Stubborn ignores that; Exit ends with a code; Echo writes its argument to standard output.
	Sleep, Stubborn []string
	Exit            func(code int) []string
	Echo            func(text string) []string
}

// deadline is how long the suite waits for what should take milliseconds.
const deadline = 20 * time.Second

// Run judges a runtime by the contract. The factory makes a machine without pods for each case.
func Run(t *testing.T, factory func(t *testing.T) Machine) {
	cases := []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"a sandbox is made once", testSandboxOnce},
		{"what is not there is not found", testNotFound},
		{"exit codes are kept", testExitCodes},
		{"a start is idempotent", testStartOnce},
		{"SIGTERM ends, and is told", testSignal},
		{"a stubborn program is killed", testKill},
		{"an ended attempt is removed", testRemoveContainer},
		{"a stopped sandbox leaves the records", testStopSandbox},
		{"a removed pod leaves nothing", testRemoveSandbox},
		{"files are replaced, and their hash is kept", testUpdateFiles},
		{"a new controller finds everything", testReopen},
		{"exec returns the code and the output", testExec},
		{"a program that does not exist is a start error", testStartError},
		{"a volume outlives pods and controllers", testVolumes},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{Machine: factory(t), uid: "conformance-" + strings.Map(lower, t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])}
			s.uid = s.uid[:min(len(s.uid), 40)]
			s.watch(t)
			t.Cleanup(func() {
				if err := s.Pods.RemoveSandbox(context.WithoutCancel(t.Context()), s.uid); err != nil {
					t.Errorf("cannot clean up: %v", err)
				}
			})
			c.run(t, s)
		})
	}
}

func lower(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		return r
	case r >= 'A' && r <= 'Z':
		return r + 'a' - 'A'
	}
	return '-'
}

// suite is one machine and one pod on it.
type suite struct {
	Machine
	uid     string
	changed chan struct{}
	unwatch func() // may be called again
}

// watch lets await sleep until the machine says that something changed.
func (s *suite) watch(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, changed := s.Events, make(chan struct{}, 1) // s gets others when the machine is opened again
	s.changed = changed
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := events.Events(ctx, func(runtime.Event) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		if err != nil && ctx.Err() == nil {
			t.Errorf("Events: %v", err)
		}
	}()
	s.unwatch = func() { cancel(); <-done }
	t.Cleanup(s.unwatch)
}

// await waits for a state of the pod, looking again at each event.
func (s *suite) await(t *testing.T, what string, ok func(runtime.PodStatus) bool) runtime.PodStatus {
	t.Helper()
	timeout := time.After(deadline) //nolint:forbidigo // a suite waits for a real kernel
	for {
		p, err := s.Pods.Status(t.Context(), s.uid)
		if err != nil && !errors.Is(err, runtime.ErrNotFound) {
			t.Fatalf("Status: %v", err)
		}
		if ok(p) {
			return p
		}
		select {
		case <-s.changed:
		case <-timeout:
			t.Fatalf("no event led to: %s; the pod is %+v", what, p)
		}
	}
}

func (s *suite) sandbox(t *testing.T, volumes ...runtime.Volume) runtime.SandboxStatus {
	t.Helper()
	st, err := s.Pods.RunSandbox(t.Context(), runtime.SandboxConfig{
		UID: s.uid, Namespace: "default", Name: "web", Hostname: "web", Object: []byte(`{"kind":"Pod"}`), Volumes: volumes,
	})
	if err != nil {
		t.Fatalf("RunSandbox: %v", err)
	}
	return st
}

func (s *suite) start(t *testing.T, attempt uint32, command []string) runtime.ContainerStatus {
	t.Helper()
	if _, err := s.Images.Pull(t.Context(), s.Image, runtime.PullOptions{}); err != nil {
		t.Fatalf("Pull: %v", err)
	}
	st, err := s.Containers.StartContainer(t.Context(), s.uid, s.config(attempt, command))
	if err != nil {
		t.Fatalf("StartContainer: %v", err)
	}
	return st
}

func (s *suite) config(attempt uint32, command []string) runtime.ContainerConfig {
	return runtime.ContainerConfig{Name: "main", Attempt: attempt, Image: s.Image, Command: command, SpecHash: "h1", Backoff: 10 * time.Second}
}

func exited(attempt uint32) func(runtime.PodStatus) bool {
	return func(p runtime.PodStatus) bool {
		for _, c := range p.Containers {
			if c.Attempt == attempt && c.State == runtime.Exited {
				return true
			}
		}
		return false
	}
}

func testSandboxOnce(t *testing.T, s *suite) {
	a, b := s.sandbox(t), s.sandbox(t)
	if !a.Ready || a.IP == "" || a.IP != b.IP || a.Address6 != b.Address6 || a.Attempt != b.Attempt {
		t.Errorf("RunSandbox twice gave %+v, then %+v", a, b)
	}
	p, err := s.Pods.Status(t.Context(), s.uid)
	if err != nil || string(p.Object) != `{"kind":"Pod"}` || p.Namespace != "default" || p.Name != "web" {
		t.Errorf("Status = %+v, %v", p, err)
	}
}

func testNotFound(t *testing.T, s *suite) {
	if _, err := s.Pods.Status(t.Context(), s.uid); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Status of no pod = %v, want ErrNotFound", err)
	}
	if err := s.Pods.RemoveSandbox(t.Context(), s.uid); err != nil {
		t.Errorf("RemoveSandbox of no pod = %v, want nil", err)
	}
	if _, err := s.Images.Image(t.Context(), "conformance.invalid/none:1"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Image of no image = %v, want ErrNotFound", err)
	}
	if _, err := s.Dialer.Dial(t.Context(), s.uid, "tcp", ":80"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Dial into no pod = %v, want ErrNotFound", err)
	}
	if _, err := s.Containers.StartContainer(t.Context(), s.uid, s.config(0, s.Sleep)); err == nil {
		t.Error("StartContainer without a sandbox succeeded")
	}
}

func testExitCodes(t *testing.T, s *suite) {
	s.sandbox(t)
	for attempt, code := range []int{0, 3, 42} {
		s.start(t, uint32(attempt), s.Exit(code))
		p := s.await(t, "container ended", exited(uint32(attempt)))
		c := p.Containers[len(p.Containers)-1]
		want := runtime.ReasonError
		if code == 0 {
			want = runtime.ReasonCompleted
		}
		if c.ExitCode != code || c.Reason != want || c.SpecHash != "h1" || c.Backoff != 10*time.Second || c.FinishedAt.Before(c.StartedAt) {
			t.Errorf("after exit %d the status is %+v", code, c)
		}
	}
}

func testStartOnce(t *testing.T, s *suite) {
	s.sandbox(t)
	a, b := s.start(t, 0, s.Sleep), s.start(t, 0, s.Sleep)
	if a.State != runtime.Running || a.PID == 0 || a.PID != b.PID {
		t.Errorf("StartContainer twice gave %+v, then %+v", a, b)
	}
}

func testSignal(t *testing.T, s *suite) {
	s.sandbox(t)
	s.start(t, 0, s.Sleep)
	if err := s.Containers.SignalContainer(t.Context(), s.uid, "main", sigterm); err != nil {
		t.Fatalf("SignalContainer: %v", err)
	}
	s.await(t, "container ended by SIGTERM", exited(0))
	if err := s.Containers.SignalContainer(t.Context(), s.uid, "main", sigterm); err != nil {
		t.Errorf("SignalContainer of an ended container = %v, want nil", err)
	}
}

func testKill(t *testing.T, s *suite) {
	s.sandbox(t)
	s.start(t, 0, s.Stubborn)
	if err := s.Containers.SignalContainer(t.Context(), s.uid, "main", sigterm); err != nil {
		t.Fatalf("SignalContainer: %v", err)
	}
	if err := s.Containers.KillContainer(t.Context(), s.uid, "main"); err != nil {
		t.Fatalf("KillContainer: %v", err)
	}
	p := s.await(t, "container killed", exited(0))
	if c := p.Containers[0]; c.ExitCode != 128+sigkill || c.Signal != sigkill {
		t.Errorf("a killed container has %+v", c)
	}
}

func testRemoveContainer(t *testing.T, s *suite) {
	s.sandbox(t)
	s.start(t, 0, s.Sleep)
	if err := s.Containers.RemoveContainer(t.Context(), s.uid, "main", 0); err == nil {
		t.Error("RemoveContainer of a running attempt succeeded")
	}
	if err := s.Containers.KillContainer(t.Context(), s.uid, "main"); err != nil {
		t.Fatalf("KillContainer: %v", err)
	}
	s.await(t, "container killed", exited(0))
	for range 2 {
		if err := s.Containers.RemoveContainer(t.Context(), s.uid, "main", 0); err != nil {
			t.Errorf("RemoveContainer: %v", err)
		}
	}
	if p := s.await(t, "container gone", func(p runtime.PodStatus) bool { return len(p.Containers) == 0 }); !p.Sandbox.Ready {
		t.Error("the sandbox went with its container")
	}
}

func testStopSandbox(t *testing.T, s *suite) {
	if err := s.Pods.StopSandbox(t.Context(), s.uid, false); err != nil {
		t.Errorf("StopSandbox of no pod = %v, want nil", err)
	}
	memory := runtime.Volume{Name: "memory", EmptyDir: &runtime.EmptyDir{Memory: true}}
	s.sandbox(t, memory)
	s.start(t, 0, s.Sleep)
	if err := s.Pods.StopSandbox(t.Context(), s.uid, false); err == nil {
		t.Error("StopSandbox with a running container succeeded")
	}
	if p, err := s.Pods.Status(t.Context(), s.uid); err != nil || !p.Sandbox.Ready || p.Containers[0].State != runtime.Running {
		t.Errorf("after that the pod is %+v, %v", p, err)
	}
	if err := s.Containers.KillContainer(t.Context(), s.uid, "main"); err != nil {
		t.Fatalf("KillContainer: %v", err)
	}
	before := s.await(t, "container killed", exited(0))
	for range 2 {
		if err := s.Pods.StopSandbox(t.Context(), s.uid, false); err != nil {
			t.Fatalf("StopSandbox: %v", err)
		}
	}
	stopped := func(p runtime.PodStatus) bool {
		return !p.Sandbox.Ready && p.Sandbox.IP == "" && p.Sandbox.FormerIP == before.Sandbox.IP && len(p.Containers) == 1 &&
			!p.Sandbox.Address6.IsValid() && p.Sandbox.FormerAddress6 == before.Sandbox.Address6
	}
	if p := s.await(t, "sandbox stopped", stopped); p.Containers[0] != before.Containers[0] || string(p.Object) != string(before.Object) {
		t.Errorf("it was %+v, and is %+v", before, p)
	}
	s.reopen(t)
	if p, err := s.Pods.Status(t.Context(), s.uid); err != nil || !stopped(p) {
		t.Errorf("a new controller finds %+v, %v", p, err)
	}
	if st := s.sandbox(t, memory); !st.Ready || st.FormerIP != "" || st.FormerAddress6.IsValid() || st.Address6.IsValid() != before.Sandbox.Address6.IsValid() || st.Attempt != before.Sandbox.Attempt+1 {
		t.Errorf("a sandbox made anew is %+v", st)
	}
}

func testRemoveSandbox(t *testing.T, s *suite) {
	s.sandbox(t)
	s.start(t, 0, s.Stubborn)
	for range 2 {
		if err := s.Pods.RemoveSandbox(t.Context(), s.uid); err != nil {
			t.Fatalf("RemoveSandbox: %v", err)
		}
	}
	list, err := s.Pods.List(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("List after RemoveSandbox = %+v, %v", list, err)
	}
}

func testUpdateFiles(t *testing.T, s *suite) {
	files := func(hash string) runtime.Volume {
		return runtime.Volume{Name: "config", Files: &runtime.Files{Entries: []runtime.File{{Path: "key", Data: []byte(hash), Mode: 0o644}}, Hash: hash}}
	}
	has := func(hash string) func(runtime.PodStatus) bool {
		return func(p runtime.PodStatus) bool { return p.Sandbox.Files["config"] == hash }
	}
	if st := s.sandbox(t, files("1a"), runtime.Volume{Name: "empty", EmptyDir: &runtime.EmptyDir{}}); st.Files["config"] != "1a" || len(st.Files) != 1 {
		t.Errorf("the sandbox has the files %v", st.Files)
	}
	for range 2 {
		if err := s.Pods.UpdateFiles(t.Context(), s.uid, []runtime.Volume{files("2b")}); err != nil {
			t.Fatalf("UpdateFiles: %v", err)
		}
	}
	s.await(t, "the new files", has("2b"))
	for _, v := range []runtime.Volume{{Name: "empty", Files: &runtime.Files{Hash: "3c"}}, {Name: "none", Files: &runtime.Files{Hash: "3c"}}} {
		if err := s.Pods.UpdateFiles(t.Context(), s.uid, []runtime.Volume{v}); err == nil {
			t.Errorf("volume %s got files", v.Name)
		}
	}
	if err := s.Pods.UpdateFiles(t.Context(), "nobody", []runtime.Volume{files("2b")}); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("UpdateFiles of nobody: %v", err)
	}
	s.reopen(t)
	if p, err := s.Pods.Status(t.Context(), s.uid); err != nil || !has("2b")(p) {
		t.Errorf("after reopen the files are %v, %v", p.Sandbox.Files, err)
	}
}

func (s *suite) reopen(t *testing.T) {
	t.Helper()
	s.unwatch() // the machine goes away under its controller
	s.Machine = s.Reopen(t)
	s.watch(t)
}

func testReopen(t *testing.T, s *suite) {
	ip := s.sandbox(t).IP
	s.start(t, 0, s.Exit(7))
	s.await(t, "container ended", exited(0))
	pid := s.start(t, 1, s.Sleep).PID
	if err := s.Pods.SetObject(t.Context(), s.uid, []byte(`{"kind":"Pod","more":1}`)); err != nil {
		t.Fatalf("SetObject: %v", err)
	}
	if err := s.Pods.SetObject(t.Context(), "nobody", nil); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("SetObject of nobody: %v", err)
	}
	s.reopen(t)
	list, err := s.Pods.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("List after reopen = %+v, %v", list, err)
	}
	p := list[0]
	if p.UID != s.uid || p.Sandbox.IP != ip || string(p.Object) != `{"kind":"Pod","more":1}` || len(p.Containers) != 2 {
		t.Fatalf("the pod after reopen is %+v", p)
	}
	if c := p.Containers[0]; c.ExitCode != 7 || c.State != runtime.Exited {
		t.Errorf("the ended attempt after reopen is %+v", c)
	}
	if c := p.Containers[1]; c.PID != pid || c.State != runtime.Running {
		t.Errorf("the running attempt after reopen is %+v, want pid %d", c, pid)
	}
	if err := s.Containers.KillContainer(t.Context(), s.uid, "main"); err != nil {
		t.Fatalf("KillContainer after reopen: %v", err)
	}
	s.await(t, "container killed after reopen", exited(1))
}

func testExec(t *testing.T, s *suite) {
	s.sandbox(t)
	s.start(t, 0, s.Sleep)
	var out bytes.Buffer
	code, err := s.Executor.Exec(t.Context(), s.uid, "main", runtime.ExecConfig{Command: s.Echo("hello"), Stdout: &out})
	if err != nil || code != 0 || strings.TrimSpace(out.String()) != "hello" {
		t.Errorf("Exec echo = %d, %v, output %q", code, err, out.String())
	}
	code, err = s.Executor.Exec(t.Context(), s.uid, "main", runtime.ExecConfig{Command: s.Exit(9)})
	if err != nil || code != 9 {
		t.Errorf("Exec exit 9 = %d, %v", code, err)
	}
	if _, err := s.Executor.Exec(t.Context(), s.uid, "other", runtime.ExecConfig{Command: s.Exit(0)}); err == nil {
		t.Error("Exec in no container succeeded")
	}
}

func testStartError(t *testing.T, s *suite) {
	s.sandbox(t)
	s.start(t, 0, s.Exit(0))
	s.await(t, "container ended", exited(0)) // one attempt at a time
	_, err := s.Containers.StartContainer(t.Context(), s.uid, s.config(1, []string{"/no/such/program"}))
	var start *runtime.StartError
	if !errors.As(err, &start) || start.Reason == "" || start.Step == "" {
		t.Errorf("starting a program that does not exist = %v, want a StartError with reason and step", err)
	}
}
