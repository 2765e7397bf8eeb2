package reconcile

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Actions on who controls what. They change the store; executed twice they do nothing more.
type (
	// AdoptObject makes Owner the controller of an object that has none and is not ending.
	AdoptObject struct {
		Key   Key
		UID   types.UID
		Owner metav1.OwnerReference
	}
	// ReleaseObject takes an object from its owner. It stays, and is nobody's.
	ReleaseObject struct {
		Key    Key
		UID    types.UID
		Owner  types.UID
		Reason string
	}
)

func (AdoptObject) isAction()   {}
func (ReleaseObject) isAction() {}

func (a AdoptObject) String() string {
	return "adopt " + a.Key.String() + " for " + a.Owner.Kind + " " + a.Owner.Name
}

func (a ReleaseObject) String() string { return "release " + a.Key.String() + because(a.Reason) }
