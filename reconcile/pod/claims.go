package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/claim"
	"berth/runtime"
)

// Claim is a PersistentVolumeClaim that the Pod mounts, and what became of it.
type Claim struct {
	Claim *corev1.PersistentVolumeClaim
	// Volume is the one that the claim names; nil for none.
	Volume *corev1.PersistentVolume
	// Holder is another pod that has the claim for itself; "" for none.
	Holder string
}

// schedule tells whether the Pod may begin: the machine takes new ones, and what it claims and asks for is there. One that has begun is never held up again.
func (p *pass) schedule() bool {
	if p.begun() {
		return true
	}
	if owner := metav1.GetControllerOfNoCopy(p.pod); p.in.Cordoned && (owner == nil || owner.Kind != reconcile.KindDaemonSet) {
		return p.unschedulable("1 node(s) were unschedulable")
	}
	for i := range p.pod.Spec.Volumes {
		v := &p.pod.Spec.Volumes[i]
		if claim.NameFor(p.pod, v) == "" {
			continue
		}
		if why := p.claimObstacle(v); why != "" {
			return p.unschedulable(why)
		}
	}
	if p.in.Wanting != "" {
		return p.unschedulable(p.in.Wanting)
	}
	return true
}

// unschedulable notes why nothing of the Pod may begin.
func (p *pass) unschedulable(why string) bool {
	p.unscheduled = "0/1 nodes are available: " + why + "."
	if at := conditionAt(p.pod.Status.Conditions, corev1.PodScheduled); at < 0 || p.pod.Status.Conditions[at].Message != p.unscheduled {
		p.note(true, "FailedScheduling", p.unscheduled)
	}
	return false
}

// begun tells whether the machine has, or had, anything of the Pod.
func (p *pass) begun() bool {
	o := p.in.Observed
	return o != nil && (!o.Sandbox.CreatedAt.IsZero() || len(o.Containers) > 0)
}

// claimObstacle is why a claim keeps the Pod waiting, in the words of a scheduler. A claim of the Pod's own is made here.
func (p *pass) claimObstacle(v *corev1.Volume) string {
	name := claim.NameFor(p.pod, v)
	c := p.in.Claims[name]
	switch {
	case c.Claim == nil && v.Ephemeral != nil:
		p.do(reconcile.CreateObject{Object: claim.Ephemeral(p.pod, v)})
		return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case c.Claim == nil:
		return fmt.Sprintf("persistentvolumeclaim %q not found", name)
	case c.Claim.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, c.Claim.Spec.VolumeName)
	case v.Ephemeral != nil && !metav1.IsControlledBy(c.Claim, p.pod):
		return fmt.Sprintf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", p.pod.Namespace, name, p.pod.Namespace, p.pod.Name)
	case c.Claim.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
	case !c.bound():
		why := "pod has unbound immediate PersistentVolumeClaims"
		if reason := claim.WhyUnbound(c.Claim); reason != "" {
			why += fmt.Sprintf(" (%q: %s)", name, reason)
		}
		return why
	case c.Holder != "":
		return fmt.Sprintf("node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod (%s has %q)", c.Holder, name)
	}
	return ""
}

func (c Claim) bound() bool { return c.Volume != nil && claim.Holds(c.Volume, c.Claim) }

// waiting is the status of a Pod that no machine has begun yet: of it nothing is known but why.
func (p *pass) waiting() corev1.PodStatus {
	s := corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(&p.pod.Spec), Conditions: p.pod.Status.Conditions}
	c := failing(corev1.PodScheduled, corev1.PodReasonUnschedulable, p.unscheduled)
	if p.date(&s, &c) {
		s.Conditions = merged(s.Conditions, []corev1.PodCondition{c})
	}
	return s
}

// claimVolume translates a volume that stands for a claim.
func (p *pass) claimVolume(v *corev1.Volume) (runtime.Volume, error) {
	field, name := fmt.Sprintf("spec.volumes[%s]", v.Name), claim.NameFor(p.pod, v)
	c := p.in.Claims[name]
	if c.Claim == nil {
		return runtime.Volume{}, refusal(field, "persistentvolumeclaim %q not found", name)
	}
	if !c.bound() {
		return runtime.Volume{}, refusal(field, "persistentvolumeclaim %q is not bound", name)
	}
	out, source := runtime.Volume{Name: v.Name}, &c.Volume.Spec
	switch {
	case claim.Stored(c.Volume) != "":
		out.Disk = &runtime.Disk{ID: claim.Stored(c.Volume)}
	case source.HostPath != nil:
		out.HostPath = &runtime.HostPath{Path: source.HostPath.Path}
		if source.HostPath.Type != nil {
			out.HostPath.Type = string(*source.HostPath.Type)
		}
	case source.Local != nil:
		out.HostPath = &runtime.HostPath{Path: source.Local.Path, Type: string(corev1.HostPathDirectory), FSGroup: true}
	default:
		return out, refusal(field, "persistentvolume %q is of a kind that cannot be mounted here", c.Volume.Name)
	}
	return out, nil
}

// readOnlyClaims makes what stands for a claim read-only where the Pod's volume says so.
func (p *pass) readOnlyClaims(mounts []runtime.Mount) {
	for i := range p.pod.Spec.Volumes {
		v := &p.pod.Spec.Volumes[i]
		if v.PersistentVolumeClaim == nil || !v.PersistentVolumeClaim.ReadOnly {
			continue
		}
		for k := range mounts {
			if mounts[k].Volume == v.Name {
				mounts[k].ReadOnly = true
			}
		}
	}
}
