package controller

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/request"
)

// aside is what a client says of an object beside its file: it comes with the file's next words, so that who watches sees one change.
type aside struct {
	notes   map[string]string
	managed []metav1.ManagedFieldsEntry
}

// NoteBeside gives a stated object annotations and managed fields (nil for those it has) at the moment in which its file's next words are taken in. It is to be
// called right before the file is written; forget drops what was not taken in. A stated Pod is named as the wish for one.
func (c *Controller) NoteBeside(key reconcile.Key, notes map[string]string, managed []metav1.ManagedFieldsEntry) (forget func()) {
	in, a := c.ingest, &aside{notes, managed}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.asides[key] = a
	return func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.asides[key] == a {
			delete(in.asides, key)
		}
	}
}

// withAside is a new version of an object, which is the caller's, with what was said beside it.
func (in *ingest) withAside(key reconcile.Key, obj store.Object) store.Object {
	a := in.asides[key]
	if a == nil {
		return obj
	}
	delete(in.asides, key)
	notes := obj.GetAnnotations()
	for name, value := range a.notes {
		notes = request.With(notes, name, value)
	}
	obj.SetAnnotations(notes)
	if a.managed != nil {
		obj.SetManagedFields(a.managed)
	}
	return obj
}
