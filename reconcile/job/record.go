package job

import (
	"encoding/json"
	"maps"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// mark is what the Job has written down about a pod.
type mark byte

const (
	unmarked  mark = iota
	running        // seen to have begun
	succeeded      // counted
	failed         // counted, or ignored by the Job's policy
	given          // given up by the Job
)

// over tells that a pod counts for nothing any more, also while it still runs.
func (m mark) over() bool { return m == failed || m == given }

// record is what a Job that has not finished remembers: which of its pods were counted. Kubernetes keeps finalizers on pods for that; here
// the Job outlives the machine's boot and its pods do not, so the Job remembers, in the same write as the counts of its status
// (reconcile.AnnotationRecord).
//
//	             ┌── the Job ended it itself: it never counts ─────────► given
//	made ──seen to have begun──► running ──┬── ended well ─────────────► succeeded
//	                                       ├── failed, or is ending ───► failed
//	                                       └── gone without a word: the machine went down; a failure
//
// A pod that is no more is forgotten.
type record struct {
	marks map[types.UID]mark
	index map[types.UID]int // of running pods, -1 for none
	// failures counts by index, for backoffLimitPerIndex.
	failures map[int]int32
}

// written is the form of a record in the annotation.
type written struct {
	Succeeded []types.UID       `json:"succeeded,omitempty"`
	Failed    []types.UID       `json:"failed,omitempty"`
	Given     []types.UID       `json:"given,omitempty"`
	Running   map[types.UID]int `json:"running,omitempty"`
	Failures  map[int]int32     `json:"failures,omitempty"`
}

func newRecord() record {
	return record{marks: map[types.UID]mark{}, index: map[types.UID]int{}, failures: map[int]int32{}}
}

// recordOf reads the record of a Job. One that cannot be read is as none: its pods are counted anew.
func recordOf(job *batchv1.Job) record {
	r := newRecord()
	text, ok := job.Annotations[reconcile.AnnotationRecord]
	var w written
	if !ok || json.Unmarshal([]byte(text), &w) != nil {
		return r
	}
	for m, list := range map[mark][]types.UID{succeeded: w.Succeeded, failed: w.Failed, given: w.Given} {
		for _, uid := range list {
			r.marks[uid] = m
		}
	}
	for uid, i := range w.Running {
		r.marks[uid], r.index[uid] = running, i
	}
	maps.Copy(r.failures, w.Failures)
	return r
}

// in returns annotations with the record, the same map where it says so already. A record of nothing is not written.
func (r *record) in(annotations map[string]string) map[string]string {
	text := ""
	if len(r.marks)+len(r.failures) > 0 {
		w := written{Running: r.index, Failures: r.failures}
		for _, uid := range slices.Sorted(maps.Keys(r.marks)) {
			switch r.marks[uid] {
			case succeeded:
				w.Succeeded = append(w.Succeeded, uid)
			case failed:
				w.Failed = append(w.Failed, uid)
			case given:
				w.Given = append(w.Given, uid)
			case running, unmarked:
			}
		}
		data, _ := json.Marshal(w) // strings and numbers always marshal
		text = string(data)
	}
	if annotations[reconcile.AnnotationRecord] == text {
		return annotations
	}
	out := maps.Clone(annotations)
	if out == nil {
		out = map[string]string{}
	}
	if out[reconcile.AnnotationRecord] = text; text == "" {
		delete(out, reconcile.AnnotationRecord)
	}
	return out
}

func (r *record) mark(uid types.UID, m mark) {
	delete(r.index, uid)
	r.marks[uid] = m
}

func (r *record) run(uid types.UID, index int) { r.marks[uid], r.index[uid] = running, index }

func (r *record) forget(uid types.UID) {
	delete(r.marks, uid)
	delete(r.index, uid)
}

// keep forgets the pods that are no more, and returns the indexes of those that had begun and were never counted.
func (r *record) keep(exists map[types.UID]bool) (lost []int) {
	for _, uid := range slices.Sorted(maps.Keys(r.marks)) {
		if exists[uid] {
			continue
		}
		if r.marks[uid] == running {
			lost = append(lost, r.index[uid])
		}
		r.forget(uid)
	}
	return lost
}
