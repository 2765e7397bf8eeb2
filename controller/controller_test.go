package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kruntime "k8s.io/apimachinery/pkg/runtime"

	"berth/manifests"
	"berth/reconcile"
	"berth/runtime"
	"berth/runtime/runtimetest"
)

type kobject = kruntime.Object

func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func TestASavedFileBecomesPods(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3))
		s := w.settle()
		w.wantRunning(3)
		if len(s.Workloads) != 1 || s.Workloads[0].Ready != 3 || !s.Workloads[0].Done || s.Workloads[0].File != "web.yaml:1" {
			t.Errorf("status: %s", table(s))
		}
		if p := s.Pods[0]; p.Reason != "Running" || p.IP == "" || p.Containers[0].PID == 0 || p.Owner != "Deployment/web" {
			t.Errorf("pod row: %+v", p)
		}
		if got := w.fake.Pulled(); !slices.Equal(got, []string{"web:1"}) {
			t.Errorf("pulled %v, want web:1 once", got)
		}
	})
}

// A pod that is made of a template has the defaults of a Pod: requests are the limits where none are stated.
func TestMadePodsHaveDefaults(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		limits := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
		w.write(web("web", "web:1", 1, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Resources.Limits = limits }))
		w.settle()
		for _, it := range w.c.Store().List(reconcile.KindPod) {
			spec := it.Object.(*corev1.Pod).Spec
			if got := spec.Containers[0].Resources.Requests; !cmp.Equal(limits, got) || spec.EnableServiceLinks == nil {
				t.Errorf("requests %v, service links %v", got, spec.EnableServiceLinks)
			}
		}
	})
}

func TestScale(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		for _, n := range []int32{0, 3, 30, 1, 0} {
			w.write(web("web", "web:1", n))
			w.settle()
			w.wantRunning(int(n))
		}
		if left := w.fake.Pods(); len(left) != 0 {
			t.Errorf("sandboxes are left: %v", left)
		}
	})
}

func TestAnotherImageRollsOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 4))
		w.settle()
		old := w.running()
		w.write(web("web", "web:2", 4))
		s := w.settle()
		w.wantRunning(4)
		for _, name := range w.running() {
			if slices.Contains(old, name) {
				t.Errorf("pod %s of the old image still runs", name)
			}
		}
		if s.Workloads[0].Updated != 4 {
			t.Errorf("status: %s", table(s))
		}
	})
}

func TestAKilledReplicaComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2))
		w.settle()
		p := w.fake.Pods()[0]
		if !w.fake.Crash(p.UID, "main") {
			t.Fatal("nothing to crash")
		}
		w.pass(time.Minute)
		s := w.settle()
		w.wantRunning(2)
		if got := s.Pods[0].Restarts + s.Pods[1].Restarts; got != 1 {
			t.Errorf("%d restarts, want 1", got)
		}
		w.fake.LoseSandbox(p.UID)
		w.pass(time.Minute)
		w.settle()
		w.wantRunning(2)
	})
}

func TestBarePod(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(barePod("one", "app:1"))
		w.settle()
		w.wantRunning(1)
		first := w.fake.Pods()[0].UID
		w.write(barePod("one", "app:2"))
		w.settle()
		w.wantRunning(1)
		if w.fake.Pods()[0].UID == first {
			t.Error("the pod was not made anew for another image")
		}
		w.write()
		w.pass(time.Minute)
		w.settle()
		w.wantRunning(0)
	})
}

// TestTheImagesOwnStopSignal also ends a controller before the pod goes, so that the next one must look for the image.
func TestTheImagesOwnStopSignal(t *testing.T) {
	for name, again := range map[string]bool{"same controller": false, "next controller": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.fake.AddImage("app:1", runtime.Image{ID: "sha256:1", Config: runtime.ImageConfig{StopSignal: "SIGQUIT"}})
				w.start()
				w.write(barePod("one", "app:1"))
				w.settle()
				w.wantRunning(1)
				if again {
					w.restart()
				}
				w.write()
				w.pass(time.Minute)
				w.settle()
				w.wantRunning(0)
				signalled := func(call string) bool { return strings.HasPrefix(call, "signal ") }
				got := slices.DeleteFunc(w.fake.Calls(), func(call string) bool { return !signalled(call) })
				// The fake ignores it, so SIGKILL follows.
				if len(got) != 2 || !strings.HasPrefix(got[0], "signal 3 ") || !strings.HasPrefix(got[1], "signal 9 ") {
					t.Errorf("the machine was asked for %q, want signal 3, then 9", got)
				}
				if pulled := w.fake.Pulled(); len(pulled) > 0 {
					t.Errorf("pulled %q for a pod that goes", pulled)
				}
			})
		})
	}
}

func TestUnchangedWorldDoesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3), barePod("one", "app:1"))
		w.settle()
		w.pass(time.Minute)
		version, calls, size := w.c.store.Version(), len(w.fake.Calls()), dirSize(t, w.dir)
		w.write(web("web", "web:1", 3), barePod("one", "app:1"))
		w.c.enqueueAll()
		w.fake.Overflow()
		w.pass(time.Hour)
		if v := w.c.store.Version(); v != version {
			t.Errorf("%d changes of the store without a reason", v-version)
		}
		if c := w.fake.Calls(); len(c) != calls {
			t.Errorf("effects without a reason: %v", c[calls:])
		}
		if s := dirSize(t, w.dir); s != size {
			t.Errorf("the state grew from %d to %d bytes", size, s)
		}
	})
}

func TestQuietMinutesAreQuiet(t *testing.T) {
	inWorld(t, func(w *world) {
		passes := 0
		w.start()
		w.write(web("web", "web:1", 3))
		w.settle()
		w.pass(time.Minute)
		changes, cancel := w.c.Changes()
		defer cancel()
		<-changes
		for began := time.Now(); time.Since(began) < 8*time.Minute; {
			select {
			case <-changes:
				passes++
			case <-time.After(8 * time.Minute):
			}
		}
		if passes > 0 {
			t.Errorf("%d passes in eight quiet minutes", passes)
		}
	})
}

func TestImmutableSelector(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2))
		w.settle()
		before := w.pids()
		o := web("web", "web:1", 2, func(d *deploymentType) {
			d.Spec.Selector.MatchLabels["tier"] = "x"
			d.Spec.Template.Labels["tier"] = "x"
		})
		w.write(o)
		s := w.settle()
		w.wantPids(before, "after another selector")
		if len(s.Faults) != 1 || s.Faults[0].Field != "spec.selector" || s.Faults[0].Remedy == "" || s.Faults[0].File != "web.yaml" {
			t.Errorf("faults: %v", s.Faults)
		}
		w.write(web("web", "web:1", 3))
		if s := w.settle(); len(s.Faults) != 0 {
			t.Errorf("faults after the selector is as before: %v", s.Faults)
		}
		w.wantRunning(3)
	})
}

func TestPullsThatFail(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.OnPull("bad:1", runtimetest.PullFault{Err: fmt.Errorf("manifest unknown")})
		w.start()
		w.write(web("web", "web:1", 2), web("bad", "bad:1", 2))
		s := w.settle()
		w.wantRunning(2)
		i := slices.IndexFunc(s.Workloads, func(x Workload) bool { return x.Name == "bad" })
		if s.Workloads[i].Done || s.Workloads[i].Problem == "" {
			t.Errorf("status: %s", table(s))
		}
		w.pass(time.Hour)
		if n := len(w.fake.Calls()); n > 60 {
			t.Errorf("%d calls in an hour: no back-off", n)
		}
		w.fake.OnPull("bad:1", runtimetest.PullFault{})
		w.pass(10 * time.Minute)
		w.settle()
		w.wantRunning(4)
	})
}

// Which of them go on at once is for the runtime to say.
func TestSlowPulls(t *testing.T) {
	inWorld(t, func(w *world) {
		var objects []manifests.Object
		for i := range 5 {
			ref := fmt.Sprintf("slow:%d", i)
			w.fake.OnPull(ref, runtimetest.PullFault{Delay: 10 * time.Second})
			objects = append(objects, web(fmt.Sprintf("d%d", i), ref, 2))
		}
		w.start()
		w.write(objects...)
		w.pass(time.Second)
		s := w.c.Status()
		if started := slices.DeleteFunc(slices.Clone(s.Pulls), func(p PullStatus) bool { return p.Total == 0 }); len(s.Pulls) != 5 || len(started) != 5 || s.Converged {
			t.Errorf("pulls: %+v, converged %t", s.Pulls, s.Converged)
		}
		w.pass(10 * time.Second)
		w.wantRunning(10) // every pod that waited was told
		if got := w.fake.Pulled(); len(got) != 5 {
			t.Errorf("pulled %v, want each once", got)
		}
	})
}

func TestStartErrorsAreTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		failures := 3
		w.fake.OnStart(func(string, containerConfig) error {
			if failures--; failures >= 0 {
				return &startError{Reason: "StartError", Step: "mount overlay", Err: fmt.Errorf("no space left on device")}
			}
			return nil
		})
		w.start()
		w.write(web("web", "web:1", 1))
		w.pass(5 * time.Minute)
		w.settle()
		w.wantRunning(1)
		if !slices.ContainsFunc(w.c.Events(0), func(e Event) bool { return e.Reason == "Failed" && e.Type == "Warning" }) {
			t.Errorf("no event tells of it: %+v", w.c.Events(0))
		}
	})
}

func TestSandboxErrorsAreTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		failures := 3
		w.fake.OnSandbox(func(sandboxConfig) error {
			if failures--; failures >= 0 {
				return fmt.Errorf("no address left")
			}
			return nil
		})
		w.start()
		w.write(web("web", "web:1", 1))
		w.pass(time.Minute)
		w.settle()
		w.wantRunning(1)
	})
}

func TestDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3), barePod("deaf", "app:1", "stubborn"))
		w.settle()
		var steps []int
		began := time.Now()
		if err := w.c.Down(w.t.Context(), func(left int) { steps = append(steps, left) }); err != nil {
			t.Fatalf("Down: %v", err)
		}
		if left := w.fake.Pods(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		if took := time.Since(began); took < 30*time.Second || took > 35*time.Second {
			t.Errorf("Down took %s; a pod ignores SIGTERM for its 30 s", took)
		}
		if len(steps) == 0 || steps[0] != 4 || steps[len(steps)-1] != 0 {
			t.Errorf("progress: %v", steps)
		}
		w.write()
		w.restart()
		if s := w.settle(); len(s.Workloads) != 0 || len(s.Waiting) != 0 {
			t.Errorf("something is remembered: %s", table(s))
		}
	})
}

func TestRestartFindsEverything(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 5), barePod("one", "app:1"))
		w.settle()
		before, uids := w.pids(), uidsOf(w)
		for range 3 {
			w.restart()
			w.settle()
			w.pass(time.Minute)
			w.wantPids(before, "after a restart")
		}
		if diff := cmp.Diff(uids, uidsOf(w)); diff != "" {
			t.Errorf("pods changed:\n%s", diff)
		}
	})
}

func uidsOf(w *world) []string {
	var uids []string
	for _, p := range w.fake.Pods() {
		uids = append(uids, p.UID)
	}
	slices.Sort(uids)
	return uids
}

func TestRebootBringsEverythingBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3))
		w.settle()
		w.fake.Crash(w.fake.Pods()[0].UID, "main")
		w.pass(time.Minute)
		w.settle()
		old := slices.Collect(maps.Keys(w.pids()))
		w.fake.Reboot()
		w.snapshot(manifests.Snapshot{Incomplete: []string{"/"}}) // and the directory is not mounted yet
		w.restart()
		s := w.settle()
		w.wantRunning(3)
		for _, p := range s.Pods {
			if p.Restarts != 0 || slices.Contains(old, p.Name) {
				t.Errorf("pod %s came back with %d restarts", p.Name, p.Restarts)
			}
		}
	})
}

func TestDownWithoutASource(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3))
		w.settle()
		w.opts = func(o *Options) { o.Source = nil }
		w.restart()
		w.pass(time.Second)
		w.wantRunning(3)
		if err := w.c.Down(w.t.Context(), nil); err != nil {
			t.Fatalf("Down: %v", err)
		}
		if left := w.fake.Pods(); len(left) != 0 || w.c.store.Len("") != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestAMistakeInAPlannerCostsItsObjectOnly(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts = func(o *Options) { o.Nonce = func() uint64 { panic("a mistake") } }
		w.start()
		w.write(web("web", "web:1", 1), barePod("one", "app:1"))
		w.pass(time.Minute)
		w.wantRunning(1)
		if !slices.ContainsFunc(w.c.Events(0), func(e Event) bool { return e.Reason == "InternalError" }) {
			t.Errorf("no event tells of it: %+v", w.c.Events(0))
		}
	})
}

// Every failed try is itself an event of the pod; the next must wait for its time all the same.
func TestSandboxesAreNotTriedInALoop(t *testing.T) {
	inWorld(t, func(w *world) {
		tries := 0
		w.fake.OnSandbox(func(sandboxConfig) error { tries++; return fmt.Errorf("no address left") })
		w.start()
		w.write(barePod("one", "app:1"))
		w.pass(10 * time.Minute)
		if tries < 10 || tries > 25 {
			t.Errorf("tried %d times in 10 minutes, want about 17: 0.2 s doubling to one minute", tries)
		}
	})
}

// undying counts the kills of containers that hang in the kernel: none of them ends.
type undying struct {
	runtime.Containers
	kills atomic.Int32
}

func (u *undying) KillContainer(context.Context, string, string) error {
	u.kills.Add(1)
	return nil
}

func (u *undying) SignalContainer(context.Context, string, string, int) error { return nil }

func TestAProcessThatHangsIsNotKilledInALoop(t *testing.T) {
	inWorld(t, func(w *world) {
		u := &undying{}
		w.opts = func(o *Options) {
			u.Containers = o.Containers
			o.Containers = u
		}
		w.start()
		one := barePod("one", "app:1")
		w.write(one)
		w.settle()
		w.write()
		w.pass(40 * time.Second) // prune delay, 30 s of grace, and a few seconds in which it does not go
		if n := u.kills.Load(); n < 2 || n > 6 {
			t.Errorf("killed %d times in 8 s, want every two seconds", n)
		}
	})
}

func TestWhatKeepsFailingIsSaid(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.OnSandbox(func(sandboxConfig) error { return fmt.Errorf("no address left") })
		w.start()
		w.write(web("web", "web:1", 1), barePod("one", "app:1"))
		s := w.settle()
		for _, x := range s.Workloads {
			if x.Done || !strings.Contains(x.Problem, "no address left") {
				t.Errorf("status: %s", table(s))
			}
		}
		w.fake.OnSandbox(nil)
		w.pass(2 * time.Minute)
		w.settle()
		w.wantRunning(2)
	})
}

func TestAForgottenPodIsNotAdoptedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(barePod("one", "app:1"))
		w.settle()
		uid := w.fake.Pods()[0].UID
		w.write()
		w.pass(time.Minute)
		w.settle()
		w.c.adoptUnknown(w.t.Context(), uid) // from a list that is old
		w.pass(time.Minute)
		w.wantRunning(0)
		if n := w.c.store.Len("Pod"); n != 0 {
			t.Errorf("%d pods came back", n)
		}
	})
}
