package controller

import (
	"context"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"berth/controller/store"
	"berth/reconcile"
	"berth/runtime"
)

// scales is a meter that finds what tests say, and counts how often it was asked.
type scales struct {
	runtime.Meter

	mu    sync.Mutex
	wrote map[string]int64 // by UID
	asked int
}

func (s *scales) DiskUsage(_ context.Context, uid string) (runtime.DiskUsage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return runtime.DiskUsage{Containers: map[string]int64{"main": s.wrote[uid]}}, nil
}

func (s *scales) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func mayWrite(limit string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
	}
}

// A pod that has written more than it may is evicted and replaced once, whenever the controller dies on the way.
func TestDiskEviction(t *testing.T) {
	deaths := map[string]func(w *world, evicted *corev1.Pod){
		"a controller that lives": func(*world, *corev1.Pod) {},
		"dies when it has decided": func(w *world, p *corev1.Pod) {
			w.until(func() bool { _, decided := w.c.store.EvictionOf(p.UID); return decided })
			w.restart()
		},
		"dies when the pod has ended": func(w *world, p *corev1.Pod) {
			w.until(func() bool {
				now, _ := store.Get[*corev1.Pod](w.c.store, reconcile.KeyOf(p))
				return now.Status.Phase == corev1.PodFailed
			})
			w.restart()
		},
		"dies afterwards": func(w *world, _ *corev1.Pod) {
			w.pass(20 * time.Second)
			w.restart()
		},
	}
	for name, dies := range deaths {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				s := &scales{wrote: map[string]int64{}}
				w.opts = func(o *Options) { o.Meter = s }
				w.write(web("web", "web:1", 2, mayWrite("1Mi")))
				w.start()
				w.settle()
				first := pods(w)
				if len(first) != 2 {
					t.Fatalf("%d pods", len(first))
				}
				s.mu.Lock()
				s.wrote[string(first[0].UID)] = 2 << 20
				s.mu.Unlock()
				dies(w, first[0])
				w.pass(20 * time.Second)
				w.settle()
				w.wantRunning(2)
				evicted, ok := store.Get[*corev1.Pod](w.c.store, reconcile.KeyOf(first[0]))
				if !ok || evicted.Status.Phase != corev1.PodFailed || evicted.Status.Reason != "Evicted" ||
					evicted.Status.Message != "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. " {
					t.Errorf("the pod is there: %t, %+v", ok, evicted)
				}
				if n := len(pods(w)); n != 3 {
					t.Errorf("there are %d pods, want the evicted one, its successor and the other", n)
				}
			})
		})
	}
}

// until lets time go by until ok, a minute at most.
func (w *world) until(ok func() bool) {
	w.t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		w.pass(10 * time.Millisecond)
	}
	w.t.Fatal("it did not come to that in a minute")
}

func pods(w *world) []*corev1.Pod {
	var list []*corev1.Pod
	for _, it := range w.c.store.List(reconcile.KindPod) {
		if p, ok := it.Object.(*corev1.Pod); ok && p.DeletionTimestamp == nil {
			list = append(list, p)
		}
	}
	return list
}

// Nothing is measured of pods without a limit.
func TestNoLimitIsNotMeasured(t *testing.T) {
	inWorld(t, func(w *world) {
		s := &scales{}
		w.opts = func(o *Options) { o.Meter = s }
		w.write(web("web", "web:1", 2))
		w.start()
		w.settle()
		w.pass(time.Minute)
		if n := s.count(); n != 0 {
			t.Errorf("measured %d times", n)
		}
		w.write(web("web", "web:1", 2), web("bound", "web:1", 1, mayWrite("1Mi")))
		w.settle()
		before := s.count()
		w.pass(time.Minute)
		if n := s.count() - before; n != 6 {
			t.Errorf("measured %d times in a minute, want 6", n)
		}
	})
}
