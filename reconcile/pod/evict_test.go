package pod_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

func mayWrite(limit string) func(*corev1.Container) {
	return func(c *corev1.Container) {
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
	}
}

func TestDiskExcess(t *testing.T) {
	const mi = 1 << 20
	volume := func(medium corev1.StorageMedium, limit string) []corev1.Volume {
		e := &corev1.EmptyDirVolumeSource{Medium: medium}
		if limit != "" {
			e.SizeLimit = new(resource.MustParse(limit))
		}
		return []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: e}}}
	}
	used := func(main, beside, tmp, other int64) runtime.DiskUsage {
		return runtime.DiskUsage{Containers: map[string]int64{"main": main, "beside": beside}, Volumes: map[string]int64{"tmp": tmp}, Other: other}
	}
	tests := map[string]struct {
		spec    corev1.PodSpec
		used    runtime.DiskUsage
		limited bool
		want    string
	}{
		"no limit": {spec: corev1.PodSpec{Containers: []corev1.Container{container("main")}, Volumes: volume("", "")}, used: used(mi, mi, mi, mi)},
		"just at the limits": {
			spec: corev1.PodSpec{Containers: []corev1.Container{container("main", mayWrite("1Mi")), container("beside", mayWrite("1Mi"))}, Volumes: volume("", "1Mi")},
			used: used(mi, 0, mi, 0), limited: true,
		},
		"a volume": {
			spec: corev1.PodSpec{Containers: []corev1.Container{container("main")}, Volumes: volume("", "1Mi")},
			used: used(0, 0, mi+1, 0), limited: true, want: `Usage of EmptyDir volume "tmp" exceeds the limit "1Mi". `,
		},
		"a volume in memory is the kernel's": {
			spec: corev1.PodSpec{Containers: []corev1.Container{container("main")}, Volumes: volume(corev1.StorageMediumMemory, "1Mi")}, used: used(0, 0, 2*mi, 0),
		},
		"a container": {
			spec: corev1.PodSpec{Containers: []corev1.Container{container("main", mayWrite("1Mi")), container("beside", mayWrite("2Mi"))}},
			used: used(mi+1, 0, 0, 0), limited: true, want: `Container main exceeded its local ephemeral storage limit "1Mi". `,
		},
		"all of a pod, of which one container states a limit": {
			spec: corev1.PodSpec{Containers: []corev1.Container{container("main", mayWrite("2Mi")), container("beside")}, Volumes: volume("", "")},
			used: used(1, mi, mi, 0), limited: true, want: "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
		},
		"a pod's own files count": {
			spec: corev1.PodSpec{Containers: []corev1.Container{container("main", mayWrite("1Mi"))}},
			used: used(mi, 0, 0, 1), limited: true, want: "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
		},
		"sidecars add to it": {
			spec: corev1.PodSpec{InitContainers: []corev1.Container{container("beside", mayWrite("1Mi"), sidecar)}, Containers: []corev1.Container{container("main", mayWrite("1Mi"))}},
			used: used(mi, mi, 0, 0), limited: true,
		},
		"an init container may write more than the others together": {
			spec: corev1.PodSpec{InitContainers: []corev1.Container{container("beside", mayWrite("4Mi"))}, Containers: []corev1.Container{container("main", mayWrite("1Mi"))}},
			used: used(0, 3*mi, 0, 0), limited: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{Spec: test.spec}
			if got := pod.DiskExcess(p, &test.used); got != test.want {
				t.Errorf("DiskExcess = %q, want %q", got, test.want)
			}
			if got := pod.DiskLimited(p); got != test.limited {
				t.Errorf("DiskLimited = %v", got)
			}
		})
	}
}

// A Pod that has written too much is evicted first and ends then; what it holds of the disk goes with its sandbox, and nothing starts again, also for a
// controller that only knows of the eviction.
func TestEviction(t *testing.T) {
	in := running(func(in *pod.Input) { mayWrite("1Mi")(&in.Pod.Spec.Containers[0]) })
	in.Disk = &runtime.DiskUsage{Containers: map[string]int64{"main": 2 << 20}}
	const message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
	want := []reconcile.Action{
		reconcile.EvictPod{Pod: reconcile.KeyOf(in.Pod), UID: "u-1", Message: message},
		reconcile.RecordEvent{Key: reconcile.KeyOf(in.Pod), UID: "u-1", Warning: true, Reason: "Evicted", Message: message},
	}
	if diff := cmp.Diff(want, pod.Plan(in).Actions); diff != "" {
		t.Errorf("the first plan (-want +got):\n%s", diff)
	}
	in.Disk, in.Evicted = nil, &pod.Eviction{Message: message, At: in.Now}
	plans := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, told(look(&in))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	plans("while it runs", signal("main", "the pod is evicted"))
	if in.Pod.Status.Phase != corev1.PodRunning {
		t.Errorf("while it runs it is %s", in.Pod.Status.Phase)
	}
	in.Memory.Signalled = map[string]reconcile.Signalled{"main": {At: in.Now}}
	in.Now = in.Now.Add(time.Second)
	plans("after a second", "kill container main of Pod/shop/web: its grace is over")
	exit(&in, "main", 137)
	forgotten := in.Pod.DeepCopy() // a new controller makes the status of facts
	forgotten.Status = corev1.PodStatus{}
	for _, p := range []*corev1.Pod{in.Pod, forgotten} {
		in.Pod = p
		plans("in the end", "stop and empty sandbox of Pod/shop/web")
		if s := in.Pod.Status; s.Phase != corev1.PodFailed || s.Reason != "Evicted" || s.Message != message {
			t.Errorf("in the end: %s, %s, %q", s.Phase, s.Reason, s.Message)
		}
	}
	for _, cond := range in.Pod.Status.Conditions {
		if cond.Type == corev1.DisruptionTarget {
			t.Error("a Pod that breaks its own limit is no target of a disruption")
		}
	}
	in.Observed.Sandbox.Ready = false
	look(&in)
	if plan := pod.Plan(in); len(plan.Actions) > 0 || plan.RequeueAfter != 0 {
		t.Errorf("a Pod that has ended plans %v, %v", plan.Actions, plan.RequeueAfter)
	}
}
