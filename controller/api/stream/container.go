package stream

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// choose is the container that a request means: the one it names, or the only one.
func choose(p *corev1.Pod, name string) (string, error) {
	if name != "" {
		if !slices.Contains(names(p), name) {
			return "", badRequest("container %s is not valid for pod %s", name, p.Name)
		}
		return name, nil
	}
	if len(p.Spec.Containers) == 1 {
		return p.Spec.Containers[0].Name, nil
	}
	var main, inits []string
	for i := range p.Spec.Containers {
		main = append(main, p.Spec.Containers[i].Name)
	}
	for i := range p.Spec.InitContainers {
		inits = append(inits, p.Spec.InitContainers[i].Name)
	}
	of := "[" + strings.Join(main, " ") + "]"
	if len(inits) > 0 {
		of += " or one of the init containers: [" + strings.Join(inits, " ") + "]"
	}
	return "", badRequest("a container name must be specified for pod %s, choose one of: %s", p.Name, of)
}

// names are all containers of a pod.
func names(p *corev1.Pod) []string {
	var list []string
	for i := range p.Spec.InitContainers {
		list = append(list, p.Spec.InitContainers[i].Name)
	}
	for i := range p.Spec.Containers {
		list = append(list, p.Spec.Containers[i].Name)
	}
	for i := range p.Spec.EphemeralContainers {
		list = append(list, p.Spec.EphemeralContainers[i].Name)
	}
	return list
}

// status is what is known of a container; nil when nothing is yet.
func status(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// spec is how a container is wished for; nil when the pod has none of this name.
func spec(p *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if c := &p.Spec.EphemeralContainers[i]; c.Name == name {
			return (*corev1.Container)(&c.EphemeralContainerCommon)
		}
	}
	return nil
}
