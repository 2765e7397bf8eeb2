package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/runtime"
)

// program answers what is run in containers: the first word says what it is for.
type programs struct {
	w     *world
	began time.Time
	code  map[string]int           // by the first word, or by it and the image
	takes map[string]time.Duration // the same
	ran   []string                 // WORD@SECONDS

	givenUp int
}

func (w *world) programs() *programs {
	p := &programs{w: w, began: time.Now(), code: map[string]int{}, takes: map[string]time.Duration{}}
	w.fake.OnExec(func(ctx context.Context, uid, name string, cfg runtime.ExecConfig) (int, error) {
		word := cfg.Command[0]
		for _, pod := range w.fake.Pods() {
			if pod.UID == uid {
				word += " " + pod.Containers[len(pod.Containers)-1].Image
			}
		}
		p.ran = append(p.ran, fmt.Sprintf("%s@%.3g", cfg.Command[0], time.Since(p.began).Seconds()))
		select {
		case <-time.After(p.takes[cfg.Command[0]]):
		case <-ctx.Done():
			p.givenUp++
			return 0, ctx.Err()
		}
		return p.code[cfg.Command[0]] + p.code[word], nil
	})
	return p
}

func (p *programs) count(word string) int {
	n := 0
	for _, r := range p.ran {
		if strings.HasPrefix(r, word+"@") {
			n++
		}
	}
	return n
}

func handler(word string) corev1.ProbeHandler {
	return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{word}}}
}

func hookOf(word string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{word}}}
}

func probeOf(word string, period int32) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: handler(word), TimeoutSeconds: 1, PeriodSeconds: period, SuccessThreshold: 1, FailureThreshold: 3}
}

// with changes the containers of a Deployment.
func with(change func(*corev1.Container)) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { change(&d.Spec.Template.Spec.Containers[0]) }
}

// podWith is a bare Pod with a changed container.
func podWith(name string, change func(*corev1.Container)) manifests.Object {
	o := barePod(name, "app:1")
	p := o.Object.(*corev1.Pod)
	change(&p.Spec.Containers[0])
	return object(o.Key, p)
}

func (w *world) eventsOf(reasons ...string) []string {
	var out []string
	for _, e := range w.c.Events(0) {
		if slices.Contains(reasons, e.Reason) {
			out = append(out, fmt.Sprintf("%s: %s ×%d", e.Reason, e.Message, e.Count))
		}
	}
	return out
}

func (w *world) row(name string) PodRow {
	for _, p := range w.c.Status().Pods {
		if strings.HasPrefix(p.Name, name) {
			return p
		}
	}
	return PodRow{}
}

func TestAnImageThatNeverGetsReadyKeepsTheOldPods(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.programs()
		p.code["ready app:2"] = 1
		ready := with(func(c *corev1.Container) { c.ReadinessProbe = probeOf("ready", 5) })
		w.start()
		w.write(web("web", "app:1", 4, ready))
		w.settle()
		before := w.pids()
		w.write(web("web", "app:2", 4, ready))
		w.pass(time.Minute)
		for restart := range 2 {
			after := w.pids()
			kept := 0
			for name, pid := range before {
				if after[name] == pid {
					kept++
				}
			}
			if kept != 3 || len(after) != 5 { // 25 % of 4 up and down
				t.Errorf("%d of the old pods are left of %d, want 3 of 5 (after %d restarts)\n%s", kept, len(after), restart, table(w.c.Status()))
			}
			// A new controller must not take the new pods for ready, not for a moment.
			w.restart()
			w.pass(time.Minute)
		}
	})
}

func TestReadyOverRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.programs()
		p.takes["ready"] = 500 * time.Millisecond
		w.start()
		w.write(web("web", "app:1", 3, with(func(c *corev1.Container) {
			c.ReadinessProbe, c.StartupProbe = probeOf("ready", 5), probeOf("up", 5)
		})))
		w.settle()
		ups := p.count("up")
		for range 3 {
			p.code["up"] = 1 // it has started: nobody asks again
			w.pass(42 * time.Second)
			w.fake = w.fake.Reopen()
			w.end()
			unready := 0
			w.startWatching(func(s *store.Store, ch store.Change) {
				if pod, ok := store.Get[*corev1.Pod](s, ch.Key); ok && !ready(pod) {
					unready++
				}
			})
			w.pass(20 * time.Second)
			// At adoption a pod is made known before its state is.
			if unready > 3 {
				t.Errorf("pods were seen unready %d times after a restart", unready)
			}
		}
		if p.count("up") != ups {
			t.Errorf("the startup probe was run %d more times", p.count("up")-ups)
		}
	})
}

func (w *world) startWatching(watch func(*store.Store, store.Change)) {
	w.watch = watch
	w.start()
	w.watch = nil
}

func TestLivenessRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.programs()
		p.code["alive"] = 1
		w.start()
		w.write(podWith("sick", func(c *corev1.Container) { c.LivenessProbe = probeOf("alive", 10) }))
		w.pass(31 * time.Second)
		p.code["alive"] = 0
		w.pass(time.Minute)
		if row := w.row("sick"); row.Restarts != 1 || row.Ready != 1 {
			t.Errorf("the pod is %+v", row)
		}
		want := []string{"Unhealthy: Liveness probe failed:  ×3", "Killing: Container main failed liveness probe, will be restarted ×1"}
		if diff := cmp.Diff(want, w.eventsOf("Unhealthy", "Killing")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestHooks(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.programs()
		p.takes["begin"], p.takes["leave"] = 3*time.Second, 4*time.Second
		w.start()
		w.write(podWith("polite", func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: hookOf("begin"), PreStop: hookOf("leave")}
			c.ReadinessProbe = probeOf("ready", 5)
		}))
		w.pass(2 * time.Second)
		if row := w.row("polite"); row.Reason != "ContainerCreating" || row.Phase != "Pending" {
			t.Errorf("during its hook the pod is %+v", row)
		}
		w.pass(10 * time.Second)
		if row := w.row("polite"); row.Ready != 1 {
			t.Errorf("after its hook the pod is %+v", row)
		}
		w.restart() // the hook is done, and is not run again
		w.pass(5 * time.Second)
		asked := time.Now()
		w.snapshot(manifests.Snapshot{})
		w.settle()
		w.wantRunning(0)
		if took := time.Since(asked); took < DefaultPruneDelay+4*time.Second || took > DefaultPruneDelay+5*time.Second {
			t.Errorf("the end took %s", took)
		}
		if p.count("begin") != 1 || p.count("leave") != 1 {
			t.Errorf("ran %v", p.ran)
		}
		if diff := cmp.Diff([]string{"Killing: Stopping container main ×1"}, w.eventsOf("Killing", "FailedPreStopHook", "FailedPostStartHook")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// A controller that is killed while hooks run leaves them to the next one.
func TestHooksOverRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.programs()
		p.takes["begin"], p.takes["leave"] = 3*time.Second, 4*time.Second
		w.start()
		w.write(podWith("polite", func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: hookOf("begin"), PreStop: hookOf("leave")}
		}))
		w.pass(time.Second)
		w.restart()
		w.pass(10 * time.Second)
		if row := w.row("polite"); row.Ready != 1 || p.count("begin") != 2 {
			t.Errorf("the pod is %+v, ran %v", row, p.ran)
		}
		w.snapshot(manifests.Snapshot{})
		w.pass(DefaultPruneDelay + time.Second)
		w.restart()
		w.settle()
		w.wantRunning(0)
		if p.count("begin") != 2 || p.count("leave") != 2 {
			t.Errorf("ran %v", p.ran)
		}
	})
}

func TestFailedHooks(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.programs()
		p.code["begin"], p.code["leave"] = 1, 1
		w.start()
		w.write(podWith("polite", func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: hookOf("begin"), PreStop: hookOf("leave")}
		}))
		w.pass(5 * time.Second)
		if row := w.row("polite"); row.Restarts != 1 || row.Reason != "CrashLoopBackOff" {
			t.Errorf("the pod is %+v", row)
		}
		w.snapshot(manifests.Snapshot{})
		w.settle()
		want := []string{"FailedPostStartHook: PostStartHook failed ×2", "FailedPreStopHook: PreStopHook failed ×2"}
		if diff := cmp.Diff(want, w.eventsOf("FailedPreStopHook", "FailedPostStartHook")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// A hook that goes on for longer than the grace is given up, and its program gets a signal and a moment all the same.
func TestAHookLongerThanTheGrace(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.programs()
		p.takes["leave"] = time.Hour
		w.start()
		w.write(podWith("slow", func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: hookOf("leave")}
			c.Args = []string{"stubborn"}
		}))
		w.settle()
		asked := time.Now()
		w.snapshot(manifests.Snapshot{})
		w.settle()
		if took := time.Since(asked) - DefaultPruneDelay; took < 32*time.Second || took > 33*time.Second {
			t.Errorf("the end took %s", took)
		}
		calls := slices.DeleteFunc(w.fake.Calls(), func(c string) bool { return !strings.HasPrefix(c, "signal") })
		if len(calls) != 2 || !strings.HasPrefix(calls[0], "signal 15") || !strings.HasPrefix(calls[1], "signal 9") {
			t.Errorf("signals: %v", calls)
		}
	})
}

// A hook ends with its container.
func TestAHookOfAContainerThatEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.programs()
		p.takes["begin"] = time.Hour
		w.start()
		w.write(podWith("short", func(c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{PostStart: hookOf("begin")} }))
		w.pass(time.Second)
		w.fake.Exit(w.row("short").UID, "main", 3)
		w.pass(time.Second)
		if row := w.row("short"); p.givenUp != 1 || p.count("begin") != 2 || row.Restarts != 1 {
			t.Errorf("%d given up, ran %v, the pod is %+v", p.givenUp, p.ran, row)
		}
	})
}

// What is known of containers goes with their pods.
func TestKnownIsForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.programs()
		w.start()
		w.write(podWith("one", func(c *corev1.Container) { c.ReadinessProbe = probeOf("ready", 5) }))
		w.settle()
		it, _ := w.c.store.Get(reconcile.Key{Kind: reconcile.KindPod, Namespace: "shop", Name: "one"})
		if k := w.c.store.KnownOf(it.Object.GetUID()); !k["main"].Ready {
			t.Errorf("known: %+v", k)
		}
		w.snapshot(manifests.Snapshot{})
		w.settle()
		if k := w.c.store.KnownOf(it.Object.GetUID()); k != nil {
			t.Errorf("known after the end: %+v", k)
		}
	})
}
