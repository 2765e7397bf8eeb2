package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// A namespace that is deleted is Terminating until everything in it has ended, also across a restart; then it is gone, or a new one where files go on
// stating what is in it.
func TestDeleteNamespace(t *testing.T) {
	tests := map[string]struct {
		restart, stated bool
	}{
		"to its end": {},
		"restarted":  {restart: true},
		"stated":     {stated: true},
	}
	key := reconcile.Key{Kind: reconcile.KindNamespace, Name: "shop"}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				phase := func() (corev1.NamespacePhase, string) {
					ns, ok := store.Get[*corev1.Namespace](w.c.store, key)
					if !ok {
						return "", ""
					}
					return ns.Status.Phase, string(ns.UID)
				}
				stays := web("stays", "web:1", 2)
				w.write(web("web", "web:1", 2), barePod("one", "app:1", "stubborn"), pvc("data", ""), stays)
				w.start()
				w.settle()
				w.wantRunning(5)
				_, uid := phase()
				if w.write(); tt.stated {
					w.write(stays)
				}
				if err := w.c.Delete(key, "another", nil, false); err != nil {
					t.Fatal(err)
				}
				if now, _ := phase(); now != corev1.NamespaceActive {
					t.Fatalf("another UID made it %s", now)
				}
				if err := w.c.Delete(key, "", nil, false); err != nil {
					t.Fatal(err)
				}
				w.pass(10 * time.Second) // of the 30 that one pod takes
				if tt.restart {
					w.restart()
					w.pass(time.Second)
				}
				left := 1
				if tt.stated {
					left += 2
				}
				w.wantRunning(left)
				if now, is := phase(); now != corev1.NamespaceTerminating || is != uid {
					t.Fatalf("it is %s (%s, was %s) while a pod is ending", now, is, uid)
				}
				w.pass(30 * time.Second)
				w.settle()
				w.wantRunning(left - 1)
				now, is := phase()
				if want := corev1.NamespacePhase(""); !tt.stated && now != want {
					t.Errorf("it is %s in the end", now)
				}
				if tt.stated && (now != corev1.NamespaceActive || is == uid) {
					t.Errorf("it is %s (%s, was %s) in the end", now, is, uid)
				}
				for _, it := range w.c.store.List("") {
					if it.Key.Namespace == "shop" && !tt.stated && it.Key.Kind != reconcile.KindEvent {
						t.Errorf("left: %s", it.Key)
					}
				}
			})
		})
	}
}
