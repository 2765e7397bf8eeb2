// Package request knows what is asked of a workload beside its file: that its pods restart, that its rollout is paused, that another revision
// runs than the file's. It is kept in annotations of the stored object, which stay when the file changes.
package request

import (
	"encoding/json"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// Annotations of stored workloads. What a file says under these names counts for nothing.
const (
	// AnnotationRestartedAt is when a restart of the pods was last asked for, in RFC 3339.
	AnnotationRestartedAt = reconcile.AnnotationPrefix + "restarted-at"
	// AnnotationPaused is "true" while the rollout is paused by request. It stands beside spec.paused, which is the file's.
	AnnotationPaused = reconcile.AnnotationPrefix + "paused"
	// AnnotationHold is a Hold.
	AnnotationHold = reconcile.AnnotationPrefix + "hold"
	// AnnotationScale is a Scale.
	AnnotationScale = reconcile.AnnotationPrefix + "scale"
	// AnnotationRevision is the number of the revision that runs, under Kubernetes' own name.
	AnnotationRevision = "deployment.kubernetes.io/revision"
)

// AnnotationAuto is for files: "false" keeps a workload from going back by itself when a rollout fails its deadline.
const AnnotationAuto = reconcile.AnnotationPrefix + "auto-rollback"

// AnnotationPodsRestarted is what kubectl puts into the template of the pods.
const AnnotationPodsRestarted = "kubectl.kubernetes.io/restartedAt"

// Beside tells whether an annotation is kept beside an object and never in its file.
func Beside(annotation string) bool {
	switch annotation {
	case AnnotationRestartedAt, AnnotationPaused, AnnotationHold, AnnotationScale, AnnotationRevision, reconcile.AnnotationRecord, reconcile.AnnotationWish, corev1.LastAppliedConfigAnnotation:
		return true
	}
	return false
}

// Hidden tells whether an annotation is nobody's to read: berth's own notes, and what is shown where Kubernetes has it.
func Hidden(annotation string) bool {
	switch annotation {
	case AnnotationRestartedAt, AnnotationPaused, AnnotationScale, reconcile.AnnotationRecord, reconcile.AnnotationWish, reconcile.AnnotationMade:
		return true
	}
	return false
}

// Same tells whether two sets of annotations ask for the same.
func Same(a, b map[string]string) bool {
	for _, name := range []string{AnnotationRestartedAt, AnnotationPaused, AnnotationHold} {
		if a[name] != b[name] {
			return false
		}
	}
	return true
}

// Auto tells whether a workload with these annotations goes back by itself.
func Auto(annotations map[string]string) bool {
	wanted, err := strconv.ParseBool(annotations[AnnotationAuto])
	return err != nil || wanted
}

// Paused tells whether the rollout of a workload with these annotations is paused by request.
func Paused(annotations map[string]string) bool { return annotations[AnnotationPaused] == "true" }

// Template is a template as its pods are made: one of a workload whose restart was asked for says when. It shares what does not differ.
func Template(t *corev1.PodTemplateSpec, restartedAt string) corev1.PodTemplateSpec {
	out := *t
	if restartedAt != "" {
		out.Annotations = With(t.Annotations, AnnotationPodsRestarted, restartedAt)
	}
	return out
}

// Restarted are the annotations of a workload whose pods shall restart. While another revision than the file's is held, that one's pods restart.
func Restarted(annotations map[string]string, at string) map[string]string {
	h, held := ReadHold(annotations)
	if !held {
		return With(annotations, AnnotationRestartedAt, at)
	}
	h.RestartedAt = at
	return With(annotations, AnnotationHold, h.String())
}

// With is a set of annotations with one more, or with one less when its value is "". The set that it is made from stays as it is.
func With(annotations map[string]string, name, value string) map[string]string {
	if had, ok := annotations[name]; had == value && (ok || value == "") {
		return annotations
	}
	n := make(map[string]string, len(annotations)+1)
	maps.Copy(n, annotations)
	if value == "" {
		delete(n, name)
	} else {
		n[name] = value
	}
	return n
}

// Causes of holds.
const (
	// CauseUndo is a user's request.
	CauseUndo = "Undo"
	// CauseDeadline is a rollout that was not complete in time.
	CauseDeadline = "ProgressDeadlineExceeded"
)

// Hold keeps a workload at another revision than its file's, for as long as the file states the same.
type Hold struct {
	// Wish identifies what the file states that is not followed.
	Wish string `json:"wish"`
	// Run is the name of the revision that runs, From of the one that ran when the hold began.
	Run  string `json:"run"`
	From string `json:"from,omitempty"`
	// Cause is why, in one word; Message in a sentence that Text ends.
	Cause   string      `json:"cause"`
	Message string      `json:"message"`
	Since   metav1.Time `json:"since"`
	// RestartedAt is set when the pods of the held revision were asked to restart.
	RestartedAt string `json:"restartedAt,omitempty"`
}

// ReadHold reads the hold of a workload with these annotations. One that cannot be read is none.
func ReadHold(annotations map[string]string) (Hold, bool) {
	var h Hold
	text := annotations[AnnotationHold]
	if text == "" || json.Unmarshal([]byte(text), &h) != nil || h.Run == "" {
		return Hold{}, false
	}
	return h, true
}

// Text says what runs and why, and which file ends it; "" for the file's name where it is not known.
func (h Hold) Text(file string) string {
	if file == "" {
		file = "the manifest"
	}
	return h.Message + ", until " + file + " changes."
}

// String is the form in which a hold is kept.
func (h Hold) String() string {
	data, err := json.Marshal(h)
	if err != nil {
		return "" // strings and times always marshal
	}
	return string(data)
}
