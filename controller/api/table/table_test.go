package table

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"

	"berth/manifests"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

func settled() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", CreationTimestamp: ago(time.Hour)},
		Spec:       corev1.PodSpec{NodeName: "here", Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.0.2"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "a", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
				{Name: "b", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			},
		},
	}
}

func TestPod(t *testing.T) {
	ended := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: ago(time.Minute)}}
	}
	always := corev1.ContainerRestartPolicyAlways
	yes := true
	tests := map[string]struct {
		change func(*corev1.Pod)
		want   string
	}{
		"running": {func(*corev1.Pod) {}, "2/2 Running 0 60m 10.0.0.2 here"},
		"a crash loop": {func(p *corev1.Pod) {
			s := &p.Status.ContainerStatuses[0]
			s.Ready, s.RestartCount, s.LastTerminationState = false, 3, ended(1, "Error")
			s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}, "1/2 CrashLoopBackOff 3 (60s ago) 60m 10.0.0.2 here"},
		"an init container fails": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i"}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "i", State: ended(2, "Error")}}
			p.Status.ContainerStatuses = nil
		}, "0/2 Init:Error 0 60m 10.0.0.2 here"},
		"the second of two init containers": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i"}, {Name: "j"}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "i", State: ended(0, "Completed")}, {Name: "j"}}
			p.Status.ContainerStatuses = nil
		}, "0/2 Init:1/2 0 60m 10.0.0.2 here"},
		"a sidecar": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", RestartPolicy: &always}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "i", Ready: true, Started: &yes, RestartCount: 1}}
		}, "3/3 Running 1 60m 10.0.0.2 here"},
		"one ended well, one runs": {func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{Name: "a", State: ended(0, "Completed")}
			p.Status.Conditions = nil
		}, "1/2 NotReady 0 60m 10.0.0.2 here"},
		"done": {func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodSucceeded
			for i := range p.Status.ContainerStatuses {
				p.Status.ContainerStatuses[i] = corev1.ContainerStatus{State: ended(0, "Completed")}
			}
		}, "0/2 Completed 0 60m 10.0.0.2 here"},
		"evicted": {func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}
		}, "0/2 Evicted 0 60m <none> here"},
		"ending": {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }, "2/2 Terminating 0 60m 10.0.0.2 here"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := settled()
			tc.change(p)
			c, _ := Row(p, now)
			if got := fmt.Sprintf("%v %v %v %v %v %v", c[1], c[2], c[3], c[4], c[5], c[6]); got != tc.want {
				t.Errorf("row = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDeployment(t *testing.T) {
	three := int32(3)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", CreationTimestamp: ago(25 * time.Hour)},
		Spec: appsv1.DeploymentSpec{
			Replicas: &three, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx:1"}}}},
		},
		Status: appsv1.DeploymentStatus{ReadyReplicas: 2, UpdatedReplicas: 3, AvailableReplicas: 1},
	}
	got, _ := Row(d, now)
	if diff := cmp.Diff([]any{"web", "2/3", int32(3), int32(1), "25h", "c", "nginx:1", "app=web"}, got); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
}

// Every kind has as many cells as columns, also when its objects are empty.
func TestRowsFitTheirColumns(t *testing.T) {
	seen := 0
	for gvk, typ := range manifests.Scheme().AllKnownTypes() {
		if gvk.Version == kruntime.APIVersionInternal || columns()[gvk.Kind] == "" {
			continue
		}
		obj, err := manifests.Scheme().New(gvk)
		if err != nil {
			t.Fatal(err)
		}
		o, ok := obj.(Object)
		if !ok || gvk.Version != map[bool]string{true: "v2", false: "v1"}[gvk.Kind == "HorizontalPodAutoscaler"] {
			continue
		}
		seen++
		cells, _ := Row(o, now)
		if want := Columns(gvk.Kind); len(cells) != len(want) {
			t.Errorf("%s (%s) has %d cells for %d columns", gvk.Kind, typ, len(cells), len(want))
		}
	}
	if want := len(columns()); seen != want {
		t.Errorf("looked at %d kinds of %d", seen, want)
	}
}
