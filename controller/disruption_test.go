package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/disruption"
)

func budget(minAvailable int) manifests.Object {
	return object(manifests.Key{Group: "policy", Kind: "PodDisruptionBudget", Namespace: "shop", Name: "web"}, &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromInt(minAvailable)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		},
	})
}

// A budget counts what is healthy now; of evictions that come at once no more are allowed than it has to spare, and the next when a successor is ready.
func TestDisruptionBudget(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.OnSignal(func(string, string, int) { time.Sleep(time.Second) }) // a pod is still there when its eviction has been granted
		w.write(web("web", "web:1", 3), budget(2))
		w.start()
		w.settle()
		w.wantRunning(3)
		allowed := func() int32 {
			b, _ := store.Get[*policyv1.PodDisruptionBudget](w.c.store, reconcile.Key{Kind: reconcile.KindPodDisruptionBudget, Namespace: "shop", Name: "web"})
			return b.Status.DisruptionsAllowed
		}
		if n := allowed(); n != 1 {
			t.Fatalf("%d may be evicted of three, two of which have to stay", n)
		}
		evictAll := func() (ok, refused int) {
			for _, it := range w.c.store.List(reconcile.KindPod) {
				if it.Object.GetDeletionTimestamp() != nil {
					continue
				}
				err := w.c.Evict(it.Key, false, func() error { return w.c.Delete(it.Key, it.Object.GetUID(), nil, false) })
				var r *disruption.Refusal
				switch {
				case err == nil:
					ok++
					p, _ := store.Get[*corev1.Pod](w.c.store, it.Key)
					if p.Status.Conditions[len(p.Status.Conditions)-1].Type != corev1.DisruptionTarget {
						t.Errorf("%s is not told why it ends: %v", it.Key, p.Status.Conditions)
					}
				case errors.As(err, &r) && strings.Contains(r.Reason, "needs 2 healthy pods and has 2"):
					refused++
				default:
					t.Errorf("evicting %s: %v", it.Key, err)
				}
			}
			return ok, refused
		}
		if ok, refused := evictAll(); ok != 1 || refused != 2 {
			t.Errorf("%d were evicted, %d refused", ok, refused)
		}
		w.pass(time.Minute)
		w.wantRunning(3)
		if n := allowed(); n != 1 {
			t.Errorf("%d may be evicted once the successor is ready", n)
		}
		if ok, refused := evictAll(); ok != 1 || refused != 2 {
			t.Errorf("the second time %d were evicted, %d refused", ok, refused)
		}
		w.write(web("web", "web:1", 3), budget(3))
		w.settle()
		if n := allowed(); n != 0 {
			t.Errorf("%d may be evicted when all have to stay", n)
		}
	})
}

// A cordoned machine goes on with what it has and begins nothing new, also after a restart, until it is uncordoned.
func TestCordon(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts = func(o *Options) {
			o.NodeStatus = func(context.Context) corev1.NodeStatus { return corev1.NodeStatus{} }
		}
		w.write(web("web", "web:1", 2))
		w.start()
		w.settle()
		pids := w.pids()
		cordon := func(is bool) {
			err := w.c.store.Update(w.c.nodeKey(), func(it store.Item) (store.Item, error) {
				n := it.Object.DeepCopyObject().(*corev1.Node)
				n.Spec.Unschedulable = is
				it.Object = n
				return it, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			w.pass(time.Second)
		}
		cordon(true)
		w.write(web("web", "web:1", 3))
		w.pass(time.Second)
		w.restart()
		if err := w.c.ShowNode(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		w.wantRunning(2)
		for name, pid := range w.pids() {
			if pids[name] != pid {
				t.Errorf("%s was started anew", name)
			}
		}
		s := w.c.Status()
		if len(s.Workloads) != 1 || !strings.Contains(s.Workloads[0].Problem, "1 node(s) were unschedulable") {
			t.Errorf("it waits without a word: %s", table(s))
		}
		cordon(false)
		w.settle()
		w.wantRunning(3)
	})
}
