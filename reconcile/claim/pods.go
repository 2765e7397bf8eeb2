package claim

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// NameFor is the name of the claim that a volume of a pod stands for, "" when it stands for none.
func NameFor(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// Ephemeral is the claim of a pod's own volume; it goes with the pod.
func Ephemeral(pod *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolumeClaim {
	yes := true
	t := v.Ephemeral.VolumeClaimTemplate
	c := &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPersistentVolumeClaim},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: NameFor(pod, v), Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: reconcile.KindPod, Name: pod.Name, UID: pod.UID, Controller: &yes, BlockOwnerDeletion: &yes,
			}},
		},
		Spec: *t.Spec.DeepCopy(),
	}
	if c.Spec.VolumeMode == nil {
		mode := corev1.PersistentVolumeFilesystem
		c.Spec.VolumeMode = &mode
	}
	return c
}

// Users are the pods that have a claim: all that mount it, but for those that are still kept waiting.
func Users(pods []*corev1.Pod) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range pods {
		if scheduled(p) != corev1.ConditionFalse {
			out = append(out, p)
		}
	}
	return out
}

// Holder is the pod that has a ReadWriteOncePod claim for itself, among those that mount it: the one that has begun, else the oldest. Pods that
// have ended have nothing any more.
func Holder(pods []*corev1.Pod) *corev1.Pod {
	var best *corev1.Pod
	for _, p := range pods {
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		if best == nil || before(p, best) {
			best = p
		}
	}
	return best
}

func before(a, b *corev1.Pod) bool {
	if x, y := scheduled(a) == corev1.ConditionTrue, scheduled(b) == corev1.ConditionTrue; x != y {
		return x
	}
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

func scheduled(p *corev1.Pod) corev1.ConditionStatus {
	i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	if i < 0 {
		return corev1.ConditionUnknown
	}
	return p.Status.Conditions[i].Status
}

// OneAtATime tells whether only one pod at a time may have a claim.
func OneAtATime(c *corev1.PersistentVolumeClaim) bool {
	return slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod)
}
