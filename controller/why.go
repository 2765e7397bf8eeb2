package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// Why tells about the object that target names: KIND/NAME, KIND/NAMESPACE/NAME or a name alone, of a pod also its beginning. Kinds may be written as
// kubectl knows them. What is gone is known as long as berth runs. An error says that nothing is known of it.
func (c *Controller) Why(target, namespace string) (Account, error) {
	w := whyTarget(target, namespace)
	if it, ok := c.whyFind(w); ok {
		return c.account(it), nil
	}
	if a, ok := c.accountOfPast(w); ok {
		return a, nil
	}
	if a, ok := c.accountOfFault(w); ok {
		return a, nil
	}
	return Account{}, fmt.Errorf("nothing is known of %q: no file states it, and it has not been there since berth started at %s",
		target, c.started.Format(time.DateTime))
}

// wanted is what a target names; parts that it does not name are empty.
type wanted struct{ kind, namespace, name string }

func whyTarget(target, namespace string) wanted {
	parts := strings.Split(target, "/")
	switch len(parts) {
	case 1:
		return wanted{"", namespace, parts[0]}
	case 2:
		return wanted{kindOf(parts[0]), namespace, parts[1]}
	}
	return wanted{kindOf(parts[0]), parts[1], strings.Join(parts[2:], "/")}
}

// kindOf is the kind that a word of kubectl's means.
func kindOf(word string) string {
	word, _, _ = strings.Cut(strings.ToLower(word), ".")
	short := map[string]string{
		"deploy": "deployment", "rs": "replicaset", "rc": "replicationcontroller", "sts": "statefulset", "ds": "daemonset", "po": "pod", "cj": "cronjob",
		"svc": "service", "cm": "configmap", "pvc": "persistentvolumeclaim", "pv": "persistentvolume", "sc": "storageclass", "ing": "ingress",
		"ingresses": "ingress", "storageclasses": "storageclass", "ep": "endpoints", "eps": "endpointslice",
	}
	if long, ok := short[word]; ok {
		return long
	}
	return strings.TrimSuffix(word, "s")
}

// means tells how well a key fits: 0 not at all, 1 by the beginning of a pod's name, 2 exactly.
func (w wanted) means(key reconcile.Key) int {
	kind := strings.ToLower(key.Kind)
	if key.Kind == reconcile.KindBarePod {
		kind = "pod"
	}
	switch {
	case w.kind != "" && kind != w.kind && kind != w.kind+"s" || key.Namespace != "" && key.Namespace != w.namespace:
		return 0
	case key.Name == w.name:
		return 2
	case kind == "pod" && w.name != "" && strings.HasPrefix(key.Name, w.name+"-"):
		return 1
	}
	return 0
}

// whyFind is the object that is meant. Among several, what a file states comes before what is made, and the exact name before the beginning of one.
func (c *Controller) whyFind(w wanted) (best store.Item, ok bool) {
	rank := 0
	for _, it := range c.store.List("") {
		r := 2 * w.means(it.Key)
		if r > 0 && it.Source != nil {
			r++
		}
		if r > rank {
			best, rank = it, r
		}
	}
	return best, rank > 0
}

// account tells of an object that is there.
func (c *Controller) account(it store.Item) Account {
	a := Account{Object: stated(it.Key)}
	top := it
	for above := metav1.GetControllerOfNoCopy(top.Object); above != nil; above = metav1.GetControllerOfNoCopy(top.Object) {
		owner, ok := c.store.Get(reconcile.Key{Kind: above.Kind, Namespace: it.Key.Namespace, Name: above.Name})
		if !ok {
			break
		}
		top = owner
	}
	if it.Key.Kind == reconcile.KindPod && top.Key == it.Key { // of a pod that a file states, the wish is another object
		if wish, ok := c.store.Get(reconcile.Key{Kind: reconcile.KindBarePod, Namespace: it.Key.Namespace, Name: it.Key.Name}); ok {
			top = wish
		}
	}
	c.tellStated(&a, top)
	keys := []reconcile.Key{it.Key}
	for _, set := range c.store.OwnedBy(it.Object.GetUID()) {
		if set.Key.Kind == reconcile.KindReplicaSet {
			keys = append(keys, set.Key)
			c.tellRevision(&a, set)
		}
	}
	pods := c.podsOf(it)
	for i, p := range pods {
		if it.Key.Kind == reconcile.KindPod || it.Key.Kind == reconcile.KindBarePod || i == 0 && rankPod(p) == 0 {
			keys = append(keys, reconcile.KeyOf(p))
		}
	}
	for _, d := range c.diary.about(whyDecisions, keys...) {
		a.decision(d)
	}
	for _, key := range keys {
		if text := c.stuckOn(key); text != "" {
			a.add("decided", key.String(), time.Time{}, "cannot get on, and tries again: "+text, true)
		}
	}
	c.tellPods(&a, it, pods)
	c.tellGone(&a, it.Key)
	for _, p := range pods {
		keys = append(keys, reconcile.KeyOf(p))
	}
	c.tellEvents(&a, keys)
	a.Answer, a.Well = c.answer(it, pods)
	return a
}

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

// podsOf are the pods that an object is or makes, those with trouble first.
func (c *Controller) podsOf(of store.Item) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, it := range c.store.List(reconcile.KindPod) {
		p, ok := it.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		owner := metav1.GetControllerOfNoCopy(p)
		direct := owner != nil && owner.UID == of.Object.GetUID()
		if it.Key == of.Key || direct || c.workloadOf(p) == of.Key {
			pods = append(pods, p)
		}
	}
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(rankPod(a), rankPod(b)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods
}

func rankPod(p *corev1.Pod) int {
	switch {
	case problem([]*corev1.Pod{p}) != "":
		return 0
	case !ready(p) && p.Status.Phase != corev1.PodSucceeded:
		return 1
	}
	return 2
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

// answer is the whole account in one sentence.
func (c *Controller) answer(it store.Item, pods []*corev1.Pod) (text string, well bool) {
	trouble := cmp.Or(problem(pods), c.stuckOn(it.Key), c.stuckPod(pods), c.unready(pods))
	switch it.Key.Kind {
	case reconcile.KindPod:
		if len(pods) == 0 {
			return "it is not there", false
		}
		reason, _ := summary(pods[0])
		return cmp.Or(trouble, "it is "+reason), trouble == ""
	case reconcile.KindDeployment, reconcile.KindReplicaSet, reconcile.KindReplicationController, reconcile.KindStatefulSet, reconcile.KindDaemonSet,
		reconcile.KindBarePod, reconcile.KindJob, reconcile.KindCronJob:
		w := c.workload(it, pods)
		state := fmt.Sprintf("%d of %d ready", w.Ready, w.Desired)
		switch {
		case w.Problem != "" || !w.Done && trouble != "":
			return state + ": " + cmp.Or(w.Problem, trouble), false
		case w.Note != "":
			return state + ": " + w.Note, w.Done
		case w.Done:
			return "it is as stated: " + state, true
		}
		return "it is under way: " + state, true
	}
	return cmp.Or(trouble, "it is there"), trouble == ""
}

// unready is why a container that runs is not ready, as its probe told last.
func (c *Controller) unready(pods []*corev1.Pod) string {
	for _, p := range pods {
		if ready(p) || p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
			continue
		}
		all := c.Events(0)
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].Object == reconcile.KeyOf(p) && all[i].Reason == "Unhealthy" {
				return fmt.Sprintf("pod %s is not ready: %s", p.Name, all[i].Message)
			}
		}
	}
	return ""
}

// accountOfPast tells of a pod that is gone.
func (c *Controller) accountOfPast(w wanted) (Account, bool) {
	gone := c.diary.past(func(g *gonePod) bool { return w.means(reconcile.KeyOf(g.pod)) > 0 })
	if len(gone) == 0 {
		return c.accountOfEvents(w)
	}
	g := gone[len(gone)-1]
	key := reconcile.KeyOf(g.pod)
	a := Account{Object: key.String(), Gone: true}
	if it, ok := c.store.Get(g.owner); ok {
		c.tellStated(&a, it)
	}
	for _, d := range c.diary.about(whyDecisions, key) {
		a.decision(d)
	}
	a.pod("gone", g.pod, g.at, true)
	c.tellEvents(&a, []reconcile.Key{key})
	a.Answer = "it is gone since " + g.at.Format(time.DateTime)
	for _, d := range c.diary.about(maxDecisions, key) {
		if _, reason, ok := strings.Cut(d.action, "delete "+key.String()+": "); ok {
			a.Answer += ": " + reason
		}
	}
	if text := problem([]*corev1.Pod{g.pod}); text != "" {
		a.Answer += "; before that, " + text
	}
	return a, true
}

// accountOfEvents tells of what is gone and was no pod.
func (c *Controller) accountOfEvents(w wanted) (Account, bool) {
	for _, e := range slices.Backward(c.Events(0)) {
		if w.means(e.Object) < 2 {
			continue
		}
		a := Account{Object: stated(e.Object), Gone: true, Answer: "it is gone"}
		for _, d := range c.diary.about(whyDecisions, e.Object) {
			a.decision(d)
		}
		c.tellGone(&a, e.Object)
		c.tellEvents(&a, []reconcile.Key{e.Object})
		if e.Reason == "Removed" {
			a.Answer += ": " + e.Message
		}
		return a, true
	}
	return Account{}, false
}

// accountOfFault tells of what a file states with a fault, so that it never came to be.
func (c *Controller) accountOfFault(w wanted) (Account, bool) {
	var s Status
	c.ingest.status(&s)
	var a Account
	for _, f := range s.Faults {
		kind, name, _ := strings.Cut(f.Object, "/")
		if f.Severity != manifests.Error || name != w.name || w.kind != "" && strings.ToLower(kind) != w.kind {
			continue
		}
		if a.Object == "" {
			a = Account{Object: kind + "/" + w.namespace + "/" + name, Gone: true, Answer: "it is not there: " + f.String()}
		}
		a.add("fault", "", time.Time{}, f.String(), true)
	}
	return a, a.Object != ""
}
