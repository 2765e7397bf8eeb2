package deployment_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/reconcile/config"
	"berth/reconcile/deployment"
	"berth/reconcile/request"
)

// undo asks for a revision; 0 is the one before.
func undo(t *testing.T, w *world, number int64) {
	t.Helper()
	annotations, _, err := deployment.Undo(w.Input, number)
	if err != nil {
		t.Fatal(err)
	}
	d := *w.Deployment
	d.Annotations = annotations
	w.Deployment = &d
}

// second is settled at its second revision.
func second(t *testing.T) *world {
	t.Helper()
	w := settled(t)
	image(w, "web:2")
	w.settle(t)
	return w
}

func TestUndo(t *testing.T) {
	tests := map[string]struct {
		steps                          func(t *testing.T, w *world)
		sizes, progressing, rolledBack string
	}{
		"to the revision before": {func(t *testing.T, w *world) { undo(t, w, 0) }, "4 × web:1, 0 × web:2", complete, "True Undo"},
		"to a number":            {func(t *testing.T, w *world) { undo(t, w, 1) }, "4 × web:1, 0 × web:2", complete, "True Undo"},
		"to what runs":           {func(t *testing.T, w *world) { undo(t, w, 2) }, "0 × web:1, 4 × web:2", complete, ""},
		"and back":               {func(t *testing.T, w *world) { undo(t, w, 0); w.live(t); undo(t, w, 0) }, "0 × web:1, 4 × web:2", complete, ""},
		"berth is restarted":     {func(t *testing.T, w *world) { undo(t, w, 0); w.live(t); w.forget() }, "4 × web:1, 0 × web:2", complete, "True Undo"},
		"scaled":                 {func(t *testing.T, w *world) { undo(t, w, 0); replicas(w, 6) }, "6 × web:1, 0 × web:2", complete, "True Undo"},
		"the file changes":       {func(t *testing.T, w *world) { undo(t, w, 0); w.live(t); image(w, "web:3") }, "0 × web:1, 0 × web:2, 4 × web:3", complete, ""},
		"restarted": {
			func(t *testing.T, w *world) {
				undo(t, w, 0)
				w.Deployment.Annotations = request.Restarted(w.Deployment.Annotations, "now")
			}, "0 × web:1, 0 × web:2, 4 × web:1", complete, "True Undo",
		},
		"going back by itself is switched off": {
			func(t *testing.T, w *world) { annotate(w, request.AnnotationAuto, "false"); undo(t, w, 0) }, "4 × web:1, 0 × web:2", complete, "True Undo",
		},
		"to what fails: the last ready one is the file's own": {func(t *testing.T, w *world) {
			image(w, "bad")
			w.live(t, "bad")
			image(w, "web:2")
			w.live(t, "bad")
			undo(t, w, 3)
		}, "0 × web:1, 4 × web:2, 0 × bad", timedOut, "True ProgressDeadlineExceeded"},
		"of what was taken back: once more": {func(t *testing.T, w *world) {
			image(w, "bad")
			w.live(t, "bad")
			undo(t, w, 0)
			if diff := cmp.Diff([]string{"RolledBack"}, w.live(t, "bad")); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		}, "0 × web:1, 4 × web:2, 0 × bad", timedOut, "True ProgressDeadlineExceeded"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := second(t)
			tt.steps(t, w)
			w.live(t, "bad")
			w.want(t, name, tt.sizes, tt.progressing, tt.rolledBack)
		})
	}
}

func TestUndoRefused(t *testing.T) {
	w := settled(t)
	for number, want := range map[int64]string{0: "no rollout history found", 7: "unable to find specified revision 7 in history"} {
		if _, _, err := deployment.Undo(w.Input, number); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("undo to %d: %v, want %s", number, err, want)
		}
	}
	annotate(w, request.AnnotationPaused, "true")
	if _, _, err := deployment.Undo(w.Input, 1); err == nil || !strings.Contains(err.Error(), "resume it first") {
		t.Errorf("undo of what is paused: %v", err)
	}
}

func TestHistoryIsListed(t *testing.T) {
	w := settled(t)
	w.Deployment.Annotations["kubernetes.io/change-cause"] = "two"
	image(w, "web:2")
	w.settle(t)
	want := []deployment.Revision{{Number: 1, ReplicaSet: w.ReplicaSets[0].Name}, {Number: 2, ReplicaSet: w.ReplicaSets[1].Name, ChangeCause: "two"}}
	if diff := cmp.Diff(want, deployment.History(w.Input)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	undo(t, w, 0)
	w.live(t)
	want = []deployment.Revision{{Number: 2, ReplicaSet: w.ReplicaSets[1].Name, ChangeCause: "two"}, {Number: 3, ReplicaSet: w.ReplicaSets[0].Name}}
	if diff := cmp.Diff(want, deployment.History(w.Input)); diff != "" {
		t.Errorf("after undo (-want +got):\n%s", diff)
	}
}

func TestRestart(t *testing.T) {
	w := settled(t)
	w.Deployment.Annotations = request.Restarted(w.Deployment.Annotations, "2026-01-01T00:00:00Z")
	w.live(t)
	w.want(t, "restarted", "0 × web:1, 4 × web:1", complete, "")
	if got := w.ReplicaSets[1].Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"]; got != "2026-01-01T00:00:00Z" {
		t.Errorf("the pods were restarted at %q", got)
	}
	if len(w.Deployment.Spec.Template.Annotations) != 0 {
		t.Error("the file's template was changed")
	}
	image(w, "web:2")
	w.live(t)
	image(w, "web:1")
	w.live(t)
	w.want(t, "back again", "0 × web:1, 4 × web:1, 0 × web:2", complete, "")
}

func TestConfigRollsOut(t *testing.T) {
	object := config.Object{Kind: "ConfigMap", Name: "m"}
	tests := map[string]struct {
		change func(*world)
		sizes  string
	}{
		"nothing changes":      {func(*world) {}, "4 × web:1"},
		"it changes":           {func(w *world) { w.Config = config.Fingerprint{object: "2"} }, "0 × web:1, 4 × web:1"},
		"it vanishes":          {func(w *world) { w.Config = nil }, "4 × web:1"},
		"another one is there": {func(w *world) { w.Config = config.Fingerprint{object: "1", {Kind: "Secret", Name: "s"}: "1"} }, "4 × web:1"},
		"it changes and goes back": {func(w *world) {
			w.Config = config.Fingerprint{object: "2"}
			w.live(t)
			w.Config = config.Fingerprint{object: "1"}
		}, "4 × web:1, 0 × web:1"},
		"it changes, which is not followed": {func(w *world) {
			annotate(w, config.AnnotationRollout, "false")
			w.Config = config.Fingerprint{object: "2"}
		}, "4 × web:1"},
		"it changes and the new pods fail": {func(w *world) {
			w.Config = config.Fingerprint{object: "2"}
			w.apply(deployment.Plan(w.Input))
			for range 5 {
				w.serve(0, 4)
				p := deployment.Plan(w.Input)
				w.apply(p)
				w.Now = w.Now.Add(p.RequeueAfter)
			}
		}, "4 × web:1, 0 × web:1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			w.Config = config.Fingerprint{object: "1"}
			w.live(t)
			if got := w.ReplicaSets[0].Annotations[config.AnnotationRecord]; got != w.Config.String() {
				t.Fatalf("recorded is %q", got)
			}
			tt.change(w)
			w.live(t)
			if got := w.sizes(); got != tt.sizes {
				t.Errorf("%s, want %s", got, tt.sizes)
			}
		})
	}
}

func TestProgressIsTold(t *testing.T) {
	told := func(w *world) string {
		text, done, err := deployment.Progress(w.Input)
		switch {
		case err != nil:
			return "failed: " + err.Error()
		case done:
			return "done: " + text
		}
		return text
	}
	w := settled(t)
	want := func(moment, text string) {
		t.Helper()
		if got := told(w); got != text {
			t.Errorf("%s: %q, want %q", moment, got, text)
		}
	}
	const waiting = `Waiting for deployment "web" rollout to finish: `
	want("settled", `done: deployment "web" successfully rolled out`)
	image(w, "web:2")
	want("edited", "Waiting for deployment spec update to be observed...")
	w.apply(deployment.Plan(w.Input))
	w.serve(0, 1)
	w.apply(deployment.Plan(w.Input))
	want("begun", waiting+"1 out of 4 new replicas have been updated...")
	*w.ReplicaSets[0].Spec.Replicas, *w.ReplicaSets[1].Spec.Replicas = 1, 4
	w.serve(0, 1)
	w.apply(deployment.Plan(w.Input))
	want("old ones are left", waiting+"1 old replicas are pending termination...")
	*w.ReplicaSets[0].Spec.Replicas = 0
	w.serve(0, 1)
	w.apply(deployment.Plan(w.Input))
	want("one is missing", waiting+"3 of 4 updated replicas are available...")
	w.settle(t)
	undo(t, w, 0)
	want("asked to undo", "Waiting for deployment spec update to be observed...")
	w.live(t)
	want("undone", `done: deployment "web" successfully rolled out`)
	image(w, "bad")
	w.live(t, "bad")
	if got := told(w); !strings.HasPrefix(got, `failed: deployment "web" exceeded its progress deadline: Revision 4 `) {
		t.Errorf("failed: %q", got)
	}
}
