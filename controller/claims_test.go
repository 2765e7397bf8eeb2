package controller

import (
	"encoding/json"
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

func storageClass(name string, policy corev1.PersistentVolumeReclaimPolicy) manifests.Object {
	return object(manifests.Key{Group: "storage.k8s.io", Kind: "StorageClass", Name: name}, &storagev1.StorageClass{
		TypeMeta:   metav1.TypeMeta{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"},
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "any.example", ReclaimPolicy: &policy,
	})
}

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	c, _ := store.Get[*corev1.PersistentVolumeClaim](w.c.store, claimKey("shop", name))
	return c
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
