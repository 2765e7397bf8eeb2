package pod

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"berth/runtime"
)

// The numbers are the kubelet's, so that a Pod gets the same share here as there.
const (
	sharesPerCPU = 1024
	leastShares  = 2
	mostShares   = 262144
	quotaPeriod  = 100_000 // microseconds
	leastQuota   = 1_000   // microseconds: the kernel takes no less
)

// limits translates requests and limits. What this machine cannot hand out is refused.
func limits(spec *corev1.Container, field string) (runtime.Resources, error) {
	for _, list := range []corev1.ResourceList{spec.Resources.Limits, spec.Resources.Requests} {
		for name, q := range list {
			switch {
			case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage, q.IsZero():
			default:
				return runtime.Resources{}, refusal(field+".resources", "this machine has no %s to give", name)
			}
		}
	}
	if len(spec.Resources.Claims) > 0 {
		return runtime.Resources{}, refusal(field+".resources.claims", "resource claims are not supported")
	}
	limit, request := quantity(spec.Resources.Limits, corev1.ResourceCPU), quantity(spec.Resources.Requests, corev1.ResourceCPU)
	if request.IsZero() {
		request = limit
	}
	memory := quantity(spec.Resources.Limits, corev1.ResourceMemory)
	r := runtime.Resources{
		CPUShares:   uint64(min(mostShares, max(leastShares, request.MilliValue()*sharesPerCPU/1000))),
		MemoryLimit: memory.Value(),
	}
	if !limit.IsZero() {
		r.CPUQuota, r.CPUPeriod = max(leastQuota, limit.MilliValue()*quotaPeriod/1000), quotaPeriod
	}
	return r, nil
}

// resourceValue reads a request or limit for an environment variable, in units of the divisor, rounded up. A limit that is not stated is
// what the machine has. own is the container that asks, nil for a volume, which names one.
func (p *pass) resourceValue(own *corev1.Container, ref *corev1.ResourceFieldSelector, field string) (string, error) {
	spec := own
	if ref.ContainerName != "" || own == nil {
		spec = nil
		for _, other := range p.all() {
			if other.spec.Name == ref.ContainerName {
				spec = other.spec
			}
		}
		if spec == nil {
			return "", refusal(field+".containerName", "there is no container %q", ref.ContainerName)
		}
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	var q resource.Quantity
	switch kind {
	case "limits":
		q = p.orMachine(quantity(spec.Resources.Limits, corev1.ResourceName(name)), name)
	case "requests":
		q = quantity(spec.Resources.Requests, corev1.ResourceName(name))
	default:
		return "", refusal(field+".resource", "%q is not supported", ref.Resource)
	}
	if name == string(corev1.ResourceCPU) {
		return divided(q.MilliValue(), ref.Divisor.MilliValue(), 1000), nil
	}
	return divided(q.Value(), ref.Divisor.Value(), 1), nil
}

func (p *pass) orMachine(q resource.Quantity, name string) resource.Quantity {
	switch {
	case !q.IsZero():
		return q
	case name == string(corev1.ResourceCPU):
		return *resource.NewQuantity(int64(p.in.Node.CPUs), resource.DecimalSI)
	case name == string(corev1.ResourceMemory):
		return *resource.NewQuantity(p.in.Node.Memory, resource.BinarySI)
	case name == string(corev1.ResourceEphemeralStorage):
		return *resource.NewQuantity(p.in.Node.Disk, resource.BinarySI)
	}
	return q
}

func divided(value, divisor, unit int64) string {
	if divisor == 0 {
		divisor = unit
	}
	return strconv.FormatInt((value+divisor-1)/divisor, 10)
}
