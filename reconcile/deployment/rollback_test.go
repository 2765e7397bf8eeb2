package deployment_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/deployment"
	"berth/reconcile/request"
)

const (
	timedOut = "False ProgressDeadlineExceeded"
	complete = "True NewReplicaSetAvailable"
)

// live plans until nothing is left to do or to wait for, the pods of the named images never becoming ready, and tells what was said.
func (w *world) live(t *testing.T, never ...string) []string {
	t.Helper()
	var said []string
	for range 100 {
		w.Now = w.Now.Add(time.Millisecond) // time alone changes nothing
		p := deployment.Plan(w.Input)
		if len(p.Actions) == 0 {
			if p.RequeueAfter == 0 {
				return said
			}
			w.Now = w.Now.Add(p.RequeueAfter)
			continue
		}
		for _, a := range p.Actions {
			if e, ok := a.(reconcile.RecordEvent); ok && e.Reason != "ScalingReplicaSet" {
				said = append(said, e.Reason)
			}
		}
		w.apply(p)
		w.serve()
		for _, rs := range w.ReplicaSets {
			for _, image := range never {
				if rs.Spec.Template.Spec.Containers[0].Image == image {
					rs.Status.ReadyReplicas, rs.Status.AvailableReplicas = 0, 0
				}
			}
		}
	}
	t.Fatal("it does not come to rest")
	return nil
}

// sizes lists the images of the ReplicaSets with their sizes.
func (w *world) sizes() string {
	var parts []string
	for _, rs := range w.ReplicaSets {
		parts = append(parts, fmt.Sprintf("%d × %s", *rs.Spec.Replicas, rs.Spec.Template.Spec.Containers[0].Image))
	}
	return strings.Join(parts, ", ")
}

func (w *world) want(t *testing.T, moment, sizes, progressing, rolledBack string) {
	t.Helper()
	got := []string{w.sizes(), condition(w, appsv1.DeploymentProgressing), condition(w, deployment.ConditionRolledBack)}
	if diff := cmp.Diff([]string{sizes, progressing, rolledBack}, got); diff != "" {
		t.Errorf("%s: sizes, Progressing, RolledBack (-want +got):\n%s", moment, diff)
	}
}

func message(w *world) string {
	for _, c := range w.Deployment.Status.Conditions {
		if c.Type == deployment.ConditionRolledBack {
			return c.Message
		}
	}
	return ""
}

func annotate(w *world, name, value string) {
	d := *w.Deployment
	d.Annotations = request.With(d.Annotations, name, value)
	w.Deployment = &d
}

// forget is a restart of berth: statuses are not kept.
func (w *world) forget() {
	d := *w.Deployment
	d.Status = appsv1.DeploymentStatus{}
	w.Deployment = &d
}

// failed has rolled back from web:2 to web:1.
func failed(t *testing.T) *world {
	t.Helper()
	w := settled(t)
	image(w, "web:2")
	if diff := cmp.Diff([]string{"RolledBack"}, w.live(t, "web:2")); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	w.want(t, "failed", "4 × web:1, 0 × web:2", timedOut, "True ProgressDeadlineExceeded")
	return w
}

func TestRollback(t *testing.T) {
	const held = "True ProgressDeadlineExceeded"
	tests := map[string]struct {
		change                         func(*world)
		events                         []string
		sizes, progressing, rolledBack string
	}{
		"it stays as it is":          {nil, nil, "4 × web:1, 0 × web:2", timedOut, held},
		"berth is restarted":         {(*world).forget, nil, "4 × web:1, 0 × web:2", timedOut, held},
		"scaled":                     {func(w *world) { replicas(w, 7) }, nil, "7 × web:1, 0 × web:2", timedOut, held},
		"scaled to nothing":          {func(w *world) { replicas(w, 0) }, nil, "0 × web:1, 0 × web:2", timedOut, held},
		"paused":                     {func(w *world) { annotate(w, request.AnnotationPaused, "true") }, nil, "4 × web:1, 0 × web:2", timedOut, held},
		"another image, a good one":  {func(w *world) { image(w, "web:3") }, []string{"HoldReleased"}, "0 × web:1, 0 × web:2, 4 × web:3", complete, ""},
		"another image, a bad one":   {func(w *world) { image(w, "bad") }, []string{"HoldReleased", "RolledBack"}, "4 × web:1, 0 × web:2, 0 × bad", timedOut, held},
		"the former image":           {func(w *world) { image(w, "web:1") }, []string{"HoldReleased"}, "4 × web:1, 0 × web:2", complete, ""},
		"a longer deadline":          {func(w *world) { long := int32(700); w.Deployment.Spec.ProgressDeadlineSeconds = &long }, []string{"HoldReleased", "RolledBack"}, "4 × web:1, 0 × web:2", timedOut, held},
		"the same with Recreate":     {func(w *world) { recreate(w) }, []string{"HoldReleased", "RolledBack"}, "4 × web:1, 0 × web:2", timedOut, held},
		"what it uses changes":       {func(w *world) { w.Config = config.Fingerprint{{Kind: "ConfigMap", Name: "m"}: "1"} }, []string{"HoldReleased", "RolledBack"}, "4 × web:1, 0 × web:2", timedOut, held},
		"going back is switched off": {func(w *world) { annotate(w, request.AnnotationAuto, "false") }, []string{"HoldReleased"}, "3 × web:1, 2 × web:2", timedOut, ""},
		"a label of its own":         {func(w *world) { w.Deployment.Labels = map[string]string{"a": "b"} }, nil, "4 × web:1, 0 × web:2", timedOut, held},
		"the good revision crashes":  {func(w *world) { w.serve(4); w.forget() }, nil, "4 × web:1, 0 × web:2", timedOut, held},
		"a restart is asked for":     {func(w *world) { w.Deployment.Annotations = request.Restarted(w.Deployment.Annotations, "now") }, nil, "0 × web:1, 0 × web:2, 4 × web:1", timedOut, held},
		"no history is kept":         {func(w *world) { none := int32(0); w.Deployment.Spec.RevisionHistoryLimit = &none }, nil, "4 × web:1", timedOut, held},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := failed(t)
			if tt.change != nil {
				tt.change(w)
			}
			if diff := cmp.Diff(tt.events, w.live(t, "web:2", "bad")); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			w.want(t, name, tt.sizes, tt.progressing, tt.rolledBack)
		})
	}
}

// The message names both revisions, and what the pods died of.
func TestRollbackIsExplained(t *testing.T) {
	w := settled(t)
	image(w, "web:2")
	w.apply(deployment.Plan(w.Input))
	w.Trouble = map[string]string{w.ReplicaSets[1].Name: "pod web-x: ErrImagePull: no such image", w.ReplicaSets[0].Name: "all is well"}
	w.live(t, "web:2")
	want := fmt.Sprintf(`Revision 2 (ReplicaSet %q) was not ready within 10m0s: pod web-x: ErrImagePull: no such image. `+
		`ReplicaSet %q runs, which was ready as revision 1, until the manifest changes.`, w.ReplicaSets[1].Name, w.ReplicaSets[0].Name)
	if diff := cmp.Diff(want, message(w)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if s := w.Deployment.Status; s.UpdatedReplicas != 0 || s.AvailableReplicas != 4 {
		t.Errorf("none of the file's pods runs, and the status says %+v", s)
	}
	if got := w.Deployment.Annotations[deployment.AnnotationRevision]; got != "3" {
		t.Errorf("the Deployment is at revision %s, want 3", got)
	}
}

func TestRolloutsThatAreNotTakenBack(t *testing.T) {
	tests := map[string]struct {
		change             func(*world)
		sizes, progressing string
		rolledBack         string
	}{
		"switched off": {
			func(w *world) { annotate(w, request.AnnotationAuto, "false"); image(w, "bad") }, "3 × web:1, 2 × bad", timedOut, "",
		},
		"no deadline": {
			func(w *world) { w.Deployment.Spec.ProgressDeadlineSeconds = nil; image(w, "bad") }, "3 × web:1, 2 × bad", "", "",
		},
		"paused": {
			func(w *world) { image(w, "bad"); w.apply(deployment.Plan(w.Input)); w.Deployment.Spec.Paused = true }, "4 × web:1, 1 × bad", "Unknown DeploymentPaused", "",
		},
		"a complete one whose pods crash later, after a restart of berth": {
			func(w *world) { image(w, "web:2"); w.settle(t); w.serve(0, 4); w.forget() }, "0 × web:1, 4 × web:2", complete, "",
		},
		"nothing was ever ready": {
			func(w *world) { w.ReplicaSets, w.Deployment.Annotations = nil, nil; w.forget(); image(w, "bad") }, "4 × bad", timedOut, "False NoReadyRevision",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			tt.change(w)
			w.live(t, "bad", "web:2")
			w.want(t, name, tt.sizes, tt.progressing, tt.rolledBack)
		})
	}
}

func TestRollbackOfRecreate(t *testing.T) {
	w := settled(t)
	recreate(w)
	image(w, "bad")
	w.live(t, "bad")
	w.want(t, "recreate", "4 × web:1, 0 × bad", timedOut, "True ProgressDeadlineExceeded")
}

// What was ready last is what it goes back to, and it goes back once however long that takes.
func TestRollbackGoesToTheLastReadyRevision(t *testing.T) {
	w := settled(t)
	image(w, "web:2")
	w.settle(t)
	image(w, "bad")
	if diff := cmp.Diff([]string{"RolledBack"}, w.live(t, "bad", "web:2")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	w.want(t, "it is not ready any more either", "0 × web:1, 3 × web:2, 2 × bad", timedOut, "True ProgressDeadlineExceeded")
}

// What a user asks for has its whole time, also when it is what berth went back to and was not ready yet.
func TestWhatIsAskedForHasItsTime(t *testing.T) {
	never := []string{"web:1", "web:2", "bad"}
	tests := map[string]func(*testing.T, *world){
		"an old revision": func(_ *testing.T, w *world) { image(w, "bad") },
		"the file's own":  func(t *testing.T, w *world) { t.Helper(); undo(t, w, 1) },
	}
	for name, fails := range tests {
		t.Run(name, func(t *testing.T) {
			w := second(t)
			recreate(w)
			w.live(t)
			fails(t, w)
			w.live(t, never...)
			if got := condition(w, deployment.ConditionRolledBack); got != "True ProgressDeadlineExceeded" || *w.ReplicaSets[1].Spec.Replicas != 4 {
				t.Fatalf("%s, %s", w.sizes(), got)
			}
			w.Deployment.Annotations = request.Restarted(w.Deployment.Annotations, "now")
			w.apply(deployment.Plan(w.Input)) // no new pod before the old ones are gone
			number, err := strconv.ParseInt(w.ReplicaSets[1].Annotations[deployment.AnnotationRevision], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			undo(t, w, number)
			asked := w.Now
			if said := w.live(t, never...); len(said) != 1 || said[0] != "RolledBack" {
				t.Errorf("events %v", said)
			}
			if h, _ := request.ReadHold(w.Deployment.Annotations); h.Since.Sub(asked) < 10*time.Minute {
				t.Errorf("it goes back %s after the user's wish, which has 10 minutes", h.Since.Sub(asked))
			}
		})
	}
}

// The revision to go back to outlives every history limit, until another one is ready.
func TestHistoryKeepsTheReadyRevision(t *testing.T) {
	w := settled(t)
	none := int32(0)
	w.Deployment.Spec.RevisionHistoryLimit = &none
	image(w, "bad")
	for range 5 { // old pods go, new ones are not ready
		w.apply(deployment.Plan(w.Input))
		w.serve()
		w.serve(0, *w.ReplicaSets[1].Spec.Replicas)
	}
	*w.ReplicaSets[0].Spec.Replicas, *w.ReplicaSets[1].Spec.Replicas = 0, 4
	w.serve(0, 4)
	annotate(w, request.AnnotationPaused, "true")
	w.live(t, "bad")
	if len(w.ReplicaSets) != 2 {
		t.Fatalf("%d ReplicaSets are left, the ready one is gone: %s", len(w.ReplicaSets), w.sizes())
	}
	annotate(w, request.AnnotationPaused, "")
	w.settle(t)
	if w.live(t); len(w.ReplicaSets) != 1 {
		t.Errorf("%d ReplicaSets are left, want the one that is ready: %s", len(w.ReplicaSets), w.sizes())
	}
}

// A decision is written down before anything follows from it, and what is written last is done again.
func TestRollbackGoesOnAfterAnyKill(t *testing.T) {
	for kill := range 30 {
		w := settled(t)
		image(w, "bad")
		left := kill
		for range 100 {
			p := deployment.Plan(w.Input)
			if left >= 0 && left < len(p.Actions) {
				p.Actions = p.Actions[:left]
				w.apply(p)
				w.forget()
				break
			}
			left -= len(p.Actions)
			if len(p.Actions) == 0 {
				w.Now = w.Now.Add(p.RequeueAfter)
			}
			w.apply(p)
			w.serve(0, 4)
		}
		w.live(t, "bad")
		w.want(t, fmt.Sprintf("killed after %d actions", kill), "4 × web:1, 0 × bad", timedOut, "True ProgressDeadlineExceeded")
	}
}

// A large image on a slow line is waited for.
func TestRollbackWaitsForAnImage(t *testing.T) {
	tests := map[string]struct{ never, sizes string }{
		"it comes": {"", "0 × web:1, 4 × web:2"},
		"it fails": {"web:2", "4 × web:1, 0 × web:2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := settled(t)
			image(w, "web:2")
			w.apply(deployment.Plan(w.Input))
			w.serve(0, 1)
			w.Now = now.Add(time.Hour)
			w.Pulling = map[string]bool{w.ReplicaSets[1].Name: true}
			w.apply(deployment.Plan(w.Input)) // the first pod was there
			w.Now = now.Add(2 * time.Hour)
			w.serve(0, 4)
			w.apply(deployment.Plan(w.Input))
			w.Now = now.Add(3 * time.Hour)
			w.apply(deployment.Plan(w.Input))
			if p := deployment.Plan(w.Input); len(p.Actions) > 0 || p.RequeueAfter != 10*time.Second || condition(w, appsv1.DeploymentProgressing) != timedOut {
				t.Fatalf("it plans %v, looks again after %s, and says %s", p.Actions, p.RequeueAfter, condition(w, appsv1.DeploymentProgressing))
			}
			w.Pulling = nil
			if tt.never == "" {
				w.serve()
			}
			w.live(t, tt.never)
			if got := w.sizes(); got != tt.sizes {
				t.Errorf("%s, want %s", got, tt.sizes)
			}
		})
	}
}
