package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/runtime"
)

// Metrics are what `kubectl top` asks for. Nothing is measured while nobody asks: the first to ask waits for a moment, later ones get the mean since the last.

const metricsGroup = "metrics.k8s.io"

const (
	// window is how long is measured when there is nothing to compare with; the clock of a process may tick in hundredths of a second.
	window = 500 * time.Millisecond
	// stale is the age from which a measurement says nothing about now.
	stale = time.Minute
)

// Meter tells what is used of the machine.
type Meter interface {
	runtime.Meter
	// MachineUsage is that of the whole machine.
	MachineUsage(ctx context.Context) (runtime.Usage, error)
}

// usageMetrics are PodMetrics, ContainerMetrics and NodeMetrics at once: what they have in common is under the same names.
type usageMetrics struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Timestamp         metav1.Time         `json:"timestamp"`
	Window            metav1.Duration     `json:"window"`
	Usage             corev1.ResourceList `json:"usage,omitempty"`
	Containers        []containerMetrics  `json:"containers,omitempty"`
}

type containerMetrics struct {
	Name  string              `json:"name"`
	Usage corev1.ResourceList `json:"usage"`
}

// sample is a measurement.
type sample struct {
	at    time.Time
	usage map[string]runtime.Usage
}

// samples are the last measurements, by UID; "" is the machine.
type samples struct {
	mu   sync.Mutex
	last map[string]sample
}

// metrics answers for the group of metrics.
func (s *Server) metrics(w http.ResponseWriter, r *Request) error {
	if s.opts.Meter == nil {
		return errNoPage()
	}
	o, err := parseListOptions(r)
	if err != nil {
		return err
	}
	o.name = r.Name
	var about []store.Object
	kind := map[string]string{"pods": reconcile.KindPod, "nodes": reconcile.KindNode}[r.Resource.Name]
	for _, it := range s.opts.Store.List(kind) {
		if p, ok := it.Object.(*corev1.Pod); (!ok || p.Status.Phase == corev1.PodRunning) && o.matches(it.Object) && (r.Name == "" || r.Name == it.Key.Name) {
			about = append(about, it.Object)
		}
	}
	if r.Name != "" && len(about) == 0 {
		return apierrors.NewNotFound(r.Resource.GroupResource(), r.Name)
	}
	list, err := s.measured(r, about)
	if err != nil {
		return err
	}
	if r.Name != "" {
		if len(list) == 0 {
			return apierrors.NewNotFound(r.Resource.GroupResource(), r.Name)
		}
		return s.Respond(w, r, http.StatusOK, list[0])
	}
	meta := typeMeta(r)
	meta.Kind += "List"
	return s.Respond(w, r, http.StatusOK, struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
		Items           []usageMetrics `json:"items"`
	}{meta, metav1.ListMeta{}, list})
}

// measured measures, a second time after a moment where there is nothing to compare with.
func (s *Server) measured(r *Request, about []store.Object) ([]usageMetrics, error) {
	before := map[string]sample{}
	s.samples.mu.Lock()
	now := s.opts.Clock.Now()
	for uid, old := range s.samples.last {
		if age := now.Sub(old.at); age < stale && age >= window {
			before[uid] = old
		} else if age >= stale {
			delete(s.samples.last, uid)
		}
	}
	s.samples.mu.Unlock()
	missing := false
	for _, obj := range about {
		if _, ok := before[meterKey(obj)]; !ok {
			before[meterKey(obj)] = s.measure(r.Context(), obj)
			missing = true
		}
	}
	if missing {
		t := s.opts.Clock.NewTimer(window)
		defer t.Stop()
		select {
		case <-t.C():
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	out := []usageMetrics{}
	for _, obj := range about {
		after := s.measure(r.Context(), obj)
		if len(after.usage) == 0 {
			continue // it has ended meanwhile
		}
		s.samples.mu.Lock()
		s.samples.last[meterKey(obj)] = after
		s.samples.mu.Unlock()
		out = append(out, metricsOf(r, obj, before[meterKey(obj)], after))
	}
	return out, nil
}

func meterKey(obj store.Object) string {
	if _, node := obj.(*corev1.Node); node {
		return ""
	}
	return string(obj.GetUID())
}

func (s *Server) measure(ctx context.Context, obj store.Object) sample {
	m := sample{at: s.opts.Clock.Now()}
	if _, node := obj.(*corev1.Node); node {
		if u, err := s.opts.Meter.MachineUsage(ctx); err == nil {
			m.usage = map[string]runtime.Usage{"": u}
		}
		return m
	}
	m.usage, _ = s.opts.Meter.Usage(ctx, string(obj.GetUID())) // a pod that is gone uses nothing
	return m
}

func metricsOf(r *Request, obj store.Object, before, after sample) usageMetrics {
	took := after.at.Sub(before.at)
	m := usageMetrics{
		TypeMeta: typeMeta(r), Timestamp: metav1.NewTime(after.at), Window: metav1.Duration{Duration: took},
		ObjectMeta: metav1.ObjectMeta{Name: obj.GetName(), Namespace: obj.GetNamespace(), Labels: obj.GetLabels(), CreationTimestamp: metav1.NewTime(after.at)},
	}
	used := func(name string) corev1.ResourceList {
		now, cpu := after.usage[name], int64(0)
		if then, ok := before.usage[name]; ok && now.CPU > then.CPU && took > 0 {
			cpu = int64(float64(now.CPU-then.CPU) / float64(took) * 1e9)
		}
		return corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewScaledQuantity(cpu, resource.Nano),
			corev1.ResourceMemory: *resource.NewQuantity(now.Memory, resource.BinarySI),
		}
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		m.Usage = used("")
		return m
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if _, runs := after.usage[list[i].Name]; runs {
				m.Containers = append(m.Containers, containerMetrics{list[i].Name, used(list[i].Name)})
			}
		}
	}
	return m
}
