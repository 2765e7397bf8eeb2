package controller

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/request"
	"berth/runtime"
	"berth/runtime/runtimetest"
)

// toil is a meter on a machine where so many thousandths of a processor are shared by all pods.
type toil struct {
	runtime.Meter

	fake  *runtimetest.Fake
	milli int
	used  map[string]time.Duration
	last  map[string]time.Time
}

func (m *toil) Usage(_ context.Context, uid string) (map[string]runtime.Usage, error) {
	n := 0
	for _, p := range m.fake.Pods() {
		for _, c := range p.Containers {
			if c.State == runtime.Running {
				n++
			}
		}
	}
	now := time.Now()
	if last, ok := m.last[uid]; ok {
		m.used[uid] += now.Sub(last) * time.Duration(m.milli) / time.Duration(1000*max(1, n))
	}
	m.last[uid] = now
	return map[string]runtime.Usage{"main": {CPU: m.used[uid], Memory: 1 << 20}}, nil
}

func asks(d *appsv1.Deployment) {
	d.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
}

func autoscaler(target string) manifests.Object {
	return object(manifests.Key{Group: "autoscaling", Kind: "HorizontalPodAutoscaler", Namespace: "shop", Name: "web"}, &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: target}, MaxReplicas: 6,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(50))},
			}}},
		},
	})
}

func (w *world) working(milli int) *toil {
	m := &toil{fake: w.fake, milli: milli, used: map[string]time.Duration{}, last: map[string]time.Time{}}
	w.opts = func(o *Options) { o.Meter = m }
	return m
}

func (w *world) replicas() int32 {
	d, _ := store.Get[*appsv1.Deployment](w.c.store, reconcile.Key{Kind: reconcile.KindDeployment, Namespace: "shop", Name: "web"})
	return *d.Spec.Replicas
}

// What an autoscaler decides stands beside the file: through edits of the file and restarts, until the autoscaler goes, or the file wants none at all.
func TestAutoscalerBesideTheFile(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.working(190) // 4 pods at 50 % of 100 thousandths each
		file := func(replicas int32, image string) manifests.Object { return web("web", image, replicas, asks) }
		w.write(file(1, "web:1"), autoscaler("web"))
		w.start()
		w.settle()
		w.until(func() bool { return w.replicas() == 4 })
		w.settle()
		w.wantRunning(4)
		w.write(file(2, "web:2"), autoscaler("web")) // a rollout at the size that is decided
		w.pass(time.Minute)
		w.settle()
		w.wantRunning(4)
		w.restart()
		m.fake = w.fake
		w.pass(time.Minute)
		w.settle()
		w.wantRunning(4)
		m.milli = 20
		w.pass(4 * time.Minute)
		w.wantRunning(4) // the window of stabilization
		w.pass(4 * time.Minute)
		w.settle()
		w.wantRunning(1)
		w.write(file(2, "web:2"))
		w.pass(10 * time.Second)
		w.settle()
		w.wantRunning(2)
		d, _ := store.Get[*appsv1.Deployment](w.c.store, reconcile.Key{Kind: reconcile.KindDeployment, Namespace: "shop", Name: "web"})
		if note := d.Annotations[request.AnnotationScale]; note != "" {
			t.Errorf("it is noted still: %s", note)
		}
		m.milli = 190
		w.write(file(2, "web:2"), autoscaler("web"))
		w.until(func() bool { return w.replicas() == 4 })
		w.write(file(0, "web:2"), autoscaler("web"))
		w.pass(3 * time.Minute)
		w.wantRunning(0)
	})
}

// An autoscaler that changes its target lets go of the former one: also when it names a kind of another group, which is not there.
func TestAutoscalerChangesItsTarget(t *testing.T) {
	foreign := autoscaler("web")
	foreign.Object.(*autoscalingv2.HorizontalPodAutoscaler).Spec.ScaleTargetRef.APIVersion = "extensions/v1beta1"
	foreign.Hash += " of another group"
	for name, to := range map[string]manifests.Object{"name": autoscaler("other"), "group": foreign} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.working(190)
				w.write(web("web", "web:1", 1, asks), web("other", "web:1", 1, asks), autoscaler("web"))
				w.start()
				w.settle()
				w.until(func() bool { return w.replicas() > 1 })
				w.write(web("web", "web:1", 1, asks), web("other", "web:1", 1, asks), to)
				w.pass(5 * time.Second)
				if n := w.replicas(); n != 1 {
					t.Errorf("it has %d replicas, and its file says 1", n)
				}
			})
		})
	}
}

// autoscaling/v1 is read as what v2 calls the same.
func TestAutoscalerOfVersion1(t *testing.T) {
	inWorld(t, func(w *world) {
		w.working(190)
		w.write(web("web", "web:1", 1, asks), object(manifests.Key{Group: "autoscaling", Kind: "HorizontalPodAutoscaler", Namespace: "shop", Name: "web"}, &autoscalingv1.HorizontalPodAutoscaler{
			TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v1", Kind: "HorizontalPodAutoscaler"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, MaxReplicas: 6,
				TargetCPUUtilizationPercentage: new(int32(50)),
			},
		}))
		w.start()
		w.settle()
		w.until(func() bool { return w.replicas() == 4 })
	})
}
