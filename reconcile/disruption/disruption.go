// Package disruption decides how many of the pods that a PodDisruptionBudget speaks of may be ended by an eviction at this moment.
package disruption

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
)

// Input is a budget and the pods of its namespace. Nothing in it is changed.
type Input struct {
	Budget *policyv1.PodDisruptionBudget
	// Pods are those of the budget's namespace; the others do not count.
	Pods []*corev1.Pod
	// Workloads are, by the UID of what controls a pod, the workload that decides how many there shall be. What is not scaled (a Job, a DaemonSet) has
	// no entry.
	Workloads map[types.UID]Workload
	Now       time.Time
}

// Workload is whom pods belong to in the end: the Deployment of a ReplicaSet.
type Workload struct {
	UID   types.UID
	Scale int32
}

// Plan brings the status of the budget up to date.
func Plan(in Input) reconcile.Plan {
	status, notes := look(in)
	if apiequality.Semantic.DeepEqual(status, in.Budget.Status) {
		return reconcile.Plan{}
	}
	updated := *in.Budget // what is not of the status is shared: nobody writes into an object
	updated.Status = status
	return reconcile.Plan{Actions: append(notes, reconcile.UpdateStatus{Object: &updated})}
}

// Status is what there is to say of the budget now.
func Status(in Input) policyv1.PodDisruptionBudgetStatus {
	status, _ := look(in)
	return status
}

// Covers tells whether a budget speaks of a pod.
func Covers(b *policyv1.PodDisruptionBudget, p *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	return err == nil && b.Namespace == p.Namespace && selector.Matches(labels.Set(p.Labels))
}

func look(in Input) (policyv1.PodDisruptionBudgetStatus, []reconcile.Action) {
	b := in.Budget
	var notes []reconcile.Action
	note := func(warning bool, reason, message string) {
		notes = append(notes, reconcile.RecordEvent{Key: reconcile.KeyOf(b), UID: b.UID, Warning: warning, Reason: reason, Message: message})
	}
	var pods []*corev1.Pod
	for _, p := range in.Pods {
		if Covers(b, p) {
			pods = append(pods, p)
		}
	}
	if len(pods) == 0 {
		note(false, "NoPods", "No matching pods found")
	}
	expected, desired, alone, err := want(b, pods, in.Workloads)
	if err != nil { // what was known is not believed any more
		note(true, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: "+err.Error())
		status := b.Status
		status.DisruptionsAllowed = 0
		status.Conditions = condition(&status, metav1.ConditionFalse, policyv1.SyncFailedReason, err.Error(), in.Now)
		return status, notes
	}
	if len(alone) > 0 {
		note(true, "UnmanagedPods", fmt.Sprintf("pods without a workload count for nothing in a budget of percents or of maxUnavailable (%s): give minAvailable as a number", alone[0]))
	}
	status := policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: b.Generation, ExpectedPods: expected, DesiredHealthy: desired, Conditions: b.Status.Conditions,
	}
	for _, p := range pods {
		if p.DeletionTimestamp == nil && Healthy(p) {
			status.CurrentHealthy++
		}
	}
	if expected > 0 {
		status.DisruptionsAllowed = max(0, status.CurrentHealthy-desired)
	}
	if status.DisruptionsAllowed > 0 {
		status.Conditions = condition(&status, metav1.ConditionTrue, policyv1.SufficientPodsReason, "", in.Now)
	} else {
		status.Conditions = condition(&status, metav1.ConditionFalse, policyv1.InsufficientPodsReason, "", in.Now)
	}
	return status, notes
}

// Healthy pods are those that are ready.
func Healthy(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// want is how many pods there should be, and how many of them healthy. Numbers of percents are of what the workloads shall have, rounded up; alone
// are the pods that no workload controls.
func want(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, workloads map[types.UID]Workload) (expected, desired int32, alone []string, err error) {
	limit := b.Spec.MinAvailable
	switch {
	case b.Spec.MaxUnavailable != nil:
		limit = b.Spec.MaxUnavailable
	case limit == nil:
		return 0, 0, nil, nil
	case limit.Type == intstr.Int:
		return int32(len(pods)), limit.IntVal, nil, nil //nolint:gosec // a machine has no two billion pods
	}
	if expected, alone, err = scale(pods, workloads); err != nil {
		return 0, 0, nil, err
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(limit, int(expected), true)
	if err != nil {
		return 0, 0, nil, err
	}
	if desired = int32(n); b.Spec.MaxUnavailable != nil { //nolint:gosec // as above
		desired = max(0, expected-desired)
	}
	return expected, desired, alone, nil
}

// scale adds up what the workloads of the pods shall have.
func scale(pods []*corev1.Pod, workloads map[types.UID]Workload) (total int32, alone []string, err error) {
	counted := map[types.UID]bool{}
	for _, p := range pods {
		owner := metav1.GetControllerOfNoCopy(p)
		if owner == nil {
			alone = append(alone, p.Name)
			continue
		}
		w, ok := workloads[owner.UID]
		switch {
		case !ok && (owner.Kind == reconcile.KindJob || owner.Kind == reconcile.KindDaemonSet):
			group, _, _ := strings.Cut(owner.APIVersion, "/")
			return 0, nil, fmt.Errorf("%ss.%s does not implement the scale subresource", strings.ToLower(owner.Kind), group)
		case !ok:
			return 0, nil, fmt.Errorf("found no controllers for pod %q", p.Name)
		}
		if !counted[w.UID] {
			counted[w.UID] = true
			total += w.Scale
		}
	}
	return total, alone, nil
}

// condition is the list of conditions with the one about evictions.
func condition(s *policyv1.PodDisruptionBudgetStatus, is metav1.ConditionStatus, reason, message string, now time.Time) []metav1.Condition {
	c := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: is, Reason: reason, Message: message,
		ObservedGeneration: s.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
	}
	list := slices.Clone(s.Conditions)
	i := slices.IndexFunc(list, func(had metav1.Condition) bool { return had.Type == c.Type })
	if i < 0 {
		return append(list, c)
	}
	if list[i].Status == is {
		c.LastTransitionTime = list[i].LastTransitionTime
	}
	list[i] = c
	return list
}

// Refusal is why an eviction has to wait.
type Refusal struct {
	// Budget is the name of the one that does not allow it, Reason why in a sentence.
	Budget, Reason string
	// Unsupported means that waiting does not help.
	Unsupported bool
}

// Error is what Kubernetes answers.
func (r *Refusal) Error() string {
	if r.Unsupported {
		return r.Reason
	}
	return "Cannot evict pod as it would violate the pod's disruption budget."
}

// Refuse tells why a pod may not be evicted, nil when it may. budgets are those that cover it, each with the pods of the namespace.
func Refuse(p *corev1.Pod, budgets []Input) *Refusal {
	if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning || len(budgets) == 0 { // nobody is served by it
		return nil
	}
	if len(budgets) > 1 {
		return &Refusal{Unsupported: true, Reason: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}
	}
	b := budgets[0].Budget
	s := Status(budgets[0])
	if !Healthy(p) {
		policy := cmp.Or(deref(b.Spec.UnhealthyPodEvictionPolicy), policyv1.IfHealthyBudget)
		if policy == policyv1.AlwaysAllow || s.CurrentHealthy >= s.DesiredHealthy && s.DesiredHealthy > 0 {
			return nil
		}
	}
	if s.DisruptionsAllowed > 0 {
		return nil
	}
	r := &Refusal{Budget: b.Name, Reason: fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)}
	for _, c := range s.Conditions {
		if c.Type == policyv1.DisruptionAllowedCondition && c.Reason == policyv1.SyncFailedReason {
			r.Reason += " because it failed sync: " + c.Message
			return r
		}
	}
	if s.CurrentHealthy <= s.DesiredHealthy {
		r.Reason = fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	}
	return r
}

func deref(p *policyv1.UnhealthyPodEvictionPolicyType) policyv1.UnhealthyPodEvictionPolicyType {
	if p == nil {
		return ""
	}
	return *p
}
