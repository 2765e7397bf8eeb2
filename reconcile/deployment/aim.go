package deployment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile/config"
	"berth/reconcile/request"
)

// aim finds out which template this pass leads to: the Deployment's, or that of the revision that is held.
func (r *rollout) aim(in Input) {
	if config.RollsOut(r.d.Annotations) {
		r.config = in.Config
	}
	if h, held := held(in, r.config); held {
		r.hold = &h.Hold
		r.template = request.Template(&h.run.Spec.Template, h.RestartedAt)
		return
	}
	r.template = request.Template(&r.d.Spec.Template, r.d.Annotations[request.AnnotationRestartedAt])
}

type holding struct {
	request.Hold
	run *appsv1.ReplicaSet
}

// held returns the hold of a Deployment, if it still counts: the file states the same, the revision exists, and going back is not switched off.
func held(in Input, fingerprint config.Fingerprint) (holding, bool) {
	h, ok := request.ReadHold(in.Deployment.Annotations)
	if !ok || h.Wish != wish(in.Deployment, fingerprint) || h.Cause != request.CauseUndo && !request.Auto(in.Deployment.Annotations) {
		return holding{}, false
	}
	for _, rs := range in.ReplicaSets {
		if rs.Name == h.Run {
			return holding{h, rs}, true
		}
	}
	return holding{}, false
}

// wish identifies what a file states of a rollout, with what the ConfigMaps and Secrets in use say. Neither the number of replicas nor a pause is
// part of it: both apply to whichever revision runs.
func wish(d *appsv1.Deployment, fingerprint config.Fingerprint) string {
	h := sha256.New()
	// The types of the API always marshal; a failure would end a hold early.
	_ = json.NewEncoder(h).Encode(struct {
		Template *corev1.PodTemplateSpec
		Strategy appsv1.DeploymentStrategy
		MinReady int32
		Deadline *int32
		Config   string
	}{&d.Spec.Template, d.Spec.Strategy, d.Spec.MinReadySeconds, d.Spec.ProgressDeadlineSeconds, fingerprint.String()})
	return hex.EncodeToString(h.Sum(nil)[:8]) // it tells the versions of one file apart
}

// chosen is the place of the ReplicaSet that shall run, -1 while there is none. Of several that would do it is the one that did last.
func (r *rollout) chosen(sets []*appsv1.ReplicaSet) int {
	at, last := -1, int64(-1)
	for i, rs := range sets {
		if n := revisionNumber(rs); n > last && r.runs(rs) {
			at, last = i, n
		}
	}
	return at
}

func (r *rollout) runs(rs *appsv1.ReplicaSet) bool {
	switch {
	case r.hold == nil:
		return r.states(rs)
	case r.hold.RestartedAt == "":
		return rs.Name == r.hold.Run
	default:
		return sameTemplate(&rs.Spec.Template, &r.template)
	}
}

// states tells whether a ReplicaSet is what the file states, with the configuration of now.
func (r *rollout) states(rs *appsv1.ReplicaSet) bool {
	t := &r.template
	if r.hold != nil {
		file := request.Template(&r.d.Spec.Template, r.d.Annotations[request.AnnotationRestartedAt])
		t = &file
	}
	return sameTemplate(&rs.Spec.Template, t) &&
		(len(r.config) == 0 || config.Matches(config.Parse(rs.Annotations[config.AnnotationRecord]), r.config))
}

// annotate gives the revision that shall run its number, and the Deployment's own annotations and what it uses. One that is held keeps its own.
func (r *rollout) annotate(v *revision) {
	if r.hold == nil || v.fresh {
		for k, value := range r.d.Annotations {
			if !ownAnnotation(k) {
				v.set(k, value)
			}
		}
		r.record(v)
	}
	r.number(v)
}

// record adds to a revision's record what has come to be known since.
func (r *rollout) record(v *revision) {
	if len(r.config) == 0 {
		return
	}
	recorded := config.Parse(v.current()[config.AnnotationRecord])
	if merged := config.Merge(recorded, r.config); !maps.Equal(merged, recorded) {
		v.set(config.AnnotationRecord, merged.String())
	}
}
