package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// deleteAlone deletes a stated object and not what it has made: as the API does it, the word first, then the files without it.
func (w *world) deleteAlone(key reconcile.Key, rest ...manifests.Object) {
	w.t.Helper()
	w.c.Leave(key, "")
	w.write(rest...)
	if err := w.c.Delete(key, "", nil, true); err != nil {
		w.t.Fatal(err)
	}
	w.pass(DefaultPruneDelay + time.Second)
	w.settle()
}

// parentless names what is nobody's, with its kind.
func (w *world) parentless(kinds ...string) (names []string) {
	for _, kind := range kinds {
		for _, it := range w.c.store.List(kind) {
			if metav1.GetControllerOfNoCopy(it.Object) == nil {
				names = append(names, kind)
			}
		}
	}
	return names
}

func TestDeletedAlone(t *testing.T) {
	tests := map[string]struct {
		object  manifests.Object
		key     reconcile.Key
		orphans []string // by kind
		pods    int
	}{
		"a Deployment":  {web("web", "web:1", 3), reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: "web"}, []string{"ReplicaSet"}, 3},
		"a StatefulSet": {database("db", "db:1", 2), reconcile.Key{Kind: "StatefulSet", Namespace: "shop", Name: "db"}, []string{"ControllerRevision", "Pod", "Pod"}, 2},
		"a DaemonSet":   {agent("agent:1"), reconcile.Key{Kind: "DaemonSet", Namespace: "shop", Name: "agent"}, []string{"ControllerRevision", "Pod"}, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				other := web("other", "other:1", 1)
				w.start()
				w.write(tc.object, other)
				w.settle()
				pids := w.pids()
				w.deleteAlone(tc.key, other)
				if _, ok := w.c.store.Get(tc.key); ok {
					t.Error("it is still there")
				}
				w.wantPids(pids, "after the deletion")
				if diff := cmp.Diff(tc.orphans, w.parentless("ControllerRevision", "ReplicaSet", "Pod")); diff != "" {
					t.Errorf("other orphans are left (-want +got):\n%s", diff)
				}
				w.restart()
				w.settleAfterRemovals()
				w.wantPids(pids, "after a restart")
				w.write(tc.object, other)
				w.settle()
				w.wantPids(pids, "after the owner came again")
				if left := w.parentless("ControllerRevision", "ReplicaSet", "Pod"); len(left) > 0 {
					t.Errorf("not adopted: %v", left)
				}
				w.restart()
				w.settleAfterRemovals()
				w.wantPids(pids, "after another restart")
				w.write(other)
				w.settleAfterRemovals()
				w.judge(1)
			})
		})
	}
}

func TestOrphansAfterAReboot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(database("db", "db:1", 2))
		w.settle()
		w.deleteAlone(reconcile.Key{Kind: "StatefulSet", Namespace: "shop", Name: "db"})
		w.fake.Reboot()
		w.restart()
		w.settleAfterRemovals()
		w.wantRunning(2)
		p := w.c.store.List(reconcile.KindPod)[0]
		if err := w.c.Delete(p.Key, p.Object.GetUID(), nil, false); err != nil {
			t.Fatal(err)
		}
		w.settleAfterRemovals()
		w.wantRunning(1)
		w.restart()
		w.settleAfterRemovals()
		w.wantRunning(1)
		if err := w.c.Delete(reconcile.Key{Kind: reconcile.KindNamespace, Name: "shop"}, "", nil, false); err != nil {
			t.Fatal(err)
		}
		w.settleAfterRemovals()
		w.wantRunning(0)
	})
}

// An orphan that has ended does not run again, not even after a reboot.
func TestAnEndedOrphanStaysSo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(work(0, 1, 1))
		w.settle()
		runs := w.starts()
		w.deleteAlone(reconcile.Key{Kind: "Job", Namespace: "shop", Name: "work"})
		for range 2 {
			w.fake.Reboot()
			w.restart()
			w.settleAfterRemovals()
		}
		pods := w.c.store.List(reconcile.KindPod)
		if len(pods) != 1 || pods[0].Object.(*corev1.Pod).Status.Phase != corev1.PodSucceeded || w.starts() != runs {
			t.Errorf("there are %d pods, and %d starts, want one that has ended, and %d", len(pods), w.starts(), runs)
		}
	})
}

// A pod whose labels are changed leaves its owner, which makes another; it comes back with them.
func TestRelabelledPods(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2))
		w.settle()
		pod := w.c.store.List(reconcile.KindPod)[0]
		label := func(value string) {
			err := w.c.store.Update(pod.Key, func(it store.Item) (store.Item, error) {
				p := it.Object.DeepCopyObject().(*corev1.Pod)
				p.Labels["app"] = value
				it.Object = p
				return it, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			w.pass(time.Second)
			w.settle()
		}
		label("broken")
		w.wantRunning(3)
		w.restart()
		w.settleAfterRemovals()
		w.wantRunning(3)
		label("web")
		w.wantRunning(2)
		w.write()
		w.settleAfterRemovals()
		w.judge(0)
	})
}

// A file that states a Pod of an orphan's name is followed.
func TestAFileTakesAnOrphansName(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(database("db", "db:1", 1))
		w.settle()
		w.deleteAlone(reconcile.Key{Kind: "StatefulSet", Namespace: "shop", Name: "db"})
		uid := w.uidOf("db-0")
		w.write(barePod("db-0", "db:2"))
		w.settle()
		if w.wantRunning(1); w.uidOf("db-0") == uid {
			t.Error("the orphan runs on")
		}
		w.write()
		w.settleAfterRemovals()
		w.wantRunning(0)
	})
}

// What is called off, because the file could not be changed, is called off.
func TestLeavingIsCalledOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2))
		w.settle()
		w.c.Leave(reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: "web"}, "")
		w.restart() // its file states it
		w.settleAfterRemovals()
		w.write()
		w.settleAfterRemovals()
		w.judge(0)
	})
}

// A snapshot that still states the object may come between the word and the file: the deletion itself says it once more.
func TestDeletedAloneBetweenSnapshots(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2))
		w.settle()
		w.write()
		if err := w.c.Delete(reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: "web"}, "", nil, true); err != nil {
			t.Fatal(err)
		}
		w.settleAfterRemovals()
		w.wantRunning(2)
	})
}

// A status shows orphans, and waits for none of them.
func TestStatusOfOrphans(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2), work(3, 1, 1, func(j *batchv1.JobSpec) { j.BackoffLimit = new(int32) }))
		w.settle()
		w.deleteAlone(reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: "web"}, work(3, 1, 1, func(j *batchv1.JobSpec) { j.BackoffLimit = new(int32) }))
		w.deleteAlone(reconcile.Key{Kind: "Job", Namespace: "shop", Name: "work"})
		s := w.settle()
		var got []string
		for _, r := range s.Workloads {
			got = append(got, fmt.Sprintf("%s %d/%d %s done=%t %s", r.Kind, r.Ready, r.Desired, r.File, r.Done, r.Note))
		}
		const note = "it has lost its owner, and no file states it"
		if diff := cmp.Diff([]string{"Pod 0/1  done=true " + note, "ReplicaSet 2/2  done=true " + note}, got); diff != "" || !s.Converged {
			t.Errorf("converged=%t, other workloads (-want +got):\n%s", s.Converged, diff)
		}
		for _, p := range s.Pods {
			if _, text := w.why(t, "pod/"+p.Name); !strings.Contains(text, p.Name) {
				t.Errorf("why says\n%s", text)
			}
		}
	})
}

// What the journal has lost the sandboxes still know.
func TestOrphansWithoutState(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(database("db", "db:1", 2))
		w.settle()
		w.deleteAlone(reconcile.Key{Kind: "StatefulSet", Namespace: "shop", Name: "db"})
		for _, it := range w.c.store.List(reconcile.KindPod) {
			if err := w.c.Carry(w.t.Context(), it.Key); err != nil {
				t.Fatal(err)
			}
		}
		w.end()
		w.dir = t.TempDir()
		w.start()
		w.settleAfterRemovals()
		w.wantRunning(2)
	})
}

func TestDownTakesOrphansAlong(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		w.start()
		w.write(web("web", "web:1", 2), database("db", "db:1", 2))
		w.settle()
		w.deleteAlone(reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: "web"}, database("db", "db:1", 2))
		w.deleteAlone(reconcile.Key{Kind: "StatefulSet", Namespace: "shop", Name: "db"})
		w.wantRunning(4)
		if err := w.c.Down(w.t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		w.wantRunning(0)
		if calls := strings.Join(w.fake.Calls(), "\n"); strings.Count(calls, "signal ") != 4 {
			t.Errorf("4 orphans did not end gracefully:\n%s", calls)
		}
	})
}

// No pod dies of a controller that is killed after any change of the store on the way: its state is copied then, and the next one starts from the copy.
func TestKilledWhileOwnersComeAndGo(t *testing.T) {
	other := web("other", "other:1", 1)
	owners := map[string]manifests.Object{"Deployment": web("web", "web:1", 2), "StatefulSet": database("db", "db:1", 2)}
	for kind, owner := range owners {
		for _, comes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s comes again=%t", kind, comes), func(t *testing.T) {
				steps := 0
				for hit := true; hit; steps++ {
					inWorld(t, func(w *world) { hit = w.killedAfter(steps, KeyOf(owner.Key), owner, other, comes) })
					if steps > 100 {
						t.Fatal("the story does not end")
					}
				}
				if steps < 5 {
					t.Errorf("only %d steps were hit", steps)
				}
			})
		}
	}
}

// killedAfter kills the controller after so many changes of the store since an owner was deleted alone, or since it came again. It reports whether there
// were so many.
func (w *world) killedAfter(changes int, key reconcile.Key, owner, other manifests.Object, comes bool) bool {
	w.t.Helper()
	dir, left := filepath.Join(w.t.TempDir(), "copy"), -1
	var mu sync.Mutex // changes are told by several workers
	counting := false
	w.startWatching(func(_ *store.Store, _ store.Change) {
		mu.Lock()
		defer mu.Unlock()
		if left--; counting && left == -1 {
			if err := os.CopyFS(dir, os.DirFS(w.dir)); err != nil {
				w.t.Errorf("cannot copy the state: %v", err)
			}
		}
	})
	count := func() {
		mu.Lock()
		defer mu.Unlock()
		left, counting = changes, true
	}
	w.write(owner, other)
	w.settle()
	pids := w.pids()
	if !comes {
		count()
	}
	w.deleteAlone(key, other)
	if comes {
		count()
		w.write(owner, other)
		w.settle()
	}
	if left >= 0 {
		return false
	}
	w.dir = dir
	w.restart()
	w.settleAfterRemovals()
	w.wantPids(pids, fmt.Sprintf("killed after change %d", changes))
	return true
}
