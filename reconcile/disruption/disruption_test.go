package disruption

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// pod is one of a workload ("" for none): "ready", "unready", "ending" or "pending".
func pod(name, owner, state string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": "web"}}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if owner != "" {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: owner, UID: types.UID(owner), Controller: new(true)}}
	}
	ready := corev1.ConditionTrue
	switch state {
	case "unready":
		ready = corev1.ConditionFalse
	case "ending":
		p.DeletionTimestamp = &metav1.Time{Time: now}
	case "pending":
		p.Status.Phase, ready = corev1.PodPending, corev1.ConditionFalse
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	return p
}

func pods(owner string, states ...string) (list []*corev1.Pod) {
	for i, s := range states {
		list = append(list, pod(fmt.Sprintf("%s-%d", owner, i), owner, s))
	}
	return list
}

func input(change ...func(*Input)) Input {
	in := Input{
		Budget: &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "b", Generation: 3},
			Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(2)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		},
		Pods:      pods("rs", "ready", "ready", "ready"),
		Workloads: map[types.UID]Workload{"rs": {"deployment", 4}, "old": {"deployment", 4}, "set": {"set", 3}},
		Now:       now,
	}
	for _, c := range change {
		c(&in)
	}
	return in
}

func maxUnavailable(v string) func(*Input) {
	return func(in *Input) {
		in.Budget.Spec.MinAvailable, in.Budget.Spec.MaxUnavailable = nil, new(intstr.Parse(v))
	}
}

func minAvailable(v string) func(*Input) {
	return func(in *Input) { in.Budget.Spec.MinAvailable = new(intstr.Parse(v)) }
}

func TestStatus(t *testing.T) {
	tests := map[string]struct {
		in   Input
		want string // expected, healthy/desired, allowed, reason
	}{
		"a number":                {input(), "3 3/2 1 SufficientPods"},
		"none to spare":           {input(minAvailable("3")), "3 3/3 0 InsufficientPods"},
		"too few":                 {input(minAvailable("5")), "3 3/5 0 InsufficientPods"},
		"percents of what is due": {input(minAvailable("50%")), "4 3/2 1 SufficientPods"},
		"rounded up":              {input(minAvailable("60%")), "4 3/3 0 InsufficientPods"},
		"at most one away":        {input(maxUnavailable("1")), "4 3/3 0 InsufficientPods"},
		"at most two away":        {input(maxUnavailable("2")), "4 3/2 1 SufficientPods"},
		"percents away":           {input(maxUnavailable("30%")), "4 3/2 1 SufficientPods"},
		"more away than there":    {input(maxUnavailable("9")), "4 3/0 3 SufficientPods"},
		"one not ready":           {input(func(in *Input) { in.Pods[1] = pod("x", "rs", "unready") }), "3 2/2 0 InsufficientPods"},
		"one ending":              {input(func(in *Input) { in.Pods[1] = pod("x", "rs", "ending") }), "3 2/2 0 InsufficientPods"},
		"of two revisions":        {input(maxUnavailable("1"), func(in *Input) { in.Pods = append(in.Pods, pods("old", "ready")...) }), "4 4/3 1 SufficientPods"},
		"of two workloads":        {input(maxUnavailable("1"), func(in *Input) { in.Pods = append(in.Pods, pods("set", "ready", "ready", "ready")...) }), "7 6/6 0 InsufficientPods"},
		"others do not count": {input(func(in *Input) {
			in.Pods[0].Labels, in.Pods[1].Namespace = nil, "other"
		}), "1 1/2 0 InsufficientPods"},
		"no selector":       {input(func(in *Input) { in.Budget.Spec.Selector = nil }), "0 0/2 0 InsufficientPods"},
		"every pod":         {input(func(in *Input) { in.Budget.Spec.Selector = &metav1.LabelSelector{}; in.Pods[0].Labels = nil }), "3 3/2 1 SufficientPods"},
		"no pods":           {input(maxUnavailable("1"), func(in *Input) { in.Pods = nil }), "0 0/0 0 InsufficientPods"},
		"nobody's pods":     {input(maxUnavailable("1"), func(in *Input) { in.Pods = pods("", "ready") }), "0 1/0 0 InsufficientPods"},
		"nobody's, counted": {input(minAvailable("0"), func(in *Input) { in.Pods = pods("", "ready") }), "1 1/0 1 SufficientPods"},
		"not scaled":        {input(maxUnavailable("1"), func(in *Input) { in.Pods = pods("job", "ready") }), "0 0/0 0 SyncFailed"},
	}
	for name, tt := range tests {
		plan := Plan(tt.in)
		s := Status(tt.in)
		got := fmt.Sprintf("%d %d/%d %d %s", s.ExpectedPods, s.CurrentHealthy, s.DesiredHealthy, s.DisruptionsAllowed, s.Conditions[0].Reason)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		update, ok := plan.Actions[len(plan.Actions)-1].(reconcile.UpdateStatus)
		if !ok {
			t.Fatalf("%s: planned %v", name, plan.Actions)
		}
		tt.in.Budget = update.Object.(*policyv1.PodDisruptionBudget)
		tt.in.Now = now.Add(time.Hour)
		if again := Plan(tt.in); len(again.Actions) > 0 {
			t.Errorf("%s: planned again: %v", name, again.Actions)
		}
	}
}

func TestWhyItIsNotKnownHowMany(t *testing.T) {
	for apiVersion, want := range map[string]string{
		"batch/v1 Job":       "jobs.batch does not implement the scale subresource",
		"apps/v1 DaemonSet":  "daemonsets.apps does not implement the scale subresource",
		"apps/v1 ReplicaSet": `found no controllers for pod "gone-0"`, // it was deleted
	} {
		in := input(maxUnavailable("1"), func(in *Input) { in.Pods = pods("gone", "ready") })
		owner := &in.Pods[0].OwnerReferences[0]
		owner.APIVersion, owner.Kind, _ = strings.Cut(apiVersion, " ")
		if got := Status(in).Conditions[0].Message; got != want {
			t.Errorf("%s: %q, want %q", apiVersion, got, want)
		}
	}
}

func TestEvents(t *testing.T) {
	tests := map[string]struct {
		in   Input
		want string
	}{
		"none":       {input(), ""},
		"no pods":    {input(func(in *Input) { in.Pods = nil }), "NoPods"},
		"nobody's":   {input(maxUnavailable("1"), func(in *Input) { in.Pods = pods("", "ready") }), "UnmanagedPods"},
		"not scaled": {input(minAvailable("10%"), func(in *Input) { in.Pods = pods("job", "ready") }), "CalculateExpectedPodCountFailed"},
	}
	for name, tt := range tests {
		var got []string
		for _, a := range Plan(tt.in).Actions {
			if e, ok := a.(reconcile.RecordEvent); ok {
				got = append(got, e.Reason)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: told %v, want %s", name, got, tt.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	always, ifHealthy := policyv1.AlwaysAllow, policyv1.IfHealthyBudget
	policy := func(p *policyv1.UnhealthyPodEvictionPolicyType) func(*Input) {
		return func(in *Input) { in.Budget.Spec.UnhealthyPodEvictionPolicy = p }
	}
	unready := func(in *Input) { in.Pods[0] = pod("x", "rs", "unready") }
	tests := map[string]struct {
		budgets []Input
		pod     *corev1.Pod // the first one of the first budget by default
		want    string      // part of the reason
	}{
		"one to spare":           {budgets: []Input{input()}},
		"none to spare":          {budgets: []Input{input(minAvailable("3"))}, want: "web needs 3 healthy pods and has 3 currently"},
		"no budget":              {pod: pod("x", "rs", "ready")},
		"two budgets":            {budgets: []Input{input(), input()}, want: "more than one PodDisruptionBudget"},
		"ending already":         {budgets: []Input{input(minAvailable("3"))}, pod: pod("x", "rs", "ending")},
		"not yet running":        {budgets: []Input{input(minAvailable("3"))}, pod: pod("x", "rs", "pending")},
		"broken among enough":    {budgets: []Input{input(unready)}},
		"broken among too few":   {budgets: []Input{input(minAvailable("3"), unready)}, want: "needs 3 healthy pods and has 2"},
		"broken, if healthy":     {budgets: []Input{input(minAvailable("3"), unready, policy(&ifHealthy))}, want: "needs 3 healthy pods and has 2"},
		"broken, always":         {budgets: []Input{input(minAvailable("3"), unready, policy(&always))}},
		"broken, nothing due":    {budgets: []Input{input(maxUnavailable("9"), func(in *Input) { in.Pods = pods("rs", "unready") })}, want: "needs 0 healthy pods and has 0"},
		"not known how many":     {budgets: []Input{input(maxUnavailable("1"), func(in *Input) { in.Pods = pods("job", "ready") })}, want: "failed sync: found no controllers"},
		"well, always is no way": {budgets: []Input{input(minAvailable("3"), policy(&always))}, want: "needs 3"},
	}
	for name, tt := range tests {
		p := tt.pod
		if p == nil {
			p = tt.budgets[0].Pods[0]
		}
		got := ""
		if r := Refuse(p, tt.budgets); r != nil {
			got = r.Reason
		}
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: refused %q, want %q", name, got, tt.want)
		}
	}
}
