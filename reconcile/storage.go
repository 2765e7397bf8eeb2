package reconcile

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// StorageDriver is the CSI driver that PersistentVolumes name which berth keeps itself: their handle is the ID of a runtime.StoredVolume.
const StorageDriver = "local.berth.dev"

// Actions on storage. What two may decide at the same time is decided again by the executor, in one step of the store.
type (
	// ProvisionVolume makes a directory for a claim, and then the PersistentVolume that stands for it, bound to the claim on its side. Making what
	// exists is not an error.
	ProvisionVolume struct {
		Claim  Key
		Volume *corev1.PersistentVolume
	}
	// BindClaim binds a volume and a claim to each other, the volume first. A volume that another claim holds, or that is going, is left
	// alone and the planner asked again.
	BindClaim struct {
		Claim  Key
		UID    types.UID
		Volume string
		// Class becomes the claim's when it names none.
		Class string
	}
	// UnbindVolume frees a volume that berth bound to a claim which holds another.
	UnbindVolume struct {
		Volume Key
		UID    types.UID
		Claim  types.UID
	}
	// RemoveClaim forgets a claim that is ending. With DeleteData its volume begins to end, too.
	RemoveClaim struct {
		Claim      Key
		UID        types.UID
		Volume     string
		DeleteData bool
	}
	// RemoveVolume forgets a PersistentVolume; with an ID the data of that stored volume is deleted first.
	RemoveVolume struct {
		Volume Key
		UID    types.UID
		ID     string
	}
)

func (ProvisionVolume) isAction() {}
func (BindClaim) isAction()       {}
func (UnbindVolume) isAction()    {}
func (RemoveClaim) isAction()     {}
func (RemoveVolume) isAction()    {}

func (a ProvisionVolume) String() string {
	return fmt.Sprintf("provision PersistentVolume/%s for %s", a.Volume.Name, a.Claim)
}

func (a BindClaim) String() string { return fmt.Sprintf("bind %s to %s", a.Claim, a.Volume) }

func (a UnbindVolume) String() string { return "unbind " + a.Volume.String() }

func (a RemoveClaim) String() string {
	if a.DeleteData {
		return "remove " + a.Claim.String() + " and its data"
	}
	return "remove " + a.Claim.String()
}

func (a RemoveVolume) String() string {
	if a.ID != "" {
		return "remove " + a.Volume.String() + " and its data"
	}
	return "remove " + a.Volume.String()
}
