package controller

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/runtime"
)

func pvc(name, class string, change ...func(*corev1.PersistentVolumeClaim)) manifests.Object {
	mode := corev1.PersistentVolumeFilesystem
	c := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: &mode,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if class != "" {
		c.Spec.StorageClassName = &class
	}
	for _, f := range change {
		f(c)
	}
	return object(manifests.Key{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: name}, c)
}

func hostVolume(name, class, size string, change ...func(*corev1.PersistentVolume)) manifests.Object {
	v := &corev1.PersistentVolume{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"}, ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: class,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv/" + name}},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		},
	}
	for _, f := range change {
		f(v)
	}
	return object(manifests.Key{Kind: "PersistentVolume", Name: name}, v)
}

func storageClass(name string, policy corev1.PersistentVolumeReclaimPolicy) manifests.Object {
	return object(manifests.Key{Group: "storage.k8s.io", Kind: "StorageClass", Name: name}, &storagev1.StorageClass{
		TypeMeta:   metav1.TypeMeta{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"},
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "any.example", ReclaimPolicy: &policy,
	})
}

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

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	c, _ := store.Get[*corev1.PersistentVolumeClaim](w.c.store, claimKey("shop", name))
	return c
}

func (w *world) pv(name string) *corev1.PersistentVolume {
	v, _ := store.Get[*corev1.PersistentVolume](w.c.store, volumeKey(name))
	return v
}

// wantBound wants a claim and its volume to hold each other, and returns the volume's name.
func (w *world) wantBound(name string) string {
	w.t.Helper()
	c := w.claim(name)
	if c == nil || c.Status.Phase != corev1.ClaimBound {
		w.t.Fatalf("claim %s is %+v", name, c)
	}
	v := w.pv(c.Spec.VolumeName)
	if v == nil || v.Status.Phase != corev1.VolumeBound || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != c.UID {
		w.t.Fatalf("claim %s names %s, which is %+v", name, c.Spec.VolumeName, v)
	}
	return v.Name
}

// stored are the IDs of the volumes on the machine.
func (w *world) stored() []string {
	w.t.Helper()
	list, err := w.fake.ListVolumes(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, v := range list {
		if !v.NoData {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

func (w *world) wantStored(want ...string) {
	w.t.Helper()
	if got := w.stored(); !slices.Equal(got, want) {
		w.t.Fatalf("the machine keeps %v, want %v", got, want)
	}
}

func TestClaimIsProvisioned(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(claimant("db", "data"), pvc("data", "fast"))
		w.settle()
		w.wantRunning(1)
		name := w.wantBound("data")
		w.wantStored(name)
		if v := w.pv(name); v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain || v.Spec.StorageClassName != "fast" {
			t.Errorf("the volume is %+v", v.Spec)
		}
		version := w.c.store.Version()
		w.c.enqueueAll()
		w.pass(time.Hour)
		if v := w.c.store.Version(); v != version {
			t.Errorf("%d changes without a reason", v-version)
		}
		w.restart()
		w.settle()
		if now := w.wantBound("data"); now != name {
			t.Errorf("after a restart it is %s, was %s", now, name)
		}
	})
}

// A claim that vanishes from the files keeps its data, and finds it when it is back: for a moment, for long, and beside its pods or after them.
func TestClaimComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(claimant("db", "data"), pvc("data", ""))
		w.settle()
		name := w.wantBound("data")

		w.write(claimant("db", "data")) // in use: it waits for its pod
		w.pass(time.Minute)
		if c := w.claim("data"); c == nil || c.DeletionTimestamp == nil {
			t.Fatalf("a claim in use is %+v", c)
		}
		w.wantRunning(1)
		w.write(claimant("db", "data"), pvc("data", ""))
		w.settle()
		if c := w.claim("data"); c.DeletionTimestamp != nil || w.wantBound("data") != name {
			t.Errorf("the claim that came back in time is %+v", c)
		}

		w.write()
		w.pass(time.Minute)
		w.wantRunning(0)
		if c := w.claim("data"); c != nil {
			t.Fatalf("without pods the claim is still there: %+v", c)
		}
		if v := w.pv(name); v == nil || v.Status.Phase != corev1.VolumeReleased {
			t.Fatalf("the volume is %+v", v)
		}
		w.wantStored(name)
		w.write(claimant("other", "elsewhere"), pvc("elsewhere", "")) // not for others
		w.settle()
		if w.wantBound("elsewhere") == name {
			t.Error("another claim got the data")
		}
		w.write(claimant("db", "data"), pvc("data", "", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("5Gi")
		}))
		w.pass(time.Minute)
		w.settle()
		if now := w.wantBound("data"); now != name {
			t.Errorf("the claim that came back holds %s, want %s", now, name)
		}
		if size := w.claim("data").Status.Capacity[corev1.ResourceStorage]; size.String() != "5Gi" {
			t.Errorf("its size is %s", size.String())
		}
		w.wantRunning(1)
	})
}

func TestClassDeletes(t *testing.T) {
	inWorld(t, func(w *world) {
		class := storageClass("scratch", corev1.PersistentVolumeReclaimDelete)
		w.start()
		w.write(class, claimant("db", "data"), pvc("data", "scratch"))
		w.settle()
		name := w.wantBound("data")
		w.write(class, claimant("db", "data"))
		w.pass(time.Hour)
		w.wantStored(name) // in use
		w.write(class)
		w.pass(time.Minute)
		w.wantStored()
		if w.pv(name) != nil || w.claim("data") != nil {
			t.Error("something is left of it")
		}
	})
}

// What was not seen to go is never deleted, whatever is lost: the journal, or only the claim's record.
func TestLostStateKeepsData(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, dir string){
		"the whole state": func(t *testing.T, dir string) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(dir, "objects")); err != nil {
				t.Fatal(err)
			}
		},
		"the claim":  func(t *testing.T, dir string) { t.Helper(); dropLines(t, dir, `"kind":"PersistentVolumeClaim"`) },
		"the volume": func(t *testing.T, dir string) { t.Helper(); dropLines(t, dir, `"kind":"PersistentVolume"`) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				files := []manifests.Object{storageClass("scratch", corev1.PersistentVolumeReclaimDelete), claimant("db", "data"), pvc("data", "scratch")}
				w.start()
				w.write(files...)
				w.settle()
				volume := w.wantBound("data")
				w.fake = w.fake.Reopen()
				w.end()
				lose(t, w.dir)
				w.source.now = manifests.Snapshot{Source: "test", Incomplete: []string{"/"}} // nothing can be read for a while
				w.start()
				w.pass(time.Hour)
				w.wantStored(volume)
				w.write(files...)
				w.pass(time.Minute)
				w.settle()
				if now := w.wantBound("data"); now != volume {
					t.Errorf("the claim holds %s, want %s", now, volume)
				}
				w.wantRunning(1)
			})
		})
	}
}

// dropLines takes the records that contain a text out of the journal.
func dropLines(t *testing.T, dir, text string) {
	t.Helper()
	found := false
	names, err := filepath.Glob(filepath.Join(dir, "objects", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		var keep []string
		for line := range strings.Lines(string(data)) {
			var r struct{ Key struct{ Kind string } }
			if len(line) > 9 && json.Unmarshal([]byte(line[9:]), &r) == nil && `"kind":"`+r.Key.Kind+`"` == text {
				found = true
				continue
			}
			keep = append(keep, line)
		}
		if err := os.WriteFile(name, []byte(strings.Join(keep, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatalf("no record has %s", text)
	}
}

func TestDownKeepsData(t *testing.T) {
	inWorld(t, func(w *world) {
		files := []manifests.Object{storageClass("scratch", corev1.PersistentVolumeReclaimDelete), claimant("db", "data"), pvc("data", "scratch")}
		w.start()
		w.write(files...)
		w.settle()
		volume := w.wantBound("data")
		if err := w.c.Down(w.t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		w.end()
		w.wantStored(volume)
		w.fake = w.fake.Reopen()
		w.start()
		w.settle()
		if now := w.wantBound("data"); now != volume {
			t.Errorf("after down and up the claim holds %s, want %s", now, volume)
		}
	})
}

// Two claims that could take each other's volume get their own again, after `down`, a lost state, and when all files were away.
func TestDeclaredVolumesAreNotSwapped(t *testing.T) {
	for name, forget := range map[string]func(t *testing.T, w *world){
		"down": func(t *testing.T, w *world) {
			if err := w.c.Down(w.t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			w.end()
			w.fake = w.fake.Reopen()
			w.start()
		},
		"lost": func(t *testing.T, w *world) {
			w.fake = w.fake.Reopen()
			w.end()
			if err := os.RemoveAll(filepath.Join(w.dir, "objects")); err != nil {
				t.Fatal(err)
			}
			w.start()
		},
		"away": func(_ *testing.T, w *world) {
			files := w.source.now
			w.write()
			w.pass(time.Minute)
			w.snapshot(files)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.start()
				w.write(pvc("b", "manual"), hostVolume("one", "manual", "1Gi"), hostVolume("two", "manual", "1Gi"))
				w.settle()
				w.write(pvc("a", "manual"), pvc("b", "manual"), hostVolume("one", "manual", "1Gi"), hostVolume("two", "manual", "1Gi"))
				w.settle()
				a, b := w.wantBound("a"), w.wantBound("b")
				if a != "two" || b != "one" {
					t.Fatalf("a holds %s and b holds %s", a, b)
				}
				forget(t, w)
				w.settle()
				if a, b := w.wantBound("a"), w.wantBound("b"); a != "two" || b != "one" {
					t.Errorf("a holds %s now and b holds %s", a, b)
				}
			})
		})
	}
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

// What is bound is no difference to what the files say.
func TestDryRunOfClaims(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(pvc("data", ""), pvc("other", "manual"), hostVolume("one", "manual", "2Gi"))
		w.settle()
		w.wantBound("data")
		w.wantBound("other")
		labelled := func(o manifests.Object) manifests.Object {
			obj := o.Object.DeepCopyObject().(store.Object)
			obj.SetLabels(map[string]string{"a": "b"})
			o.Object, o.Hash = obj, o.Hash+"x"
			return o
		}
		var got []string
		for _, c := range w.c.DryRun(manifests.Snapshot{Objects: []manifests.Object{
			labelled(pvc("data", "")), labelled(pvc("other", "manual")), labelled(hostVolume("one", "manual", "2Gi")),
		}}) {
			for _, f := range c.Fields {
				got = append(got, c.Verb+" "+f.Path)
			}
		}
		if want := []string{"update metadata.labels", "update metadata.labels", "update metadata.labels"}; !slices.Equal(got, want) {
			t.Errorf("it would %v", got)
		}
	})
}

func TestDeclaredVolumes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		large := hostVolume("large", "manual", "10Gi")
		// The claim's file comes before its volume's, in the same snapshot: it must not get an empty one.
		w.write(pvc("a", "manual"), pvc("b", "manual"), large, hostVolume("small", "manual", "2Gi"), hostVolume("tiny", "manual", "1Mi"))
		w.settle()
		names := []string{w.wantBound("a"), w.wantBound("b")}
		slices.Sort(names)
		if !slices.Equal(names, []string{"large", "small"}) {
			t.Errorf("the claims hold %v", names)
		}
		w.write(pvc("a", "manual"), pvc("b", "manual"), pvc("c", "manual"), large, hostVolume("small", "manual", "2Gi"), hostVolume("tiny", "manual", "1Mi"))
		w.settle()
		if c := w.claim("c"); c.Spec.VolumeName != "" || c.Status.Phase != corev1.ClaimPending {
			t.Errorf("a third claim is %+v", c)
		}
		w.wantStored()
		// A volume that is in use goes after its claim.
		w.write(pvc("a", "manual"), pvc("b", "manual"), hostVolume("tiny", "manual", "1Mi"))
		w.pass(time.Minute)
		for _, name := range []string{"large", "small"} {
			if v := w.pv(name); v == nil || v.DeletionTimestamp == nil || v.Status.Phase != corev1.VolumeBound {
				t.Errorf("a volume in use is %+v", v)
			}
		}
		w.write(hostVolume("tiny", "manual", "1Mi"))
		w.pass(time.Minute)
		if w.pv("large") != nil || w.pv("small") != nil || w.pv("tiny") == nil {
			t.Error("the volumes did not follow their claims")
		}
	})
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

func ephemeralPod(name string) manifests.Object {
	o := barePod(name, "app:1")
	p := o.Object.(*corev1.Pod)
	p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	p.Spec.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: pvc("x", "any").Object.(*corev1.PersistentVolumeClaim).Spec},
	}}}}
	return object(o.Key, p)
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

func TestProvisioningFails(t *testing.T) {
	inWorld(t, func(w *world) {
		full := true
		w.fake.OnVolume(func(string) error {
			if full {
				return runtime.ErrDiskFull
			}
			return nil
		})
		w.start()
		w.write(claimant("db", "data"), pvc("data", ""))
		w.pass(time.Minute)
		w.wantRunning(0)
		if !slices.ContainsFunc(w.c.Status().Events, func(e Event) bool {
			return e.Reason == "ProvisioningFailed" && strings.Contains(e.Message, runtime.ErrDiskFull.Error())
		}) {
			t.Errorf("events: %+v", w.c.Status().Events)
		}
		full = false
		w.pass(10 * time.Minute)
		w.settle()
		w.wantRunning(1)
	})
}

// Two claims that want the same volume at the same time: one gets it.
func TestBindingIsDecidedTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		none := func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("") }
		w.write(pvc("a", "", none), pvc("b", "", none), hostVolume("one", "none", "10Gi"))
		w.settle()
		for _, name := range []string{"a", "b"} {
			c := w.claim(name)
			c = c.DeepCopy()
			again, err := w.c.bindClaim(w.t.Context(), reconcile.BindClaim{Claim: claimKey("shop", name), UID: c.UID, Volume: "one"})
			if err != nil || again != (name == "b") {
				t.Errorf("binding %s: again %v, %v", name, again, err)
			}
		}
		if ref := w.pv("one").Spec.ClaimRef; ref.Name != "a" {
			t.Errorf("the volume is held by %s", ref.Name)
		}
	})
}

// A claim does not take anything before it is known what there is.
func TestClaimWaitsForTheWholeSnapshot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		s := manifests.Snapshot{Source: "test", Objects: []manifests.Object{pvc("data", "")}}
		for i := range 300 {
			s.Objects = append(s.Objects, storageClass(fmt.Sprintf("class-%d", i), corev1.PersistentVolumeReclaimRetain))
		}
		s.Objects = append(s.Objects, hostVolume("meant", "", "1Gi"))
		w.source.snapshots <- s
		w.settle()
		if name := w.wantBound("data"); name != "meant" {
			t.Errorf("the claim holds %s", name)
		}
	})
}
