package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// What kubectl says of a pod that a workload made is in no file, and policies and Services go by it: the next controller finds it on the machine.
func TestLabelsOutliveTheController(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write(web("web", "app:1", 1))
		w.start()
		w.settle()
		key := w.c.store.List(reconcile.KindPod)[0].Key
		err := w.c.store.Update(key, func(it store.Item) (store.Item, error) {
			p := it.Object.(*corev1.Pod).DeepCopy()
			p.Labels["tier"] = "aside"
			it.Object = p
			return it, nil
		})
		if err == nil {
			err = w.c.Carry(t.Context(), key)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.pass(time.Second)
		if p, ok := store.Get[*corev1.Pod](w.c.store, key); !ok || p.Labels["tier"] != "aside" {
			t.Errorf("after a restart: %v", p.Labels)
		}
		w.wantRunning(1)
	})
}
