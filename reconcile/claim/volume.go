package claim

import (
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
)

// VolumeInput is what is known of one PersistentVolume. Nothing in it is changed.
type VolumeInput struct {
	Volume *corev1.PersistentVolume
	// Claim is the one that claimRef names, by its name; nil when there is none.
	Claim *corev1.PersistentVolumeClaim
	// Users are the pods that have a claim of that name.
	Users []*corev1.Pod
	// Stated tells that a file declares the volume.
	Stated bool
}

// PlanVolume returns the next steps for a volume: its phase, and its end.
func PlanVolume(in VolumeInput) reconcile.Plan {
	v := in.Volume
	p := &volumePass{VolumeInput: in, key: reconcile.KeyOf(v)}
	held := in.Claim != nil && Holds(v, in.Claim)
	bound := held && in.Claim.Spec.VolumeName == v.Name
	going := v.DeletionTimestamp != nil && !bound // no binding to it is finished any more
	if going && len(in.Users) == 0 {
		p.remove()
		return reconcile.Plan{Actions: p.actions}
	}
	switch {
	case refusal(v) != "":
		p.report(corev1.VolumeFailed, "Unsupported", refusal(v))
	case v.Spec.ClaimRef == nil, v.Spec.ClaimRef.UID == "":
		p.report(corev1.VolumeAvailable, "", "")
	case held && in.Claim.Spec.VolumeName == "" && !going:
		// The claim's planner is about to finish the binding.
	case held && in.Claim.Spec.VolumeName == v.Name:
		p.report(corev1.VolumeBound, "", "")
	case held && !Made(v) && v.Annotations[AnnotationBoundByController] != "":
		p.actions = append(p.actions, reconcile.UnbindVolume{Volume: p.key, UID: v.UID, Claim: in.Claim.UID})
	default:
		p.release()
	}
	return reconcile.Plan{Actions: p.actions}
}

type volumePass struct {
	VolumeInput
	key     reconcile.Key
	actions []reconcile.Action
}

// remove ends a volume that nothing holds. The data goes only where berth made it and the policy says so.
func (p *volumePass) remove() {
	end := reconcile.RemoveVolume{Volume: p.key, UID: p.Volume.UID}
	if Made(p.Volume) && !p.Stated && p.Volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		end.ID = Stored(p.Volume)
	}
	p.actions = append(p.actions, end)
}

// release reports a volume whose claim is gone. Its data is there, whatever its policy: berth deletes only what it has made, and that
// when the claim was seen to go.
func (p *volumePass) release() {
	message := ""
	if policy := p.Volume.Spec.PersistentVolumeReclaimPolicy; !Made(p.Volume) && policy != corev1.PersistentVolumeReclaimRetain && policy != "" {
		message = "the data of a declared volume is never deleted: " + string(policy) + " is taken as Retain"
		if p.Volume.Status.Phase != corev1.VolumeReleased {
			p.actions = append(p.actions, reconcile.RecordEvent{
				Key: p.key, UID: p.Volume.UID, Warning: true, Reason: "VolumeFailed" + string(policy), Message: message,
			})
		}
	}
	p.report(corev1.VolumeReleased, "", message)
}

func (p *volumePass) report(phase corev1.PersistentVolumePhase, reason, message string) {
	had := p.Volume.Status
	if had.Phase == phase && had.Reason == reason && had.Message == message {
		return
	}
	if reason != "" {
		p.actions = append(p.actions, reconcile.RecordEvent{Key: p.key, UID: p.Volume.UID, Warning: true, Reason: reason, Message: message})
	}
	v := *p.Volume
	v.Status.Phase, v.Status.Reason, v.Status.Message = phase, reason, message
	p.actions = append(p.actions, reconcile.UpdateStatus{Object: &v})
}
