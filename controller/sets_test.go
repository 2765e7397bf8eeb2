package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/config"
)

func labelled(name, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}}, Spec: podSpec(image)}
}

// database is a StatefulSet with the defaults that manifests fills in.
func database(name, image string, replicas int32, change ...func(*appsv1.StatefulSet)) manifests.Object {
	s := &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: name, RevisionHistoryLimit: new(int32(10)),
			Selector:            &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template:            labelled(name, image),
			PodManagementPolicy: appsv1.OrderedReadyPodManagement,
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{
				Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32)},
			},
		},
	}
	for _, c := range change {
		c(s)
	}
	return object(manifests.Key{Group: "apps", Kind: "StatefulSet", Namespace: "shop", Name: name}, s)
}

func agent(image string) manifests.Object {
	one, none := intstr.FromInt32(1), intstr.FromInt32(0)
	d := &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "agent"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}, Template: labelled("agent", image), RevisionHistoryLimit: new(int32(10)),
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &one, MaxSurge: &none},
			},
		},
	}
	return object(manifests.Key{Group: "apps", Kind: "DaemonSet", Namespace: "shop", Name: "agent"}, d)
}

func replicated(image string, replicas int32) manifests.Object {
	t := labelled("old", image)
	rc := &corev1.ReplicationController{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ReplicationController"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old"},
		Spec:       corev1.ReplicationControllerSpec{Replicas: &replicas, Selector: map[string]string{"app": "old"}, Template: &t},
	}
	return object(manifests.Key{Kind: "ReplicationController", Namespace: "shop", Name: "old"}, rc)
}

// images lists what runs, by name of the pods.
func (w *world) images() string {
	var list []string
	for _, p := range w.fake.Pods() {
		list = append(list, p.Name+"="+p.Containers[len(p.Containers)-1].Image)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (w *world) wantImages(want string) {
	w.t.Helper()
	if got := w.images(); got != want {
		w.t.Fatalf("there runs %s, want %s\n%s", got, want, table(w.c.Status()))
	}
}

func TestStatefulSet(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(database("db", "db:1", 3))
		if s := w.settle(); !s.Workloads[0].Done || s.Workloads[0].Ready != 3 || s.Pods[0].Owner != "StatefulSet/db" {
			t.Errorf("status: %s", table(s))
		}
		w.wantImages("db-0=db:1 db-1=db:1 db-2=db:1")
		partition := int32(1)
		below := func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = &partition }
		w.write(database("db", "db:2", 3, below))
		if s := w.settle(); !s.Workloads[0].Done || s.Workloads[0].Updated != 2 {
			t.Errorf("status: %s", table(s))
		}
		w.wantImages("db-0=db:1 db-1=db:2 db-2=db:2")

		w.restart() // and nothing of it is forgotten: number 0 is made again of what it was
		w.settle()
		w.fake.LoseSandbox(w.uidOf("db-0"))
		w.pass(time.Minute)
		w.settle()
		w.wantImages("db-0=db:1 db-1=db:2 db-2=db:2")

		w.write(database("db", "db:2", 1))
		w.settle()
		w.wantImages("db-0=db:2")
		w.write()
		w.pass(time.Minute)
		w.settle()
		w.wantImages("")
		if left := w.c.store.List(reconcile.KindControllerRevision); len(left) > 0 {
			t.Errorf("revisions are left: %v", left)
		}
	})
}

func (w *world) uidOf(name string) string {
	w.t.Helper()
	for _, p := range w.fake.Pods() {
		if p.Name == name {
			return p.UID
		}
	}
	w.t.Fatalf("there is no pod %s", name)
	return ""
}

func TestStatefulSetAfterAReboot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		partition := int32(1)
		below := func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = &partition }
		w.write(database("db", "db:1", 2, below))
		w.settle()
		w.write(database("db", "db:2", 2, below))
		w.settle()
		before := len(w.fake.Calls())
		w.fake.Reboot()
		w.restart()
		w.settle()
		w.wantImages("db-0=db:1 db-1=db:2")
		want := []string{"run sandbox shop/db-0", "start shop/db-0 main 0", "run sandbox shop/db-1", "start shop/db-1 main 0"}
		if diff := cmp.Diff(want, w.fake.Calls()[before:]); diff != "" {
			t.Errorf("the machine was told (-want +got):\n%s", diff)
		}
	})
}

func TestASetOfTheSameNameWaitsForTheNames(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(barePod("db-1", "web:1"))
		w.settle()
		w.write(barePod("db-1", "web:1"), database("db", "db:1", 2))
		w.pass(time.Minute)
		w.wantImages("db-0=db:1 db-1=web:1")
		w.write(database("db", "db:1", 2))
		w.pass(time.Minute)
		w.settle()
		w.wantImages("db-0=db:1 db-1=db:1")
	})
}

func TestImmutableFieldsOfSets(t *testing.T) {
	fields := map[string]func(*appsv1.StatefulSet){
		"spec.serviceName":          func(s *appsv1.StatefulSet) { s.Spec.ServiceName = "other" },
		"spec.podManagementPolicy":  func(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement },
		"spec.volumeClaimTemplates": func(s *appsv1.StatefulSet) { s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{}} },
		"spec.selector":             func(s *appsv1.StatefulSet) { s.Spec.Selector = nil },
		"": func(s *appsv1.StatefulSet) {
			s.Spec.MinReadySeconds, s.Spec.Ordinals, s.Spec.RevisionHistoryLimit = 1, &appsv1.StatefulSetOrdinals{Start: 1}, nil
		},
	}
	for want, change := range fields {
		old, n := database("db", "db:1", 1).Object.(store.Object), database("db", "db:2", 2, change).Object.(store.Object)
		if got := immutable(old, n); got != want {
			t.Errorf("%q is said not to change, want %q", got, want)
		}
	}
}

func TestABrokenPodOfAnOldRevisionIsExplained(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.fake.OnPull("db:bad", pullFault{Err: fmt.Errorf("no such image")})
		w.write(database("db", "db:bad", 1))
		w.pass(time.Minute)
		w.write(database("db", "db:1", 1))
		w.pass(time.Minute)
		if s := w.settle(); !strings.Contains(s.Workloads[0].Problem, "old revision") {
			t.Errorf("status: %s", table(s))
		}
		w.write()
		w.pass(time.Minute)
		w.write(database("db", "db:1", 1))
		w.settle()
		w.wantImages("db-0=db:1")
	})
}

func TestDaemonSet(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(agent("agent:1"))
		s := w.settle()
		w.wantRunning(1)
		if row := s.Workloads[0]; !row.Done || row.Desired != 1 || row.Ready != 1 || s.Pods[0].Owner != "DaemonSet/agent" {
			t.Errorf("status: %s", table(s))
		}
		w.write(agent("agent:2"))
		w.settle()
		w.wantRunning(1)
		if got := w.fake.Pods()[0].Containers[0].Image; got != "agent:2" {
			t.Errorf("there runs %s", got)
		}
		w.restart()
		before := w.images()
		w.settle()
		w.wantImages(before)
	})
}

func TestReplicationController(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(replicated("old:1", 2))
		s := w.settle()
		w.wantRunning(2)
		if row := s.Workloads[0]; !row.Done || row.Ready != 2 || s.Pods[0].Owner != "ReplicationController/old" {
			t.Errorf("status: %s", table(s))
		}
		w.write(replicated("old:1", 1))
		w.settle()
		w.wantRunning(1)
		w.write()
		w.pass(time.Minute)
		w.settle()
		w.wantRunning(0)
	})
}

// withData gives a StatefulSet a claim for each pod.
func withData(s *appsv1.StatefulSet) {
	mode := corev1.PersistentVolumeFilesystem
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: &mode,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}}
	s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
}

func TestClaimsOfAStatefulSetStay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(database("db", "db:1", 2, withData))
		w.settle()
		w.wantImages("db-0=db:1 db-1=db:1")
		zero, one := w.wantBound("data-db-0"), w.wantBound("data-db-1")
		for _, n := range []int32{0, 2} {
			w.write(database("db", "db:1", n, withData))
			w.settle()
			w.wantRunning(int(n))
		}
		w.restart()
		w.write(database("db", "db:2", 2, withData))
		w.settle()
		w.wantImages("db-0=db:2 db-1=db:2")
		w.write()
		w.pass(time.Minute)
		w.wantRunning(0)
		w.write(database("db", "db:2", 2, withData))
		w.settle()
		w.wantRunning(2)
		if a, b := w.wantBound("data-db-0"), w.wantBound("data-db-1"); a != zero || b != one {
			t.Errorf("the claims hold %s and %s, were %s and %s", a, b, zero, one)
		}
	})
}

func TestClaimsOfAStatefulSetGo(t *testing.T) {
	const retain, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	going := func(scaled, deleted appsv1.PersistentVolumeClaimRetentionPolicyType) func(*appsv1.StatefulSet) {
		return func(s *appsv1.StatefulSet) {
			withData(s)
			s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: scaled, WhenDeleted: deleted}
		}
	}
	inWorld(t, func(w *world) {
		w.start()
		w.write(database("db", "db:1", 2, going(remove, retain)))
		w.settle()
		first := w.claim("data-db-1").UID
		w.write(database("db", "db:1", 1, going(remove, retain)))
		w.settle()
		w.pass(time.Minute)
		if w.claim("data-db-0") == nil || w.claim("data-db-1") != nil {
			t.Errorf("scaled down there are %v and %v, want the first only", w.claim("data-db-0"), w.claim("data-db-1"))
		}
		w.write(database("db", "db:1", 2, going(retain, remove)))
		w.settle()
		w.wantRunning(2)
		if again := w.claim("data-db-1"); again == nil || again.UID == first {
			t.Errorf("the second claim is %v", again)
		}
		w.write()
		w.pass(time.Minute)
		w.wantRunning(0)
		if w.claim("data-db-0") != nil || w.claim("data-db-1") != nil {
			t.Errorf("deleted there are %v and %v", w.claim("data-db-0"), w.claim("data-db-1"))
		}
	})
}

// What the pods of a set use is part of its revisions: a ConfigMap that changes rolls it out.
func TestConfigurationRollsSetsOut(t *testing.T) {
	using := func(t *corev1.PodTemplateSpec) {
		t.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "conf"},
		}}}
	}
	db := database("db", "db:1", 2, func(s *appsv1.StatefulSet) { using(&s.Spec.Template) })
	still := database("still", "db:1", 1, func(s *appsv1.StatefulSet) {
		using(&s.Spec.Template)
		s.Annotations = map[string]string{config.AnnotationRollout: "false"}
	})
	daemon := agent("agent:1")
	using(&daemon.Object.(*appsv1.DaemonSet).Spec.Template)
	inWorld(t, func(w *world) {
		w.start()
		w.write(db, daemon, still, configMap("conf", "key", "1"))
		w.settle()
		w.wantRunning(4)
		old := w.pids()
		for range 2 { // what is recorded is known after a restart, too
			w.restart()
			w.settle()
			w.wantPids(old, "without a change")
		}
		w.write(db, daemon, still, configMap("conf", "key", "2"))
		w.settle()
		w.wantRunning(4)
		for name, pid := range w.pids() {
			if same := old[name] == pid; same != (name == "still-0") {
				t.Errorf("%s is process %d, was %d", name, pid, old[name])
			}
		}
	})
}
