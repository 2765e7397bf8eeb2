package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth/runtime"
)

// safeSysctls are those that Kubernetes lets every Pod set: they stay inside the Pod's own namespaces.
var safeSysctls = map[string]bool{
	"kernel.shm_rmid_forced": true, "net.ipv4.ip_local_port_range": true, "net.ipv4.tcp_syncookies": true,
	"net.ipv4.ping_group_range": true, "net.ipv4.ip_unprivileged_port_start": true, "net.ipv4.ip_local_reserved_ports": true,
	"net.ipv4.tcp_keepalive_time": true, "net.ipv4.tcp_fin_timeout": true, "net.ipv4.tcp_keepalive_intvl": true,
	"net.ipv4.tcp_keepalive_probes": true, "net.ipv4.tcp_rmem": true, "net.ipv4.tcp_wmem": true,
}

// dotted gives a sysctl its usual name: slashes and dots may stand for each other.
func dotted(name string) string {
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '.' {
		return name
	}
	swap := strings.NewReplacer("/", ".", ".", "/")
	return swap.Replace(name)
}

// checkSecurity refuses what the Pod wants enforced and this machine cannot enforce.
func (p *pass) checkSecurity() error {
	const field = "spec.securityContext"
	s := p.pod.Spec.SecurityContext
	if s == nil {
		return nil
	}
	if err := checkLabels(field, s.SELinuxOptions, s.AppArmorProfile); err != nil {
		return err
	}
	if s.SupplementalGroupsPolicy != nil && *s.SupplementalGroupsPolicy != corev1.SupplementalGroupsPolicyMerge {
		return refusal(field+".supplementalGroupsPolicy", "policy %q cannot be enforced", *s.SupplementalGroupsPolicy)
	}
	for i, sysctl := range s.Sysctls {
		at, name := fmt.Sprintf("%s.sysctls[%d]", field, i), dotted(sysctl.Name)
		switch {
		case !safeSysctls[name]:
			return refusal(at, "sysctl %q is not one that a pod may set", sysctl.Name)
		case p.pod.Spec.HostNetwork && strings.HasPrefix(name, "net."):
			return refusal(at, "sysctl %q would change the whole machine: the pod has hostNetwork", sysctl.Name)
		case p.pod.Spec.HostIPC && strings.HasPrefix(name, "kernel."):
			return refusal(at, "sysctl %q would change the whole machine: the pod has hostIPC", sysctl.Name)
		case strings.ContainsAny(sysctl.Value, "\n\x00"):
			return refusal(at, "the value has a line break")
		}
	}
	return nil
}

// checkLabels covers the frameworks that this machine has no say in. What is said for Windows is left aside, as on every Linux node.
func checkLabels(field string, selinux *corev1.SELinuxOptions, apparmor *corev1.AppArmorProfile) error {
	switch {
	case selinux != nil && *selinux != (corev1.SELinuxOptions{}):
		return refusal(field+".seLinuxOptions", "SELinux labels cannot be enforced")
	case apparmor != nil && apparmor.Type != corev1.AppArmorProfileTypeUnconfined:
		return refusal(field+".appArmorProfile", "AppArmor profiles cannot be enforced (%s)", apparmor.Type)
	}
	return nil
}

// security merges what the Pod and the container say; the container has the last word.
func (p *pass) security(c *container, field string) (runtime.Security, error) {
	own := c.spec.SecurityContext
	if own == nil {
		own = &corev1.SecurityContext{}
	}
	pod := p.pod.Spec.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	field += ".securityContext"
	if err := checkLabels(field, own.SELinuxOptions, own.AppArmorProfile); err != nil {
		return runtime.Security{}, err
	}
	if err := p.checkAppArmorAnnotation(c); err != nil {
		return runtime.Security{}, err
	}
	s := runtime.Security{
		User: either(own.RunAsUser, pod.RunAsUser), Group: either(own.RunAsGroup, pod.RunAsGroup),
		RunAsNonRoot:       isTrue(either(own.RunAsNonRoot, pod.RunAsNonRoot)),
		SupplementalGroups: pod.SupplementalGroups,
		Privileged:         isTrue(own.Privileged),
		ReadOnlyRootfs:     isTrue(own.ReadOnlyRootFilesystem),
		NoNewPrivileges:    own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
	}
	if s.RunAsNonRoot && s.User != nil && *s.User == 0 {
		return s, refusal(field+".runAsUser", "it is 0 (root), and runAsNonRoot is true")
	}
	if own.Capabilities != nil {
		s.AddCapabilities, s.DropCapabilities = capabilities(own.Capabilities.Add), capabilities(own.Capabilities.Drop)
	}
	switch {
	case own.ProcMount == nil || *own.ProcMount == corev1.DefaultProcMount:
	case *own.ProcMount == corev1.UnmaskedProcMount:
		s.UnmaskedProc = true
	default:
		return s, refusal(field+".procMount", "%q is not known", *own.ProcMount)
	}
	seccomp, err := filter(either(own.SeccompProfile, pod.SeccompProfile), field)
	s.Seccomp = seccomp
	return s, err
}

func filter(profile *corev1.SeccompProfile, field string) (runtime.Seccomp, error) {
	if profile == nil {
		return runtime.Seccomp{}, nil
	}
	s := runtime.Seccomp{Type: string(profile.Type)}
	switch profile.Type {
	case corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined:
	case corev1.SeccompProfileTypeLocalhost:
		if profile.LocalhostProfile == nil || *profile.LocalhostProfile == "" {
			return s, refusal(field+".seccompProfile.localhostProfile", "it names no file")
		}
		s.LocalhostProfile = *profile.LocalhostProfile
	default:
		return s, refusal(field+".seccompProfile.type", "%q is not known", profile.Type)
	}
	return s, nil
}

// checkAppArmorAnnotation reads the older way of naming a profile, which Kubernetes still honours.
func (p *pass) checkAppArmorAnnotation(c *container) error {
	key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.spec.Name
	value, ok := p.pod.Annotations[key]
	if !ok || value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
		return nil
	}
	return refusal("metadata.annotations["+key+"]", "AppArmor profiles cannot be enforced (%s)", value)
}

func capabilities(list []corev1.Capability) []string {
	var out []string
	for _, c := range list {
		out = append(out, string(c))
	}
	return out
}

func either[T any](own, otherwise *T) *T {
	if own != nil {
		return own
	}
	return otherwise
}
