package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// What is said beside a file is one change with it, and is said once.
func TestNoteBeside(t *testing.T) {
	inWorld(t, func(w *world) {
		key, seen := reconcile.Key{Kind: "ConfigMap", Namespace: "shop", Name: "a"}, []string(nil)
		w.startWatching(func(_ *store.Store, ch store.Change) {
			if ch.Key == key && ch.New != nil {
				seen = append(seen, ch.New.GetAnnotations()["kubectl.kubernetes.io/last-applied-configuration"]+" "+managers(ch.New))
			}
		})
		say := func(applied, manager string) (forget func()) {
			return w.c.NoteBeside(key, map[string]string{"kubectl.kubernetes.io/last-applied-configuration": applied}, []metav1.ManagedFieldsEntry{{Manager: manager}})
		}
		say("one", "kubectl")
		w.write(configMap("a", "k", "1"))
		say("two", "helm")
		w.write(configMap("a", "k", "2"))
		w.write(configMap("a", "k", "3"))
		say("four", "nobody")()
		w.write(configMap("a", "k", "4"))
		if diff := cmp.Diff([]string{"one kubectl", "two helm", "two helm", "two helm"}, seen); diff != "" {
			t.Errorf("watchers saw (-want +got):\n%s", diff)
		}
	})
}

func managers(obj store.Object) (names string) {
	for _, f := range obj.GetManagedFields() {
		names += f.Manager
	}
	return names
}
