package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"berth/reconcile"
	"berth/runtime"
)

// ReasonEvicted is the reason of a Pod that was ended for what it did to the machine, and of the event.
const ReasonEvicted = "Evicted"

// Eviction is an EvictPod that was carried out.
type Eviction struct {
	Message string
	At      time.Time
}

// evictionGrace is what the containers of an evicted Pod have left, the kubelet's.
const evictionGrace = time.Second

// DiskLimited tells whether the Pod states a limit of what it writes to the disk: only then it has to be measured.
func DiskLimited(pod *corev1.Pod) bool {
	if _, stated := diskLimit(&pod.Spec); stated {
		return true
	}
	for i := range pod.Spec.Volumes {
		if diskVolumeLimit(&pod.Spec.Volumes[i]) != nil {
			return true
		}
	}
	return false
}

// DiskExcess says which limit of the Pod is exceeded by what it has written to the disk, in the words of a kubelet and in the order in which it looks: volumes,
// the Pod as a whole, its containers. It is "" when none is.
func DiskExcess(pod *corev1.Pod, used *runtime.DiskUsage) string {
	if used == nil {
		return ""
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if limit := diskVolumeLimit(v); limit != nil && limit.CmpInt64(used.Volumes[v.Name]) < 0 {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, limit.String())
		}
	}
	if limit, stated := diskLimit(&pod.Spec); stated && limit.CmpInt64(used.Total()) < 0 {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if limit := c.Resources.Limits.StorageEphemeral(); !limit.IsZero() && limit.CmpInt64(used.Containers[c.Name]) < 0 {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String())
		}
	}
	return ""
}

// diskVolumeLimit is the limit of an emptyDir on disk. The kernel holds those in memory to theirs.
func diskVolumeLimit(v *corev1.Volume) *resource.Quantity {
	if v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
		return nil
	}
	return v.EmptyDir.SizeLimit
}

// diskLimit is that of a Pod as a whole: what its containers may write together, or one of its init containers beside the sidecars before it.
func diskLimit(spec *corev1.PodSpec) (limit resource.Quantity, stated bool) {
	add := func(to *resource.Quantity, c *corev1.Container) {
		if q, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
			to.Add(q)
			stated = true
		}
	}
	for i := range spec.Containers {
		add(&limit, &spec.Containers[i])
	}
	var sidecars, most resource.Quantity
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if reconcile.IsSidecar(c) {
			add(&limit, c)
			add(&sidecars, c)
			continue
		}
		alone := sidecars.DeepCopy()
		if add(&alone, c); alone.Cmp(most) > 0 {
			most = alone
		}
	}
	if most.Cmp(limit) > 0 {
		limit = most
	}
	return limit, stated
}

// exceeds evicts a Pod that has written more than it may.
func (p *pass) exceeds() bool {
	message := DiskExcess(p.pod, p.in.Disk)
	if message == "" {
		return false
	}
	p.do(reconcile.EvictPod{Pod: p.key, UID: p.pod.UID, Message: message})
	p.note(true, ReasonEvicted, message)
	return true
}

func (p *pass) evicted() verdict {
	return verdict{phase: corev1.PodFailed, cause: ReasonEvicted, message: p.in.Evicted.Message, reason: "the pod is evicted", since: p.in.Evicted.At}
}

// verdictOver is when what still runs of a Pod that has come to its end is killed.
func (p *pass) verdictOver() time.Time {
	over := p.graceOver(p.verdict.since)
	if e := p.in.Evicted; e != nil && e.At.Add(evictionGrace).Before(over) {
		return e.At.Add(evictionGrace)
	}
	return over
}
