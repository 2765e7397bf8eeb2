package controller

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/claim"
)

// storm is files that change at random, and what must be true of storage whatever happens.
type storm struct {
	*world
	seed  uint64
	rand  *rand.Rand
	files map[string]manifests.Object
	gone  map[string]time.Time // since when a claim is not in the files
	// data is, by claim and class, the volume made for it; deletable are those whose claim may have been seen to go since.
	data      map[string]string
	deletable map[string]bool
	log       []string
}

// TestClaimsAtRandom lets claims, volumes and pods come and go, controllers be killed in the middle of a deed, and states be lost. A
// claim is never bound twice, a volume never holds two claims, and no data is lost that nobody asked to delete.
func TestClaimsAtRandom(t *testing.T) {
	seeds := uint64(30)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		inWorld(t, func(w *world) {
			s := &storm{
				world: w, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), files: map[string]manifests.Object{}, gone: map[string]time.Time{},
				deletable: map[string]bool{}, data: map[string]string{},
			}
			w.opts = func(o *Options) { o.AllowPrune = true }
			s.files["class"] = storageClass("scratch", corev1.PersistentVolumeReclaimDelete)
			w.start()
			for range 40 {
				s.step()
				s.check()
				if t.Failed() {
					t.Fatalf("seed %d after %s", seed, strings.Join(s.log, "; "))
				}
			}
			s.calm()
		})
	}
}

func (s *storm) step() {
	name := fmt.Sprint(s.rand.IntN(4))
	switch s.rand.IntN(12) {
	case 0, 1, 2:
		class := []string{"", "manual", "fast", "scratch"}[s.rand.IntN(4)]
		s.put("claim-"+name, func() manifests.Object { return pvc("claim-"+name, class) })
	case 3, 4:
		s.drop("claim-" + name)
	case 5:
		s.put("volume-"+name, s.volume("volume-"+name))
	case 6:
		s.drop("volume-" + name)
	case 7, 8:
		s.put("pod-"+name, func() manifests.Object { return claimant("pod-"+name, fmt.Sprintf("claim-%d", s.rand.IntN(4))) })
	case 9:
		s.drop("pod-" + name)
	case 10:
		s.note("kill")
		s.fake.KillAfter(s.rand.IntN(4), s.rand.IntN(2) == 0, nil)
		s.pass(time.Duration(s.rand.IntN(3000)) * time.Millisecond)
		s.fake = s.fake.Reopen()
		s.end()
		if s.rand.IntN(4) == 0 {
			s.lose()
		}
		s.start()
	case 11:
		s.note("wait")
		s.pass(time.Minute)
	}
	s.write(slices.Collect(maps.Values(s.files))...)
	s.pass(time.Duration(s.rand.IntN(5000)) * time.Millisecond)
}

func (s *storm) volume(name string) func() manifests.Object {
	return func() manifests.Object {
		class := []string{"", "manual"}[s.rand.IntN(2)]
		return hostVolume(name, class, []string{"1Mi", "2Gi", "5Gi"}[s.rand.IntN(3)], func(v *corev1.PersistentVolume) {
			if s.rand.IntN(3) == 0 {
				v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: fmt.Sprintf("claim-%d", s.rand.IntN(4))}
			}
		})
	}
}

func (s *storm) note(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

func (s *storm) put(name string, object func() manifests.Object) {
	if _, ok := s.files[name]; ok {
		return
	}
	s.files[name] = object()
	s.note("put %s", name)
	delete(s.gone, name)
}

func (s *storm) drop(name string) {
	if _, ok := s.files[name]; !ok {
		return
	}
	delete(s.files, name)
	s.note("drop %s", name)
	s.gone[name] = time.Now()
	for key := range s.data {
		if strings.HasPrefix(key, name+" ") {
			s.deletable[key] = true // it may be seen to go from now on
		}
	}
}

// lose removes the journal. What is in the files stays; what is not is forgotten, its data kept.
func (s *storm) lose() {
	s.note("lose the state")
	if err := os.RemoveAll(filepath.Join(s.dir, "objects")); err != nil {
		s.t.Fatal(err)
	}
}

func (s *storm) check() {
	holders := map[string]string{}
	for _, c := range all[*corev1.PersistentVolumeClaim](s.c.store, reconcile.KindPersistentVolumeClaim) {
		v := s.pv(c.Spec.VolumeName)
		if v == nil || !claim.Holds(v, c) {
			if c.Status.Phase == corev1.ClaimBound && v == nil && !strings.HasPrefix(c.Spec.VolumeName, "volume-") {
				s.t.Errorf("claim %s is bound to %q, which is not there", c.Name, c.Spec.VolumeName)
			}
			continue
		}
		if other := holders[v.Name]; other != "" {
			s.t.Errorf("volume %s is held by %s and %s", v.Name, other, c.Name)
		}
		holders[v.Name] = c.Name
		if !claim.Made(v) {
			continue
		}
		key := c.Name + " " + v.Spec.StorageClassName
		if had := s.data[key]; had != "" && had != v.Name && !s.deletable[key] {
			s.t.Errorf("claim %s had %s and has %s", c.Name, had, v.Name)
		} else if had != "" && had != v.Name && v.Spec.StorageClassName != "scratch" {
			s.t.Errorf("claim %s came back and got %s, not its own %s", c.Name, v.Name, had)
		}
		if s.data[key] != v.Name {
			s.data[key] = v.Name
			s.deletable[key] = s.files[c.Name].Object == nil
		}
	}
	stored := s.stored()
	for key, id := range s.data {
		name, class, _ := strings.Cut(key, " ")
		if !slices.Contains(stored, id) && (class != "scratch" || !s.deletable[key]) {
			s.t.Errorf("the data of claim %s, class %q, is gone: %s", name, class, id)
		}
	}
}

// calm wants that all comes to rest: nothing waits that could go on, and nothing is done without a reason.
func (s *storm) calm() {
	s.pass(time.Hour)
	s.check()
	for _, c := range all[*corev1.PersistentVolumeClaim](s.c.store, reconcile.KindPersistentVolumeClaim) {
		if _, ok := s.files[c.Name]; !ok && len(claim.Users(s.c.podsWith(reconcile.KeyOf(c)))) == 0 {
			s.t.Errorf("seed %d: claim %s is still there, and nobody wants it", s.seed, c.Name)
		}
		if c.Status.Phase == "" {
			s.t.Errorf("seed %d: nothing was decided about claim %s", s.seed, c.Name)
		}
	}
	version := s.c.store.Version()
	s.c.enqueueAll()
	s.pass(time.Hour)
	if v := s.c.store.Version(); v != version {
		s.t.Errorf("seed %d: %d changes without a reason", s.seed, v-version)
	}
}
