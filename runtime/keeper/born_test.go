package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
)

// bringing is a request for a container that makes sandbox "box".
func (w *world) bringing(id string, attach func(*os.File) error) client.StartRequest {
	r := w.request(id, "sleep 1000")
	r.Sandbox, r.Namespaces, r.Attach = "box", unix.CLONE_NEWNET|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC, attach
	return r
}

func TestContainerBringsItsSandbox(t *testing.T) {
	w := newWorld(t)
	fds := w.openFDs()
	var netns string
	s := w.run(w.bringing("first", func(f *os.File) (err error) {
		var st unix.Stat_t
		err = unix.Fstat(int(f.Fd()), &st)
		netns = fmt.Sprintf("net:[%d]", st.Ino)
		if st, err := w.c.List(w.ctx()); err != nil || len(st.Containers)+len(st.Sandboxes) != 0 {
			t.Errorf("List while it is made = %+v, %v", st, err)
		}
		if err := w.c.ForgetSandbox(w.ctx(), "box"); !errors.Is(err, client.ErrBusy) {
			t.Errorf("ForgetSandbox while it is made: %v", err)
		}
		return err
	}))
	if got := link(t, s.PID, "net"); got != netns || got == link(t, os.Getpid(), "net") {
		t.Errorf("attached %s, the container is in %s", netns, got)
	}
	if _, err := w.c.Start(w.ctx(), w.bringing("again", nil)); !errors.Is(err, client.ErrExists) {
		t.Errorf("the sandbox was made twice: %v", err)
	}
	var b program.Builder
	stdio(&b)
	for _, slot := range []int{program.SlotNetNS, program.SlotIPCNS, program.SlotUTSNS} {
		b.Call("enter a namespace", sysSetns, program.Slot(slot), program.Imm(0))
	}
	execute(&b, "/bin/sleep", "1000")
	r := w.request("second", "")
	r.Program, r.Sandbox = &b, "box"
	second := w.run(r)
	for _, ns := range []string{"net", "ipc", "uts"} {
		if a, b := link(t, s.PID, ns), link(t, second.PID, ns); a != b {
			t.Errorf("%s: %s and %s", ns, a, b)
		}
	}
	for _, id := range []string{"first", "second"} {
		if err := w.c.Signal(w.ctx(), id, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		w.wait(id)
		if err := w.c.Forget(w.ctx(), id); err != nil {
			t.Error(err)
		}
	}
	if st, err := w.c.List(w.ctx()); err != nil || len(st.Sandboxes) != 1 {
		t.Errorf("the sandbox did not outlive its first container: %+v, %v", st, err)
	}
	if err := w.c.ForgetSandbox(w.ctx(), "box"); err != nil {
		t.Error(err)
	}
	if now := w.openFDs(); now != fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
}

// Whatever ends a start that brings a sandbox, there is neither afterwards.
func TestStillborn(t *testing.T) {
	w := newWorld(t)
	fds := w.openFDs()
	refused := errors.New("no address left")
	tests := map[string]struct {
		request func() client.StartRequest
		want    func(error) bool
	}{
		"the network cannot be attached": {
			func() client.StartRequest { return w.bringing("c", func(*os.File) error { return refused }) },
			func(err error) bool {
				var attach *client.AttachError
				return errors.As(err, &attach) && errors.Is(err, refused)
			},
		},
		"the program cannot be executed": {
			func() client.StartRequest {
				r := w.bringing("c", func(*os.File) error { return nil })
				r.Program = missing()
				return r
			},
			func(err error) bool {
				var step *client.StepError
				return errors.As(err, &step) && step.Errno == syscall.ENOENT
			},
		},
		"the client goes": {
			func() client.StartRequest {
				return w.bringing("c", func(*os.File) error {
					_ = w.c.Close()
					<-w.c.Done()
					return refused // and the gate is closed, as it is when a process ends
				})
			},
			func(err error) bool { return errors.Is(err, refused) },
		},
		"namespaces it cannot bring": {
			func() client.StartRequest {
				r := w.bringing("c", nil)
				r.Namespaces |= unix.CLONE_NEWUSER
				return r
			},
			func(err error) bool { return err != nil && strings.Contains(err.Error(), "such namespaces") },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := w.c.Start(w.ctx(), tt.request()); !tt.want(err) {
				t.Errorf("Start = %v", err)
			}
			select {
			case <-w.c.Done():
				w.dial()
			default:
			}
			if err := w.c.ForgetSandbox(w.ctx(), "box"); !errors.Is(err, client.ErrNotFound) && !errors.Is(err, client.ErrBusy) {
				t.Errorf("ForgetSandbox = %v", err)
			}
			w.eventually("all descriptors are closed", func() bool { return w.openFDs() == fds })
			if st, err := w.c.List(w.ctx()); err != nil || len(st.Containers)+len(st.Sandboxes) != 0 {
				t.Errorf("left: %+v, %v", st, err)
			}
		})
	}
}
