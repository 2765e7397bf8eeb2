package hpa

import (
	"errors"
	"fmt"
	"maps"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"berth/reconcile"
	"berth/reconcile/readiness"
)

// How much of a pod's beginning does not count for its processors, and when a pod has never been ready: Kubernetes' defaults.
const (
	initialization = 5 * time.Minute
	firstReadiness = 30 * time.Second
)

// byMetrics is the most that one of the metrics asks for, and which one. It is not ok when none of them can be had, or when the others would scale down.
func (p *pass) byMetrics(current int32) (wanted int32, name string, ok bool) {
	if len(p.in.Rivals) > 0 {
		p.fail(autoscalingv2.ScalingActive, "AmbiguousSelector", fmt.Sprintf("its pods are controlled by other HPAs as well: %v", p.in.Rivals), "")
		return 0, "", false
	}
	var broken *failure
	found := 0
	p.status.CurrentMetrics = make([]autoscalingv2.MetricStatus, len(p.a.Spec.Metrics))
	for i := range p.a.Spec.Metrics {
		n, metric, err := p.byMetric(&p.a.Spec.Metrics[i], current, &p.status.CurrentMetrics[i])
		if err != nil {
			if broken == nil {
				broken = err
			}
			continue
		}
		if found++; wanted == 0 || n > wanted {
			wanted, name = n, metric
		}
	}
	if broken != nil && (found == 0 || wanted < current) {
		p.fail(autoscalingv2.ScalingActive, broken.reason, broken.why, "the HPA was unable to compute the replica count: ")
		return 0, "", false
	}
	p.condition(autoscalingv2.ScalingActive, true, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+name)
	return wanted, name, true
}

// failure is a metric that cannot be had.
type failure struct{ reason, why string }

func (p *pass) byMetric(m *autoscalingv2.MetricSpec, current int32, status *autoscalingv2.MetricStatus) (wanted int32, name string, err *failure) {
	switch {
	case m.Resource != nil:
		n, name, value, err := p.byResource(m.Resource.Name, "", &m.Resource.Target, current)
		if err != nil {
			return 0, "", &failure{"FailedGetResourceMetric", err.Error()}
		}
		status.Type, status.Resource = m.Type, &autoscalingv2.ResourceMetricStatus{Name: m.Resource.Name, Current: value}
		return n, name, nil
	case m.ContainerResource != nil:
		r := m.ContainerResource
		n, name, value, err := p.byResource(r.Name, r.Container, &r.Target, current)
		if err != nil {
			return 0, "", &failure{"FailedGetContainerResourceMetric", err.Error()}
		}
		status.Type, status.ContainerResource = m.Type, &autoscalingv2.ContainerResourceMetricStatus{Name: r.Name, Container: r.Container, Current: value}
		return n, name, nil
	}
	kind := string(m.Type)
	return 0, "", &failure{"FailedGet" + kind + "Metric", "there are no metrics of type " + kind + " here: only what pods use of processors and memory is measured"}
}

// byResource is what a metric of processors or memory asks for.
func (p *pass) byResource(res corev1.ResourceName, container string, target *autoscalingv2.MetricTarget, current int32) (int32, string, autoscalingv2.MetricValueStatus, error) {
	var value autoscalingv2.MetricValueStatus
	what := "utilization"
	if target.AverageValue != nil {
		what = "usage"
	}
	g, err := p.group(res, container)
	if err != nil {
		return 0, "", value, fmt.Errorf("failed to get %s %s: %w", res, what, err)
	}
	name := fmt.Sprintf("%s resource", res)
	if target.AverageValue != nil {
		aim := target.AverageValue.MilliValue()
		used := average(g.measured)
		value.AverageValue = quantity(res, used)
		return p.replicasFor(g, current, func(m map[string]int64) float64 { return float64(average(m)) / float64(aim) }, func(string) int64 { return aim }), name, value, nil
	}
	if target.AverageUtilization == nil {
		return 0, "", value, errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	requests := map[string]int64{}
	for _, pod := range p.in.Pods {
		if requests[pod.Name], err = request(pod, res, container); err != nil {
			return 0, "", value, fmt.Errorf("failed to get %s utilization: %w", res, err)
		}
	}
	now, ok := utilization(g.measured, requests)
	if !ok {
		return 0, "", value, fmt.Errorf("failed to get %s utilization: no metrics returned matched known pods", res)
	}
	value.AverageUtilization, value.AverageValue = &now, quantity(res, average(g.measured))
	ratio := func(m map[string]int64) float64 {
		n, _ := utilization(m, requests)
		return float64(n) / float64(*target.AverageUtilization)
	}
	unknown := func(pod string) int64 { return requests[pod] * int64(max(100, *target.AverageUtilization)) / 100 }
	name += " utilization (percentage of request)"
	if container != "" {
		name = fmt.Sprintf("%s container resource utilization (percentage of request)", res)
	}
	return p.replicasFor(g, current, ratio, unknown), name, value, nil
}

func quantity(res corev1.ResourceName, milli int64) *resource.Quantity {
	if res == corev1.ResourceMemory {
		return resource.NewMilliQuantity(milli, resource.BinarySI)
	}
	return resource.NewMilliQuantity(milli, resource.DecimalSI)
}

// grouped are the pods by what is known of them; values are in thousandths.
type grouped struct {
	measured         map[string]int64 // those that count
	unready, missing []string
}

// group sorts out the pods. Those that end or have failed do not count; one that has only just begun, or was never ready, says nothing of its processors.
func (p *pass) group(res corev1.ResourceName, container string) (grouped, error) {
	g := grouped{measured: map[string]int64{}}
	if len(p.in.Pods) == 0 {
		return g, errors.New("no pods returned by selector while calculating replica count")
	}
	for _, pod := range p.in.Pods {
		u, measured := p.in.Usage[pod.UID]
		used, known := uses(u, res, container)
		switch {
		case pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed:
		case pod.Status.Phase == corev1.PodPending:
			g.unready = append(g.unready, pod.Name)
		case !measured || !known:
			g.missing = append(g.missing, pod.Name)
		case res == corev1.ResourceCPU && p.young(pod, u):
			g.unready = append(g.unready, pod.Name)
		default:
			g.measured[pod.Name] = used
		}
	}
	if len(g.measured) == 0 {
		return g, errors.New("did not receive metrics for targeted pods (pods might be unready)")
	}
	return g, nil
}

// young tells that what a pod uses of processors says nothing yet.
func (p *pass) young(pod *corev1.Pod, u Usage) bool {
	changed, ready := readiness.Since(pod)
	if changed.IsZero() || pod.Status.StartTime == nil {
		return true
	}
	start := pod.Status.StartTime.Time
	if start.Add(initialization).After(p.in.Now) {
		return !ready || u.At.Before(changed.Add(u.Window))
	}
	return !ready && start.Add(firstReadiness).After(changed)
}

// uses is what a pod uses, in thousandths; not known when one of its containers was not measured.
func uses(u Usage, res corev1.ResourceName, container string) (milli int64, known bool) {
	for name, list := range u.Containers {
		if container != "" && container != name {
			continue
		}
		q, ok := list[res]
		if !ok {
			return 0, false
		}
		milli, known = milli+q.MilliValue(), true
	}
	return milli, known
}

// request is what a pod asks for, in thousandths.
func request(pod *corev1.Pod, res corev1.ResourceName, container string) (int64, error) {
	var sum int64
	found := false
	add := func(c *corev1.Container) error {
		if container != "" && container != c.Name {
			return nil
		}
		q, ok := c.Resources.Requests[res]
		if !ok {
			return fmt.Errorf("missing request for %s in container %s of Pod %s", res, c.Name, pod.Name)
		}
		sum, found = sum+q.MilliValue(), true
		return nil
	}
	for i := range pod.Spec.Containers {
		if err := add(&pod.Spec.Containers[i]); err != nil {
			return 0, err
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; reconcile.IsSidecar(c) {
			if err := add(c); err != nil {
				return 0, err
			}
		}
	}
	if !found && container != "" {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, pod.Name)
	}
	return sum, nil
}

func average(m map[string]int64) int64 {
	var sum int64
	for _, n := range m {
		sum += n
	}
	return sum / int64(max(1, len(m)))
}

// utilization is what pods use in percents of what they ask for.
func utilization(m, requests map[string]int64) (percent int32, ok bool) {
	var used, asked int64
	for pod, n := range m {
		used, asked = used+n, asked+requests[pod]
	}
	if asked == 0 {
		return 0, false
	}
	return int32(used * 100 / asked), true
}

// replicasFor is for how many replicas a ratio of usage to its aim would be met. Pods that nothing is known of are taken for what argues against the change:
// as using nothing on the way up, as using unknown on the way down; and what turns the direction round changes nothing.
func (p *pass) replicasFor(g grouped, current int32, ratio func(map[string]int64) float64, unknown func(string) int64) int32 {
	first := ratio(g.measured)
	up := len(g.unready) > 0 && first > 1
	if !up && len(g.missing) == 0 {
		if p.tolerated(first) {
			return current
		}
		return rounded(first * float64(len(g.measured)))
	}
	all := maps.Clone(g.measured)
	for _, pod := range g.missing {
		switch {
		case first < 1:
			all[pod] = unknown(pod)
		case first > 1:
			all[pod] = 0
		}
	}
	if up {
		for _, pod := range g.unready {
			all[pod] = 0
		}
	}
	second := ratio(all)
	wanted := rounded(second * float64(len(all)))
	switch {
	case p.tolerated(second), first < 1 && second > 1, first > 1 && second < 1, second < 1 && wanted > current, second > 1 && wanted < current:
		return current
	}
	return wanted
}

// tolerated tells that a ratio is too near to 1 to do anything about it.
func (p *pass) tolerated(ratio float64) bool {
	const usual = 0.1
	down, up := usual, usual
	if b := p.a.Spec.Behavior; b != nil {
		if b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
			down = b.ScaleDown.Tolerance.AsApproximateFloat64()
		}
		if b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
			up = b.ScaleUp.Tolerance.AsApproximateFloat64()
		}
	}
	return 1-down <= ratio && ratio <= 1+up
}
