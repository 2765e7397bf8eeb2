package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"reflect"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/request"
)

// Operations of records.
const (
	opHeader = "berth"  // first line of a generation: Version is that of the format, Count the generation
	opPut    = "put"    // Key is now Object
	opDelete = "delete" // Key is no more
	opMark   = "mark"   // resource versions up to Version may have been given out
	opEnding = "ending" // the Pod UID shall end
	opKnown  = "known"  // of the containers of the Pod UID Known is known
	opEvict  = "evict"  // the Pod UID has ended, as Evicted says
	opEnded  = "ended"  // the Pod UID is gone
	opBase   = "base"   // Count records before this one are a whole picture
)

// formatVersion is that of the records.
const formatVersion = 1

// record is one line of the journal: eight hex digits of CRC-32C, a space, JSON, a newline. A line damaged by a flipped or lost byte costs
// itself and at most the next one; reading goes on behind it.
type record struct {
	Op      string                   `json:"op"`
	Key     *reconcile.Key           `json:"key,omitempty"`
	Source  *Source                  `json:"source,omitempty"`
	GVK     *schema.GroupVersionKind `json:"gvk,omitempty"`
	Object  json.RawMessage          `json:"object,omitempty"`
	UID     types.UID                `json:"uid,omitempty"`
	Ending  *Ending                  `json:"ending,omitempty"`
	Known   map[string]Known         `json:"known,omitempty"`
	Evicted *Eviction                `json:"evicted,omitempty"`
	Version uint64                   `json:"version,omitempty"`
	Count   int                      `json:"count,omitempty"`

	item *Item // of a put, not encoded yet
}

func putRecord(it *Item) record { return record{Op: opPut, Key: &it.Key, Source: it.Source, item: it} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r record) encode() ([]byte, error) {
	if r.item != nil {
		obj := withoutStatus(r.item.Object)
		gvk := kindOf(obj)
		r.GVK = &gvk
		data, err := json.Marshal(obj)
		if err != nil {
			return nil, fmt.Errorf("cannot encode %s: %w", r.item.Key, err)
		}
		r.Object = data
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a record: %w", err)
	}
	line := make([]byte, 0, len(data)+10)
	line = fmt.Appendf(line, "%08x ", crc32.Checksum(data, castagnoli))
	return append(append(line, data...), '\n'), nil
}

// parse reads one line without its newline.
func parse(line []byte) (record, error) {
	var r record
	if len(line) < 10 || line[8] != ' ' {
		return r, fmt.Errorf("cannot read a record: too short or without checksum")
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(line[9:], castagnoli) || !bytes.Equal(line[:8], bytes.ToLower(line[:8])) {
		return r, fmt.Errorf("cannot read a record: wrong checksum")
	}
	if err := json.Unmarshal(line[9:], &r); err != nil {
		return r, fmt.Errorf("cannot read a record: %w", err)
	}
	return r, nil
}

// object decodes the object of a put.
func (r record) object(newObject func(schema.GroupVersionKind) (kruntime.Object, error)) (Object, error) {
	if r.GVK == nil || r.Key == nil {
		return nil, fmt.Errorf("cannot read a record: it has no kind or key")
	}
	var obj kruntime.Object = &unstructured.Unstructured{}
	if known := builtin(*r.GVK); known != nil {
		obj = known
	} else if newObject != nil {
		if o, err := newObject(*r.GVK); err == nil {
			obj = o
		}
	}
	if err := json.Unmarshal(r.Object, obj); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", r.Key, err)
	}
	out, ok := obj.(Object)
	if !ok || out.GetName() != r.Key.Name || out.GetNamespace() != r.Key.Namespace {
		return nil, fmt.Errorf("cannot read %s: the object is another one", r.Key)
	}
	obj.GetObjectKind().SetGroupVersionKind(*r.GVK)
	return out, nil
}

func builtin(gvk schema.GroupVersionKind) kruntime.Object {
	switch gvk {
	case appsv1.SchemeGroupVersion.WithKind(reconcile.KindDeployment):
		return &appsv1.Deployment{}
	case appsv1.SchemeGroupVersion.WithKind(reconcile.KindReplicaSet):
		return &appsv1.ReplicaSet{}
	case corev1.SchemeGroupVersion.WithKind(reconcile.KindPod):
		return &corev1.Pod{}
	}
	return nil
}

// kindOf is the object's kind, also when it does not say so itself.
func kindOf(obj Object) schema.GroupVersionKind {
	switch obj.(type) {
	case *appsv1.Deployment:
		return appsv1.SchemeGroupVersion.WithKind(reconcile.KindDeployment)
	case *appsv1.ReplicaSet:
		return appsv1.SchemeGroupVersion.WithKind(reconcile.KindReplicaSet)
	case *corev1.Pod:
		return corev1.SchemeGroupVersion.WithKind(reconcile.KindPod)
	}
	if gvk := obj.GetObjectKind().GroupVersionKind(); !gvk.Empty() {
		return gvk
	}
	if kinds, _, err := manifests.Scheme().ObjectKinds(obj); err == nil {
		return kinds[0]
	}
	return schema.GroupVersionKind{}
}

// durable tells what the journal keeps: all but Pods that somebody would make again, which live as long as their sandboxes and are carried by them, and
// what is made of Pods anew whenever one changes.
func durable(it *Item) bool {
	switch it.Key.Kind {
	case reconcile.KindPod:
		return Orphan(*it)
	case reconcile.KindEndpoints, reconcile.KindEndpointSlice:
		return it.Source != nil
	}
	return true
}

// withoutStatus is the object as it is written: a status is observed again, never believed. The exceptions are what nobody could observe again.
func withoutStatus(obj Object) Object {
	if keepsStatus(obj) {
		return obj
	}
	status := StatusOf(obj)
	if !status.IsValid() {
		return obj
	}
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	out, _ := reflect.TypeAssert[Object](c) // it is of obj's type
	StatusOf(out).SetZero()
	if kept := keptOf(obj); kept != nil {
		StatusOf(out).Set(reflect.ValueOf(kept))
	}
	return out
}

// keptOf is what is kept of a status that is observed again, as a status; nil for nothing. Counts of collisions are part of the names of revisions, and
// which revision a StatefulSet was at nobody can see; a Pod that has ended does not run again.
func keptOf(obj Object) any {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return appsv1.DeploymentStatus{CollisionCount: o.Status.CollisionCount}
	case *appsv1.StatefulSet:
		return appsv1.StatefulSetStatus{CollisionCount: o.Status.CollisionCount, CurrentRevision: o.Status.CurrentRevision}
	case *appsv1.DaemonSet:
		return appsv1.DaemonSetStatus{CollisionCount: o.Status.CollisionCount}
	case *corev1.Pod:
		if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
			return o.Status
		}
	}
	return nil
}

// keepsStatus tells whose status is a fact of its own, such as the runs that a Job has counted.
func keepsStatus(obj Object) bool {
	switch obj.(type) {
	case *batchv1.Job, *batchv1.CronJob:
		return true
	}
	return false
}

// StatusOf is the field Status of a typed object, to be set on a copy only; the zero Value where there is none.
func StatusOf(obj Object) reflect.Value { return field(obj, "Status") }

func field(obj Object, name string) reflect.Value {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.Elem().FieldByName(name)
}

// sameWish compares what is to be: in Kubernetes a restart and an undo change the spec, here they stand beside it.
func sameWish(a, b Item) bool {
	return sameSpec(a, b) && request.Same(a.Object.GetAnnotations(), b.Object.GetAnnotations())
}

// sameSpec compares what generation counts: the spec, or for objects without one what their file says.
func sameSpec(a, b Item) bool {
	old, n := field(a.Object, "Spec"), field(b.Object, "Spec")
	if old.IsValid() && n.IsValid() && old.Type() == n.Type() {
		return apiequality.Semantic.DeepEqual(old.Addr().Interface(), n.Addr().Interface())
	}
	return a.Source != nil && b.Source != nil && a.Source.Hash == b.Source.Hash
}

// sameStatus compares what is kept of a status.
func sameStatus(a, b Object) bool {
	if keepsStatus(a) {
		return apiequality.Semantic.DeepEqual(StatusOf(a).Interface(), StatusOf(b).Interface())
	}
	return apiequality.Semantic.DeepEqual(keptOf(a), keptOf(b))
}

func sameMeta(a, b Object) bool {
	return maps.Equal(a.GetLabels(), b.GetLabels()) && maps.Equal(a.GetAnnotations(), b.GetAnnotations()) &&
		apiequality.Semantic.DeepEqual(a.GetOwnerReferences(), b.GetOwnerReferences()) &&
		apiequality.Semantic.DeepEqual(a.GetManagedFields(), b.GetManagedFields()) && a.GetDeletionTimestamp().Equal(b.GetDeletionTimestamp())
}
