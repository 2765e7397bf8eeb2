package statefulset_test

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
	"berth/reconcile/statefulset"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// world is a set with what was made for it.
type world struct {
	in statefulset.Input
}

// settled is a set of three with three ready pods, each with a claim.
func settled(t *testing.T) *world {
	t.Helper()
	three, limit := int32(3), int32(10)
	w := &world{in: statefulset.Input{Now: now, StatefulSet: &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "shop", UID: "set", Generation: 1},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &three, ServiceName: "dbs", RevisionHistoryLimit: &limit,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "main", Image: "db:1"}},
					Volumes:    []corev1.Volume{{Name: "data"}, {Name: "tmp"}},
				},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
			PodManagementPolicy:  appsv1.OrderedReadyPodManagement,
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{
				Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32)},
			},
		},
	}}}
	w.settle(t)
	return w
}

// step carries out one plan and tells it, without events and statuses. A pod that was ended is gone at once.
func (w *world) step() []string {
	var told []string
	for _, a := range statefulset.Plan(w.in).Actions {
		switch a := a.(type) {
		case reconcile.RecordEvent:
			continue
		case reconcile.UpdateStatus:
			w.in.StatefulSet = a.Object.(*appsv1.StatefulSet)
			continue
		case reconcile.CreatePod:
			a.Pod.UID = types.UID(a.Pod.Name + "-uid")
			w.in.Pods = append(w.in.Pods, a.Pod)
		case reconcile.DeletePod:
			w.drop(a.Key.Name)
		case reconcile.CreateObject:
			switch o := a.Object.(type) {
			case *appsv1.ControllerRevision:
				w.in.Revisions = append(w.in.Revisions, o)
				continue
			case *corev1.PersistentVolumeClaim:
				w.in.Claims = append(w.in.Claims, o)
			}
		case reconcile.UpdateObject:
			if c, ok := a.Object.(*corev1.PersistentVolumeClaim); ok {
				for i := range w.in.Claims {
					if w.in.Claims[i].Name == c.Name {
						w.in.Claims[i] = c
					}
				}
			}
		}
		told = append(told, a.String())
	}
	return told
}

func (w *world) drop(name string) {
	for i, p := range w.in.Pods {
		if p.Name == name {
			w.in.Pods = append(w.in.Pods[:i:i], w.in.Pods[i+1:]...)
			return
		}
	}
}

func (w *world) pod(name string) *corev1.Pod {
	for _, p := range w.in.Pods {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (w *world) ready(name string) {
	w.pod(name).Status = corev1.PodStatus{
		Phase:      corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: ago(time.Minute)}},
	}
}

// settle lets every pod become ready at once, until nothing is planned any more, and tells everything that was.
func (w *world) settle(t *testing.T) []string {
	t.Helper()
	var all []string
	for range 50 {
		told := w.step()
		for _, p := range w.in.Pods {
			w.ready(p.Name)
		}
		if all = append(all, told...); len(told) == 0 {
			if p := statefulset.Plan(w.in); len(p.Actions) > 0 {
				t.Fatalf("settled, and still planned: %v", p.Actions)
			}
			return all
		}
	}
	t.Fatalf("it does not settle: %q", all)
	return nil
}

func (w *world) want(t *testing.T, want ...string) {
	t.Helper()
	got := w.step()
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], ":")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("planned (-want +got):\n%s", diff)
	}
}

func (w *world) spec() *appsv1.StatefulSetSpec {
	w.in.StatefulSet = w.in.StatefulSet.DeepCopy()
	w.in.StatefulSet.Generation++
	return &w.in.StatefulSet.Spec
}

func (w *world) newImage()    { w.spec().Template.Spec.Containers[0].Image = "db:2" }
func (w *world) size(n int32) { w.spec().Replicas = &n }

func TestPodsComeUpInOrder(t *testing.T) {
	w := settled(t)
	w.in.Pods, w.in.Claims = nil, nil
	for _, n := range []string{"0", "1", "2"} {
		w.want(t, "create PersistentVolumeClaim/shop/data-db-"+n, "create Pod/shop/db-"+n)
		w.want(t) // waits
		w.ready("db-" + n)
	}
	w.want(t)
}

func TestParallelPodsDoNotWait(t *testing.T) {
	w := settled(t)
	w.in.Pods = nil
	w.spec().PodManagementPolicy = appsv1.ParallelPodManagement
	w.want(t, "create Pod/shop/db-0", "create Pod/shop/db-1", "create Pod/shop/db-2")
	w.size(1)
	w.want(t, "delete Pod/shop/db-2", "delete Pod/shop/db-1")
}

func TestAPodIsSomebody(t *testing.T) {
	w := settled(t)
	p := w.pod("db-1")
	labels := map[string]string{
		"app": "db", "statefulset.kubernetes.io/pod-name": "db-1", "apps.kubernetes.io/pod-index": "1", "controller-revision-hash": w.in.Revisions[0].Name,
	}
	if diff := cmp.Diff(labels, p.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	volumes := []corev1.Volume{
		{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-db-1"}}},
		{Name: "tmp"},
	}
	if diff := cmp.Diff(volumes, p.Spec.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if p.Spec.Hostname != "db-1" || p.Spec.Subdomain != "dbs" {
		t.Errorf("hostname %q, subdomain %q", p.Spec.Hostname, p.Spec.Subdomain)
	}
	if c := w.in.Claims[1]; c.Name != "data-db-1" || c.Labels["app"] != "db" || len(c.OwnerReferences) > 0 {
		t.Errorf("claim %+v", c.ObjectMeta)
	}
}

func TestScaleDownInOrder(t *testing.T) {
	w := settled(t)
	w.size(0)
	for _, n := range []string{"2", "1", "0"} {
		w.want(t, "delete Pod/shop/db-"+n)
	}
	w.want(t)
	if len(w.in.Claims) != 3 {
		t.Errorf("%d claims are left, want all", len(w.in.Claims))
	}
	if status := w.in.StatefulSet.Status; status.Replicas != 0 || status.ObservedGeneration != 2 {
		t.Errorf("status %+v", status)
	}
}

func TestScaleDownWaits(t *testing.T) {
	tests := map[string]func(w *world){
		"for the one before to be gone": func(w *world) { end := ago(0); w.pod("db-2").DeletionTimestamp = &end },
		"for those that stay to serve":  func(w *world) { w.pod("db-0").Status.Conditions = nil },
		"for its turn when one below is broken, too": func(w *world) {
			w.pod("db-2").Status.Conditions, w.pod("db-1").Status.Conditions = nil, nil
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			w.size(1)
			change(w)
			w.want(t)
		})
	}
}

func TestAnEndedPodIsReplaced(t *testing.T) {
	for _, phase := range []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded} {
		w := settled(t)
		w.pod("db-1").Status = corev1.PodStatus{Phase: phase}
		w.want(t, "delete Pod/shop/db-1")
		w.want(t, "create Pod/shop/db-1")
	}
}

func TestOrdinalsStart(t *testing.T) {
	w := settled(t)
	w.spec().Ordinals = &appsv1.StatefulSetOrdinals{Start: 2}
	want := []string{
		"create PersistentVolumeClaim/shop/data-db-3", "create Pod/shop/db-3", "create PersistentVolumeClaim/shop/data-db-4", "create Pod/shop/db-4",
		"delete Pod/shop/db-1", "delete Pod/shop/db-0",
	}
	got := w.settle(t)
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], ":")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
}

func TestRollingUpdate(t *testing.T) {
	w := settled(t)
	w.newImage()
	for _, n := range []string{"2", "1", "0"} {
		w.want(t, "delete Pod/shop/db-"+n)
		w.want(t, "create Pod/shop/db-"+n)
		if got := w.pod("db-" + n).Spec.Containers[0].Image; got != "db:2" {
			t.Errorf("db-%s runs %s", n, got)
		}
		if status := w.in.StatefulSet.Status; n == "2" && (status.CurrentRevision == status.UpdateRevision || status.UpdatedReplicas != 0 || status.CurrentReplicas != 2) {
			t.Errorf("status in the middle: %+v", status)
		}
		w.want(t)
		w.ready("db-" + n)
	}
	w.settle(t)
	want := appsv1.StatefulSetStatus{
		ObservedGeneration: 2, Replicas: 3, ReadyReplicas: 3, CurrentReplicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3, CollisionCount: new(int32),
		CurrentRevision: w.in.Revisions[1].Name, UpdateRevision: w.in.Revisions[1].Name,
	}
	if diff := cmp.Diff(want, w.in.StatefulSet.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestPartition(t *testing.T) {
	w := settled(t)
	w.newImage()
	*w.spec().UpdateStrategy.RollingUpdate.Partition = 2
	w.settle(t)
	images := func() (all string) {
		for _, name := range []string{"db-0", "db-1", "db-2"} {
			all += w.pod(name).Spec.Containers[0].Image + " "
		}
		return all
	}
	if got := images(); got != "db:1 db:1 db:2 " {
		t.Errorf("images %s", got)
	}
	w.drop("db-0")
	w.settle(t)
	if got := images(); got != "db:1 db:1 db:2 " {
		t.Errorf("images after db-0 was made again: %s", got)
	}
	if s := w.in.StatefulSet.Status; s.UpdatedReplicas != 1 || s.CurrentReplicas != 2 || s.CurrentRevision == s.UpdateRevision {
		t.Errorf("status %+v", s)
	}
}

// A pod that is made in the pass that completes a rollout is of the revision that the status names from then on.
func TestAPodBelowThePartitionIsOfWhatIsComplete(t *testing.T) {
	w := settled(t)
	*w.spec().UpdateStrategy.RollingUpdate.Partition = 1
	w.newImage()
	w.settle(t)
	w.spec().Ordinals = &appsv1.StatefulSetOrdinals{Start: 1}
	w.step()
	w.ready("db-3")
	if told := w.step(); len(told) != 1 || w.pod("db-0") != nil {
		t.Fatalf("%v", told)
	}
	w.spec().Ordinals = nil // three serve, of which one is too many, and the first is to be made
	w.step()
	if got := w.pod("db-0").Spec.Containers[0].Image; got != "db:2" || w.in.StatefulSet.Status.CurrentRevision != w.in.StatefulSet.Status.UpdateRevision {
		t.Errorf("db-0 is made of %s, the status is %+v", got, w.in.StatefulSet.Status)
	}
}

func TestMaxUnavailable(t *testing.T) {
	w := settled(t)
	two := intstr.FromInt32(2)
	w.newImage()
	w.spec().UpdateStrategy.RollingUpdate.MaxUnavailable = &two
	w.want(t, "delete Pod/shop/db-2", "delete Pod/shop/db-1")
	w.want(t, "create Pod/shop/db-1")
}

// What a broken revision has made takes no room from the revision that mends it, above the partition.
func TestMaxUnavailableIsMended(t *testing.T) {
	w := settled(t)
	two := intstr.FromInt32(2)
	w.spec().PodManagementPolicy = appsv1.ParallelPodManagement
	w.spec().UpdateStrategy.RollingUpdate.MaxUnavailable = &two
	w.newImage()
	w.want(t, "delete Pod/shop/db-2", "delete Pod/shop/db-1")
	w.want(t, "create Pod/shop/db-1", "create Pod/shop/db-2")
	w.want(t) // neither gets ready, and db-0 serves
	w.spec().Template.Spec.Containers[0].Image = "db:3"
	*w.spec().UpdateStrategy.RollingUpdate.Partition = 2
	w.want(t, "delete Pod/shop/db-2")
	*w.spec().UpdateStrategy.RollingUpdate.Partition = 0
	w.want(t, "create Pod/shop/db-2")
	w.want(t) // whether the new one holds is not known yet
	w.ready("db-2")
	w.want(t, "delete Pod/shop/db-1", "delete Pod/shop/db-0") // one was out, and may be with another
	w.settle(t)
	for _, name := range []string{"db-0", "db-1", "db-2"} {
		if got := w.pod(name).Spec.Containers[0].Image; got != "db:3" {
			t.Errorf("%s has %s", name, got)
		}
	}
}

// A pod that is ready, and not yet for long enough, serves: it is out by the book and is not ended for it.
func TestMaxUnavailableLeavesWhoIsNewlyReady(t *testing.T) {
	w := settled(t)
	one := intstr.FromInt32(1)
	w.spec().PodManagementPolicy = appsv1.ParallelPodManagement
	w.spec().UpdateStrategy.RollingUpdate.MaxUnavailable = &one
	w.spec().MinReadySeconds = 90
	w.newImage()
	w.want(t)
}

func TestAnOldPodThatHasFinishedIsEndedOnce(t *testing.T) {
	w := settled(t)
	w.spec().PodManagementPolicy = appsv1.ParallelPodManagement
	w.newImage()
	w.pod("db-2").Status.Phase = corev1.PodFailed
	w.want(t, "delete Pod/shop/db-2")
}

func TestOnDelete(t *testing.T) {
	w := settled(t)
	w.newImage()
	w.spec().UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	w.want(t)
	w.drop("db-1")
	w.settle(t)
	if got := w.pod("db-1").Spec.Containers[0].Image; got != "db:2" {
		t.Errorf("the pod that was deleted came back with %s", got)
	}
}

func TestMinReadySecondsIsWaitedFor(t *testing.T) {
	w := settled(t)
	w.size(4)
	w.spec().MinReadySeconds = 90
	w.want(t)
	if after := statefulset.Plan(w.in).RequeueAfter; after != 30*time.Second {
		t.Errorf("looks again after %s, want 30 s", after)
	}
	w.in.Now = now.Add(31 * time.Second)
	w.want(t, "create PersistentVolumeClaim/shop/data-db-3", "create Pod/shop/db-3")
}

func TestClaimsBelongToWhoTakesThemAlong(t *testing.T) {
	const retain, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	tests := map[string]struct {
		scaled, deleted appsv1.PersistentVolumeClaimRetentionPolicyType
		wished, other   string // the owner of a claim of a wished pod, and of one that is too much
	}{
		"kept":                   {retain, retain, "", ""},
		"gone with the set":      {retain, remove, "set", "set"},
		"gone with the pod":      {remove, retain, "", "db-2-uid"},
		"gone with one or other": {remove, remove, "set", "db-2-uid"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			w.spec().PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: tt.scaled, WhenDeleted: tt.deleted}
			w.settle(t)
			owner := func(i int) string {
				if r := metav1.GetControllerOf(w.in.Claims[i]); r != nil {
					return string(r.UID)
				}
				return ""
			}
			if got := owner(0); got != tt.wished {
				t.Errorf("a claim belongs to %q, want %q", got, tt.wished)
			}
			w.size(2)
			w.step()
			if got := owner(2); got != tt.other {
				t.Errorf("a claim that is too much belongs to %q, want %q", got, tt.other)
			}
		})
	}
}

func TestClaimsOnTheirWayOutAreWaitedFor(t *testing.T) {
	end := ago(0)
	tests := map[string]func(c *corev1.PersistentVolumeClaim){
		"ending": func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &end },
		"the old pod's": func(c *corev1.PersistentVolumeClaim) {
			c.OwnerReferences = []metav1.OwnerReference{{Kind: "Pod", Name: "db-1", UID: "old"}}
		},
		"an older set's": func(c *corev1.PersistentVolumeClaim) {
			c.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", UID: "old"}}
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			change(w.in.Claims[1])
			w.drop("db-1")
			w.want(t)
		})
	}
}

func TestStatedClaimsAreLeftAlone(t *testing.T) {
	w := settled(t)
	w.in.Stated = map[string]bool{"data-db-1": true}
	w.spec().PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
	w.settle(t)
	if len(w.in.Claims[1].OwnerReferences) > 0 || len(w.in.Claims[0].OwnerReferences) == 0 {
		t.Error("the claim of a file got an owner, or another one got none")
	}
}

func TestClaimNames(t *testing.T) {
	w := settled(t)
	w.size(1)
	w.spec().Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
	if diff := cmp.Diff([]string{"data-db-0", "data-db-1", "data-db-2", "data-db-5"}, statefulset.ClaimNames(w.in.StatefulSet, w.in.Pods)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// A program that crashes at its start is ready for a moment, where nobody probes it: it must not take the place of the next pod, too.
func TestANewPodHasToHold(t *testing.T) {
	w := settled(t)
	w.newImage()
	w.want(t, "delete Pod/shop/db-2")
	w.want(t, "create Pod/shop/db-2")
	w.ready("db-2")
	w.pod("db-2").Status.Conditions[0].LastTransitionTime = ago(300 * time.Millisecond)
	w.want(t)
	if after := statefulset.Plan(w.in).RequeueAfter; after != 700*time.Millisecond {
		t.Errorf("looks again after %s, want 700 ms", after)
	}
	w.in.Now = now.Add(700 * time.Millisecond)
	w.want(t, "delete Pod/shop/db-1")
}
