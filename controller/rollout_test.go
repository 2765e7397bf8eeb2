package controller

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/request"
)

func TestAChangedFileKeepsWhatIsBesideIt(t *testing.T) {
	deployment := func(annotations map[string]string) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	}
	old := deployment(map[string]string{request.AnnotationRevision: "3", request.AnnotationPaused: "true", "gone": "x"})
	old.Status.ReadyReplicas = 2
	file := deployment(map[string]string{"new": "y", request.AnnotationRevision: "7", request.AnnotationHold: "{}"})
	next := carryOver(old, file).(*appsv1.Deployment)
	want := map[string]string{"new": "y", request.AnnotationRevision: "3", request.AnnotationPaused: "true"}
	if diff := cmp.Diff(want, next.Annotations); diff != "" || next.Status.ReadyReplicas != 2 {
		t.Errorf("%d ready, annotations (-want +got):\n%s", next.Status.ReadyReplicas, diff)
	}
	if len(file.Annotations) != 3 || len(old.Annotations) != 3 {
		t.Errorf("an input was written into: %v, %v", file.Annotations, old.Annotations)
	}
}

// hasty is a Deployment whose rollouts have ten seconds.
func hasty(image string, change ...func(*appsv1.Deployment)) manifests.Object {
	return web("web", image, 3, append(change, func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = new(int32(10)) })...)
}

var webKey = reconcile.Key{Kind: reconcile.KindDeployment, Namespace: "shop", Name: "web"}

func workload(s Status) Workload {
	if len(s.Workloads) != 1 {
		return Workload{}
	}
	return s.Workloads[0]
}

func (w *world) event(reason string) string {
	for _, e := range w.c.Status().Events {
		if e.Reason == reason {
			return e.Message
		}
	}
	return ""
}

// A rollout that cannot be is taken back, what served goes on all the while, and the status says why and until when. A restart and a kill of the
// controller change nothing of that; another file does.
func TestAFailedRolloutIsTakenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.OnPull("web:2", pullFault{Err: errors.New("no such image")})
		w.start()
		w.write(hasty("web:1"))
		w.settle()
		before := w.pids()
		w.write(hasty("web:2"))
		w.restart() // the time it has begins anew
		w.settle()
		w.pass(time.Minute)
		w.wantPids(before, "after a rollout that failed")
		for _, moment := range []string{"at once", "after a restart"} {
			s := workload(w.settle())
			if s.Done || !strings.Contains(s.Problem, "no such image") || !strings.HasSuffix(s.Problem, "which was ready as revision 1, until web.yaml:1 changes.") {
				t.Errorf("%s: done %t, problem %q", moment, s.Done, s.Problem)
			}
			w.restart()
		}
		w.write(hasty("web:3"))
		if s := workload(w.settle()); !s.Done || s.Problem != "" || w.event("HoldReleased") == "" {
			t.Errorf("the next file: %+v", s)
		}
	})
}

// A large image on a slow line is waited for, however long it takes.
func TestASlowPullIsNoFailedRollout(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.OnPull("web:2", pullFault{Delay: time.Hour})
		w.start()
		w.write(hasty("web:1"))
		w.settle()
		w.write(hasty("web:2"))
		w.pass(2 * time.Hour)
		if s := workload(w.settle()); !s.Done || s.Problem != "" || w.event("RolledBack") != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestRequests(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(hasty("web:1"))
		w.settle()
		w.write(hasty("web:2"))
		w.settle()
		second := w.running()
		if _, err := w.c.Undo(webKey, 0); err != nil {
			t.Fatal(err)
		}
		s := workload(w.settle())
		if !s.Done || s.Problem != "" || !strings.HasSuffix(s.Note, "which was revision 1, as asked for by undo, until web.yaml:1 changes.") {
			t.Errorf("undone: %+v", s)
		}
		first := w.running()
		if slices.Equal(first, second) {
			t.Errorf("the pods are the same: %v", first)
		}
		if e := w.event("DeploymentRollback"); e != `Rolled back deployment "web" to revision 1` {
			t.Errorf("event %q", e)
		}
		if err := w.c.Restart(webKey); err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.settle()
		if restarted := w.running(); len(restarted) != 3 || slices.Equal(first, restarted) {
			t.Errorf("restarted: %v, before %v", restarted, first)
		}
		history, err := w.c.History(webKey)
		if err != nil || len(history) != 3 || history[2].Number != 4 {
			t.Errorf("history %+v, %v", history, err)
		}
		w.write(hasty("web:3"))
		if s := workload(w.settle()); !s.Done || s.Note != "" {
			t.Errorf("the next file: %+v", s)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(hasty("web:1"))
		w.settle()
		before := w.pids()
		refused := func(moment string, err error, words string) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v, want %q", moment, err, words)
			}
		}
		refused("resume", w.c.Resume(webKey), "is not paused")
		if err := w.c.Pause(webKey); err != nil {
			t.Fatal(err)
		}
		w.write(hasty("web:2"))
		w.restart()
		w.pass(5 * time.Minute)
		s := workload(w.settle())
		if !s.Done || s.Problem != "" || !strings.Contains(s.Note, "berth rollout resume deployment/web -n shop") {
			t.Errorf("paused: %+v", s)
		}
		w.wantPids(before, "while paused")
		refused("pause", w.c.Pause(webKey), "already paused")
		refused("restart", w.c.Restart(webKey), "run rollout resume first")
		_, err := w.c.Undo(webKey, 0)
		refused("undo", err, "resume it first")
		if err := w.c.Resume(webKey); err != nil {
			t.Fatal(err)
		}
		w.settle()
		if slices.Equal(slices.Sorted(maps.Keys(before)), w.running()) {
			t.Error("it is resumed, and the old pods run")
		}
		w.write(hasty("web:2", func(d *appsv1.Deployment) { d.Spec.Paused = true }))
		w.settle()
		refused("resume against the file", w.c.Resume(webKey), "remove spec.paused from web.yaml:1")
		nobody := reconcile.Key{Kind: reconcile.KindDeployment, Namespace: "shop", Name: "nobody"}
		refused("nobody", w.c.Pause(nobody), `deployments.apps "nobody" not found`)
	})
}

func TestProgressIsFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.OnPull("web:2", pullFault{Err: errors.New("no such image")})
		w.start()
		w.write(hasty("web:1"))
		var told []string
		for done := false; !done; {
			seen, err := "", error(nil)
			if len(told) > 0 {
				seen = told[len(told)-1]
			}
			if seen, done, err = w.c.Progress(w.t.Context(), webKey, seen); err != nil {
				t.Fatal(err)
			}
			told = append(told, seen)
		}
		if last := told[len(told)-1]; last != `deployment "web" successfully rolled out` {
			t.Errorf("%q", told)
		}
		w.write(hasty("web:2"))
		for seen, err := "", error(nil); err == nil; {
			if seen, _, err = w.c.Progress(w.t.Context(), webKey, seen); err != nil && !strings.Contains(err.Error(), `deployment "web" exceeded its progress deadline: Revision 2 `) {
				t.Error(err)
			}
		}
	})
}
