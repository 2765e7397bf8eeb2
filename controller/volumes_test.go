package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

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

func (w *world) pv(name string) *corev1.PersistentVolume {
	v, _ := store.Get[*corev1.PersistentVolume](w.c.store, volumeKey(name))
	return v
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

// Two claims that could take each other's volume get their own again, after `down`, a lost state, and when all files were away.
func TestDeclaredVolumesAreNotSwapped(t *testing.T) {
	for name, forget := range map[string]func(t *testing.T, w *world){
		"down": func(t *testing.T, w *world) {
			t.Helper()
			if err := w.c.Down(w.t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			w.end()
			w.fake = w.fake.Reopen()
			w.start()
		},
		"lost": func(t *testing.T, w *world) {
			t.Helper()
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
