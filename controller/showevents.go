package controller

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// component is who tells the events.
const component = "berth"

// key is the name in the store of what shows an event. What has no namespace tells of it in the default one.
func (ev *Event) key() reconcile.Key {
	namespace := ev.Object.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return reconcile.Key{Kind: reconcile.KindEvent, Namespace: namespace, Name: ev.shown}
}

// nameFor is a name that no other event has: that of the object and a moment. The caller holds the lock.
func (e *events) nameFor(about reconcile.Key, now time.Time) string {
	e.named = max(e.named+1, now.UnixNano())
	return fmt.Sprintf("%.200s.%x", about.Name, e.named)
}

// show puts an event into the store, where clients of the Kubernetes API find it.
func (e *events) show(ev Event) {
	obj := &corev1.Event{
		TypeMeta:            metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindEvent},
		ObjectMeta:          metav1.ObjectMeta{Namespace: ev.key().Namespace, Name: ev.shown},
		InvolvedObject:      e.reference(&ev),
		Reason:              ev.Reason,
		Message:             ev.Message,
		Type:                ev.Type,
		Count:               int32(min(ev.Count, 1<<30)),
		FirstTimestamp:      metav1.NewTime(ev.First),
		LastTimestamp:       metav1.NewTime(ev.Last),
		Source:              corev1.EventSource{Component: component},
		ReportingController: component,
	}
	if ev.showed.IsZero() {
		_ = ignoreTaken(e.store.Create(ev.key(), obj, nil)) // its name is new
		return
	}
	_ = ignoreGone(e.store.Update(ev.key(), func(it store.Item) (store.Item, error) { // it may be too old to be shown
		if old, ok := it.Object.(*corev1.Event); ok {
			obj.InvolvedObject, obj.Labels, obj.Annotations = old.InvolvedObject, old.Labels, old.Annotations
		}
		it.Object = obj
		return it, nil
	}))
}

// reference names the object of an event as clients know it. A stated Pod is the Pod that was made for it.
func (e *events) reference(ev *Event) corev1.ObjectReference {
	key := ev.Object
	if key.Kind == reconcile.KindBarePod {
		key.Kind = reconcile.KindPod
	}
	ref := corev1.ObjectReference{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, UID: ev.UID, APIVersion: versionsOfKinds()[key.Kind]}
	if it, ok := e.store.Get(key); ok && (ev.UID == "" || ev.Object.Kind == reconcile.KindBarePod || ev.UID == it.Object.GetUID()) {
		ref.UID, ref.ResourceVersion = it.Object.GetUID(), it.Object.GetResourceVersion()
	}
	return ref
}

// versionsOfKinds are the apiVersions of the kinds that things happen to.
var versionsOfKinds = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for gvk := range manifests.Scheme().AllKnownTypes() {
		if gvk.Version == kruntime.APIVersionInternal || gvk.Version != "v1" {
			continue
		}
		if have, ok := out[gvk.Kind]; !ok || gvk.GroupVersion().String() < have && have != "v1" {
			out[gvk.Kind] = gvk.GroupVersion().String()
		}
	}
	return out
})
