package controller

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/runtime"
)

// The crash tests kill the controller at one effect after the other of a story: at the moment of death its state directory is copied,
// and the next controller starts from the copy, as after kill -9.
func TestKilledAtEveryStep(t *testing.T) {
	stories := map[string]struct {
		before, after []manifests.Object
		pods          int
	}{
		"deploy":     {after: []manifests.Object{web("web", "web:1", 3), barePod("one", "app:1")}, pods: 4},
		"scale up":   {before: []manifests.Object{web("web", "web:1", 1)}, after: []manifests.Object{web("web", "web:1", 4)}, pods: 4},
		"scale down": {before: []manifests.Object{web("web", "web:1", 5)}, after: []manifests.Object{web("web", "web:1", 2)}, pods: 2},
		"roll out":   {before: []manifests.Object{web("web", "web:1", 3)}, after: []manifests.Object{web("web", "web:2", 3)}, pods: 3},
		"change a pod": {
			before: []manifests.Object{barePod("one", "app:1"), barePod("two", "app:1")},
			after:  []manifests.Object{barePod("one", "app:2"), barePod("two", "app:1")}, pods: 2,
		},
		"a set comes up":     {after: []manifests.Object{database("db", "db:1", 2, withData)}, pods: 2},
		"a set rolls out":    {before: []manifests.Object{database("db", "db:1", 2)}, after: []manifests.Object{database("db", "db:2", 2)}, pods: 2},
		"a set shrinks":      {before: []manifests.Object{database("db", "db:1", 3)}, after: []manifests.Object{database("db", "db:1", 1)}, pods: 1},
		"a daemon rolls out": {before: []manifests.Object{agent("agent:1")}, after: []manifests.Object{agent("agent:2")}, pods: 1},
		"remove":             {before: []manifests.Object{web("web", "web:1", 3), barePod("one", "app:1")}, after: []manifests.Object{}, pods: 0},
	}
	for name, story := range stories {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%t", name, after), func(t *testing.T) {
				steps := 0
				for hit := true; hit; steps++ {
					inWorld(t, func(w *world) {
						w.start()
						w.write(story.before...)
						w.settle()
						hit = w.killAt(steps, after, story.after)
						w.settleAfterRemovals()
						w.judge(story.pods)
					})
					if steps > 200 {
						t.Fatal("the story does not end")
					}
				}
				if steps < 3 {
					t.Errorf("only %d steps were hit", steps)
				}
			})
		}
	}
}

// killAt makes the objects the wish, kills the controller at an effect and starts the next. It reports whether there was such an effect.
func (w *world) killAt(step int, after bool, objects []manifests.Object) bool {
	dir := filepath.Join(w.t.TempDir(), "copy")
	w.fake.KillAfter(step, after, func() {
		if err := os.CopyFS(dir, os.DirFS(w.dir)); err != nil {
			w.t.Errorf("cannot copy the state: %v", err)
		}
	})
	w.write(objects...)
	w.pass(10 * time.Second)
	hit := w.fake.Dead()
	if hit {
		w.dir = dir
	}
	w.restart()
	return hit
}

func (w *world) settleAfterRemovals() {
	w.t.Helper()
	w.pass(DefaultPruneDelay + time.Second)
	w.settle()
}

// judge says what must hold when all is quiet: as many pods as wished, each owned once, nothing left on the machine, one record of each.
func (w *world) judge(pods int) {
	w.t.Helper()
	w.wantRunning(pods)
	if got := len(w.fake.Pods()); got != pods {
		w.t.Errorf("%d sandboxes for %d pods", got, pods)
	}
	known := w.c.store.List(reconcile.KindPod)
	if len(known) != pods {
		w.t.Errorf("the store knows %d pods, want %d", len(known), pods)
	}
	for _, it := range known {
		if owner := metav1.GetControllerOfNoCopy(it.Object); owner != nil {
			if _, ok := w.c.store.ByUID(owner.UID); !ok {
				w.t.Errorf("pod %s is owned by nothing", it.Key)
			}
		}
	}
	for _, kind := range []string{reconcile.KindReplicaSet, reconcile.KindControllerRevision} {
		for _, it := range w.c.store.List(kind) {
			owner := metav1.GetControllerOf(it.Object)
			if owner == nil {
				w.t.Errorf("%s is nobody's", it.Key)
			} else if _, ok := w.c.store.ByUID(owner.UID); !ok {
				w.t.Errorf("%s is owned by nothing", it.Key)
			}
		}
	}
}

func TestAnEndGoesOnAfterARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 4, func(d *deploymentType) { d.Spec.Template.Spec.Containers[0].Args = []string{"stubborn"} }))
		w.settle()
		w.write(web("web", "web:1", 1, func(d *deploymentType) { d.Spec.Template.Spec.Containers[0].Args = []string{"stubborn"} }))
		w.pass(20 * time.Second) // of the 30 s of grace
		ending := w.endingPods()
		if len(ending) != 3 {
			t.Fatalf("%d pods are ending, want 3", len(ending))
		}
		w.restart()
		w.pass(time.Second)
		if diff := cmp.Diff(ending, w.endingPods()); diff != "" {
			t.Errorf("other pods are ending (-before +after):\n%s", diff)
		}
		w.pass(10 * time.Second) // the grace of before the restart is over
		w.wantRunning(1)
		w.settle()
	})
}

func (w *world) endingPods() []string {
	var names []string
	for _, it := range w.c.store.List(reconcile.KindPod) {
		if it.Object.GetDeletionTimestamp() != nil {
			names = append(names, it.Key.Name)
		}
	}
	return names
}

func TestTheStateIsLostWhilePodsRun(t *testing.T) {
	for _, readable := range []bool{true, false} {
		t.Run(fmt.Sprintf("manifests readable=%t", readable), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.start()
				all := []manifests.Object{web("web", "web:1", 3), barePod("one", "app:1")}
				w.write(all...)
				w.settle()
				before := w.pids()
				w.dir = w.t.TempDir()
				if !readable {
					w.source.now = manifests.Snapshot{Incomplete: []string{"/"}}
				}
				w.restart()
				w.pass(time.Hour)
				w.wantPids(before, "without a state")
				w.write(all...)
				w.pass(time.Minute)
				w.settle()
				w.wantPids(before, "when the manifests were read")
				w.judge(4)
				w.write(web("web", "web:1", 2), barePod("one", "app:1"))
				w.settle()
				w.judge(3)
			})
		})
	}
}

func TestTheLastGoodVersionSurvives(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2))
		w.settle()
		w.source.now = manifests.Snapshot{Incomplete: []string{"web.yaml"}}
		w.restart()
		w.settle()
		w.fake.Crash(w.fake.Pods()[0].UID, "main")
		w.fake.LoseSandbox(w.fake.Pods()[1].UID)
		w.pass(time.Minute)
		w.settle()
		w.judge(2)
	})
}

func TestDamagedStateNeverHurtsPods(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		inWorld(t, func(w *world) {
			w.start()
			all := []manifests.Object{web("web", "web:1", 2), barePod("one", "app:1")}
			w.write(all...)
			w.settle()
			before := w.pids()
			w.fake = w.fake.Reopen()
			w.end()
			files, err := filepath.Glob(filepath.Join(w.dir, "objects", "*.log"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no state to damage: %v", err)
			}
			for _, f := range files {
				data, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				for range 1 + i%3 {
					data[rnd.IntN(len(data))] ^= byte(1 << rnd.IntN(8))
				}
				if err := os.WriteFile(f, data[:len(data)-rnd.IntN(2)*rnd.IntN(len(data))], 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w.start()
			w.pass(time.Minute)
			w.settle()
			w.wantPids(before, fmt.Sprintf("damage %d", i))
			w.judge(3)
		})
	}
}

func TestReplicaSetsAreInTheJournalBeforeTheirPodsRun(t *testing.T) {
	inWorld(t, func(w *world) {
		checked := 0
		w.fake.OnSandbox(func(cfg runtime.SandboxConfig) error {
			p, err := decodePod(&runtime.PodStatus{UID: cfg.UID, Object: cfg.Object})
			if err != nil {
				t.Error(err)
				return nil
			}
			st, err := store.Open(store.Options{Dir: filepath.Join(w.dir, "objects"), ReadOnly: true})
			if err != nil {
				t.Error(err)
				return nil
			}
			rs, ok := st.ByUID(metav1.GetControllerOfNoCopy(p).UID)
			if !ok {
				t.Errorf("pod %s is made and its ReplicaSet is not in the journal", p.Name)
				return nil
			}
			set, _ := store.Get[*appsv1.ReplicaSet](st, rs)
			if _, ok := st.ByUID(metav1.GetControllerOfNoCopy(set).UID); !ok {
				t.Errorf("pod %s is made and its Deployment is not in the journal", p.Name)
			}
			checked++
			return nil
		})
		w.start()
		w.write(web("web", "web:1", 3))
		w.settle()
		w.write(web("web", "web:2", 3))
		w.settle()
		if checked < 6 {
			t.Errorf("only %d sandboxes were checked", checked)
		}
	})
}

func TestForeignSandboxesGo(t *testing.T) {
	inWorld(t, func(w *world) {
		for uid, object := range map[string]string{"junk": "\x00\x01", "another": `{"metadata":{"uid":"x","name":"n","namespace":"s"}}`} {
			if _, err := w.fake.RunSandbox(w.t.Context(), runtime.SandboxConfig{UID: uid, Namespace: "shop", Name: uid, Object: []byte(object)}); err != nil {
				t.Fatal(err)
			}
		}
		w.start()
		w.settle()
		if left := w.fake.Pods(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestRestartCountsSurvive(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 1))
		w.settle()
		for range 2 {
			w.fake.Exit(w.fake.Pods()[0].UID, "main", 3)
			w.pass(2 * time.Minute)
		}
		w.restart()
		s := w.settle()
		if s.Pods[0].Restarts != 2 {
			t.Errorf("%d restarts, want 2", s.Pods[0].Restarts)
		}
		p, _ := store.Get[*corev1.Pod](w.c.store, w.c.store.List(reconcile.KindPod)[0].Key)
		if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 3 {
			t.Errorf("the last end is %+v, want exit code 3", last)
		}
	})
}

func TestRestartInTheMiddleOfAPull(t *testing.T) {
	inWorld(t, func(w *world) {
		hold := make(chan struct{})
		w.fake.OnPull("web:1", pullFault{Hold: hold})
		w.start()
		w.write(web("web", "web:1", 2))
		w.pass(time.Second)
		w.restart()
		w.pass(time.Second)
		close(hold)
		w.settle()
		w.judge(2)
		if names := w.running(); slices.Equal(names, nil) {
			t.Error("nothing runs")
		}
	})
}

func TestAStateThatCannotBeUsedAtAll(t *testing.T) {
	inWorld(t, func(w *world) {
		if err := os.WriteFile(filepath.Join(w.dir, "objects"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.write(web("web", "web:1", 2))
		if s := w.settle(); len(s.Warnings) != 1 {
			t.Errorf("warnings: %q", s.Warnings)
		}
		w.judge(2)
	})
}
