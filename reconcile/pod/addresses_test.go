package pod_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile/pod"
)

// A Pod of two addresses shows both, and so does its machine; also after its end, and when the second comes later.
func TestAddressesOfBothFamilies(t *testing.T) {
	shown := func(in pod.Input) string {
		s := in.Pod.Status
		return fmt.Sprintf("%s %v on %s %v", s.PodIP, s.PodIPs, s.HostIP, s.HostIPs)
	}
	six := netip.MustParseAddr("fd00::2")
	in := running(policy(corev1.RestartPolicyNever))
	in.Node.HostIP6 = "2001:db8::1"
	look(&in)
	if got := shown(in); got != "10.0.0.2 [{10.0.0.2}] on 192.0.2.1 [{192.0.2.1} {2001:db8::1}]" {
		t.Errorf("its machine has both: %s", got)
	}
	in.Observed.Sandbox.Address6 = six
	look(&in)
	const both = "10.0.0.2 [{10.0.0.2} {fd00::2}] on 192.0.2.1 [{192.0.2.1} {2001:db8::1}]"
	if got := shown(in); got != both {
		t.Errorf("it has both: %s", got)
	}
	exit(&in, "main", 0)
	in.Observed.Sandbox.Ready, in.Observed.Sandbox.IP, in.Observed.Sandbox.Address6 = false, "", netip.Addr{}
	in.Observed.Sandbox.FormerIP, in.Observed.Sandbox.FormerAddress6 = "10.0.0.2", six
	look(&in)
	if got := shown(in); in.Pod.Status.Phase != corev1.PodSucceeded || got != both {
		t.Errorf("%s had both: %s", in.Pod.Status.Phase, got)
	}

	in = fresh()
	in.Pod.Spec.HostNetwork, in.Node.HostIP6 = true, "2001:db8::1"
	look(&in)
	if got := shown(in); got != "192.0.2.1 [{192.0.2.1} {2001:db8::1}] on 192.0.2.1 [{192.0.2.1} {2001:db8::1}]" {
		t.Errorf("those of its machine: %s", got)
	}
}

func TestVariablesOfBothFamilies(t *testing.T) {
	in := fresh()
	in.Node.HostIP6 = "2001:db8::1"
	for _, path := range []string{"podIP", "podIPs", "hostIP", "hostIPs"} {
		in.Pod.Spec.Containers[0].Env = append(in.Pod.Spec.Containers[0].Env, corev1.EnvVar{
			Name: path, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status." + path}},
		})
	}
	live(&in)
	in.Observed.Sandbox.Address6 = netip.MustParseAddr("fd00::2")
	_, c := wish(t, in)
	if diff := cmp.Diff([]string{"podIP=10.0.0.2", "podIPs=10.0.0.2,fd00::2", "hostIP=192.0.2.1", "hostIPs=192.0.2.1,2001:db8::1"}, c.Env); diff != "" {
		t.Errorf("env (-want +got):\n%s", diff)
	}
}
