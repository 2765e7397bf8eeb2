package deployment_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/reconcile/deployment"
	"berth/reconcile/request"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is a Deployment and its ReplicaSets, by short names; apply carries a plan out.
type world struct {
	deployment.Input
	made int
}

func (w *world) apply(p reconcile.Plan) {
	for _, a := range p.Actions {
		switch a := a.(type) {
		case reconcile.CreateObject:
			w.made++
			rs := a.Object.(*appsv1.ReplicaSet).DeepCopy()
			rs.UID, rs.Generation = types.UID(rs.Name), 1
			rs.CreationTimestamp = metav1.NewTime(now.Add(time.Duration(w.made) * time.Second))
			w.ReplicaSets = append(w.ReplicaSets, rs)
		case reconcile.UpdateReplicaSet:
			rs := w.set(a.Key.Name)
			rs.Spec.Replicas, rs.Annotations, rs.Spec.MinReadySeconds = &a.Replicas, a.Annotations, a.MinReadySeconds
			rs.Generation++
		case reconcile.UpdateStatus:
			w.Deployment = a.Object.(*appsv1.Deployment)
		case reconcile.DeleteObject:
			w.ReplicaSets = slices.DeleteFunc(w.ReplicaSets, func(rs *appsv1.ReplicaSet) bool { return rs.Name == a.Key.Name })
		case reconcile.SetAnnotation:
			d := *w.Deployment
			d.Annotations = request.With(d.Annotations, a.Name, a.New)
			w.Deployment = &d
		}
	}
}

func (w *world) set(name string) *appsv1.ReplicaSet {
	for _, rs := range w.ReplicaSets {
		if rs.Name == name {
			return rs
		}
	}
	return nil
}

// serve makes every ReplicaSet as large as it shall be, all pods available but for so many.
func (w *world) serve(missing ...int32) {
	for i, rs := range w.ReplicaSets {
		n, none := *rs.Spec.Replicas, int32(0)
		if i < len(missing) {
			n -= missing[i]
		}
		rs.Status = appsv1.ReplicaSetStatus{
			Replicas: *rs.Spec.Replicas, ReadyReplicas: n, AvailableReplicas: n, ObservedGeneration: rs.Generation, TerminatingReplicas: &none,
		}
	}
}

// settle plans until nothing is left to do, all pods being available at once.
func (w *world) settle(t *testing.T) {
	t.Helper()
	for range 50 {
		p := deployment.Plan(w.Input)
		if len(p.Actions) == 0 {
			return
		}
		w.apply(p)
		w.serve()
	}
	t.Fatal("it does not settle")
}

func image(w *world, image string) {
	w.Deployment.Spec.Template.Spec.Containers[0].Image = image
	w.Deployment.Generation++
}

func replicas(w *world, n int32) { w.Deployment.Spec.Replicas = &n; w.Deployment.Generation++ }

func strategy(w *world, surge, unavailable string) {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	w.Deployment.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u}
}

func recreate(w *world) {
	w.Deployment.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
}

// settled is a Deployment of four of image web:1, complete.
func settled(t *testing.T) *world {
	t.Helper()
	n, history, deadline := int32(4), int32(10), int32(600)
	w := &world{Input: deployment.Input{Now: now, Deployment: &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "d-1", Generation: 1, Annotations: map[string]string{"team": "a"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n, RevisionHistoryLimit: &history, ProgressDeadlineSeconds: &deadline,
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "web:1"}}},
			},
		},
	}}}
	strategy(w, "25%", "25%")
	w.settle(t)
	return w
}

// told lists a plan, with the names of ReplicaSets by age: web-1, web-2, and web-new for one that is made.
func told(w *world, p reconcile.Plan) []string {
	var out []string
	for _, a := range p.Actions {
		switch a.(type) {
		case reconcile.RecordEvent, reconcile.UpdateStatus:
			continue
		}
		s := a.String()
		for i, rs := range w.ReplicaSets {
			s = strings.ReplaceAll(s, rs.Name, "web-"+string(rune('1'+i)))
		}
		if c, ok := a.(reconcile.CreateObject); ok {
			s = strings.ReplaceAll(s, c.Object.GetName(), "web-new")
		}
		out = append(out, s)
	}
	return out
}

// rollingTo is in the middle of a rollout: so many old pods and so many new ones, with so many of each missing.
func rollingTo(w *world, old, fresh, oldMissing, freshMissing int32) {
	image(w, "web:2")
	w.apply(deployment.Plan(w.Input))
	*w.ReplicaSets[0].Spec.Replicas, *w.ReplicaSets[1].Spec.Replicas = old, fresh
	w.serve(oldMissing, freshMissing)
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		mutate func(*world)
		want   []string
	}{
		"nothing to do": {},
		"scaled up":     {func(w *world) { replicas(w, 6) }, []string{"scale ReplicaSet/shop/web-1 to 6: the Deployment was scaled"}},
		"scaled to zero": {
			func(w *world) { replicas(w, 0) }, []string{"scale ReplicaSet/shop/web-1 to 0: the Deployment was scaled"},
		},
		"a new image": {func(w *world) { image(w, "web:2") }, []string{
			"scale ReplicaSet/shop/web-1 to 3: newer pods are available", "create ReplicaSet/shop/web-new", "mark Deployment/shop/web: deployment.kubernetes.io/revision=2",
		}},
		"a new image, none may be missing": {func(w *world) { strategy(w, "1", "0"); image(w, "web:2") }, []string{
			"create ReplicaSet/shop/web-new", "mark Deployment/shop/web: deployment.kubernetes.io/revision=2",
		}},
		"a new image, no surge": {func(w *world) { strategy(w, "0", "2"); image(w, "web:2") }, []string{
			"scale ReplicaSet/shop/web-1 to 2: newer pods are available", "create ReplicaSet/shop/web-new", "mark Deployment/shop/web: deployment.kubernetes.io/revision=2",
		}},
		"a new image, percentages that come to nothing": {func(w *world) { strategy(w, "0%", "10%"); image(w, "web:2") }, []string{
			"scale ReplicaSet/shop/web-1 to 3: newer pods are available", "create ReplicaSet/shop/web-new", "mark Deployment/shop/web: deployment.kubernetes.io/revision=2",
		}},
		"a new image, all at once": {func(w *world) { recreate(w); image(w, "web:2") }, []string{"scale ReplicaSet/shop/web-1 to 0: pods are recreated"}},
		"recreate waits for the last old pod": {func(w *world) {
			recreate(w)
			image(w, "web:2")
			w.apply(deployment.Plan(w.Input))
			w.serve()
			two := int32(2)
			w.ReplicaSets[0].Status.TerminatingReplicas = &two
		}, nil},
		"recreate goes on when no old pod is left": {func(w *world) {
			recreate(w)
			image(w, "web:2")
			w.apply(deployment.Plan(w.Input))
			w.serve()
		}, []string{"create ReplicaSet/shop/web-new", "mark Deployment/shop/web: deployment.kubernetes.io/revision=2"}},
		"new pods are not yet available": {func(w *world) { rollingTo(w, 3, 2, 0, 2) }, nil},
		"one new pod is available": {func(w *world) { rollingTo(w, 3, 2, 0, 1) }, []string{
			"scale ReplicaSet/shop/web-1 to 2: newer pods are available",
		}},
		"old pods that serve nobody go first": {func(w *world) { rollingTo(w, 4, 1, 2, 1) }, []string{
			"scale ReplicaSet/shop/web-1 to 3: its unhealthy pods go first",
		}},
		"a status of before is not relied on": {func(w *world) {
			rollingTo(w, 3, 2, 0, 0)
			w.ReplicaSets[0].Generation++
		}, nil},
		"pods that are about to go still count": {func(w *world) {
			strategy(w, "1", "0")
			rollingTo(w, 3, 1, 0, 0)
			w.ReplicaSets[0].Status.Replicas = 4
		}, nil},
		"scaled in the middle of a rollout": {func(w *world) { rollingTo(w, 3, 2, 0, 2); replicas(w, 8) }, []string{
			"scale ReplicaSet/shop/web-1 to 6: the Deployment was scaled", "scale ReplicaSet/shop/web-2 to 4: the Deployment was scaled",
		}},
		"back to the former image, to be ready for longer than it was counted for": {func(w *world) {
			rollingTo(w, 1, 4, 0, 0)
			w.Deployment.Spec.MinReadySeconds = 5
			image(w, "web:1")
		}, []string{"scale ReplicaSet/shop/web-1 to 1", "mark Deployment/shop/web: deployment.kubernetes.io/revision=3"}},
		"back to the former image while its last pod is still counted": {func(w *world) {
			strategy(w, "50%", "25%")
			rollingTo(w, 0, 4, 0, 0)
			w.ReplicaSets[0].Status.Replicas, w.ReplicaSets[0].Status.ReadyReplicas, w.ReplicaSets[0].Status.AvailableReplicas = 1, 1, 1
			image(w, "web:1")
		}, []string{
			"scale ReplicaSet/shop/web-2 to 3: newer pods are available", "scale ReplicaSet/shop/web-1 to 1: the rollout goes on",
			"mark Deployment/shop/web: deployment.kubernetes.io/revision=3",
		}},
		"scaled down in the middle, sized for other surges: none grows": {
			func(w *world) {
				rollingTo(w, 3, 4, 0, 4)
				w.ReplicaSets[0].Annotations["deployment.kubernetes.io/max-replicas"] = "4"
				w.ReplicaSets[1].Annotations["deployment.kubernetes.io/max-replicas"] = "6"
				strategy(w, "2", "0")
				replicas(w, 3)
			}, []string{"scale ReplicaSet/shop/web-1 to 3", "scale ReplicaSet/shop/web-2 to 2: the Deployment was scaled"},
		},
		"scaled down in the middle, new pods serve nobody": {func(w *world) { strategy(w, "3", "0"); rollingTo(w, 3, 4, 0, 4); replicas(w, 3) }, []string{
			"scale ReplicaSet/shop/web-1 to 3", "scale ReplicaSet/shop/web-2 to 3: the Deployment was scaled",
		}},
		"back to the former image": {func(w *world) { rollingTo(w, 3, 2, 0, 2); image(w, "web:1") }, []string{
			"scale ReplicaSet/shop/web-2 to 0: its unhealthy pods go first", "scale ReplicaSet/shop/web-1 to 3", "mark Deployment/shop/web: deployment.kubernetes.io/revision=3",
		}},
		"paused: a new image waits": {func(w *world) { w.Deployment.Spec.Paused = true; image(w, "web:2") }, nil},
		"paused: a size is followed": {func(w *world) { w.Deployment.Spec.Paused = true; replicas(w, 1) }, []string{
			"scale ReplicaSet/shop/web-1 to 1: the Deployment was scaled",
		}},
		"the Deployment's own annotations are handed on": {func(w *world) { w.Deployment.Annotations["team"] = "b" }, []string{"scale ReplicaSet/shop/web-1 to 4"}},
		"berth's own are not":                            {func(w *world) { w.Deployment.Annotations["berth.dev/file"] = "x" }, nil},
		"minReadySeconds is handed on":                   {func(w *world) { w.Deployment.Spec.MinReadySeconds = 5 }, []string{"scale ReplicaSet/shop/web-1 to 4"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			if tt.mutate != nil {
				tt.mutate(w)
			}
			if diff := cmp.Diff(tt.want, told(w, deployment.Plan(w.Input))); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEverythingSettles(t *testing.T) {
	for name, change := range map[string]func(*world){
		"image":    func(w *world) { image(w, "web:2") },
		"recreate": func(w *world) { recreate(w); image(w, "web:2") },
		"scale":    func(w *world) { replicas(w, 9); image(w, "web:2") },
		"middle":   func(w *world) { rollingTo(w, 3, 2, 0, 2); recreate(w); replicas(w, 7) },
	} {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			change(w)
			w.settle(t)
			s := w.Deployment.Status
			if n := *w.Deployment.Spec.Replicas; s.UpdatedReplicas != n || s.AvailableReplicas != n || s.Replicas != n {
				t.Errorf("wanted %d, got %+v", n, s)
			}
		})
	}
}

func TestRevisions(t *testing.T) {
	w := settled(t)
	image(w, "web:2")
	w.settle(t)
	image(w, "web:1")
	w.settle(t)
	if len(w.ReplicaSets) != 2 {
		t.Fatalf("%d ReplicaSets, want the first one used again", len(w.ReplicaSets))
	}
	a := w.ReplicaSets[0].Annotations
	if a[deployment.AnnotationRevision] != "3" || a["deployment.kubernetes.io/revision-history"] != "1" || a["team"] != "a" {
		t.Errorf("annotations of the first: %v", a)
	}
	if got := w.Deployment.Annotations[deployment.AnnotationRevision]; got != "3" {
		t.Errorf("the Deployment is at revision %q, want 3", got)
	}
	rs := w.ReplicaSets[1]
	hash := rs.Labels["pod-template-hash"]
	if rs.Name != "web-"+hash || rs.Spec.Selector.MatchLabels["pod-template-hash"] != hash || rs.Spec.Template.Labels["pod-template-hash"] != hash {
		t.Errorf("ReplicaSet %s: labels %v, selector %v", rs.Name, rs.Labels, rs.Spec.Selector)
	}
	if strings.Trim(hash, "bcdfghjklmnpqrstvwxz2456789") != "" || len(hash) != 10 {
		t.Errorf("hash %q", hash)
	}
	if a["deployment.kubernetes.io/desired-replicas"] != "4" || a["deployment.kubernetes.io/max-replicas"] != "5" {
		t.Errorf("sizes in annotations: %v", a)
	}
}

func TestCollision(t *testing.T) {
	w := settled(t)
	image(w, "web:2")
	taken := deployment.Plan(w.Input).Actions
	for _, a := range taken {
		if c, ok := a.(reconcile.CreateObject); ok {
			w.ReplicaSets[0].Name = c.Object.GetName() // the name belongs to another template
		}
	}
	w.apply(deployment.Plan(w.Input))
	if len(w.ReplicaSets) != 2 || w.ReplicaSets[0].Name == w.ReplicaSets[1].Name {
		t.Fatalf("the collision was not resolved")
	}
	if c := w.Deployment.Status.CollisionCount; c == nil || *c != 1 {
		t.Errorf("collision count %v, want 1", c)
	}
}

func TestHistory(t *testing.T) {
	w := settled(t)
	limit := int32(1)
	w.Deployment.Spec.RevisionHistoryLimit = &limit
	for _, i := range []string{"web:2", "web:3"} {
		image(w, i)
		for range 20 {
			p := deployment.Plan(w.Input)
			for _, a := range p.Actions {
				if d, ok := a.(reconcile.DeleteObject); ok {
					if d.Key.Name != w.ReplicaSets[0].Name {
						t.Errorf("%s goes, it is not the oldest", d.Key)
					}
					return
				}
			}
			w.apply(p)
			w.serve()
		}
	}
	t.Error("no old revision was forgotten")
}

func condition(w *world, kind appsv1.DeploymentConditionType) string {
	for _, c := range w.Deployment.Status.Conditions {
		if c.Type == kind {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

func TestProgress(t *testing.T) {
	w := settled(t)
	w.Deployment.Annotations[request.AnnotationAuto] = "false"
	want := func(moment, progressing, available string) {
		t.Helper()
		got := condition(w, appsv1.DeploymentProgressing) + ", " + condition(w, appsv1.DeploymentAvailable)
		if got != progressing+", "+available {
			t.Errorf("%s: got %s, want %s, %s", moment, got, progressing, available)
		}
	}
	const good = "True MinimumReplicasAvailable"
	want("settled", "True NewReplicaSetAvailable", good)
	image(w, "web:2")
	w.apply(deployment.Plan(w.Input))
	want("begun", "True NewReplicaSetCreated", good)
	w.serve(0, 1)
	p := deployment.Plan(w.Input)
	w.apply(p)
	want("under way", "True ReplicaSetUpdated", good)
	w.serve(0, 2)
	w.apply(deployment.Plan(w.Input))
	p = deployment.Plan(w.Input)
	if p.RequeueAfter != 601*time.Second {
		t.Errorf("looks again after %s, want the deadline", p.RequeueAfter)
	}
	w.Now = now.Add(601 * time.Second)
	w.apply(deployment.Plan(w.Input))
	want("stuck", "False ProgressDeadlineExceeded", good)
	if p := deployment.Plan(w.Input); len(p.Actions) > 0 || p.RequeueAfter != 0 {
		t.Errorf("a stuck rollout plans %v and looks again after %s", told(w, p), p.RequeueAfter)
	}
	w.settle(t)
	w.serve()
	w.settle(t)
	want("recovered", "True NewReplicaSetAvailable", good)
	w.Deployment.Spec.Paused = true
	w.apply(deployment.Plan(w.Input))
	want("paused", "Unknown DeploymentPaused", good)
	w.Deployment.Spec.Paused = false
	w.apply(deployment.Plan(w.Input))
	want("resumed", "True NewReplicaSetAvailable", good)
	w.serve(4, 4)
	w.apply(deployment.Plan(w.Input))
	want("nothing serves", "True NewReplicaSetAvailable", "False MinimumReplicasUnavailable")
}

func TestInputIsNotChanged(t *testing.T) {
	w := settled(t)
	rollingTo(w, 3, 2, 0, 1)
	before := w.Deployment.DeepCopy()
	sets := []*appsv1.ReplicaSet{w.ReplicaSets[0].DeepCopy(), w.ReplicaSets[1].DeepCopy()}
	deployment.Plan(w.Input)
	if diff := cmp.Diff(before, w.Deployment) + cmp.Diff(sets, w.ReplicaSets); diff != "" {
		t.Errorf("the input was changed:\n%s", diff)
	}
}

// TestFreshPods holds that no old pod is ended because of a new one that has been ready for a moment only.
func TestFreshPods(t *testing.T) {
	w := settled(t)
	strategy(w, "1", "0")
	image(w, "web:2")
	w.apply(deployment.Plan(w.Input)) // the new revision, with one pod
	w.serve()
	old, fresh := w.ReplicaSets[0], w.ReplicaSets[1]
	w.Fresh = map[string]deployment.Fresh{old.Name: {Pods: 4, Wait: time.Second}, fresh.Name: {Pods: 1, Wait: 400 * time.Millisecond}}
	p := deployment.Plan(w.Input)
	w.apply(p)
	if n := *w.set(old.Name).Spec.Replicas; n != 4 || p.RequeueAfter != 400*time.Millisecond {
		t.Errorf("old pods %d, looks again after %s; want 4 and 400ms", n, p.RequeueAfter)
	}
	w.Fresh = nil
	w.apply(deployment.Plan(w.Input))
	if n := *w.set(old.Name).Spec.Replicas; n != 3 {
		t.Errorf("old pods %d when the new one has held, want 3", n)
	}
}

func TestFreshOf(t *testing.T) {
	pod := func(ready corev1.ConditionStatus, ago time.Duration) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(now.Add(-ago)),
		}}}}
	}
	ending := pod(corev1.ConditionTrue, 0)
	ending.DeletionTimestamp = &metav1.Time{Time: now}
	probed := pod(corev1.ConditionTrue, 0)
	probed.Spec.Containers = []corev1.Container{{ReadinessProbe: &corev1.Probe{}}}
	got := deployment.FreshOf([]*corev1.Pod{
		pod(corev1.ConditionTrue, time.Minute), pod(corev1.ConditionTrue, 600*time.Millisecond), pod(corev1.ConditionTrue, 100*time.Millisecond),
		pod(corev1.ConditionFalse, 0), pod(corev1.ConditionTrue, -time.Hour), ending, probed,
	}, now)
	if diff := cmp.Diff(deployment.Fresh{Pods: 2, Wait: 400 * time.Millisecond}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
