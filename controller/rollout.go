package controller

import (
	"maps"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/request"
)

// withBeside is an object, as its file states it, with what was kept beside the version before. A file has no say in that.
func withBeside(obj store.Object, before map[string]string) store.Object {
	annotations := obj.GetAnnotations()
	for name := range annotations {
		if request.Beside(name) {
			annotations = request.With(annotations, name, before[name])
		}
	}
	for name, value := range before {
		if request.Beside(name) {
			annotations = request.With(annotations, name, value)
		}
	}
	return annotated(obj, annotations)
}

// annotated is an object with a set of annotations, in a copy if that differs.
func annotated(obj store.Object, annotations map[string]string) store.Object {
	if maps.Equal(obj.GetAnnotations(), annotations) {
		return obj
	}
	n := shallow(obj)
	n.SetAnnotations(annotations)
	return n
}

// setAnnotation changes one annotation, if it still is what the planner has seen.
func (c *Controller) setAnnotation(a reconcile.SetAnnotation) error {
	return ignoreGone(c.store.Update(a.Key, func(it store.Item) (store.Item, error) {
		had := it.Object.GetAnnotations()
		if it.Object.GetUID() == a.UID && had[a.Name] == a.Old {
			it.Object = annotated(it.Object, request.With(had, a.Name, a.New))
		}
		return it, nil
	}))
}
