// Package claim decides which PersistentVolume a PersistentVolumeClaim holds: one that a file declares if it fits, else one made for it on
// this machine; and what becomes of volume and data when the claim goes.
//
// The volume names its claim first (claimRef), then the claim its volume (volumeName): so a volume never holds two claims, whoever stops
// half-way. Data is deleted for one reason only: a claim was seen to go whose class says Delete. A volume that merely finds its
// claim missing is released, and keeps its data for a claim of the same name.
package claim

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// Annotations that Kubernetes' own controllers write.
const (
	AnnotationBindCompleted     = "pv.kubernetes.io/bind-completed"
	AnnotationBoundByController = "pv.kubernetes.io/bound-by-controller"
	AnnotationProvisionedBy     = "pv.kubernetes.io/provisioned-by"
)

// AnnotationEphemeral is on volumes made for a claim that goes with its pod: nobody asks for their data again.
const AnnotationEphemeral = reconcile.AnnotationPrefix + "ephemeral"

// conditionBound is the condition of a claim that is not bound: why.
const conditionBound = "Bound"

// noProvisioner is the provisioner of classes whose volumes are all declared.
const noProvisioner = "kubernetes.io/no-provisioner"

// Input is what is known of one claim. Nothing in it is changed.
type Input struct {
	Claim *corev1.PersistentVolumeClaim
	// Volumes are all there are, or for a claim that names one, that.
	Volumes []*corev1.PersistentVolume
	// Former names, by volume, another claim that had it before and is looking for one now, or this claim itself.
	Former map[string]reconcile.Key
	// Users are the pods that have it, or may have it: those that are still kept waiting for it are left out.
	Users []*corev1.Pod
	// Class is the one that the claim names, or the default class when it names none; nil when there is no such object.
	Class *storagev1.StorageClass
	Now   time.Time
}

// Plan returns the next steps for the claim.
func Plan(in Input) reconcile.Plan {
	p := &pass{Input: in, key: reconcile.KeyOf(in.Claim)}
	ending := in.Claim.DeletionTimestamp != nil
	switch {
	case ending && len(in.Users) == 0:
		p.end()
	case in.Claim.Spec.VolumeName != "":
		p.hold(in.Claim.Spec.VolumeName)
	case !ending:
		p.find()
	}
	return reconcile.Plan{Actions: p.actions}
}

type pass struct {
	Input
	key     reconcile.Key
	actions []reconcile.Action
}

// end removes a claim that nobody has any more.
func (p *pass) end() {
	remove := reconcile.RemoveClaim{Claim: p.key, UID: p.Claim.UID, Volume: p.Claim.Spec.VolumeName}
	if v := p.volume(p.Claim.Spec.VolumeName); v != nil {
		// Who made a claim to be taken along says so for the data, unless a class that is declared says otherwise.
		taken := metav1.GetControllerOfNoCopy(p.Claim) != nil && p.Class == nil
		remove.DeleteData = Made(v) && Holds(v, p.Claim) && (taken || v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete)
	}
	p.do(remove)
}

// hold keeps a claim and the volume it names together. Whether it is the file that names it or an earlier binding makes no difference but for
// the words when it is not there.
func (p *pass) hold(name string) {
	v := p.volume(name)
	bound := p.Claim.Annotations[AnnotationBindCompleted] != ""
	switch {
	case v == nil && bound:
		p.lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v == nil:
		p.pend(true, "FailedBinding", fmt.Sprintf("volume %q not found", name))
	case bound && Holds(v, p.Claim):
		if Made(v) && tooSmall(v, p.Claim) {
			p.bind(v) // its size is what the claim asks for
		}
		p.bound(v)
	case v.DeletionTimestamp != nil:
		p.pend(true, "VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: the volume is marked for deletion", name))
	case v.Spec.ClaimRef != nil && !reservedFor(v, p.Claim) && bound:
		p.lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	case v.Spec.ClaimRef != nil && !reservedFor(v, p.Claim):
		p.pend(true, "FailedBinding", fmt.Sprintf("volume %q already bound to a different claim.", name))
	case refusal(v) != "":
		p.pend(true, "VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: %s", name, refusal(v)))
	case v.Spec.ClaimRef == nil && p.mismatch(v) != "" && !bound:
		p.pend(true, "VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: %s", name, p.mismatch(v)))
	default:
		p.bind(v)
	}
}

// find looks for a volume: one that is reserved for the claim, one that fits, or a new one.
func (p *pass) find() {
	if isBlock(p.Claim.Spec.VolumeMode) {
		p.pend(true, "ProvisioningFailed", "volumeMode Block is not supported: the volumes of this machine are directories")
		return
	}
	if v := p.reserved(); v != nil {
		p.bind(v)
		return
	}
	if v := p.smallest(); v != nil {
		p.bind(v)
		return
	}
	if warning, reason, message := p.obstacle(); reason != "" {
		p.pend(warning, reason, message)
		return
	}
	v := p.newVolume()
	p.do(
		reconcile.ProvisionVolume{Claim: p.key, Volume: v},
		reconcile.RecordEvent{Key: p.key, UID: p.Claim.UID, Reason: "ProvisioningSucceeded", Message: "Successfully provisioned volume " + v.Name},
	)
}

func (p *pass) bind(v *corev1.PersistentVolume) {
	if p.Claim.DeletionTimestamp != nil {
		return
	}
	b := reconcile.BindClaim{Claim: p.key, UID: p.Claim.UID, Volume: v.Name}
	if p.Claim.Spec.StorageClassName == nil && p.Class != nil {
		b.Class = p.Class.Name
	}
	p.do(b)
}

func (p *pass) volume(name string) *corev1.PersistentVolume {
	i := slices.IndexFunc(p.Volumes, func(v *corev1.PersistentVolume) bool { return v.Name == name })
	if i < 0 || name == "" {
		return nil
	}
	return p.Volumes[i]
}

func (p *pass) do(actions ...reconcile.Action) { p.actions = append(p.actions, actions...) }

// bound reports a claim that holds its volume.
func (p *pass) bound(v *corev1.PersistentVolume) {
	p.report(corev1.PersistentVolumeClaimStatus{
		Phase: corev1.ClaimBound, AccessModes: v.Spec.AccessModes, Capacity: v.Spec.Capacity, Conditions: p.others(),
	})
}

// lost reports a claim whose volume is gone, or another's.
func (p *pass) lost(reason, message string) { p.wait(corev1.ClaimLost, true, reason, message) }

// pend reports a claim that waits.
func (p *pass) pend(warning bool, reason, message string) {
	p.wait(corev1.ClaimPending, warning, reason, message)
}

// wait says why in an event, once, and in a condition, where it stays to be read.
func (p *pass) wait(phase corev1.PersistentVolumeClaimPhase, warning bool, reason, message string) {
	c := corev1.PersistentVolumeClaimCondition{
		Type: conditionBound, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(p.Now),
	}
	for _, had := range p.Claim.Status.Conditions {
		if had.Type != conditionBound {
			continue
		}
		c.LastTransitionTime = had.LastTransitionTime
		if had.Reason == reason && had.Message == message {
			p.report(corev1.PersistentVolumeClaimStatus{Phase: phase, Conditions: append(p.others(), c)})
			return
		}
	}
	p.do(reconcile.RecordEvent{Key: p.key, UID: p.Claim.UID, Warning: warning, Reason: reason, Message: message})
	p.report(corev1.PersistentVolumeClaimStatus{Phase: phase, Conditions: append(p.others(), c)})
}

// others are the conditions that are not ours.
func (p *pass) others() []corev1.PersistentVolumeClaimCondition {
	var out []corev1.PersistentVolumeClaimCondition
	for _, c := range p.Claim.Status.Conditions {
		if c.Type != conditionBound {
			out = append(out, c)
		}
	}
	return out
}

func (p *pass) report(s corev1.PersistentVolumeClaimStatus) {
	if same(s, p.Claim.Status) {
		return
	}
	c := *p.Claim
	c.Status = s
	p.do(reconcile.UpdateStatus{Object: &c})
}

// WhyUnbound is what keeps a claim from being bound, "" when nobody has said so yet.
func WhyUnbound(c *corev1.PersistentVolumeClaim) string {
	for _, cond := range c.Status.Conditions {
		if cond.Type == conditionBound && cond.Status == corev1.ConditionFalse {
			return cond.Message
		}
	}
	return ""
}
