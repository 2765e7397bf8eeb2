package daemonset_test

import (
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
	"berth/reconcile/config"
	"berth/reconcile/daemonset"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is a set with what was made for it. Pods are called a, b, c, as they come; one that was told to end is there until it is dropped.
type world struct {
	in    daemonset.Input
	names map[string]string
}

func settled(t *testing.T) *world {
	t.Helper()
	limit, one, none := int32(1), intstr.FromInt32(1), intstr.FromInt32(0)
	w := &world{names: map[string]string{}, in: daemonset.Input{Node: "here", Now: now, DaemonSet: &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: "shop", UID: "set", Generation: 1},
		Spec: appsv1.DaemonSetSpec{
			RevisionHistoryLimit: &limit,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "agent"}},
				Spec:       corev1.PodSpec{NodeSelector: map[string]string{"disk": "ssd"}, Containers: []corev1.Container{{Name: "main", Image: "agent:1"}}},
			},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &one, MaxSurge: &none},
			},
		},
	}}}
	w.want(t, "create a")
	w.ready("a")
	w.want(t)
	return w
}

func (w *world) want(t *testing.T, want ...string) {
	t.Helper()
	w.in.Nonce++
	var got []string
	for _, a := range daemonset.Plan(w.in).Actions {
		switch a := a.(type) {
		case reconcile.UpdateStatus:
			w.in.DaemonSet = a.Object.(*appsv1.DaemonSet)
		case reconcile.CreateObject:
			w.in.Revisions = append(w.in.Revisions, a.Object.(*appsv1.ControllerRevision))
		case reconcile.DeleteObject:
			got = append(got, "forget a revision")
		case reconcile.CreatePod:
			p := a.Pod
			short := string(rune('a' + len(w.names)))
			w.names[p.Name] = short
			p.UID, p.CreationTimestamp = types.UID(short), metav1.NewTime(now.Add(time.Duration(len(w.names))*time.Second))
			w.in.Pods = append(w.in.Pods, p)
			got = append(got, "create "+short)
		case reconcile.DeletePod:
			end := metav1.NewTime(now)
			w.pod(string(a.UID)).DeletionTimestamp = &end
			got = append(got, "delete "+w.names[a.Key.Name])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("planned (-want +got):\n%s", diff)
	}
}

func (w *world) pod(short string) *corev1.Pod {
	for _, p := range w.in.Pods {
		if string(p.UID) == short {
			return p
		}
	}
	return nil
}

func (w *world) drop(short string) {
	for i, p := range w.in.Pods {
		if string(p.UID) == short {
			w.in.Pods = append(w.in.Pods[:i:i], w.in.Pods[i+1:]...)
			return
		}
	}
}

func (w *world) ready(short string) {
	w.pod(short).Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))},
	}}
}

func (w *world) spec() *appsv1.DaemonSetSpec {
	w.in.DaemonSet = w.in.DaemonSet.DeepCopy()
	w.in.DaemonSet.Generation++
	return &w.in.DaemonSet.Spec
}

func (w *world) surge(n string) {
	surge, none := intstr.Parse(n), intstr.FromInt32(0)
	w.spec().UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxSurge: &surge, MaxUnavailable: &none}
}

func (w *world) image(image string) { w.spec().Template.Spec.Containers[0].Image = image }

func TestOnePodOnThisMachine(t *testing.T) {
	w := settled(t)
	p := w.pod("a")
	owner := metav1.GetControllerOf(p)
	if owner == nil || owner.Kind != "DaemonSet" || owner.UID != "set" || !strings.HasPrefix(p.Name, "agent-") || p.Labels["app"] != "agent" {
		t.Errorf("the pod is %+v", p.ObjectMeta)
	}
	if got := "agent-" + p.Labels["controller-revision-hash"]; got != w.in.Revisions[0].Name {
		t.Errorf("the pod is of revision %s, want %s", got, w.in.Revisions[0].Name)
	}
	want := appsv1.DaemonSetStatus{
		CurrentNumberScheduled: 1, DesiredNumberScheduled: 1, NumberReady: 1, NumberAvailable: 1, UpdatedNumberScheduled: 1, ObservedGeneration: 1,
	}
	if diff := cmp.Diff(want, w.in.DaemonSet.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestTheOldPodGoesFirst(t *testing.T) {
	w := settled(t)
	w.image("agent:2")
	w.want(t, "delete a")
	w.want(t)
	w.drop("a")
	w.want(t, "create b")
	if got := w.pod("b").Spec.Containers[0].Image; got != "agent:2" {
		t.Errorf("the new pod runs %s", got)
	}
}

func TestSurge(t *testing.T) {
	for _, n := range []string{"1", "10%"} {
		w := settled(t)
		w.surge(n)
		w.image("agent:2")
		w.spec().MinReadySeconds = 90
		w.want(t, "create b")
		w.want(t)
		w.ready("b")
		w.want(t) // not for long enough
		w.in.Now = now.Add(31 * time.Second)
		w.want(t, "delete a")
		w.want(t)
	}
}

func TestSurgeGivenUp(t *testing.T) {
	tests := map[string]struct {
		change func(w *world)
		want   []string
	}{
		"the old one broke":           {func(w *world) { w.pod("a").Status.Conditions = nil }, []string{"delete a"}},
		"the template is the old one": {func(w *world) { w.image("agent:1") }, []string{"delete b"}},
		"the template is a third one": {func(w *world) { w.image("agent:3") }, []string{"delete b", "create c"}},
		"the strategy is another one": {func(w *world) { w.spec().UpdateStrategy.RollingUpdate = nil }, nil},
		"the new one serves":          {func(w *world) { w.ready("b") }, []string{"delete a"}},
		"the old one was told to go":  {func(w *world) { end := metav1.NewTime(now); w.pod("a").DeletionTimestamp = &end }, nil},
		"both were told to go": {func(w *world) {
			end := metav1.NewTime(now)
			w.pod("a").DeletionTimestamp, w.pod("b").DeletionTimestamp = &end, &end
		}, []string{"create c"}},
		"somebody else deletes the new": {func(w *world) { w.drop("b") }, []string{"create c"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			w.surge("1")
			w.image("agent:2")
			w.want(t, "create b")
			tt.change(w)
			w.want(t, tt.want...)
		})
	}
}

func TestOnDelete(t *testing.T) {
	w := settled(t)
	w.spec().UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	w.image("agent:2")
	w.want(t)
	w.drop("a")
	w.want(t, "create b")
}

func TestAnEndedPodIsReplaced(t *testing.T) {
	w := settled(t)
	w.pod("a").Status = corev1.PodStatus{Phase: corev1.PodFailed}
	w.want(t, "delete a")
	w.want(t, "create b") // what has ended and is ending is in nobody's way
}

func TestTooManyPods(t *testing.T) {
	w := settled(t)
	extra := w.pod("a").DeepCopy()
	extra.Name, extra.UID, extra.CreationTimestamp = "agent-x", "x", metav1.NewTime(now.Add(time.Hour))
	w.names["agent-x"] = "x"
	w.in.Pods = append(w.in.Pods, extra)
	w.want(t, "delete x")
}

func TestConfigurationRollsOut(t *testing.T) {
	w := settled(t)
	file := config.Object{Kind: "ConfigMap", Name: "c"}
	w.in.Config = config.Fingerprint{file: "1"}
	w.want(t)
	w.in.Config = config.Fingerprint{file: "2"}
	for i, r := range w.in.Revisions {
		w.in.Revisions[i] = r.DeepCopy()
		w.in.Revisions[i].Annotations = map[string]string{config.AnnotationRecord: config.Fingerprint{file: "1"}.String()}
	}
	w.want(t, "delete a")
}

func TestHistoryIsTrimmed(t *testing.T) {
	w := settled(t)
	for _, image := range []string{"agent:2", "agent:3"} {
		w.image(image)
		w.want(t, "delete "+w.names[w.in.Pods[0].Name])
		w.drop(w.names[w.in.Pods[0].Name])
		if image == "agent:3" {
			w.want(t, "create c", "forget a revision")
			continue
		}
		w.want(t, "create b")
	}
}

// A program that crashes at its start is ready for a moment, where nobody probes it: that must not cost the old pod.
func TestANewPodHasToHold(t *testing.T) {
	w := settled(t)
	w.surge("1")
	w.image("agent:2")
	w.want(t, "create b")
	w.ready("b")
	w.pod("b").Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-300 * time.Millisecond))
	w.want(t)
	if after := daemonset.Plan(w.in).RequeueAfter; after != 700*time.Millisecond {
		t.Errorf("looks again after %s, want 700 ms", after)
	}
	w.in.Now = now.Add(700 * time.Millisecond)
	w.want(t, "delete a")
}
