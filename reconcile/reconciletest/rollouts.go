package reconciletest

import (
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/deployment"
	"berth/reconcile/request"
)

const (
	annotationRevision = "deployment.kubernetes.io/revision"
	annotationReady    = "berth.dev/ready-revision"
)

// version is what is tried out for a Deployment: a file, what it uses, and what was asked for beside it.
type version struct {
	begun  time.Duration // when the planner led to another revision
	jumps  int           // of the clock, then
	backs  int           // how often it was taken back
	config int           // what its ConfigMap says; 0 while there is none
	vain   vain
	ready  []types.UID // the revisions that were complete, the last one last
}

// vain is what a planner was asked that had nothing to do. Objects are never written into: the same ones say the same.
type vain struct {
	deployment *appsv1.Deployment
	sets       []*appsv1.ReplicaSet
	pulling    map[string]bool
	fresh      map[string]deployment.Fresh
	config     int
	now        time.Time
}

// soon is how long a planner that had nothing to do is not asked the same again. It is shorter than the deadlines there are.
const soon = 30 * time.Second

func (v *vain) again(in *deployment.Input, config int) bool {
	past := in.Now.Sub(v.now)
	return v.deployment == in.Deployment && v.config == config && past >= 0 && past < soon &&
		slices.Equal(v.sets, in.ReplicaSets) && maps.Equal(v.pulling, in.Pulling) && maps.Equal(v.fresh, in.Fresh)
}

func (w *world) versionOf(uid types.UID) *version {
	v := w.versions[uid]
	if v == nil {
		v = &version{}
		w.versions[uid] = v
	}
	return v
}

// tried says that something else is tried out from now on.
func (w *world) tried(uid types.UID) { w.versionOf(uid).backs = 0 }

// ask draws a request about a rollout, or changes what a Deployment uses.
func (w *world) ask() {
	if len(w.deployments) == 0 {
		return
	}
	i := w.rng.IntN(len(w.deployments))
	d := new(appsv1.Deployment)
	*d = *w.deployments[i]
	switch w.rng.IntN(5) {
	case 0, 1:
		if !w.undo(d) {
			return
		}
	case 2:
		d.Annotations = request.Restarted(d.Annotations, strconv.Itoa(w.happened))
		w.say("EVENT restart Deployment %s", d.Name)
	case 3:
		value := "true"
		if request.Paused(d.Annotations) {
			value = ""
		}
		d.Annotations = request.With(d.Annotations, request.AnnotationPaused, value)
		w.say("EVENT Deployment %s is asked to pause: %q", d.Name, value)
	case 4:
		w.versionOf(d.UID).config++
		w.say("EVENT the ConfigMap of Deployment %s says %d", d.Name, w.versionOf(d.UID).config)
	}
	w.tried(d.UID)
	w.putDeployment(i, d)
	w.enqueue(key(reconcile.KindDeployment, d.Name))
}

func (w *world) undo(d *appsv1.Deployment) bool {
	in := w.deploymentInput(d)
	number := int64(0)
	if history := deployment.History(in); len(history) > 0 && w.rng.IntN(2) == 0 {
		number = history[w.rng.IntN(len(history))].Number
	}
	annotations, back, err := deployment.Undo(in, number)
	if err != nil {
		return false
	}
	w.say("EVENT undo Deployment %s to revision %d", d.Name, back.Number)
	d.Annotations = annotations
	return true
}

func (w *world) deploymentInput(d *appsv1.Deployment) deployment.Input {
	in := deployment.Input{Deployment: d, ReplicaSets: w.setsOf(d.UID), Pulling: map[string]bool{}, Fresh: map[string]deployment.Fresh{}, Now: w.clock.wall}
	for _, rs := range in.ReplicaSets {
		in.Fresh[rs.Name] = deployment.FreshOf(w.podsOf(rs.UID), in.Now)
		in.Pulling[rs.Name] = slices.ContainsFunc(w.podsOf(rs.UID), func(p *corev1.Pod) bool { return w.images[p.Spec.Containers[0].Image].Pulling })
	}
	if n := w.versionOf(d.UID).config; n > 0 {
		in.Config = config.Fingerprint{{Kind: "ConfigMap", Name: "m"}: strconv.Itoa(n)}
	}
	return in
}

func (w *world) setAnnotation(a reconcile.SetAnnotation) {
	d, i := find(w.deployments, a.Key.Name)
	if i < 0 || d.UID != a.UID || d.Annotations[a.Name] != a.Old {
		return
	}
	n := *d
	n.Annotations = request.With(d.Annotations, a.Name, a.New)
	if h, held := request.ReadHold(n.Annotations); a.Name == request.AnnotationHold && held {
		w.checkBack(&n, h)
	} else {
		v := w.versionOf(d.UID)
		v.begun, v.jumps = w.clock.since, w.clock.jumps
	}
	w.putDeployment(i, &n)
	w.enqueue(a.Key)
}

// checkBack judges that a rollout is given up: once, not before its time, and for the revision that was complete last.
func (w *world) checkBack(d *appsv1.Deployment, h request.Hold) {
	v := w.versionOf(d.UID)
	if v.backs++; v.backs > 1 {
		w.fail("Deployment %s goes back again, to %s", d.Name, h.Run)
	}
	least := time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
	if took := w.clock.since - v.begun; took < least && v.jumps == w.clock.jumps {
		w.fail("Deployment %s goes back after %s, its deadline is %s", d.Name, took, least)
	}
	if isPaused(d) || !request.Auto(d.Annotations) {
		w.fail("Deployment %s goes back although it must not", d.Name)
	}
	if top := w.running(d); top != nil && proven(top) {
		w.fail("Deployment %s goes back from %s, which was complete", d.Name, top.Name)
	}
	last := ""
	for _, uid := range v.ready {
		if rs := w.setByUID(uid); rs != nil && rs.Name != h.From {
			last = rs.Name
		}
	}
	if h.Run != last {
		w.fail("Deployment %s goes back to %s, the last other one to be complete is %q", d.Name, h.Run, last)
	}
}

// checkReady holds that a revision is marked as complete only when it is.
func (w *world) checkReady(old, n *appsv1.ReplicaSet) {
	mark := n.Annotations[annotationReady]
	if mark == old.Annotations[annotationReady] {
		return
	}
	owner := ownerUID(n.OwnerReferences)
	i := place(w.deployments, owner)
	if i < 0 {
		return
	}
	wish := *w.deployments[i].Spec.Replicas
	if mark != n.Annotations[annotationRevision] || wish == 0 || *n.Spec.Replicas != wish || n.Status.AvailableReplicas != wish {
		w.fail("ReplicaSet %s is marked as complete in revision %s, with %d of %d pods available", n.Name, mark, n.Status.AvailableReplicas, wish)
	}
	v := w.versionOf(owner)
	v.ready = append(slices.DeleteFunc(v.ready, func(u types.UID) bool { return u == n.UID }), n.UID)
}

// checkForgotten holds that what a Deployment would go back to is not forgotten.
func (w *world) checkForgotten(rs *appsv1.ReplicaSet) {
	i := place(w.deployments, ownerUID(rs.OwnerReferences))
	if i < 0 {
		return
	}
	d := w.deployments[i]
	last := w.lastReady(d.UID)
	if top := w.running(d); last == rs.UID && (top == nil || !proven(top)) {
		w.fail("ReplicaSet %s is forgotten, it is the last of Deployment %s that was complete", rs.Name, d.Name)
	}
}

func (w *world) lastReady(d types.UID) types.UID {
	if v := w.versionOf(d); len(v.ready) > 0 {
		return v.ready[len(v.ready)-1]
	}
	return ""
}

// running is the revision that the planner has numbered last: the one that it leads to.
func (w *world) running(d *appsv1.Deployment) *appsv1.ReplicaSet {
	var top *appsv1.ReplicaSet
	for _, rs := range w.setsOf(d.UID) {
		if top == nil || numberOf(rs) > numberOf(top) {
			top = rs
		}
	}
	return top
}

func numberOf(rs *appsv1.ReplicaSet) int64 {
	n, _ := strconv.ParseInt(rs.Annotations[annotationRevision], 10, 64)
	return n
}

func proven(rs *appsv1.ReplicaSet) bool {
	return rs.Annotations[annotationReady] != "" && rs.Annotations[annotationReady] == rs.Annotations[annotationRevision]
}

func isPaused(d *appsv1.Deployment) bool { return d.Spec.Paused || request.Paused(d.Annotations) }

// holdOf reads the hold of a Deployment; each text once.
func (w *world) holdOf(d *appsv1.Deployment) (request.Hold, bool) {
	text := d.Annotations[request.AnnotationHold]
	if text == "" {
		return request.Hold{}, false
	}
	h, known := w.holds[text]
	if !known {
		h, _ = request.ReadHold(d.Annotations)
		w.holds[text] = h
	}
	return h, h.Run != ""
}

// tookBack tells that the file of a Deployment was given up for an earlier revision.
func (w *world) tookBack(d *appsv1.Deployment) bool {
	h, held := w.holdOf(d)
	return held && h.Cause == request.CauseDeadline
}

// checkIdleRollout holds that what is held runs, and that no failure is left as it is although there is something to go back to.
func (w *world) checkIdleRollout(d *appsv1.Deployment) {
	w.checkPatience(d)
	top := w.running(d)
	if h, held := w.holdOf(d); held {
		if top == nil || h.RestartedAt == "" && top.Name != h.Run {
			w.fail("Deployment %s is held at %s, which is not what runs", d.Name, h.Run)
		}
		return
	}
	if top == nil || w.makesRoom(d) {
		return
	}
	last := w.lastReady(d.UID)
	if _, waits := w.timers[reconcile.KeyOf(d)]; waits {
		return // for an image
	}
	if progress(d) == "ProgressDeadlineExceeded" && !proven(top) && !isPaused(d) && request.Auto(d.Annotations) && last != "" && last != top.UID {
		w.fail("Deployment %s has failed its deadline and stays, although %s was complete", d.Name, last)
	}
}

// makesRoom tells that pods have to end before the file's revision can be made.
func (w *world) makesRoom(d *appsv1.Deployment) bool {
	ending := func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil }
	return d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && slices.ContainsFunc(w.setsOf(d.UID), func(rs *appsv1.ReplicaSet) bool {
		return slices.ContainsFunc(w.podsOf(rs.UID), ending)
	})
}

// checkPatience holds that time alone changes nothing where nobody waits for it: otherwise each look would lead to the next.
func (w *world) checkPatience(d *appsv1.Deployment) {
	if _, waits := w.timers[key(reconcile.KindDeployment, d.Name)]; waits {
		return
	}
	in, v := w.deploymentInput(d), w.versionOf(d.UID)
	if v.vain.again(&in, v.config) {
		return
	}
	v.vain = vain{d, slices.Clone(in.ReplicaSets), in.Pulling, in.Fresh, v.config, in.Now}
	in.Now = in.Now.Add(time.Millisecond)
	if p := deployment.Plan(in); len(p.Actions) > 0 {
		w.fail("Deployment %s: nothing has happened, and a moment later it plans: %s", d.Name, p.Actions[0])
		w.show(p.Actions[0])
	}
}

func progress(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing {
			return c.Reason
		}
	}
	return ""
}

// checkTemplates holds that no two revisions say the same.
func (w *world) checkTemplates(rs *appsv1.ReplicaSet) {
	uses := config.Parse(rs.Annotations[config.AnnotationRecord])
	for _, other := range w.setsOf(ownerUID(rs.OwnerReferences)) {
		if apiequality.Semantic.DeepEqual(other.Spec.Template.Spec, rs.Spec.Template.Spec) &&
			apiequality.Semantic.DeepEqual(other.Spec.Template.Annotations, rs.Spec.Template.Annotations) &&
			config.Matches(config.Parse(other.Annotations[config.AnnotationRecord]), uses) {
			w.fail("ReplicaSets %s and %s have the same template", other.Name, rs.Name)
		}
	}
}

// release edits the files of Deployments that are held at what cannot be fulfilled, and tells whether there were any.
func (w *world) release() bool {
	released := false
	for i, d := range w.deployments {
		h, held := request.ReadHold(d.Annotations)
		rs, at := find(w.sets, h.Run)
		if !held || at < 0 || h.Cause == request.CauseUndo && serves(rs.Spec.Template.Spec.Containers[0].Image) {
			continue
		}
		released = true
		d = d.DeepCopy()
		w.freshImage(d)
		w.replace(i, d)
	}
	return released
}
