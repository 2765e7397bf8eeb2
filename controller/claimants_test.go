package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/manifests"
	"berth/reconcile"
)

// claimant is a bare Pod that mounts claims.
func claimant(name string, claims ...string) manifests.Object {
	o := barePod(name, "app:1")
	p := o.Object.(*corev1.Pod)
	p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	for _, c := range claims {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: c, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c},
		}})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: c, MountPath: "/" + c})
	}
	return object(o.Key, p)
}

func ephemeralPod(name string) manifests.Object {
	o := barePod(name, "app:1")
	p := o.Object.(*corev1.Pod)
	p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	p.Spec.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: pvc("x", "any").Object.(*corev1.PersistentVolumeClaim).Spec},
	}}}}
	return object(o.Key, p)
}

func TestPodWaitsForItsClaim(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(claimant("db", "data"))
		s := w.settle()
		w.wantRunning(0)
		if len(s.Workloads) != 1 || !strings.Contains(s.Workloads[0].Problem, `persistentvolumeclaim "data" not found`) {
			t.Errorf("the status says %s", table(s))
		}
		w.write(claimant("db", "data"), pvc("data", "none-such", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}))
		s = w.settle()
		if !strings.Contains(s.Workloads[0].Problem, "pod has unbound immediate PersistentVolumeClaims") || !strings.Contains(s.Workloads[0].Problem, "Selector") {
			t.Errorf("the status says %s", table(s))
		}
		w.write(claimant("db", "data"), pvc("data", "none-such"))
		w.pass(time.Minute)
		if s := w.settle(); len(s.Faults) != 1 || s.Faults[0].Field != "spec.selector" {
			t.Errorf("a claim's selector was changed: %s", table(s))
		}
		w.write(claimant("db", "data"))
		w.pass(time.Minute)
		w.write(claimant("db", "data"), pvc("data", "none-such"))
		w.settle()
		w.wantRunning(1)
	})
}

func TestReadWriteOncePod(t *testing.T) {
	inWorld(t, func(w *world) {
		once := pvc("data", "", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
		})
		w.start()
		w.write(once, claimant("a", "data"), claimant("b", "data"), claimant("c", "data"))
		w.settle()
		w.wantRunning(1)
		w.restart()
		w.settle()
		w.wantRunning(1)
		first := w.running()[0]
		var rest []manifests.Object
		for _, name := range []string{"a", "b", "c"} {
			if name != first {
				rest = append(rest, claimant(name, "data"))
			}
		}
		w.write(append(rest, once)...)
		w.pass(time.Minute)
		w.settle()
		w.wantRunning(1)
		if w.running()[0] == first {
			t.Error("the first pod still runs")
		}
	})
}

// What was chosen once stays chosen, whoever comes into sight later; a pod that is stored, but not noted yet, is looked at too.
func TestTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		gated := func(name string) manifests.Object {
			o := claimant(name, "data")
			o.Object.(*corev1.Pod).Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "test.example/none-shall-begin"}}
			return o
		}
		w.write(gated("a"), gated("b"))
		w.settle()
		pods := w.c.podsWith(claimKey("shop", "data"))
		slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(string(a.UID), string(b.UID)) })
		want := func(asked, want *corev1.Pod) {
			t.Helper()
			got := w.c.turn(claimKey("shop", "data"), asked)
			if got == nil {
				t.Fatalf("asked by %s: it is nobody's turn", asked.Name)
			}
			if got.Name != want.Name {
				t.Errorf("asked by %s: it is the turn of %s, want %s", asked.Name, got.Name, want.Name)
			}
		}
		early, late := pods[0], pods[1] // by UID, and of the same age
		for _, p := range pods {
			w.c.mounts.set(reconcile.KeyOf(p), nil)
		}
		want(late, late)
		w.c.mounts.set(reconcile.KeyOf(early), []reconcile.Key{claimKey("shop", "data")})
		want(early, late)
		w.write(gated(early.Name))
		w.pass(time.Minute)
		want(early, early)
	})
}

// What is taken along by its owner loses its data, but not because everything is taken down.
func TestOwnedClaims(t *testing.T) {
	for name, down := range map[string]bool{"the owner goes": false, "down": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				owner := web("web", "web:1", 0)
				w.start()
				w.write(owner)
				w.settle()
				d, ok := w.c.store.Get(reconcile.Key{Kind: reconcile.KindDeployment, Namespace: "shop", Name: "web"})
				if !ok {
					t.Fatal("there is no owner")
				}
				c := pvc("data", "").Object.DeepCopyObject().(*corev1.PersistentVolumeClaim)
				c.OwnerReferences = []metav1.OwnerReference{{Kind: "Deployment", Name: "web", UID: d.Object.GetUID(), Controller: new(true)}}
				if _, err := w.c.createObject(reconcile.CreateObject{Object: c}); err != nil {
					t.Fatal(err)
				}
				w.pass(time.Minute)
				volume := w.wantBound("data")
				if down {
					if err := w.c.Down(w.t.Context(), nil); err != nil {
						t.Fatal(err)
					}
					w.wantStored(volume)
					return
				}
				w.write()
				w.pass(time.Minute)
				w.wantStored()
			})
		})
	}
}

func TestEphemeral(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(ephemeralPod("web"))
		w.settle()
		w.wantRunning(1)
		w.wantStored(w.wantBound("web-tmp"))
		w.restart()
		w.settle()
		name := w.wantBound("web-tmp")
		w.wantStored(name)
		w.write()
		w.pass(time.Minute)
		w.wantStored()
		if w.claim("web-tmp") != nil || w.pv(name) != nil {
			t.Error("claim or volume are left")
		}
		// Rebooting ends the pod, and the next one gets a new volume.
		w.write(ephemeralPod("web"))
		w.settle()
		old := w.wantBound("web-tmp")
		w.fake.Reboot()
		w.restart()
		w.settle()
		w.wantRunning(1)
		if now := w.wantBound("web-tmp"); now == old {
			t.Error("the data outlived the pod")
		}
		if err := w.c.Down(w.t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		w.wantStored()
	})
}
