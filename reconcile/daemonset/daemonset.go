// Package daemonset decides about the pod that each node has, of which there is one here. What a template says of nodes (nodeSelector, affinity,
// tolerations) chooses among machines, so it does not keep the pod from the only one.
package daemonset

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/history"
	"berth/reconcile/readiness"
	"berth/reconcile/request"
)

var kind = appsv1.SchemeGroupVersion.WithKind(reconcile.KindDaemonSet)

// Input is what is known of one DaemonSet. Nothing in it is changed.
type Input struct {
	DaemonSet *appsv1.DaemonSet
	// Pods are all that it owns, by UID, those that are ending or have ended included.
	Pods []*corev1.Pod
	// Revisions are all that it owns.
	Revisions []*appsv1.ControllerRevision
	// Config is what the ConfigMaps and Secrets of the template say now; nil for a set that is not rolled out to it.
	Config config.Fingerprint
	// Node is the name of this machine.
	Node string
	// Nonce makes the names of new pods: the same one in the same pass gives the same names, a fresh one fresh names.
	Nonce uint64
	Now   time.Time
}

// Plan returns the next steps: revisions, the status, and the pod. While a new template is rolled out there may be two with maxSurge, an old and a
// new one; otherwise the old one must be gone first.
func Plan(in Input) reconcile.Plan {
	d := in.DaemonSet
	p := pass{in: in, set: d, template: request.Template(&d.Spec.Template, d.Annotations[request.AnnotationRestartedAt])}
	p.history = history.Of(history.Input{
		Owner: d, Kind: kind, Template: &p.template, Revisions: in.Revisions, Collisions: d.Status.CollisionCount, Config: in.Config,
		HashLabel: appsv1.DefaultDaemonSetUniqueLabelKey, Now: in.Now,
	})
	p.hash = p.history.Newest.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
	p.plan.Actions = p.history.Actions
	p.sort()
	p.report()
	if d.DeletionTimestamp == nil {
		p.prune()
		p.replace()
		p.plan.Actions = append(p.plan.Actions, p.history.Trim(d.Spec.RevisionHistoryLimit, p.inUse)...)
	}
	return p.plan
}

// pass is one look at one set.
type pass struct {
	in       Input
	set      *appsv1.DaemonSet
	template corev1.PodTemplateSpec // the set's, restarted when that was asked for
	history  history.History
	hash     string // of the revision that is wished

	present  []*corev1.Pod // all but those that have ended and are ending, the oldest first
	ended    []*corev1.Pod // those that have ended, and that nobody has ended yet
	old, new []*corev1.Pod // of those that are not ending, the oldest first

	plan reconcile.Plan
}

func (p *pass) sort() {
	pods := slices.Clone(p.in.Pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, pod := range pods {
		finished := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
		ending := pod.DeletionTimestamp != nil
		if !finished || !ending {
			p.present = append(p.present, pod)
		}
		switch {
		case ending:
		case finished:
			p.ended = append(p.ended, pod)
		case p.updated(pod):
			p.new = append(p.new, pod)
		default:
			p.old = append(p.old, pod)
		}
	}
}

func (p *pass) updated(pod *corev1.Pod) bool {
	return pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == p.hash
}

func (p *pass) available(pod *corev1.Pod) bool {
	return readiness.Available(pod, p.set.Spec.MinReadySeconds, p.in.Now)
}

// prune ends what there should never be: pods that have ended by themselves, and more than one of a kind.
func (p *pass) prune() {
	for _, pod := range p.ended {
		where := fmt.Sprintf("%s/%s on node %s", pod.Namespace, pod.Name, p.in.Node)
		if pod.Status.Phase == corev1.PodFailed {
			p.tell(true, "FailedDaemonPod", "Found failed daemon pod "+where+", will try to kill it")
		} else {
			p.tell(false, "SucceededDaemonPod", "Found succeeded daemon pod "+where+", will try to delete it")
		}
		p.end(pod, "it has ended")
	}
	for _, list := range []*[]*corev1.Pod{&p.old, &p.new} {
		for len(*list) > 1 {
			last := len(*list) - 1
			p.end((*list)[last], "one is enough")
			*list = (*list)[:last]
		}
	}
}

// replace makes the pod that is missing, and lets a new one take the place of an old one.
func (p *pass) replace() {
	surge := p.surge()
	switch {
	case len(p.old)+len(p.new) == 0:
		if surge || len(p.present) == 0 {
			p.create()
		}
	case len(p.old) == 0:
	case len(p.new) > 0: // a surge is under way, whatever the strategy is now
		wait := readiness.UntilSteady(p.new[0], p.in.Now)
		switch old := p.old[0]; {
		case !readiness.Ready(old), p.available(p.new[0]) && wait == 0:
			p.end(old, "a pod of the new revision has taken its place")
		case wait > 0:
			p.plan.RequeueAfter = sooner(p.plan.RequeueAfter, wait)
		}
	case p.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType:
	case surge:
		p.create()
	default:
		p.end(p.old[0], "it is of an old revision")
	}
}

// surge tells whether a rollout makes the new pod beside the old one. Otherwise it ends the old one first: validation sees to it that one of maxSurge and
// maxUnavailable is given, and of one pod any share is that pod.
func (p *pass) surge() bool {
	u := p.set.Spec.UpdateStrategy.RollingUpdate
	return u != nil && some(u.MaxSurge)
}

// some tells whether a number or percentage is more than nothing.
func some(v *intstr.IntOrString) bool {
	return v != nil && (v.Type == intstr.Int && v.IntVal > 0 || v.Type == intstr.String && strings.Trim(v.StrVal, "0%") != "")
}

func (p *pass) create() {
	names := reconcile.NewNames(p.set.UID, p.in.Nonce, p.in.Pods)
	t := p.template.DeepCopy()
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPod},
		ObjectMeta: metav1.ObjectMeta{
			Name: names.Next(p.set.Name, "-"), GenerateName: p.set.Name + "-", Namespace: p.set.Namespace,
			Labels:            t.Labels,
			Annotations:       t.Annotations,
			CreationTimestamp: metav1.NewTime(p.in.Now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(p.set, kind)},
		},
		Spec:   t.Spec,
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = p.hash
	p.do(reconcile.CreatePod{Pod: pod})
	p.tell(false, "SuccessfulCreate", "Created pod: "+pod.Name)
}

func (p *pass) end(pod *corev1.Pod, reason string) {
	p.do(reconcile.DeletePod{Key: reconcile.KeyOf(pod), UID: pod.UID, Reason: reason})
	p.tell(false, "SuccessfulDelete", "Deleted pod: "+pod.Name)
}

func (p *pass) do(a reconcile.Action) { p.plan.Actions = append(p.plan.Actions, a) }

func (p *pass) tell(warning bool, reason, message string) {
	p.do(reconcile.RecordEvent{Key: reconcile.KeyOf(p.set), UID: p.set.UID, Warning: warning, Reason: reason, Message: message})
}

func (p *pass) inUse(r *appsv1.ControllerRevision) bool {
	hash := r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
	return slices.ContainsFunc(p.in.Pods, func(pod *corev1.Pod) bool { return pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == hash })
}
