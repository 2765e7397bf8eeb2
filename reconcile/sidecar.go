package reconcile

import corev1 "k8s.io/api/core/v1"

// IsSidecar tells of an init container that runs beside those after it, for as long as the Pod does.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
