package reconcile

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Object is any Kubernetes object.
type Object interface {
	metav1.Object
	kruntime.Object
}

// KeyOf names a typed object by its Go type, whose name is the kind's in all of Kubernetes' packages. A Pod is the one that exists, never
// the wish for it.
func KeyOf(obj Object) Key {
	t := reflect.TypeOf(obj)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return Key{Kind: t.Name(), Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// Actions on objects that berth itself makes. They change the store.
type (
	// CreateObject makes an object of any kind but Pod. The executor gives it its UID. Creating what exists under the same controller is not an
	// error: the planner is asked again.
	CreateObject struct{ Object Object }
	// UpdateObject puts a new version of what berth has made in the place of the old one: metadata and everything but status.
	UpdateObject struct {
		Object Object // a whole copy, with the UID and the resourceVersion of what it replaces: what has changed meanwhile is planned anew
		Reason string
	}
	// DeleteObject forgets an object; what it controls follows as garbage. Pods end by DeletePod.
	DeleteObject struct {
		Key    Key
		UID    types.UID
		Reason string
	}
)

func (CreateObject) isAction() {}
func (UpdateObject) isAction() {}
func (DeleteObject) isAction() {}

func (a CreateObject) String() string { return "create " + KeyOf(a.Object).String() }

func (a UpdateObject) String() string {
	return "update " + KeyOf(a.Object).String() + because(a.Reason)
}

func (a DeleteObject) String() string { return "delete " + a.Key.String() + because(a.Reason) }
