package controller

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/runtime"
)

// An ephemeral container is the running pod's own: the next controller finds it running, and the one after finds it ended, and nobody starts it again.
func TestEphemeralContainer(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write(barePod("one", "app:1"))
		w.start()
		w.settle()
		key := reconcile.Key{Kind: reconcile.KindPod, Namespace: "shop", Name: "one"}
		get := func() *corev1.Pod {
			p, _ := store.Get[*corev1.Pod](w.c.store, key)
			return p
		}
		wish := get().DeepCopy()
		wish.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "look", Image: "tools:1", ImagePullPolicy: corev1.PullIfNotPresent,
		}, TargetContainerName: "main"}}
		old := wish.DeepCopy()
		old.ResourceVersion = "1"
		if changed, err := w.c.SetEphemeral(t.Context(), old); !changed || err != nil {
			t.Errorf("an old version: %t, %v", changed, err)
		}
		if changed, err := w.c.SetEphemeral(t.Context(), wish); changed || err != nil {
			t.Fatalf("%t, %v", changed, err)
		}
		w.pass(time.Second)
		pid := func() int {
			t.Helper()
			for _, p := range w.fake.Pods() {
				i := slices.IndexFunc(p.Containers, func(c runtime.ContainerStatus) bool { return c.Name == "look" && c.State == runtime.Running })
				if i >= 0 && p.Containers[i].Attempt == 0 {
					return p.Containers[i].PID
				}
			}
			return 0
		}
		first := pid()
		if s := get().Status.EphemeralContainerStatuses; first == 0 || len(s) != 1 || s[0].State.Running == nil {
			t.Fatalf("pid %d, %+v", first, s)
		}
		w.restart()
		w.pass(time.Second)
		if s := get().Status.EphemeralContainerStatuses; pid() != first || len(s) != 1 || s[0].State.Running == nil {
			t.Fatalf("after a restart pid %d, was %d; %+v", pid(), first, s)
		}
		if err := w.fake.KillContainer(t.Context(), string(get().UID), "look"); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		w.restart()
		w.pass(time.Hour)
		if s := get().Status.EphemeralContainerStatuses; pid() != 0 || len(s) != 1 || s[0].State.Terminated == nil {
			t.Errorf("after its end pid %d, %+v", pid(), s)
		}
		w.wantRunning(1)
	})
}

// One that a pod got while its sandbox was being made is written down before it is started.
func TestEphemeralContainerOfANewSandbox(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write(barePod("one", "app:1"))
		w.start()
		w.settle()
		key := reconcile.Key{Kind: reconcile.KindPod, Namespace: "shop", Name: "one"}
		err := w.c.store.Update(key, func(it store.Item) (store.Item, error) { // the sandbox was made of the pod before
			p := it.Object.(*corev1.Pod).DeepCopy()
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "look", Image: "tools:1", ImagePullPolicy: corev1.PullIfNotPresent,
			}}}
			it.Object = p
			return it, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.restart()
		w.pass(time.Second)
		p, _ := store.Get[*corev1.Pod](w.c.store, key)
		if s := p.Status.EphemeralContainerStatuses; len(s) != 1 || s[0].State.Running == nil {
			t.Errorf("after a restart it is %+v", s)
		}
	})
}
