package pod

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
)

// Ephemeral containers are added to a Pod that runs, to look around in it (kubectl debug). Each is started once, as soon as there is a sandbox, and never
// again; nothing waits for it, and it ends with the Pod.

func (p *pass) findExtras() {
	for i := range p.pod.Spec.EphemeralContainers {
		e := &p.pod.Spec.EphemeralContainers[i]
		c := &container{spec: (*corev1.Container)(&e.EphemeralContainerCommon), ephemeral: e}
		p.look(c)
		p.extras = append(p.extras, c)
	}
}

func (p *pass) startExtras() {
	for _, c := range p.extras {
		if c.last != nil {
			continue
		}
		if wait := p.backoff(c); wait > 0 {
			p.again(wait)
			p.waitBackoff(c)
			continue
		}
		if p.haveImage(c) {
			p.start(c)
		}
	}
}

// Label is a Pod as the machine carries it, for whoever takes it over. Its status is made of facts again.
func Label(pod *corev1.Pod) []byte {
	bare := *pod
	bare.Status = corev1.PodStatus{}
	bare.ManagedFields = nil
	data, err := json.Marshal(&bare)
	if err != nil {
		return nil // a Pod always marshals
	}
	return data
}
