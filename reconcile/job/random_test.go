package job_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/job"
)

// judge holds what a Job may say, before it says it.
func (w *world) judge(next *batchv1.Job) {
	was, is := &w.Job.Status, &next.Status
	indexed := *next.Spec.CompletionMode == batchv1.IndexedCompletion
	switch n := next.Spec.Completions; {
	case job.Finished(w.Job) != nil:
		w.fail("a finished Job changes its status")
	case is.Succeeded < was.Succeeded || is.Failed < was.Failed:
		w.fail("a count goes down: %v -> %v", was, is)
	case int(is.Succeeded+is.Failed) > w.made:
		w.fail("%d successes and %d failures of %d pods", is.Succeeded, is.Failed, w.made)
	case n != nil && is.Succeeded > *n:
		w.fail("%d successes of %d", is.Succeeded, *n)
	case w.blamed != nil && int(is.Failed) > len(w.blamed) && find(next, batchv1.JobFailureTarget) == nil:
		w.fail("%d failures are counted, there were %d", is.Failed, len(w.blamed))
	case is.Active > *next.Spec.Parallelism:
		w.fail("%d pods are active, %d may be", is.Active, *next.Spec.Parallelism)
	case indexed && int(is.Succeeded) != len(expand(is.CompletedIndexes)):
		w.fail("%d successes, completed are %s", is.Succeeded, is.CompletedIndexes)
	case job.Finished(next) != nil && (is.Active > 0 || *is.Terminating > 0):
		w.fail("the Job finishes while pods are left")
	}
}

func find(j *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range j.Status.Conditions {
		if j.Status.Conditions[i].Type == kind {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

// blame notes a pod that failed for a reason of its own.
func (w *world) blame(p *corev1.Pod) {
	if p != nil && p.DeletionTimestamp == nil {
		w.blamed[p.UID] = true
	}
}

// expand lists what "0,2-4" says.
func expand(text string) map[int]bool {
	out := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		first, last, isSpan := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		for i := a; err == nil && (i == a || isSpan && i <= b); i++ {
			out[i] = true
		}
	}
	return out
}

// judgePods holds what pods there may be.
func (w *world) judgePods() {
	active, running, completed := 0, map[int]int{}, expand(w.Job.Status.CompletedIndexes)
	if made := w.Pods[len(w.Pods)-1]; completed[indexOf(made)] {
		w.fail("index %d is made again although it is complete", indexOf(made))
	}
	whole := w.Job.Spec.PodReplacementPolicy != nil && *w.Job.Spec.PodReplacementPolicy == batchv1.Failed // one that is ending counts, too
	for _, p := range w.Pods {
		if p.DeletionTimestamp != nil && !whole || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		active++
		if i := indexOf(p); i >= 0 {
			if running[i]++; running[i] > 1 {
				w.fail("index %d has two pods", i)
			}
		}
	}
	if n := int(*w.Job.Spec.Parallelism); active > n {
		w.fail("%d active pods, %d may be", active, n)
	}
	if job.Finished(w.Job) != nil {
		w.fail("a finished Job makes a pod")
	}
}

func (w *world) fail(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
	}
}

// TestAnyLife lives through random events with crashes between any two actions, and holds that Jobs come to their end with the right counts.
func TestAnyLife(t *testing.T) {
	lives := 800
	if testing.Short() {
		lives = 500
	}
	for seed := range lives {
		l := &life{world: randomJob(seed), rng: rand.New(rand.NewPCG(uint64(seed), 7))}
		l.blamed = map[types.UID]bool{}
		if err := l.live(); err != "" {
			t.Fatalf("seed %d: %s\n%s\n%s", seed, err, l.told(), l.Job.Annotations[reconcile.AnnotationRecord])
		}
	}
}

func randomJob(seed int) *world {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	return newWorld(func(s *batchv1.JobSpec) {
		s.Completions, s.Parallelism = new(1+rng.Int32N(5)), new(1+rng.Int32N(4))
		s.BackoffLimit = new(rng.Int32N(4))
		if rng.IntN(2) == 0 {
			indexed(s)
			if rng.IntN(2) == 0 {
				s.BackoffLimit, s.BackoffLimitPerIndex = new(int32(1<<31-1)), new(rng.Int32N(3))
			}
		}
		if rng.IntN(3) == 0 {
			s.PodReplacementPolicy = new(batchv1.Failed)
		}
		if rng.IntN(8) == 0 {
			s.ActiveDeadlineSeconds = new(int64(30 + rng.IntN(300)))
		}
	})
}

// life is a world in which things happen.
type life struct {
	*world
	rng *rand.Rand
}

func (l *life) live() string {
	for range 60 {
		l.happen()
		if p := l.plan(); len(p.Actions) > 0 {
			if l.rng.IntN(3) == 0 {
				l.apply(p, l.rng.IntN(len(p.Actions)+1)) // killed
			} else {
				l.apply(p, len(p.Actions))
			}
		}
		if l.broken != "" {
			return l.broken
		}
	}
	l.Job.Spec.Suspend = new(false)
	for range 200 { // from now on all goes well
		l.begin()
		for _, p := range l.Pods {
			if p.Status.Phase == corev1.PodRunning {
				end(p, 0, l.Now)
			}
		}
		p := l.plan()
		l.apply(p, len(p.Actions))
		l.remove()
		l.Now = l.Now.Add(time.Minute)
		if l.broken != "" {
			return l.broken
		}
	}
	if job.Finished(l.Job) == nil {
		return "the Job never ends"
	}
	if p := l.plan(); len(p.Actions) > 0 || p.RequeueAfter > 0 {
		return fmt.Sprintf("a finished Job plans %v", p.Actions)
	}
	if l.Job.Annotations[reconcile.AnnotationRecord] != "" {
		return "a finished Job remembers its pods"
	}
	return l.judgeEnd()
}

// judgeEnd holds that the Job has ended for the reason that is true.
func (l *life) judgeEnd() string {
	s, spec := &l.Job.Status, &l.Job.Spec
	switch c := job.Finished(l.Job); {
	case c.Type == batchv1.JobComplete && s.Succeeded != *spec.Completions:
		return "complete, and it is not"
	case c.Type == batchv1.JobComplete && s.Failed > *spec.BackoffLimit:
		return "complete beyond the back-off limit"
	case c.Reason == batchv1.JobReasonBackoffLimitExceeded && s.Failed <= *spec.BackoffLimit:
		return "failed before the back-off limit"
	}
	return ""
}

// happen lets one thing happen to the machine or the Job.
func (l *life) happen() {
	l.Now = l.Now.Add(time.Duration(l.rng.IntN(20_000)) * time.Millisecond)
	switch l.rng.IntN(14) {
	case 0, 1, 2:
		l.begin()
	case 3, 4, 5:
		l.finish(-1, 0)
	case 6, 7:
		l.blame(l.finish(-1, 1))
	case 8, 9:
		l.remove()
	case 10:
		l.Job = l.Job.DeepCopy()
		l.Job.Spec.Suspend = new(l.rng.IntN(3) == 0)
	case 11:
		if len(l.Pods) > 0 && l.rng.IntN(4) == 0 { // somebody ends a pod
			if p := l.Pods[l.rng.IntN(len(l.Pods))]; p.DeletionTimestamp == nil {
				l.blame(p)
				p.DeletionTimestamp = &metav1.Time{Time: l.Now}
			}
		}
	case 12:
		if l.rng.IntN(4) == 0 {
			for _, p := range l.Pods {
				l.blame(p)
			}
			l.reboot()
		}
	case 13:
		if l.rng.IntN(4) == 0 {
			l.Now = l.Now.Add(time.Duration(l.rng.IntN(7200)-3600) * time.Second)
		}
	}
}
