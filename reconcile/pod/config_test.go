package pod_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// wish returns what the machine is asked for.
func wish(t *testing.T, in pod.Input) (runtime.SandboxConfig, runtime.ContainerConfig) {
	t.Helper()
	var sandbox runtime.SandboxConfig
	var container runtime.ContainerConfig
	for _, a := range pod.Plan(in).Actions {
		switch a := a.(type) {
		case reconcile.RunSandbox:
			sandbox = a.Config
		case reconcile.StartContainer:
			container = a.Config
		}
	}
	if container.Name == "" {
		t.Fatalf("nothing is started: %v", told(pod.Plan(in)))
	}
	return sandbox, container
}

// spec reaches for the only container.
func spec(change func(*corev1.Container)) func(*pod.Input) {
	return func(in *pod.Input) { change(&in.Pod.Spec.Containers[0]) }
}

func secured(change func(*corev1.SecurityContext)) func(*pod.Input) {
	return spec(func(c *corev1.Container) {
		c.SecurityContext = &corev1.SecurityContext{}
		change(c.SecurityContext)
	})
}

func podSecured(change func(*corev1.PodSecurityContext)) func(*pod.Input) {
	return func(in *pod.Input) {
		in.Pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
		change(in.Pod.Spec.SecurityContext)
	}
}

func volumes(v corev1.VolumeSource) func(*pod.Input) {
	return func(in *pod.Input) { in.Pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: v}} }
}

func valueFrom(s corev1.EnvVarSource) func(*pod.Input) {
	return spec(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "X", ValueFrom: &s}} })
}

// TestRefused holds that nothing is ignored that cannot be done: the Pod waits, and the message names the field and the object.
func TestRefused(t *testing.T) {
	tests := map[string]struct {
		mutate func(*pod.Input)
		want   string
	}{
		"a token": {volumes(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		}}}), "spec.volumes[data].projected.sources[0].serviceAccountToken: berth's API takes no token"},
		"a trust bundle": {volumes(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "ca"}},
		}}}), "spec.volumes[data].projected.sources[0].clusterTrustBundle"},
		"a certificate": {volumes(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{PodCertificate: &corev1.PodCertificateProjection{}},
		}}}), "spec.volumes[data].projected.sources[0].podCertificate"},
		"nfs volume":                {volumes(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "x"}}), "spec.volumes[data].nfs"},
		"huge pages":                {volumes(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumHugePages}}), "spec.volumes[data].emptyDir.medium"},
		"env from an unknown field": {valueFrom(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.x"}}), "valueFrom.fieldRef"},
		"SELinux":                   {secured(func(s *corev1.SecurityContext) { s.SELinuxOptions = &corev1.SELinuxOptions{Type: "t"} }), "spec.containers[0].securityContext.seLinuxOptions"},
		"SELinux of the pod":        {podSecured(func(s *corev1.PodSecurityContext) { s.SELinuxOptions = &corev1.SELinuxOptions{Level: "s0"} }), "spec.securityContext.seLinuxOptions"},
		"AppArmor": {secured(func(s *corev1.SecurityContext) {
			s.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: new("x")}
		}), "securityContext.appArmorProfile"},
		"AppArmor annotation": {func(in *pod.Input) {
			in.Pod.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/main": "localhost/x"}
		}, "metadata.annotations"},
		"strict groups": {podSecured(func(s *corev1.PodSecurityContext) {
			s.SupplementalGroupsPolicy = new(corev1.SupplementalGroupsPolicyStrict)
		}), "supplementalGroupsPolicy"},
		"unsafe sysctl": {podSecured(func(s *corev1.PodSecurityContext) {
			s.Sysctls = []corev1.Sysctl{{Name: "kernel.core_pattern", Value: "|/x"}}
		}), "spec.securityContext.sysctls[0]"},
		"sysctl of the machine": {func(in *pod.Input) {
			in.Pod.Spec.HostNetwork = true
			in.Pod.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net/ipv4/tcp_syncookies", Value: "0"}}}
		}, "hostNetwork"},
		"sysctl with a line break": {podSecured(func(s *corev1.PodSecurityContext) {
			s.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.tcp_rmem", Value: "1\n2"}}
		}), "line break"},
		"root and not root": {secured(func(s *corev1.SecurityContext) { s.RunAsUser, s.RunAsNonRoot = new(int64(0)), new(true) }), "securityContext.runAsUser"},
		"seccomp profile without a name": {secured(func(s *corev1.SecurityContext) {
			s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: new("")}
		}), "seccompProfile.localhostProfile"},
		"runtime class": {func(in *pod.Input) { in.Pod.Spec.RuntimeClassName = new("gvisor") }, `spec.runtimeClassName: there is no runtime class "gvisor"`},
		"a device of a vendor": {spec(func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
		}), "nvidia.com/gpu"},
		"propagation": {spec(func(c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/x", MountPropagation: new(corev1.MountPropagationBidirectional)}}
		}), "spec.containers[0].volumeMounts[0].mountPropagation"},
		"a path of an unset variable": {spec(func(c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/x", SubPathExpr: "$(NOBODY)"}}
		}), "subPathExpr"},
		"block device": {spec(func(c *corev1.Container) { c.VolumeDevices = []corev1.VolumeDevice{{Name: "data"}} }), "volumeDevices"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := fresh()
			tt.mutate(&in)
			plan := look(&in)
			for _, a := range plan.Actions {
				if _, ok := a.(reconcile.StartContainer); ok {
					t.Fatal("it was started all the same")
				}
			}
			w := in.Pod.Status.ContainerStatuses[0].State.Waiting
			if w == nil || w.Reason != "CreateContainerConfigError" || !strings.Contains(w.Message, tt.want) {
				t.Errorf("it waits for %+v, want a message with %q", w, tt.want)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	in := fresh()
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	amount := func(what, divisor string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: what, Divisor: resource.MustParse(divisor)}}
	}
	in.Pod.Annotations = map[string]string{"note": "n"}
	in.Pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("250m")}
	in.Pod.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "A", Value: "1"},
		{Name: "B", Value: "$(A)2"},
		{Name: "C", Value: "$$(A) $(LATER) $x $"},
		{Name: "LATER", Value: "l"},
		{Name: "NAME", ValueFrom: field("metadata.name")},
		{Name: "LABEL", ValueFrom: field("metadata.labels['app']")},
		{Name: "NOTE", ValueFrom: field("metadata.annotations['note']")},
		{Name: "NODE", ValueFrom: field("spec.nodeName")},
		{Name: "HOST", ValueFrom: field("status.hostIP")},
		{Name: "CPU", ValueFrom: amount("requests.cpu", "1m")},
		{Name: "CPUS", ValueFrom: amount("limits.cpu", "0")},
		{Name: "MEM", ValueFrom: amount("limits.memory", "1Mi")},
		{Name: "DISK", ValueFrom: amount("limits.ephemeral-storage", "1Gi")},
		{Name: "A", Value: "again"},
	}
	in.Pod.Spec.Containers[0].Command = []string{"sh", "-c"}
	in.Pod.Spec.Containers[0].Args = []string{"echo $(B) $$(B) $(NOBODY)"}
	_, c := wish(t, in)
	want := []string{
		"A=again", "B=12", "C=$(A) $(LATER) $x $", "LATER=l", "NAME=web", "LABEL=web", "NOTE=n", "NODE=here", "HOST=192.0.2.1", "CPU=250", "CPUS=4", "MEM=1024", "DISK=20",
	}
	if diff := cmp.Diff(want, c.Env); diff != "" {
		t.Errorf("env (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"echo 12 $(B) $(NOBODY)"}, c.Args); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
}

func TestAddressIsWaitedFor(t *testing.T) {
	in := fresh()
	in.Pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
	if diff := cmp.Diff([]string{sandbox}, told(pod.Plan(in))); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	live(&in)
	if _, c := wish(t, in); len(c.Env) != 1 || c.Env[0] != "IP=10.0.0.2" {
		t.Errorf("env %q", c.Env)
	}
}

func TestSecurityMerges(t *testing.T) {
	in := fresh()
	in.Pod.Spec.HostUsers = new(false)
	in.Pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsUser: new(int64(1)), RunAsGroup: new(int64(2)), RunAsNonRoot: new(true), FSGroup: new(int64(3)), SupplementalGroups: []int64{4},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
		Sysctls:        []corev1.Sysctl{{Name: "net/ipv4/ping_group_range", Value: "0 1"}},
	}
	in.Pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		RunAsUser: new(int64(10)), ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false), ProcMount: new(corev1.UnmaskedProcMount),
		Capabilities:   &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}, Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: new("p.json")},
	}
	s, c := wish(t, in)
	want := runtime.Security{
		User: new(int64(10)), Group: new(int64(2)), RunAsNonRoot: true, SupplementalGroups: []int64{4}, ReadOnlyRootfs: true, NoNewPrivileges: true,
		AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"ALL"}, UnmaskedProc: true,
		Seccomp: runtime.Seccomp{Type: "Localhost", LocalhostProfile: "p.json"},
	}
	if diff := cmp.Diff(want, c.Security); diff != "" {
		t.Errorf("security (-want +got):\n%s", diff)
	}
	if !s.UserNamespace || s.FSGroup == nil || *s.FSGroup != 3 || s.Sysctls["net.ipv4.ping_group_range"] != "0 1" || s.PidsLimit != 4096 {
		t.Errorf("sandbox %+v", s)
	}
}

func TestResources(t *testing.T) {
	tests := map[string]struct {
		requests, limits corev1.ResourceList
		want             runtime.Resources
		qos              corev1.PodQOSClass
	}{
		"none":    {want: runtime.Resources{CPUShares: 2, OOMScoreAdj: 1000}, qos: corev1.PodQOSBestEffort},
		"request": {requests: corev1.ResourceList{"cpu": resource.MustParse("500m")}, want: runtime.Resources{CPUShares: 512, OOMScoreAdj: 999}, qos: corev1.PodQOSBurstable},
		"a quarter of the memory": {
			requests: corev1.ResourceList{"memory": *resource.NewQuantity(fresh().Node.Memory/4, resource.BinarySI)},
			want:     runtime.Resources{CPUShares: 2, OOMScoreAdj: 750}, qos: corev1.PodQOSBurstable,
		},
		"nearly all of the memory": {
			requests: corev1.ResourceList{"memory": *resource.NewQuantity(fresh().Node.Memory, resource.BinarySI)},
			want:     runtime.Resources{CPUShares: 2, OOMScoreAdj: 3}, qos: corev1.PodQOSBurstable,
		},
		"limit": {
			limits: corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("64Mi")},
			want:   runtime.Resources{CPUShares: 1536, CPUQuota: 150000, CPUPeriod: 100000, MemoryLimit: 64 << 20, OOMScoreAdj: -997}, qos: corev1.PodQOSGuaranteed,
		},
		"tiny limit": {
			limits: corev1.ResourceList{"cpu": resource.MustParse("1m")},
			want:   runtime.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100000, OOMScoreAdj: 999}, qos: corev1.PodQOSBurstable,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := fresh()
			in.Pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: tt.requests, Limits: tt.limits}
			_, c := wish(t, in)
			if diff := cmp.Diff(tt.want, c.Resources); diff != "" {
				t.Errorf("resources (-want +got):\n%s", diff)
			}
			look(&in)
			if in.Pod.Status.QOSClass != tt.qos {
				t.Errorf("class %s, want %s", in.Pod.Status.QOSClass, tt.qos)
			}
		})
	}
}

func TestSandbox(t *testing.T) {
	in := fresh()
	in.Node.DNS = runtime.DNS{Servers: []string{"192.0.2.53"}, Searches: []string{"lan"}, Options: []string{"ndots:1", "trust-ad"}}
	in.Pod.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.54"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}}}
	in.Pod.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.9", Hostnames: []string{"db"}}}
	in.Pod.Spec.Volumes = []corev1.Volume{
		{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse("1Mi"))}}},
		{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv", Type: new(corev1.HostPathDirectory)}}},
	}
	in.Pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "N", Value: "n"}}
	in.Pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp", SubPathExpr: "a/$(N)"}, {Name: "host", MountPath: "/srv", ReadOnly: true}}
	s, c := wish(t, in)
	s.Object = nil
	want := runtime.SandboxConfig{
		UID: "u-1", Namespace: "shop", Name: "web", Hostname: "web", PidsLimit: 4096,
		DNS:   runtime.DNS{Servers: []string{"192.0.2.53", "192.0.2.54"}, Searches: []string{"lan"}, Options: []string{"trust-ad", "ndots:2"}},
		Hosts: []runtime.HostAlias{{IP: "192.0.2.9", Hostnames: []string{"db"}}},
		Volumes: []runtime.Volume{
			{Name: "tmp", EmptyDir: &runtime.EmptyDir{Memory: true, SizeLimit: 1 << 20}},
			{Name: "host", HostPath: &runtime.HostPath{Path: "/srv", Type: "Directory"}},
		},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("sandbox (-want +got):\n%s", diff)
	}
	mounts := []runtime.Mount{{Volume: "tmp", SubPath: "a/n", Path: "/tmp"}, {Volume: "host", Path: "/srv", ReadOnly: true}}
	if diff := cmp.Diff(mounts, c.Mounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	in.Pod.Spec.Containers = append(in.Pod.Spec.Containers, corev1.Container{Name: "second", Image: "web:1"})
	if s, _ := wish(t, in); !s.ShareMemory {
		t.Error("two containers do not share /dev/shm")
	}
}
