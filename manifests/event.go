package manifests

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// ValidateEvent says what a server has against an Event that a client makes (old is nil), or makes of old. version is that of the request: the younger API
// asks for more.
func ValidateEvent(old, wish *corev1.Event, version schema.GroupVersion) field.ErrorList {
	var both [2]*core.Event
	for i, e := range []*corev1.Event{old, wish} {
		if e == nil {
			continue
		}
		both[i] = &core.Event{}
		if err := Scheme().Convert(e.DeepCopy(), both[i], nil); err != nil {
			return field.ErrorList{field.InternalError(nil, fmt.Errorf("cannot convert Event/%s: %w", e.Name, err))}
		}
	}
	meta := field.NewPath("metadata")
	if old == nil {
		return append(apivalidation.ValidateObjectMeta(&wish.ObjectMeta, true, eventName, meta), corevalidation.ValidateEventCreate(both[1], version)...)
	}
	return append(apivalidation.ValidateObjectMetaUpdate(&wish.ObjectMeta, &old.ObjectMeta, meta), corevalidation.ValidateEventUpdate(both[1], both[0], version)...)
}

// eventName judges the name of an Event, or a prefix to which the server adds the rest.
func eventName(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
