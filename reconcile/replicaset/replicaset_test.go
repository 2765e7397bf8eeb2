package replicaset_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/replicaset"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name), Labels: map[string]string{"app": "web"}, CreationTimestamp: ago(time.Hour)},
		Spec:       corev1.PodSpec{NodeName: "here"},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: ago(time.Hour)}},
		},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func notReady(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func pending(p *corev1.Pod)  { p.Status.Phase = corev1.PodPending; notReady(p) }
func failed(p *corev1.Pod)   { p.Status.Phase = corev1.PodFailed; notReady(p) }
func ending(p *corev1.Pod)   { t := ago(-time.Minute); p.DeletionTimestamp = &t }
func restarted(p *corev1.Pod) {
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}}
}

func readyFor(d time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = ago(d) }
}

func createdBefore(d time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.CreationTimestamp = ago(d) }
}

func costs(n string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: n} }
}

// settled is a ReplicaSet of two with two ready pods.
func settled() replicaset.Input {
	two, none := int32(2), int32(0)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "rs-1", Generation: 1},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &two,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas: 2, FullyLabeledReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2, ObservedGeneration: 1, TerminatingReplicas: &none,
		},
	}
	return replicaset.Input{ReplicaSet: rs, Pods: []*corev1.Pod{pod("web-a"), pod("web-b")}, Nonce: 7, Now: now}
}

func size(in *replicaset.Input, n int32) { in.ReplicaSet.Spec.Replicas = &n }

// told lists a plan without events.
func told(p reconcile.Plan) []string {
	var out []string
	for _, a := range p.Actions {
		if _, event := a.(reconcile.RecordEvent); !event {
			out = append(out, a.String())
		}
	}
	return out
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		mutate func(*replicaset.Input)
		want   []string // prefixes
	}{
		"nothing to do":    {},
		"a pod is missing": {func(in *replicaset.Input) { in.Pods = in.Pods[:1] }, []string{"create Pod/shop/web-", "update status"}},
		"scaled to zero":   {func(in *replicaset.Input) { size(in, 0) }, []string{"delete Pod/shop/web-a: web has 2 pods and wants 0", "delete Pod/shop/web-b"}},
		"an ending pod is replaced": {
			func(in *replicaset.Input) { in.Pods[0] = pod("web-a", ending) }, []string{"create Pod/shop/web-", "update status"},
		},
		"a failed pod is replaced": {
			func(in *replicaset.Input) { in.Pods[0] = pod("web-a", failed) }, []string{"create Pod/shop/web-", "update status"},
		},
		"an ending pod is not ended again": {
			func(in *replicaset.Input) { size(in, 1); in.Pods[0] = pod("web-a", ending) }, []string{"update status"},
		},
		"a ReplicaSet that is deleted makes nothing": {
			func(in *replicaset.Input) { in.Pods, in.ReplicaSet.DeletionTimestamp = nil, &metav1.Time{Time: now} }, []string{"update status"},
		},
		"pending goes before running": {
			func(in *replicaset.Input) { size(in, 1); in.Pods[1] = pod("web-b", pending) }, []string{"delete Pod/shop/web-b", "update status"},
		},
		"not ready goes before ready": {
			func(in *replicaset.Input) { size(in, 1); in.Pods[1] = pod("web-b", notReady) }, []string{"delete Pod/shop/web-b", "update status"},
		},
		"not assigned goes first": {
			func(in *replicaset.Input) {
				size(in, 1)
				in.Pods = []*corev1.Pod{pod("web-a", notReady), pod("web-b", func(p *corev1.Pod) { p.Spec.NodeName = "" })}
			}, []string{"delete Pod/shop/web-b", "update status"},
		},
		"the cheaper goes first": {
			func(in *replicaset.Input) {
				size(in, 1)
				in.Pods = []*corev1.Pod{pod("web-a", readyFor(time.Second)), pod("web-b", costs("-5"))}
			}, []string{"delete Pod/shop/web-b"},
		},
		"the later ready goes first": {
			func(in *replicaset.Input) { size(in, 1); in.Pods[1] = pod("web-b", readyFor(time.Minute)) }, []string{"delete Pod/shop/web-b"},
		},
		"the more restarted goes first": {
			func(in *replicaset.Input) { size(in, 1); in.Pods[1] = pod("web-b", restarted) }, []string{"delete Pod/shop/web-b"},
		},
		"the younger goes first": {
			func(in *replicaset.Input) { size(in, 1); in.Pods[1] = pod("web-b", createdBefore(time.Minute)) }, []string{"delete Pod/shop/web-b"},
		},
		"not yet available goes before available": {
			func(in *replicaset.Input) {
				size(in, 1)
				in.ReplicaSet.Spec.MinReadySeconds = 10
				in.Pods = []*corev1.Pod{pod("web-a", readyFor(time.Second), costs("9")), pod("web-b", costs("1"))}
			}, []string{"delete Pod/shop/web-a", "update status"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := settled()
			if tt.mutate != nil {
				tt.mutate(&in)
			}
			got := told(replicaset.Plan(in))
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("step %d: got %q, want %q", i, got[i], tt.want[i])
				}
			}
		})
	}
}

func TestStatusCounts(t *testing.T) {
	in := settled()
	in.ReplicaSet.Spec.MinReadySeconds = 30
	in.ReplicaSet.Generation = 4
	in.Pods = []*corev1.Pod{
		pod("web-a"), pod("web-b", readyFor(10*time.Second)), pod("web-c", notReady), pod("web-d", ending), pod("web-e", failed),
		pod("web-f", func(p *corev1.Pod) { p.Labels = nil }, readyFor(25*time.Second)),
	}
	size(&in, 4)
	plan := replicaset.Plan(in)
	if plan.RequeueAfter != 5*time.Second {
		t.Errorf("looks again after %s, want the 5 s until web-f is available", plan.RequeueAfter)
	}
	one := int32(1)
	want := appsv1.ReplicaSetStatus{
		Replicas: 4, FullyLabeledReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 1, TerminatingReplicas: &one, ObservedGeneration: 4,
	}
	got := plan.Actions[len(plan.Actions)-1].(reconcile.UpdateStatus).Object.(*appsv1.ReplicaSet).Status
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestNewPods(t *testing.T) {
	in := settled()
	in.Pods = nil
	size(&in, 50)
	in.ReplicaSet.Name = "web-" + strings.Repeat("x", 80)
	names := map[string]bool{}
	for _, a := range replicaset.Plan(in).Actions {
		c, ok := a.(reconcile.CreatePod)
		if !ok {
			continue
		}
		p := c.Pod
		if names[p.Name] {
			t.Errorf("name %q was given twice", p.Name)
		}
		names[p.Name] = true
		if len(p.Name) > 63 || strings.Trim(p.Name[len(p.Name)-5:], "bcdfghjklmnpqrstvwxz2456789") != "" {
			t.Errorf("%q is no good pod name", p.Name)
		}
		owner := metav1.GetControllerOf(p)
		if owner == nil || owner.UID != in.ReplicaSet.UID || owner.Kind != "ReplicaSet" || p.Labels["app"] != "web" {
			t.Errorf("pod %q has owner %v and labels %v", p.Name, owner, p.Labels)
		}
	}
	if len(names) != 50 {
		t.Errorf("%d pods were made, want 50", len(names))
	}
	again := replicaset.Plan(in)
	if _, ok := names[again.Actions[0].(reconcile.CreatePod).Pod.Name]; !ok {
		t.Error("the same input gave other names")
	}
	in.Nonce++
	if fmt.Sprint(told(replicaset.Plan(in))) == fmt.Sprint(told(again)) {
		t.Error("another nonce gave the same names")
	}
}

// Of pods that have come to an end, as evicted ones do, the last fifty stay.
func TestEndedPodsAreBounded(t *testing.T) {
	in := settled()
	for i := range 52 {
		in.Pods = append(in.Pods, pod(fmt.Sprintf("ended-%02d", i), failed, createdBefore(time.Duration(i+1)*time.Minute)))
	}
	want := []string{"delete Pod/shop/ended-51: many others ended after it", "delete Pod/shop/ended-50: many others ended after it"}
	if diff := cmp.Diff(want, told(replicaset.Plan(in))); diff != "" {
		t.Errorf("with 52 (-want +got):\n%s", diff)
	}
	in.Pods = in.Pods[:len(in.Pods)-2]
	if got := told(replicaset.Plan(in)); len(got) > 0 {
		t.Errorf("with 50: %v", got)
	}
}
