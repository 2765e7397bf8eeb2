package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

func asking(memory string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	}
}

// Pods that ask for more than the machine (1 GiB) has left wait, also over a restart, and begin when others have given it back. Those that ask for nothing
// do not wait, and nobody is ended.
func TestRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		big := web("big", "web:1", 5, asking("300Mi"))
		w.write(big)
		w.start()
		w.pass(time.Minute)
		w.wantRunning(3)
		s := w.c.Status()
		if len(s.Workloads) != 1 || !strings.Contains(s.Workloads[0].Problem, "0/1 nodes are available: 1 Insufficient memory.") {
			t.Errorf("they wait without a word: %s", table(s))
		}
		if got := w.eventsOf("FailedScheduling"); len(got) != 2 {
			t.Errorf("of two pods was told %q", got)
		}
		pids := w.pids()
		w.restart()
		w.pass(time.Minute)
		w.wantRunning(3)
		for name, pid := range w.pids() {
			if pids[name] != pid {
				t.Errorf("%s was started anew", name)
			}
		}
		small := web("small", "web:1", 2)
		w.write(big, small)
		w.pass(time.Minute)
		w.wantRunning(5)
		w.write(web("big", "web:1", 3, asking("300Mi")), small, web("later", "web:1", 1, asking("200Mi")))
		w.pass(time.Minute)
		w.wantRunning(5)
		w.write(web("big", "web:1", 2, asking("300Mi")), small, web("later", "web:1", 1, asking("200Mi")))
		w.settle()
		w.wantRunning(5)
		if !slices.ContainsFunc(w.running(), func(name string) bool { return strings.HasPrefix(name, "later-") }) {
			t.Errorf("it does not begin although there is room: %s", table(w.c.Status()))
		}
	})
}

// However many begin at once, never is more asked for than there is.
func TestRoomAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		most := 0
		w.watch = func(s *store.Store, _ store.Change) {
			n := 0
			for _, it := range s.List(reconcile.KindPod) {
				if p, ok := it.Object.(*corev1.Pod); ok {
					if g, _ := guestOf(p); g.Placed {
						n++
					}
				}
			}
			most = max(most, n)
		}
		w.opts = func(o *Options) { o.Workers = 8 }
		var all []manifests.Object
		for _, name := range []string{"a", "b", "c", "d"} {
			all = append(all, web(name, "web:1", 5, asking("100Mi")))
		}
		w.write(all...)
		w.start()
		w.pass(time.Minute)
		w.wantRunning(10)
		if most != 10 {
			t.Errorf("%d had a place at one time, the machine has 10", most)
		}
	})
}
