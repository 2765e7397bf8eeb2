// Package hpa decides how many replicas the target of a HorizontalPodAutoscaler shall have, from what its pods use: Kubernetes' own rules for targets,
// pods that are not ready or not measured, tolerance, limits, speed and stabilization. What it remembers between two decisions goes in and out as plain data.
package hpa

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// Every is the pause between two decisions, that of a Kubernetes controller.
const Every = 15 * time.Second

// Input is an autoscaler and what is known of its target. Nothing in it is changed.
type Input struct {
	Autoscaler *autoscalingv2.HorizontalPodAutoscaler
	// Target is what is scaled, nil when it is not there.
	Target *Target
	// Pods are those that the target's selector selects.
	Pods []*corev1.Pod
	// Usage is what was measured of pods, by UID. One without an entry could not be measured.
	Usage map[types.UID]Usage
	// Rivals are the names of other autoscalers that select any of the pods.
	Rivals []string
	Memory Memory
	Now    time.Time
}

// Target is a workload with a number of replicas.
type Target struct {
	Key      reconcile.Key
	UID      types.UID
	Replicas int32
}

// Usage is what a pod used in a window of time that ended At, by container.
type Usage struct {
	At         time.Time
	Window     time.Duration
	Containers map[string]corev1.ResourceList
}

// Memory is what a decision leaves for the next ones. Losing it costs a fresh window of stabilization.
type Memory struct {
	// Decided is when the last decision was made, for the Generation of the autoscaler and so many Replicas.
	Decided    time.Time
	Generation int64
	Replicas   int32
	// Recommendations are what the metrics alone asked for; Changes what was done.
	Recommendations, Changes []Number
}

// Number is a number of replicas, or by how many they changed, at a time.
type Number struct {
	At time.Time
	N  int32
}

// Wait is how long there is nothing to decide yet: decisions come at a steady pace, unless somebody has changed what they are about.
func Wait(a *autoscalingv2.HorizontalPodAutoscaler, replicas int32, m Memory, now time.Time) time.Duration {
	if m.Decided.IsZero() || m.Decided.After(now) || m.Generation != a.Generation || m.Replicas != replicas {
		return 0
	}
	return max(0, m.Decided.Add(Every).Sub(now))
}

// Plan decides once, and returns what to remember.
func Plan(in Input) (reconcile.Plan, Memory) {
	replicas := int32(0)
	if in.Target != nil {
		replicas = in.Target.Replicas
	}
	if wait := Wait(in.Autoscaler, replicas, in.Memory, in.Now); wait > 0 {
		return reconcile.Plan{RequeueAfter: wait}, in.Memory
	}
	p := &pass{in: in, a: in.Autoscaler, memory: in.Memory}
	p.status = *in.Autoscaler.Status.DeepCopy()
	p.memory.Changes = since(in.Memory.Changes, in.Now.Add(-longest))
	p.memory.Recommendations = since(in.Memory.Recommendations, in.Now.Add(-longest))
	p.decide()
	p.memory.Decided, p.memory.Generation, p.memory.Replicas = in.Now, in.Autoscaler.Generation, max(0, p.replicas)
	plan := reconcile.Plan{Actions: p.actions, RequeueAfter: Every}
	if !apiequality.Semantic.DeepEqual(p.status, in.Autoscaler.Status) {
		updated := *in.Autoscaler // what is not of the status is shared: nobody writes into an object
		updated.Status = p.status
		plan.Actions = append(plan.Actions, reconcile.UpdateStatus{Object: &updated})
	}
	return plan, p.memory
}

// longest is the longest window that a behavior may state.
const longest = time.Hour

// since drops what is older than a moment. What a clock that was set back has left in the future stays, and counts when that has come.
func since(list []Number, oldest time.Time) []Number {
	return slices.DeleteFunc(slices.Clone(list), func(n Number) bool { return n.At.Before(oldest) })
}

// pass is one decision.
type pass struct {
	in       Input
	a        *autoscalingv2.HorizontalPodAutoscaler
	status   autoscalingv2.HorizontalPodAutoscalerStatus
	memory   Memory
	replicas int32 // that the target has after it
	actions  []reconcile.Action
}

// missing says that there is no such target: as an API server would, if its kind can be scaled.
func missing(ref autoscalingv2.CrossVersionObjectReference) string {
	group, _, grouped := strings.Cut(ref.APIVersion, "/")
	resource := strings.ToLower(ref.Kind) + "s"
	switch ref.Kind {
	case reconcile.KindDeployment, reconcile.KindStatefulSet, reconcile.KindReplicaSet, reconcile.KindReplicationController:
	default:
		return fmt.Sprintf("there is no %s %q that can be scaled", ref.Kind, ref.Name)
	}
	if grouped {
		resource += "." + group
	}
	return fmt.Sprintf("%s %q not found", resource, ref.Name)
}

func (p *pass) decide() {
	t := p.in.Target
	ref := p.a.Spec.ScaleTargetRef
	if t == nil {
		p.fail(autoscalingv2.AbleToScale, "FailedGetScale", missing(ref),
			"the HPA controller was unable to get the target's current scale: ")
		return
	}
	p.condition(autoscalingv2.AbleToScale, true, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	current := t.Replicas
	p.replicas, p.status.CurrentReplicas = current, current
	if len(p.memory.Recommendations) == 0 {
		p.memory.Recommendations = []Number{{At: p.in.Now, N: current}}
	}
	least := p.least()
	switch {
	case current == 0:
		p.status.DesiredReplicas, p.status.CurrentMetrics = 0, nil
		p.condition(autoscalingv2.ScalingActive, false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
	case current > p.a.Spec.MaxReplicas:
		p.status.CurrentMetrics = nil
		p.scale(p.a.Spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas")
	case current < least:
		p.status.CurrentMetrics = nil
		p.scale(least, "Current number of replicas below Spec.MinReplicas")
	default:
		p.follow(current, least)
	}
}

func (p *pass) least() int32 {
	if n := p.a.Spec.MinReplicas; n != nil {
		return *n
	}
	return 1
}

// follow scales by the metrics.
func (p *pass) follow(current, least int32) {
	wanted, metric, ok := p.byMetrics(current)
	if !ok {
		return
	}
	reason := ""
	switch {
	case wanted > current:
		reason = metric + " above target"
	case wanted < current:
		reason = "All metrics below target"
	}
	to := p.bounded(current, wanted, least)
	if to == current {
		p.status.DesiredReplicas = current
		return
	}
	if reason == "" {
		reason = "an earlier recommendation counts"
	}
	p.scale(to, reason)
}

// scale gives the target another number of replicas.
func (p *pass) scale(to int32, reason string) {
	t := p.in.Target
	p.actions = append(p.actions,
		reconcile.Scale{Key: t.Key, UID: t.UID, By: p.a.Name, Replicas: &to},
		reconcile.RecordEvent{Key: reconcile.KeyOf(p.a), UID: p.a.UID, Reason: "SuccessfulRescale", Message: fmt.Sprintf("New size: %d; reason: %s", to, reason)})
	p.condition(autoscalingv2.AbleToScale, true, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", to))
	p.memory.Changes = append(p.memory.Changes, Number{At: p.in.Now, N: to - t.Replicas})
	p.status.DesiredReplicas, p.status.LastScaleTime = to, &metav1.Time{Time: p.in.Now}
	p.replicas = to
}

// fail sets a condition to false, and tells so once.
func (p *pass) fail(kind autoscalingv2.HorizontalPodAutoscalerConditionType, reason, why, before string) {
	if p.condition(kind, false, reason, before+why) {
		p.actions = append(p.actions, reconcile.RecordEvent{Key: reconcile.KeyOf(p.a), UID: p.a.UID, Warning: true, Reason: reason, Message: why})
	}
}

// condition sets a condition, and tells whether it says anything new.
func (p *pass) condition(kind autoscalingv2.HorizontalPodAutoscalerConditionType, is bool, reason, message string) bool {
	c := autoscalingv2.HorizontalPodAutoscalerCondition{
		Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(p.in.Now),
	}
	if is {
		c.Status = corev1.ConditionTrue
	}
	i := slices.IndexFunc(p.status.Conditions, func(had autoscalingv2.HorizontalPodAutoscalerCondition) bool { return had.Type == kind })
	if i < 0 {
		p.status.Conditions = append(p.status.Conditions, c)
		return true
	}
	had := p.status.Conditions[i]
	if had.Status == c.Status {
		c.LastTransitionTime = had.LastTransitionTime
	}
	p.status.Conditions[i] = c
	return had.Status != c.Status || had.Reason != reason || had.Message != message
}

// rounded is a number of replicas for a number of them that may be huge.
func rounded(n float64) int32 { return int32(min(math.Ceil(n), math.MaxInt32)) }
