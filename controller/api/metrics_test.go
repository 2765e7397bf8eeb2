package api

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/runtime"
)

// busy is a machine on which each container uses a quarter of a processor, and the machine half of one.
type busy struct{ began time.Time }

func (b busy) Usage(_ context.Context, uid string) (map[string]runtime.Usage, error) {
	if uid != "u" {
		return nil, runtime.ErrNotFound
	}
	return map[string]runtime.Usage{"main": {CPU: time.Since(b.began) / 4, Memory: 1 << 20}}, nil
}

func (busy) DiskUsage(context.Context, string) (runtime.DiskUsage, error) {
	return runtime.DiskUsage{}, nil
}

func (b busy) MachineUsage(context.Context) (runtime.Usage, error) {
	return runtime.Usage{CPU: time.Since(b.began) / 2, Memory: 1 << 30}, nil
}

func TestMetrics(t *testing.T) {
	pod := func(name string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "u"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}, {Name: "waits"}}}, Status: corev1.PodStatus{Phase: phase},
		}
	}
	ended := pod("ended", corev1.PodSucceeded)
	ended.UID = "e"
	gone := pod("gone", corev1.PodRunning)
	gone.UID = "g"
	s := fixture(t, pod("web", corev1.PodRunning), ended, gone, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "here"}})
	s.opts.Meter = busy{time.Now().Add(-time.Hour)}
	_, list := ask(t, s, "GET", "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods")
	items := list["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("%d pods are measured, want the one that runs: %v", len(items), list)
	}
	got := items[0].(map[string]any)["containers"].([]any)
	if len(got) != 1 {
		t.Fatalf("containers %v", got)
	}
	check := func(usage any, memory string, least, most int64) {
		t.Helper()
		u := usage.(map[string]any)
		cpu := quantity(t, u["cpu"].(string))
		if u["memory"] != memory || cpu < least || cpu > most {
			t.Errorf("usage %v, want %s and %d to %d thousandths", u, memory, least, most)
		}
	}
	check(got[0].(map[string]any)["usage"], "1Mi", 240, 260)
	_, node := ask(t, s, "GET", "/apis/metrics.k8s.io/v1beta1/nodes/here")
	check(node["usage"], "1Gi", 490, 510)
	if code, status := ask(t, s, "GET", "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/none"); code != 404 {
		t.Errorf("%d %v", code, status)
	}
	if diff := cmp.Diff([]string{"get", "list"}, s.registry.byName[resourceName{metricsGroup, "v1beta1", "pods"}].Verbs); diff != "" {
		t.Error(diff)
	}
}
