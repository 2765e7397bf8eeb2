package claim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"berth/reconcile"
)

// betaClass is where very old manifests name their class.
const betaClass = "volume.beta.kubernetes.io/storage-class"

// Made tells of volumes that berth made itself, for a claim.
func Made(v *corev1.PersistentVolume) bool {
	return Stored(v) != "" && v.Annotations[AnnotationProvisionedBy] == reconcile.StorageDriver
}

// Stored is the ID of the stored volume that a PersistentVolume stands for, "" for one that is elsewhere.
func Stored(v *corev1.PersistentVolume) string {
	if v.Spec.CSI == nil || v.Spec.CSI.Driver != reconcile.StorageDriver {
		return ""
	}
	return v.Spec.CSI.VolumeHandle
}

// Holds tells whether a volume is this very claim's.
func Holds(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	return reservedFor(v, c) && v.Spec.ClaimRef.UID == c.UID
}

// Free tells whether a claim may take a volume: nobody's, or one that names it, be it by a UID it had before: then it is back.
func Free(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	return v.DeletionTimestamp == nil && (v.Spec.ClaimRef == nil || reservedFor(v, c))
}

// reservedFor tells whether a volume names a claim, whatever the UID: of one name there is one claim, and who had it before is gone.
func reservedFor(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	ref := v.Spec.ClaimRef
	return ref != nil && ref.Namespace == c.Namespace && ref.Name == c.Name
}

// reserved is the volume that names the claim: by its UID, by its name alone, or by a UID it had before. Of several of the last kind it is the
// newest.
func (p *pass) reserved() *corev1.PersistentVolume {
	var best *corev1.PersistentVolume
	for _, v := range p.Volumes {
		if !reservedFor(v, p.Claim) || v.DeletionTimestamp != nil || refusal(v) != "" {
			continue
		}
		if v.Spec.ClaimRef.UID == p.Claim.UID || v.Spec.ClaimRef.UID == "" {
			if !tooSmall(v, p.Claim) || Made(v) {
				return v
			}
			continue
		}
		// A directory of ours is as large and as shared as its claim says.
		fits := p.mismatch(v) == "" || Made(v) && classOf(v) == p.class()
		if fits && (best == nil || best.CreationTimestamp.Before(&v.CreationTimestamp)) {
			best = v
		}
	}
	return best
}

// smallest is the smallest free volume that fits; of several of one size the first by name. One that the claim had before comes before all.
func (p *pass) smallest() *corev1.PersistentVolume {
	selector, err := metav1.LabelSelectorAsSelector(p.Claim.Spec.Selector)
	if err != nil {
		return nil // validation has refused it
	}
	if p.Claim.Spec.Selector == nil {
		selector = labels.Everything()
	}
	var best *corev1.PersistentVolume
	for _, v := range p.Volumes {
		if v.Spec.ClaimRef != nil || refusal(v) != "" || p.mismatch(v) != "" || !selector.Matches(labels.Set(v.Labels)) {
			continue
		}
		if had, ok := p.Former[v.Name]; ok && had != p.key {
			continue // with the data of another, who is back
		} else if ok {
			return v
		}
		if best == nil {
			best = v
			continue
		}
		a, b := capacity(v), capacity(best)
		if d := a.Cmp(b); d < 0 || d == 0 && v.Name < best.Name {
			best = v
		}
	}
	return best
}

// mismatch is why a volume does not satisfy the claim, in Kubernetes' words.
func (p *pass) mismatch(v *corev1.PersistentVolume) string {
	switch {
	case v.DeletionTimestamp != nil:
		return "the volume is marked for deletion"
	case tooSmall(v, p.Claim):
		return "requested PV is too small"
	case classOf(v) != p.class():
		return "storageClassName does not match"
	case isBlock(v.Spec.VolumeMode) != isBlock(p.Claim.Spec.VolumeMode):
		return "incompatible volumeMode"
	}
	for _, m := range p.Claim.Spec.AccessModes {
		if !slices.Contains(v.Spec.AccessModes, m) {
			return "incompatible accessMode"
		}
	}
	return ""
}

// class is the name of the claim's class: its own, or that of the default class.
func (p *pass) class() string {
	if name, ok := ClassName(p.Claim); ok {
		return name
	}
	if p.Class != nil {
		return p.Class.Name
	}
	return ""
}

// ClassName is the class that a claim names; false when it leaves that to the machine.
func ClassName(c *corev1.PersistentVolumeClaim) (string, bool) {
	if name, ok := c.Annotations[betaClass]; ok {
		return name, true
	}
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName, true
	}
	return "", false
}

func classOf(v *corev1.PersistentVolume) string {
	if name, ok := v.Annotations[betaClass]; ok {
		return name
	}
	return v.Spec.StorageClassName
}

// refusal is why this machine cannot mount a volume, "" when it can.
func refusal(v *corev1.PersistentVolume) string {
	if isBlock(v.Spec.VolumeMode) {
		return "volumeMode Block is not supported: the volumes of this machine are directories"
	}
	s := &v.Spec.PersistentVolumeSource
	if s.HostPath != nil || s.Local != nil || Stored(v) != "" {
		return ""
	}
	return fmt.Sprintf("volumes of kind %s are not supported: this machine has hostPath and local ones", sourceKind(s))
}

// sourceKind is the name of the source that is set, as it stands in a file.
func sourceKind(s *corev1.PersistentVolumeSource) string {
	data, err := json.Marshal(s)
	var set map[string]json.RawMessage
	if err != nil || json.Unmarshal(data, &set) != nil || len(set) == 0 {
		return "none"
	}
	return slices.Sorted(maps.Keys(set))[0]
}

func isBlock(m *corev1.PersistentVolumeMode) bool {
	return m != nil && *m == corev1.PersistentVolumeBlock
}

func tooSmall(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	has, wants := capacity(v), Request(c)
	return has.Cmp(wants) < 0
}

func capacity(v *corev1.PersistentVolume) resource.Quantity {
	return v.Spec.Capacity[corev1.ResourceStorage]
}

// Request is how much a claim asks for.
func Request(c *corev1.PersistentVolumeClaim) resource.Quantity {
	return c.Spec.Resources.Requests[corev1.ResourceStorage]
}

func same(a, b any) bool { return apiequality.Semantic.DeepEqual(a, b) }
