package claim

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// obstacle is why no volume is made for the claim. Every class is storage of this machine, whether it is declared or not; but nothing is made where
// the files mean a volume of their own to be taken: an empty one in its stead would look like lost data.
func (p *pass) obstacle() (warning bool, reason, message string) {
	name, named := ClassName(p.Claim)
	spec := &p.Claim.Spec
	meant, why := p.unfit()
	switch {
	case meant != "":
		return true, "VolumeMismatch", fmt.Sprintf("Cannot bind PersistentVolume %q to requested PersistentVolumeClaim: %s", meant, why)
	case named && name == "":
		return false, "FailedBinding", "no persistent volumes available for this claim and no storage class is set"
	case spec.Selector != nil:
		return true, "ProvisioningFailed", "claim.Spec.Selector is not supported for dynamic provisioning, and no PersistentVolume fits it"
	case spec.DataSource != nil || spec.DataSourceRef != nil:
		return true, "ProvisioningFailed", "a volume cannot be filled from a dataSource here"
	case p.Class != nil && p.Class.Provisioner == noProvisioner:
		return false, "FailedBinding", fmt.Sprintf("no persistent volumes available for this claim, and class %q has no provisioner", p.class())
	case p.Class == nil && name != "" && slices.ContainsFunc(p.Volumes, func(v *corev1.PersistentVolume) bool { return !Made(v) && classOf(v) == name }):
		return true, "ProvisioningFailed", fmt.Sprintf(
			"storageclass.storage.k8s.io %q not found: its volumes are those that files declare, and none that is free fits this claim%s", name, p.refused(name))
	}
	return false, "", ""
}

// unfit is a declared volume that names the claim and does not serve it, and why.
func (p *pass) unfit() (name, why string) {
	for _, v := range p.Volumes {
		if Made(v) || !reservedFor(v, p.Claim) || v.DeletionTimestamp != nil {
			continue
		}
		if why := cmp.Or(refusal(v), p.mismatch(v)); why != "" {
			return v.Name, why
		}
	}
	return "", ""
}

// refused explains why the declared volumes of a class do not serve, when the reason is this machine's.
func (p *pass) refused(class string) string {
	for _, v := range p.Volumes {
		if why := refusal(v); why != "" && !Made(v) && classOf(v) == class && v.Spec.ClaimRef == nil {
			return fmt.Sprintf(" (%s: %s)", v.Name, why)
		}
	}
	return ""
}

// newVolume is a volume for the claim. Without a declared class its data stays when the claim goes: a claim vanishes too easily from a
// directory of files.
func (p *pass) newVolume() *corev1.PersistentVolume {
	c := p.Claim
	name := "pvc-" + string(c.UID)
	mode := corev1.PersistentVolumeFilesystem
	v := &corev1.PersistentVolume{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPersistentVolume},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, CreationTimestamp: metav1.NewTime(p.Now),
			Annotations: map[string]string{AnnotationProvisionedBy: reconcile.StorageDriver},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: Request(c)},
			AccessModes:                   c.Spec.AccessModes,
			ClaimRef:                      Reference(c),
			StorageClassName:              p.class(),
			VolumeMode:                    &mode,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: reconcile.StorageDriver, VolumeHandle: name,
			}},
		},
	}
	owner := metav1.GetControllerOfNoCopy(c)
	ephemeral := owner != nil && owner.Kind == reconcile.KindPod
	if ephemeral {
		v.Annotations[AnnotationEphemeral] = "true"
	}
	switch {
	case p.Class != nil && p.Class.ReclaimPolicy != nil:
		v.Spec.PersistentVolumeReclaimPolicy = *p.Class.ReclaimPolicy
	case ephemeral || p.Class != nil: // Kubernetes' default for classes
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
	}
	return v
}

// Reference names a claim in a volume.
func Reference(c *corev1.PersistentVolumeClaim) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: "v1", Kind: reconcile.KindPersistentVolumeClaim, Namespace: c.Namespace, Name: c.Name, UID: c.UID,
	}
}
