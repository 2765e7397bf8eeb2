package api

import (
	"bytes"
	"encoding/json"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/manifests"
	"berth/reconcile"
)

// protobufType is what kubectl sends where it knows the Go type, as create does. It is read, and never written: everybody also takes JSON.
const protobufType = "application/vnd.kubernetes.protobuf"

// protobufMagic begins each message.
var protobufMagic = []byte("k8s\x00")

// fromProtobuf is a message as JSON.
func fromProtobuf(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	bad := func(err error) error { return apierrors.NewBadRequest(fmt.Sprintf("cannot decode protobuf: %v", err)) }
	rest, ok := bytes.CutPrefix(data, protobufMagic)
	if !ok {
		return nil, bad(fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", protobufMagic))
	}
	var envelope kruntime.Unknown
	if err := envelope.Unmarshal(rest); err != nil {
		return nil, bad(err)
	}
	gvk := schema.FromAPIVersionAndKind(envelope.APIVersion, envelope.Kind)
	obj, err := newFor(gvk)
	if err != nil {
		return nil, bad(err)
	}
	message, ok := obj.(interface{ Unmarshal([]byte) error })
	if !ok {
		return nil, bad(fmt.Errorf("%s has no such form", gvk))
	}
	if err := message.Unmarshal(envelope.Raw); err != nil {
		return nil, bad(err)
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	out, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a %s: %w", gvk, err)
	}
	return out, nil
}

// newFor makes an object of any kind that clients send.
func newFor(gvk schema.GroupVersionKind) (kruntime.Object, error) {
	switch gvk.Kind {
	case "DeleteOptions":
		return &metav1.DeleteOptions{}, nil
	case "SelfSubjectReview":
		return &authenticationv1.SelfSubjectReview{}, nil
	case "SelfSubjectAccessReview":
		return &authorizationv1.SelfSubjectAccessReview{}, nil
	case "SelfSubjectRulesReview":
		return &authorizationv1.SelfSubjectRulesReview{}, nil
	case reconcile.KindEvent:
		if gvk.Group == eventsv1.GroupName {
			return &eventsv1.Event{}, nil
		}
	}
	return manifests.Scheme().New(gvk)
}
