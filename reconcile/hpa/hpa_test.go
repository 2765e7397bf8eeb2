package hpa_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/hpa"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// input is an autoscaler of 1 to 10 replicas at 50 % of a pod's processor, whose target has replicas that use so many thousandths of one each; a
// negative number is a pod that was not measured. Each asks for 100.
func input(millis ...int) hpa.Input {
	in := hpa.Input{
		Autoscaler: &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "hpa", Generation: 1},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
				MinReplicas:    new(int32(1)), MaxReplicas: 10, Metrics: []autoscalingv2.MetricSpec{percent(corev1.ResourceCPU, 50)},
			},
		},
		Target: &hpa.Target{Key: reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: "web"}, UID: "d", Replicas: int32(len(millis))},
		Usage:  map[types.UID]hpa.Usage{}, Now: now,
	}
	load(&in, millis...)
	return in
}

func load(in *hpa.Input, millis ...int) {
	in.Pods, in.Usage = nil, map[types.UID]hpa.Usage{}
	for i, n := range millis {
		uid := types.UID(fmt.Sprint("pod-", i))
		in.Pods = append(in.Pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: string(uid), UID: uid},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("100Mi"),
			}}}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, StartTime: new(metav1.NewTime(in.Now.Add(-time.Hour))),
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(in.Now.Add(-time.Hour))}},
			},
		})
		if n >= 0 {
			in.Usage[uid] = hpa.Usage{At: in.Now, Window: hpa.Every, Containers: map[string]corev1.ResourceList{"main": {
				corev1.ResourceCPU: *resource.NewMilliQuantity(int64(n), resource.DecimalSI), corev1.ResourceMemory: *resource.NewQuantity(int64(n)<<20, resource.BinarySI),
			}}}
		}
	}
}

func percent(res corev1.ResourceName, n int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: res, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &n},
	}}
}

func metrics(list ...autoscalingv2.MetricSpec) func(*hpa.Input) {
	return func(in *hpa.Input) { in.Autoscaler.Spec.Metrics = list }
}

func rules(seconds int32, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &seconds, SelectPolicy: new(autoscalingv2.MaxChangePolicySelect), Policies: policies}
}

func behavior(up, down *autoscalingv2.HPAScalingRules) func(*hpa.Input) {
	return func(in *hpa.Input) {
		in.Autoscaler.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: down}
	}
}

func pods(n int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: n, PeriodSeconds: 60}
}

func part(n, seconds int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: n, PeriodSeconds: seconds}
}

func unready(i int, started, changed time.Duration) func(*hpa.Input) {
	return func(in *hpa.Input) {
		s := &in.Pods[i].Status
		s.StartTime = new(metav1.NewTime(now.Add(-started)))
		s.Conditions[0].Status, s.Conditions[0].LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now.Add(-changed))
	}
}

// told is what a plan does, and why it does nothing else.
func told(p reconcile.Plan) string {
	out := "nothing"
	for _, a := range p.Actions {
		switch a := a.(type) {
		case reconcile.Scale:
			out = fmt.Sprint(*a.Replicas)
		case reconcile.RecordEvent:
			if a.Warning {
				out = a.Reason
			}
		}
	}
	return out
}

func conditions(p reconcile.Plan) map[string]string {
	out := map[string]string{}
	for _, a := range p.Actions {
		if u, ok := a.(reconcile.UpdateStatus); ok {
			for _, c := range u.Object.(*autoscalingv2.HorizontalPodAutoscaler).Status.Conditions {
				out[string(c.Type)] = fmt.Sprintf("%s %s", c.Status, c.Reason)
			}
		}
	}
	return out
}

func TestWhichTargetIsMissing(t *testing.T) {
	for target, want := range map[string]string{
		"apps/v1 Deployment":       `deployments.apps "web" not found`,
		"v1 ReplicationController": `replicationcontrollers "web" not found`,
		"apps/v1 DaemonSet":        `there is no DaemonSet "web" that can be scaled`,
	} {
		in := input(50)
		in.Target = nil
		ref := &in.Autoscaler.Spec.ScaleTargetRef
		ref.APIVersion, ref.Kind, _ = strings.Cut(target, " ")
		got := ""
		plan, _ := hpa.Plan(in)
		for _, a := range plan.Actions {
			if e, ok := a.(reconcile.RecordEvent); ok {
				got = e.Message
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		in     hpa.Input
		change []func(*hpa.Input)
		want   string
	}{
		"at its target":                  {in: input(50, 50), want: "nothing"},
		"tolerance":                      {in: input(55, 55), want: "nothing"},
		"above tolerance":                {in: input(56, 56), want: "3"},
		"twice its target":               {in: input(100, 100), want: "4"},
		"below, and nothing else lately": {in: input(10, 10, 10, 10), want: "nothing"},
		"below, without stabilization":   {in: input(10, 10, 10, 10), change: []func(*hpa.Input){behavior(nil, rules(0))}, want: "1"},
		"maxReplicas":                    {in: input(900, 900, 900, 900, 900, 900), want: "10"},
		"more than maxReplicas at once":  {in: input(50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50), want: "10"},
		"minReplicas": {in: input(10, 10, 10, 10), want: "3", change: []func(*hpa.Input){behavior(nil, rules(0)), func(in *hpa.Input) {
			in.Autoscaler.Spec.MinReplicas = new(int32(3))
		}}},
		"fewer than minReplicas": {in: input(1), want: "2", change: []func(*hpa.Input){func(in *hpa.Input) { in.Autoscaler.Spec.MinReplicas = new(int32(2)) }}},
		"twice as many at most":  {in: input(900, 900, 900), want: "6"},
		"four from one":          {in: input(900), want: "4"},
		"scaled to zero by hand": {in: input(), want: "nothing"},
		"no such target":         {in: input(50), change: []func(*hpa.Input){func(in *hpa.Input) { in.Target = nil }}, want: "FailedGetScale"},
		"two autoscalers":        {in: input(90), change: []func(*hpa.Input){func(in *hpa.Input) { in.Rivals = []string{"other"} }}, want: "AmbiguousSelector"},
		"memory":                 {in: input(90), change: []func(*hpa.Input){metrics(percent(corev1.ResourceMemory, 50))}, want: "2"},
		"the greatest of two metrics": {in: input(60, 60), want: "4", change: []func(*hpa.Input){
			metrics(percent(corev1.ResourceCPU, 50), percent(corev1.ResourceMemory, 30)),
		}},
		"averageValue": {in: input(60, 60), want: "6", change: []func(*hpa.Input){metrics(autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{
				Type: autoscalingv2.AverageValueMetricType, AverageValue: new(resource.MustParse("20m")),
			}},
		}), behavior(rules(0, part(900, 60)), rules(0))}},
		"a container": {in: input(60, 60), want: "3", change: []func(*hpa.Input){func(in *hpa.Input) {
			for _, p := range in.Pods {
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "beside"})
				in.Usage[p.UID].Containers["beside"] = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5")}
			}
		}, metrics(autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
			Name: corev1.ResourceCPU, Container: "main", Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(50))},
		}})}},
		"without requests": {in: input(90), want: "FailedGetResourceMetric", change: []func(*hpa.Input){func(in *hpa.Input) {
			in.Pods[0].Spec.Containers[0].Resources = corev1.ResourceRequirements{}
		}}},
		"a metric that nobody measures": {in: input(50), want: "FailedGetPodsMetric", change: []func(*hpa.Input){metrics(autoscalingv2.MetricSpec{
			Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{},
		})}},
		"it does not keep another from scaling up": {in: input(90, 90), want: "4", change: []func(*hpa.Input){metrics(
			percent(corev1.ResourceCPU, 50), autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{}},
		)}},
		"but from scaling down": {in: input(10, 10), want: "FailedGetPodsMetric", change: []func(*hpa.Input){behavior(nil, rules(0)), metrics(
			percent(corev1.ResourceCPU, 50), autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{}},
		)}},
		"nothing measured": {in: input(-1, -1), want: "FailedGetResourceMetric"},
		"a pod not measured counts as idle on the way up": {in: input(82, 82, -1), want: "nothing"},
		"and as busy on the way down":                     {in: input(10, 10, -1), change: []func(*hpa.Input){behavior(nil, rules(0))}, want: "nothing"},
		"a young pod that is not ready counts as idle on the way up": {
			in: input(82, 82, 100), change: []func(*hpa.Input){unready(2, time.Minute, 50*time.Second)}, want: "nothing",
		},
		"and not at all on the way down": {
			in: input(10, 10, 90), change: []func(*hpa.Input){unready(2, time.Minute, 50*time.Second), behavior(nil, rules(0))}, want: "1",
		},
		"one that was ready counts, ready or not": {in: input(100, 100, 100), change: []func(*hpa.Input){unready(2, time.Hour, time.Minute)}, want: "6"},
		"one that ends does not count": {in: input(50, 50, 900), want: "nothing", change: []func(*hpa.Input){func(in *hpa.Input) {
			in.Pods[2].DeletionTimestamp, in.Target.Replicas = &metav1.Time{Time: now}, 2
		}}},
		"pods at a time":         {in: input(100, 100, 100), change: []func(*hpa.Input){behavior(rules(0, pods(1)), rules(0))}, want: "4"},
		"percents at a time":     {in: input(100, 100, 100, 100), change: []func(*hpa.Input){behavior(rules(0, part(50, 60)), rules(0))}, want: "6"},
		"down by pods at a time": {in: input(0, 0, 0, 0), change: []func(*hpa.Input){behavior(nil, rules(0, pods(1)))}, want: "3"},
		"the greatest change":    {in: input(100, 100, 100), change: []func(*hpa.Input){behavior(rules(0, pods(1), pods(2)), rules(0))}, want: "5"},
		"selectPolicy Min": {in: input(100, 100, 100), want: "4", change: []func(*hpa.Input){behavior(rules(0, pods(1), pods(2)), rules(0)), func(in *hpa.Input) {
			in.Autoscaler.Spec.Behavior.ScaleUp.SelectPolicy = new(autoscalingv2.MinChangePolicySelect)
		}}},
		"selectPolicy Disabled": {in: input(100, 100, 100), want: "nothing", change: []func(*hpa.Input){behavior(rules(0, pods(1)), rules(0)), func(in *hpa.Input) {
			in.Autoscaler.Spec.Behavior.ScaleUp.SelectPolicy = new(autoscalingv2.DisabledPolicySelect)
		}}},
		"what was done in the period counts": {in: input(100, 100, 100), want: "nothing", change: []func(*hpa.Input){behavior(rules(0, pods(1)), rules(0)), func(in *hpa.Input) {
			in.Memory.Changes = []hpa.Number{{At: now.Add(-30 * time.Second), N: 1}}
		}}},
		"a tolerance of its own": {in: input(60, 60), want: "nothing", change: []func(*hpa.Input){behavior(rules(0, pods(4)), rules(0)), func(in *hpa.Input) {
			in.Autoscaler.Spec.Behavior.ScaleUp.Tolerance = new(resource.MustParse("0.3"))
		}}},
		"a window on the way up": {in: input(100, 100), want: "nothing", change: []func(*hpa.Input){behavior(rules(60, pods(4)), rules(0)), func(in *hpa.Input) {
			in.Memory.Recommendations = []hpa.Number{{At: now.Add(-30 * time.Second), N: 2}}
		}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, change := range test.change {
				change(&test.in)
			}
			plan, _ := hpa.Plan(test.in)
			if got := told(plan); got != test.want {
				t.Errorf("the plan: %s, want %s; %v", got, test.want, plan.Actions)
			}
			if plan.RequeueAfter != hpa.Every {
				t.Errorf("looks again after %s", plan.RequeueAfter)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	plan, _ := hpa.Plan(input(900))
	want := map[string]string{"AbleToScale": "True SucceededRescale", "ScalingActive": "True ValidMetricFound", "ScalingLimited": "True ScaleUpLimit"}
	if diff := cmp.Diff(want, conditions(plan)); diff != "" {
		t.Errorf("on the way up (-want +got):\n%s", diff)
	}
	plan, _ = hpa.Plan(input(0, 0))
	want = map[string]string{"AbleToScale": "True ScaleDownStabilized", "ScalingActive": "True ValidMetricFound", "ScalingLimited": "False DesiredWithinRange"}
	if diff := cmp.Diff(want, conditions(plan)); diff != "" {
		t.Errorf("held back (-want +got):\n%s", diff)
	}
	in := input(50)
	plan, in.Memory = hpa.Plan(in)
	for _, a := range plan.Actions {
		if u, ok := a.(reconcile.UpdateStatus); ok {
			in.Autoscaler = u.Object.(*autoscalingv2.HorizontalPodAutoscaler)
		}
	}
	if s := in.Autoscaler.Status; s.CurrentReplicas != 1 || s.DesiredReplicas != 1 || *s.CurrentMetrics[0].Resource.Current.AverageUtilization != 50 {
		t.Errorf("the status is %+v", s)
	}
	in.Now = in.Now.Add(time.Second)
	if plan, _ = hpa.Plan(in); len(plan.Actions) > 0 || plan.RequeueAfter != 14*time.Second {
		t.Errorf("a second later: %v, %s", plan.Actions, plan.RequeueAfter)
	}
	in.Now = now.Add(hpa.Every)
	load(&in, 50)
	if plan, _ = hpa.Plan(in); len(plan.Actions) > 0 {
		t.Errorf("when nothing has changed: %v", plan.Actions)
	}
}

// Whatever the load, the number of replicas comes to where each pod has its share and stays there; it never leaves its limits, and on the way down it waits
// for the window of stabilization.
func TestConverges(t *testing.T) {
	for work := 0; work <= 1200; work += 35 {
		for start := 1; start <= 12; start += 3 {
			in := input(make([]int, start)...)
			began, changed := in.Now, in.Now
			for range 60 {
				n := int(in.Target.Replicas)
				millis := make([]int, n)
				for i := range millis {
					millis[i] = work / n
				}
				load(&in, millis...)
				plan, memory := hpa.Plan(in)
				in.Memory = memory
				for _, a := range plan.Actions {
					switch a := a.(type) {
					case reconcile.Scale:
						if *a.Replicas < 1 || *a.Replicas > 10 {
							t.Fatalf("work %d from %d: %d replicas", work, start, *a.Replicas)
						}
						if *a.Replicas < int32(n) && n <= 10 && in.Now.Sub(began) < 5*time.Minute {
							t.Fatalf("work %d from %d: down to %d after %s", work, start, *a.Replicas, in.Now.Sub(began))
						}
						in.Target.Replicas, changed = *a.Replicas, in.Now
					case reconcile.UpdateStatus:
						in.Autoscaler = a.Object.(*autoscalingv2.HorizontalPodAutoscaler)
					}
				}
				in.Now = in.Now.Add(hpa.Every)
			}
			if in.Now.Sub(changed) < 5*time.Minute {
				t.Errorf("work %d from %d: it still changes, and is at %d", work, start, in.Target.Replicas)
			}
			if n := int(in.Target.Replicas); n < 10 && work/n > 55 || n > 1 && work/n < 45 && work/(n-1) < 45 {
				t.Errorf("work %d from %d: %d replicas have %d each", work, start, n, work/n)
			}
		}
	}
}
