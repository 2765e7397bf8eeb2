package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/request"
)

func deployment(name string, replicas int32) (reconcile.Key, *appsv1.Deployment) {
	return reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: name}, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas},
	}
}

func replicaSet(owner *appsv1.Deployment) (reconcile.Key, *appsv1.ReplicaSet) {
	const name = "web-1"
	return reconcile.Key{Kind: "ReplicaSet", Namespace: "shop", Name: name}, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
	}
}

func source(file string) *Source {
	return &Source{Origin: manifests.Origin{File: file, Line: 1}, Hash: "h1"}
}

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Guard: true, Warn: func(w string) { t.Log(w) }})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func mustCreate(t *testing.T, s *Store, key reconcile.Key, obj Object, src *Source) {
	t.Helper()
	if err := s.Create(key, obj, src); err != nil {
		t.Fatalf("Create: %v", err)
	}
}

func setStatus(t *testing.T, s *Store, key reconcile.Key, ready int32) {
	t.Helper()
	err := s.Update(key, func(it Item) (Item, error) {
		d := *it.Object.(*appsv1.Deployment)
		d.Status.ReadyReplicas = ready
		it.Object = &d
		return it, nil
	})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
}

// What is asked for beside the file counts as a change of the wish, as it does in Kubernetes.
func TestGenerationCountsRequests(t *testing.T) {
	s := mustOpen(t, "")
	key, d := deployment("web", 3)
	mustCreate(t, s, key, d, source("web.yaml"))
	for _, tt := range []struct {
		annotation string
		want       int64
	}{{"team", 1}, {request.AnnotationRestartedAt, 2}, {request.AnnotationRestartedAt, 2}} {
		err := s.Update(key, func(it Item) (Item, error) {
			n := it.Object.(*appsv1.Deployment).DeepCopy()
			n.Annotations = request.With(n.Annotations, tt.annotation, "x")
			it.Object = n
			return it, nil
		})
		if got, _ := Get[*appsv1.Deployment](s, key); err != nil || got.Generation != tt.want {
			t.Errorf("after a change of %s: %v, generation %d, want %d", tt.annotation, err, got.Generation, tt.want)
		}
	}
}

func TestCreateUpdateDelete(t *testing.T) {
	s := mustOpen(t, "")
	var changes []string
	s.Watch(func(c Change) { changes = append(changes, c.Key.String()+"<"+c.Owner.Name) })
	key, d := deployment("web", 1)
	mustCreate(t, s, key, d, source("web.yaml"))
	if d.UID == "" || d.Generation != 1 || d.CreationTimestamp.IsZero() || d.ResourceVersion != "2" {
		t.Errorf("created object has metadata %+v", d.ObjectMeta)
	}
	if err := s.Create(key, d.DeepCopy(), nil); !errors.Is(err, ErrExists) {
		t.Errorf("second Create = %v, want ErrExists", err)
	}
	setStatus(t, s, key, 1)
	if got, _ := Get[*appsv1.Deployment](s, key); got.Generation != 1 || got.ResourceVersion != "3" || d.Status.ReadyReplicas != 0 {
		t.Errorf("after a change of status generation is %d, version %s", got.Generation, got.ResourceVersion)
	}
	err := s.Update(key, func(it Item) (Item, error) {
		n := it.Object.(*appsv1.Deployment).DeepCopy()
		*n.Spec.Replicas = 5
		n.UID = "forged"
		it.Object = n
		return it, nil
	})
	if got, _ := Get[*appsv1.Deployment](s, key); err != nil || got.Generation != 2 || got.UID != d.UID {
		t.Errorf("after a change of spec: %v, generation %d, UID %s", err, got.Generation, got.UID)
	}
	rsKey, rs := replicaSet(d)
	mustCreate(t, s, rsKey, rs, nil)
	if owned := s.OwnedBy(d.UID); len(owned) != 1 || owned[0].Key != rsKey {
		t.Errorf("OwnedBy = %v", owned)
	}
	if k, ok := s.ByUID(rs.UID); !ok || k != rsKey {
		t.Errorf("ByUID = %v, %t", k, ok)
	}
	s.Delete(rsKey, "another")
	s.Delete(rsKey, rs.UID)
	s.Delete(rsKey, "")
	if len(s.OwnedBy(d.UID)) != 0 || s.Len("ReplicaSet") != 0 {
		t.Error("a deleted object is still there")
	}
	want := []string{"Deployment/shop/web<", "Deployment/shop/web<", "Deployment/shop/web<", "ReplicaSet/shop/web-1<web", "ReplicaSet/shop/web-1<web"}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestUpdateOfNothingIsNoChange(t *testing.T) {
	s := mustOpen(t, "")
	key, d := deployment("web", 1)
	mustCreate(t, s, key, d, nil)
	before := s.Version()
	if err := s.Update(key, func(it Item) (Item, error) { return it, nil }); err != nil || s.Version() != before {
		t.Errorf("Update = %v, version %d, want %d", err, s.Version(), before)
	}
}

func TestGuardFindsChangesInPlace(t *testing.T) {
	s := mustOpen(t, "")
	key, d := deployment("web", 1)
	mustCreate(t, s, key, d, nil)
	d.Labels = map[string]string{"a": "b"}
	defer func() {
		if recover() == nil {
			t.Error("nobody noticed")
		}
	}()
	s.Get(key)
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	key, d := deployment("web", 3)
	mustCreate(t, s, key, d, source("web.yaml"))
	rsKey, rs := replicaSet(d)
	mustCreate(t, s, rsKey, rs, nil)
	podKey := reconcile.Key{Kind: "Pod", Namespace: "shop", Name: "p"}
	mustCreate(t, s, podKey, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", OwnerReferences: controlledBy(rs)}}, nil)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	s.SetEnding("pod-1", Ending{At: at, Grace: 30})
	s.SetEnding("pod-2", Ending{At: at, Grace: 30})
	setStatus(t, s, key, 3)
	version := s.Version()

	// not closed: what a killed controller leaves is complete
	r := mustOpen(t, dir)
	got, ok := r.Get(key)
	if !ok || got.Object.GetUID() != d.UID || got.Source.Origin.File != "web.yaml" || got.Object.GetGeneration() != 1 {
		t.Fatalf("the Deployment came back as %+v", got)
	}
	if n := got.Object.(*appsv1.Deployment); *n.Spec.Replicas != 3 || n.Status.ReadyReplicas != 0 {
		t.Errorf("the Deployment came back with %d replicas, %d ready: a status is not believed", *n.Spec.Replicas, n.Status.ReadyReplicas)
	}
	if owned := r.OwnedBy(d.UID); len(owned) != 1 || owned[0].Object.GetUID() != rs.UID {
		t.Errorf("the ReplicaSet came back as %+v", owned)
	}
	if _, ok := r.Get(podKey); ok {
		t.Error("a Pod came back")
	}
	if e, ok := r.EndingOf("pod-1"); !ok || !e.At.Equal(at) || e.Grace != 30 {
		t.Errorf("the order to end came back as %+v, %t", e, ok)
	}
	if r.Version() < version {
		t.Errorf("version %d after %d: versions go back", r.Version(), version)
	}
	r.KeepPods(map[types.UID]bool{"pod-1": true})
	r.Delete(rsKey, "")
	r = mustOpen(t, dir)
	if _, ok := r.EndingOf("pod-2"); ok || r.Len("ReplicaSet") != 0 {
		t.Error("what was deleted came back")
	}
}

func controlledBy(owner metav1.Object) []metav1.OwnerReference {
	return []metav1.OwnerReference{*metav1.NewControllerRef(owner, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
}

// A Pod without an owner comes back from the journal, where nobody would make it again; without a status, unless it has ended.
func TestOrphansAreDurable(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	rsKey, rs := replicaSet(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web"}})
	mustCreate(t, s, rsKey, rs, nil)
	change := func(name string, f func(*corev1.Pod)) {
		t.Helper()
		err := s.Update(reconcile.Key{Kind: "Pod", Namespace: "shop", Name: name}, func(it Item) (Item, error) {
			p := it.Object.DeepCopyObject().(*corev1.Pod)
			f(p)
			it.Object = p
			return it, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kept", "owned", "left", "adopted", "deleted", "ended", "debugged"} {
		mustCreate(t, s, reconcile.Key{Kind: "Pod", Namespace: "shop", Name: name}, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, OwnerReferences: controlledBy(rs),
		}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}, nil)
		if name != "owned" {
			change(name, func(p *corev1.Pod) { p.OwnerReferences = nil })
		}
	}
	mustCreate(t, s, reconcile.Key{Kind: "Pod", Namespace: "shop", Name: "stated"}, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "stated", Annotations: map[string]string{reconcile.AnnotationWish: "1"},
	}}, nil)
	change("adopted", func(p *corev1.Pod) { p.OwnerReferences = controlledBy(rs) })
	change("ended", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	change("debugged", func(p *corev1.Pod) { p.Spec.EphemeralContainers = make([]corev1.EphemeralContainer, 1) })
	s.Delete(reconcile.Key{Kind: "Pod", Namespace: "shop", Name: "deleted"}, "")

	r := mustOpen(t, dir)
	var got []string
	for _, it := range r.List("Pod") {
		p := it.Object.(*corev1.Pod)
		got = append(got, fmt.Sprintf("%s %s %d", p.Name, p.Status.Phase, len(p.Spec.EphemeralContainers)))
	}
	if diff := cmp.Diff([]string{"debugged  1", "ended Succeeded 0", "kept  0", "left  0"}, got); diff != "" {
		t.Errorf("other Pods came back (-want +got):\n%s", diff)
	}
	n := 0
	r.EachOwned("", func(Item) { n++ })
	if n != 4 || len(r.OwnedBy("")) != 4 {
		t.Errorf("%d and %d orphans are known, want 4", n, len(r.OwnedBy("")))
	}
}

func TestStatusIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	key, d := deployment("web", 1)
	mustCreate(t, s, key, d, source("a.yaml"))
	before := size(t, dir)
	for i := range 100 {
		setStatus(t, s, key, int32(i))
		mustCreate(t, s, reconcile.Key{Kind: "Pod", Name: fmt.Sprint(i)}, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), OwnerReferences: controlledBy(d)},
		}, nil)
	}
	if after := size(t, dir); after != before {
		t.Errorf("200 changes of status and pods wrote %d bytes", after-before)
	}
}

func size(t *testing.T, dir string) int64 {
	t.Helper()
	var sum int64
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	return sum
}

// small makes a state of two generations and returns its files.
func small(t *testing.T, dir string) (newest string) {
	t.Helper()
	s := mustOpen(t, dir)
	for _, name := range []string{"a", "b", "c"} {
		key, d := deployment(name, 1)
		d.UID = types.UID("uid-" + name)
		mustCreate(t, s, key, d, source(name+".yaml"))
		if name == "b" {
			if err := s.journal.rewrite(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := generations(dir)
	if err != nil || len(found) != 2 {
		t.Fatalf("generations %v, %v; want two", found, err)
	}
	return generationPath(dir, found[1])
}

func TestEveryFlippedByteAndEveryCutIsSurvived(t *testing.T) {
	master := t.TempDir()
	newest := small(t, master)
	good, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	older, err := os.ReadFile(generationPath(master, 1))
	if err != nil {
		t.Fatal(err)
	}
	memory := "/dev/shm" // ten thousand starts: a disk would sync each of them
	if _, err := os.Stat(memory); err != nil {
		memory = t.TempDir()
	}
	try := func(what string, data []byte) {
		dir, err := os.MkdirTemp(memory, "berth-store-*") //nolint:usetesting // one of ten thousand, in memory, gone at once
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		for path, content := range map[string][]byte{generationPath(dir, 1): older, generationPath(dir, 2): data} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatalf("%s: Open: %v", what, err)
		}
		defer s.Close()
		for _, name := range []string{"a", "b"} { // both are in the older generation, too
			it, ok := s.Get(reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: name})
			if !ok || it.Object.GetUID() != types.UID("uid-"+name) || it.Source == nil || it.Source.Origin.File != name+".yaml" {
				t.Errorf("%s: %s came back as %+v", what, name, it)
			}
		}
		for _, it := range s.List("") {
			if !strings.HasPrefix(string(it.Object.GetUID()), "uid-") {
				t.Errorf("%s: a wrong object came back: %+v", what, it)
			}
		}
		again, err := Open(Options{Dir: dir, ReadOnly: true, Warn: func(w string) { t.Errorf("%s: damaged again: %s", what, w) }})
		if err != nil || again.Len("Deployment") != s.Len("Deployment") {
			t.Errorf("%s: second start: %v, %d of %d Deployments", what, err, again.Len("Deployment"), s.Len("Deployment"))
		}
	}
	for i := range good {
		flipped := append([]byte{}, good...)
		flipped[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("byte %d flipped", i), flipped)
		try(fmt.Sprintf("cut at %d", i), good[:i])
	}
	try("zeros", make([]byte, len(good)))
}

func TestTheDirectoryIsMadeAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	s := mustOpen(t, dir)
	key, d := deployment("web", 1)
	mustCreate(t, s, key, d, source("a.yaml"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	key2, d2 := deployment("web2", 1)
	mustCreate(t, s, key2, d2, source("b.yaml"))
	if err := s.Sync(); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	if r := mustOpen(t, dir); r.Len("Deployment") != 2 {
		t.Errorf("%d Deployments came back, want 2", r.Len("Deployment"))
	}
}

func TestHistoryIsCompacted(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	key, d := deployment("web", 1)
	d.Annotations = map[string]string{"big": strings.Repeat("x", 1000)}
	mustCreate(t, s, key, d, source("a.yaml"))
	for i := range 1500 {
		err := s.Update(key, func(it Item) (Item, error) {
			n := it.Object.(*appsv1.Deployment).DeepCopy()
			*n.Spec.Replicas = int32(i + 2)
			it.Object = n
			return it, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := s.journal.size; got > compactFloor*3/2 {
		t.Errorf("the newest generation has %d bytes after writing 2 MB", got)
	}
	r := mustOpen(t, dir)
	if got, _ := Get[*appsv1.Deployment](r, key); *got.Spec.Replicas != 1501 || got.Generation != 1501 {
		t.Errorf("came back with %d replicas, generation %d", *got.Spec.Replicas, got.Generation)
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	small(t, dir)
	s := mustOpen(t, dir)
	if err := s.Forget(); err != nil {
		t.Fatal(err)
	}
	if found, _ := generations(dir); len(found) != 1 || mustOpen(t, dir).Len("") != 0 {
		t.Errorf("generations %v are left, or objects", found)
	}
}

func TestWhatIsSeenIsInTheJournal(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	told := 0
	s.Watch(func(c Change) {
		told++
		r, err := Open(Options{Dir: dir, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		it, ok := r.Get(c.Key)
		if now, _ := s.Get(c.Key); ok == c.Deleted || ok && it.Object.GetGeneration() != now.Object.GetGeneration() {
			t.Errorf("a change of %s was told before it was written", c.Key)
		}
	})
	key, d := deployment("web", 1)
	mustCreate(t, s, key, d, source("a.yaml"))
	rsKey, rs := replicaSet(d)
	mustCreate(t, s, rsKey, rs, nil)
	err := s.Update(rsKey, func(it Item) (Item, error) {
		n := it.Object.(*appsv1.ReplicaSet).DeepCopy()
		n.Spec.Replicas = new(int32(7))
		it.Object = n
		return it, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Delete(rsKey, "")
	if told != 4 {
		t.Errorf("%d changes were told, want 4", told)
	}
}

func TestWhatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var warnings, over []string
		s, err := Open(Options{Dir: dir, Warn: func(w string) { warnings = append(warnings, w) }, Over: func(w string) { over = append(over, w) }})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.journal.file.Close() // every write fails from now on
		for _, name := range []string{"a", "b"} {
			key, d := deployment(name, 1)
			mustCreate(t, s, key, d, source(name+".yaml"))
		}
		if len(warnings) != 1 || s.Len("Deployment") != 2 {
			t.Errorf("warnings %q, %d Deployments", warnings, s.Len("Deployment"))
		}
		time.Sleep(retryDelay)
		synctest.Wait()
		r, err := Open(Options{Dir: dir, ReadOnly: true})
		if err != nil || r.Len("Deployment") != 2 {
			t.Errorf("%v, %d Deployments are in the journal, want 2", err, r.Len("Deployment"))
		}
		if diff := cmp.Diff(warnings, over); diff != "" {
			t.Errorf("what was taken back (-warned +over):\n%s", diff)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A disk that is full when berth starts, as it was when the last line was cut, is used again once it has space.
func TestAJournalThatCannotBeBegunIsBegunLater(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(data []byte) []byte
		want   int // how many Deployments there are at the end: those of the journal, and one more
	}{
		"the last line is cut": {func(data []byte) []byte { return data[:len(data)-3] }, 2},
		"a line is damaged":    {func(data []byte) []byte { return append([]byte("x"), data...) }, 3},
		"there is none":        {func([]byte) []byte { return nil }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "objects")
				first := mustOpen(t, dir)
				for _, name := range []string{"a", "b"} {
					key, d := deployment(name, 1)
					mustCreate(t, first, key, d, source(name+".yaml"))
				}
				if err := first.Close(); err != nil {
					t.Fatal(err)
				}
				journal := generationPath(dir, 1)
				data, err := os.ReadFile(journal)
				if err != nil {
					t.Fatal(err)
				}
				if data = c.damage(data); data == nil {
					err = os.Remove(journal)
				} else {
					err = os.WriteFile(journal, data, 0o600)
				}
				// A directory of that name is as good as a full disk.
				if err := errors.Join(err, os.Mkdir(generationPath(dir, 2)+".tmp", 0o700), os.Mkdir(generationPath(dir, 1)+".tmp", 0o700)); err != nil {
					t.Fatal(err)
				}
				s := mustOpen(t, dir)
				key, d := deployment("c", 1)
				mustCreate(t, s, key, d, source("c.yaml"))
				if r, err := Open(Options{Dir: dir, ReadOnly: true}); err != nil || len(data) > 0 && r.Len("Deployment") == 0 {
					t.Errorf("%v, %d Deployments are in the journal while nothing can be written", err, r.Len("Deployment"))
				}
				if err := errors.Join(os.Remove(generationPath(dir, 2)+".tmp"), os.Remove(generationPath(dir, 1)+".tmp")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(retryDelay)
				synctest.Wait()
				if r, err := Open(Options{Dir: dir, ReadOnly: true}); err != nil || r.Len("Deployment") != c.want {
					t.Errorf("%v, %d Deployments are in the journal, want %d", err, r.Len("Deployment"), c.want)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
