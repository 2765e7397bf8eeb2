package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/request"
)

// Account says why an object is as it is: the chain from the file that states it, over what was decided, to system calls and exit codes.
type Account struct {
	Object string `json:"object"` // KIND/NAMESPACE/NAME
	// Answer is all of it in one sentence.
	Answer string `json:"answer"`
	// Gone tells that the object is not there any more, or not yet.
	Gone bool `json:"gone,omitempty"`
	// Well tells that there is nothing wrong with it.
	Well  bool          `json:"well,omitempty"`
	Lines []AccountLine `json:"lines"`
}

// AccountLine is one link of the chain, in the order of cause and effect.
type AccountLine struct {
	// Link is what kind of link it is: stated, fault, waiting, revision, decided, pod, container, event, gone.
	Link string `json:"link"`
	// Of is the object it is about, "" for the account's own.
	Of   string    `json:"of,omitempty"`
	Time time.Time `json:"time,omitzero"`
	Text string    `json:"text"`
	// Bad marks what is wrong.
	Bad bool `json:"bad,omitempty"`
}

// How many of each an account has.
const (
	whyDecisions = 6
	whyPods      = 5
	whyGone      = 3
	whyEvents    = 6
)

func (a *Account) add(link, of string, at time.Time, text string, bad bool) {
	if of == a.Object {
		of = ""
	}
	a.Lines = append(a.Lines, AccountLine{Link: link, Of: of, Time: at, Text: strings.TrimSpace(text), Bad: bad})
}

func (a *Account) decision(d decision) {
	text := d.action
	if d.fault != "" {
		text += ": " + d.fault
	}
	a.add("decided", stated(d.key), d.at, text, d.fault != "")
}

// tellStated says where the wish comes from, and what is wrong with that.
func (c *Controller) tellStated(a *Account, top store.Item) {
	key := stated(top.Key)
	if top.Source == nil {
		a.add("stated", key, top.Object.GetCreationTimestamp().Time, "no file states it: berth has made it", false)
		return
	}
	a.add("stated", key, top.Object.GetCreationTimestamp().Time, top.Source.Origin.String(), false)
	var s Status
	c.ingest.status(&s)
	for _, f := range s.Faults {
		if f.File == top.Source.Origin.File && (f.Severity == manifests.Error || f.Object == top.Key.Kind+"/"+top.Key.Name) {
			a.add("fault", key, time.Time{}, f.String(), f.Severity == manifests.Error)
		}
	}
	for _, w := range s.Waiting {
		if w.key == top.Key {
			text := map[string]string{
				WaitDelay:      "vanished from its file a moment ago, and goes soon",
				WaitConsent:    "vanished from its file together with most others: `berth allow` lets it go",
				WaitUnreadable: "its file cannot be read any more, so it runs on as it was last stated",
			}[w.Why]
			a.add("waiting", key, time.Time{}, text, true)
		}
	}
	annotations := top.Object.GetAnnotations()
	if request.Paused(annotations) {
		a.add("waiting", key, time.Time{}, "its rollout is paused by request: `berth rollout resume` lets it go on", true)
	}
	if at := annotations[request.AnnotationRestartedAt]; at != "" {
		a.add("stated", key, time.Time{}, "a restart was asked for at "+at, false)
	}
}

// tellRevision says which revision a ReplicaSet is, if it has any pods.
func (c *Controller) tellRevision(a *Account, it store.Item) {
	rs, ok := it.Object.(*appsv1.ReplicaSet)
	if !ok || wish(rs.Spec.Replicas) == 0 && rs.Status.Replicas == 0 {
		return
	}
	text := fmt.Sprintf("revision %s: %d of %d pods ready", cmp.Or(rs.Annotations[request.AnnotationRevision], "?"), rs.Status.ReadyReplicas, wish(rs.Spec.Replicas))
	a.add("revision", it.Key.String(), rs.CreationTimestamp.Time, text, false)
}

func (c *Controller) tellPods(a *Account, of store.Item, pods []*corev1.Pod) {
	for i, p := range pods {
		if i == whyPods {
			a.add("pod", "", time.Time{}, fmt.Sprintf("and %d more", len(pods)-i), false)
			return
		}
		a.pod("pod", p, time.Time{}, of.Key.Kind == reconcile.KindPod || of.Key.Kind == reconcile.KindBarePod || rankPod(p) < 2)
	}
}

// pod tells of one pod, and with containers of each of them.
func (a *Account) pod(link string, p *corev1.Pod, at time.Time, containers bool) {
	name := reconcile.KeyOf(p).String()
	text, message := summary(p)
	if containers { // these tell it themselves
		message = cmp.Or(unscheduled(p), p.Status.Message)
	}
	if message != "" {
		text += ": " + message
	}
	if at.IsZero() {
		at = p.CreationTimestamp.Time
	}
	a.add(link, name, at, text, rankPod(p) == 0)
	if !containers {
		return
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			at, text, bad := containerWords(&list[i])
			a.add("container", name, at, text, bad)
		}
	}
}

// containerWords is a container in one line: what it does, and how its last attempt ended.
func containerWords(s *corev1.ContainerStatus) (at time.Time, text string, bad bool) {
	switch st := s.State; {
	case st.Running != nil:
		at, text = st.Running.StartedAt.Time, "running"
		if !s.Ready {
			text, bad = "running, not ready", true
		}
	case st.Terminated != nil:
		at, text, bad = st.Terminated.FinishedAt.Time, endWords(st.Terminated), st.Terminated.ExitCode != 0
	case st.Waiting != nil:
		text, bad = cmp.Or(st.Waiting.Reason, "waiting"), stuck(st.Waiting.Reason) || blocked(st.Waiting)
		if st.Waiting.Message != "" {
			text += ": " + st.Waiting.Message
		}
	default:
		text = "not begun"
	}
	text = s.Name + " (" + s.Image + "): " + text
	if s.RestartCount > 0 {
		text += fmt.Sprintf("; started again %d times", s.RestartCount)
	}
	if last := s.LastTerminationState.Terminated; last != nil && s.State.Terminated == nil {
		text += "; before that " + endWords(last)
		if at.IsZero() {
			at = last.FinishedAt.Time
		}
	}
	return at, text, bad
}

func endWords(t *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("ended with exit code %d", t.ExitCode)
	if t.Signal != 0 {
		text += fmt.Sprintf(" by signal %d", t.Signal)
	}
	if t.Reason != "" {
		text += " (" + t.Reason + ")"
	}
	if t.Message != "" {
		text += ": " + strings.TrimSpace(t.Message)
	}
	return text
}

// tellGone tells of the last pods that an object had.
func (c *Controller) tellGone(a *Account, owner reconcile.Key) {
	gone := c.diary.past(func(g *gonePod) bool { return g.owner == owner || reconcile.KeyOf(g.pod) == owner })
	for _, g := range gone[max(0, len(gone)-whyGone):] {
		a.pod("gone", g.pod, g.at, true)
		for _, d := range c.diary.about(whyDecisions, reconcile.KeyOf(g.pod)) {
			if strings.HasPrefix(d.action, "delete ") {
				a.decision(d)
			}
		}
	}
}

// tellEvents shows the last warnings about the keys, and when there is none the last events.
func (c *Controller) tellEvents(a *Account, keys []reconcile.Key) {
	var warnings, all []Event
	for _, e := range c.Events(0) {
		if !slices.Contains(keys, e.Object) {
			continue
		}
		if all = append(all, e); e.Type == corev1.EventTypeWarning {
			warnings = append(warnings, e)
		}
	}
	if len(warnings) > 0 {
		all = warnings
	}
	for _, e := range all[max(0, len(all)-whyEvents):] {
		text := e.Reason + ": " + e.Message
		if e.Count > 1 {
			text += fmt.Sprintf(" (%d times)", e.Count)
		}
		a.add("event", stated(e.Object), e.Last, text, e.Type == corev1.EventTypeWarning)
	}
}
