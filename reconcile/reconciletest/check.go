package reconciletest

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/runtime"
)

// family is what must hold for the pods of one Deployment, while its planners have not yet taken in the last change.
type family struct {
	// limit is the most active pods, floor the fewest available ones, over all wishes that planners may still be acting on. What was not
	// available when they had last taken everything in, they need not keep.
	limit, floor int32
	// disturbed means that something broke: until the planners have seen it, what they do may rest on a count that is no longer true.
	disturbed bool
	// apart means that under Recreate only one revision has had pods so far.
	apart bool
}

// ending is a pod's graceful end under way.
type ending struct {
	at    time.Duration
	grace time.Duration
	jumps int
}

// bounds works out the strategy's limits on its own, as the documentation of Kubernetes states them.
func bounds(d *appsv1.Deployment) (limit, floor int32) {
	n := *d.Spec.Replicas
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return n, 0
	}
	surge := share(d.Spec.Strategy.RollingUpdate.MaxSurge, n, 99)
	unavailable := share(d.Spec.Strategy.RollingUpdate.MaxUnavailable, n, 0)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return n + surge, max(0, n-unavailable)
}

// share is a number, or a percentage with what is added to the hundredths before they are cut off.
func share(v *intstr.IntOrString, of int32, add int32) int32 {
	if v.Type == intstr.Int {
		return v.IntVal
	}
	percent := int32(0)
	for _, c := range v.StrVal {
		if c >= '0' && c <= '9' {
			percent = percent*10 + c - '0'
		}
	}
	return (percent*of + add) / 100
}

func (w *world) familyOf(d *appsv1.Deployment) *family {
	f := w.families[string(d.UID)]
	if f == nil {
		f = &family{}
		f.limit, f.floor = bounds(d)
		f.floor = 0 // nothing is there yet
		w.families[string(d.UID)] = f
	}
	return f
}

// wished takes in a new wish: both the old and the new one may be acted on for now.
func (w *world) wished(d *appsv1.Deployment) {
	f := w.familyOf(d)
	limit, floor := bounds(d)
	f.limit, f.floor = max(f.limit, limit), min(f.floor, floor)
	if d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		f.apart = false
	}
}

func (w *world) deploymentOf(p *corev1.Pod) (*appsv1.Deployment, *appsv1.ReplicaSet) {
	rs := w.setByUID(ownerUID(p.OwnerReferences))
	if rs == nil {
		return nil, nil
	}
	owner := ownerUID(rs.OwnerReferences)
	for _, d := range w.deployments {
		if d.UID == owner {
			return d, rs
		}
	}
	return nil, rs
}

// disturb excuses the family of a pod until its planners have seen what happened.
func (w *world) disturb(uid types.UID) {
	p := w.podByUID(uid)
	if p == nil {
		return
	}
	if d, _ := w.deploymentOf(p); d != nil {
		w.familyOf(d).disturbed = true
	}
}

func (w *world) disturbAll() {
	for _, d := range w.deployments {
		w.familyOf(d).disturbed = true
	}
}

func isActive(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded
}

func (w *world) activeOf(d *appsv1.Deployment) (n int32) {
	for _, s := range w.setsOf(d.UID) {
		for _, p := range w.podsOf(s.UID) {
			if isActive(p) {
				n++
			}
		}
	}
	return n
}

// sizes are what the revisions of a Deployment shall have, before or after a pass.
type sizes struct {
	all  int32
	each []size
	// steady means that no size is being followed and that every count is known: what the pass does is a step of the rollout.
	steady bool
}

type size struct {
	uid      types.UID
	n        int32
	starting int32 // those that are not available yet, or ready for less than a second
}

// others is the size of all revisions but one.
func (s *sizes) others(uid types.UID) (n int32) {
	for _, e := range s.each {
		if e.uid != uid {
			n += e.n
		}
	}
	return n
}

func (s *sizes) startingOf(uid types.UID) (n int32) {
	for _, e := range s.each {
		if e.uid == uid {
			n = e.starting
		}
	}
	return n
}

func (w *world) sizes(k reconcile.Key) (s sizes) {
	if k.Kind != reconcile.KindDeployment {
		return s
	}
	d, i := find(w.deployments, k.Name)
	if i < 0 {
		return s
	}
	wish := strconv.Itoa(int(*d.Spec.Replicas))
	s.steady = !isPaused(d) && d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
	for _, rs := range w.index().deployments[i].sets {
		n := *rs.Spec.Replicas
		s.all += n
		if n > 0 && rs.Annotations["deployment.kubernetes.io/desired-replicas"] != wish || rs.Status.ObservedGeneration < rs.Generation {
			s.steady = false
		}
		available := min(n, rs.Status.AvailableReplicas)
		s.each = append(s.each, size{rs.UID, n, n - available + min(available, w.justReady(rs))})
	}
	return s
}

// justReady counts the pods that have been ready for less than a second, as far as anybody can tell by a clock that is set.
func (w *world) justReady(rs *appsv1.ReplicaSet) (n int32) {
	for _, p := range w.podsOf(rs.UID) {
		for i := range p.Status.Conditions {
			c := &p.Status.Conditions[i]
			since := w.clock.wall.Sub(c.LastTransitionTime.Time)
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil && since >= 0 && since < time.Second {
				n++
			}
		}
	}
	return n
}

// checkStep judges one pass, and lets families settle whose planners have nothing left to take in.
func (w *world) checkStep(k reconcile.Key, before sizes) {
	if k.Kind == reconcile.KindDeployment {
		if d, i := find(w.deployments, k.Name); i >= 0 {
			w.checkSizes(d, k, before)
		}
	}
	x := w.markDue()
	for i, d := range w.deployments {
		g := &x.deployments[i]
		if g.due {
			continue
		}
		limit, floor := bounds(d)
		size, available, apart := w.tally(x, g)
		*g.family = family{
			limit: max(limit, size), floor: min(floor, available),
			apart: apart && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType,
		}
	}
}

func (w *world) checkSizes(d *appsv1.Deployment, k reconcile.Key, before sizes) {
	limit, floor := bounds(d)
	after := w.sizes(k)
	if after.all > max(limit, before.all) {
		w.fail("%s: its revisions shall have %d pods, more than %d", k, after.all, max(limit, before.all))
	}
	top := w.running(d)
	if top == nil {
		return
	}
	left := after.all - after.startingOf(top.UID)
	if before.steady && after.others(top.UID) < before.others(top.UID) && left < floor {
		w.fail("%s: it takes old pods although only %d are left beside those that start, %d must be", k, left, floor)
	}
}

// tally counts the pods that a Deployment's revisions shall have and those that are available, and tells whether at most one has any.
func (w *world) tally(x *index, g *group) (size, available int32, apart bool) {
	populated := 0
	for i, s := range g.sets {
		v := &x.revisions[g.revisions[i]]
		size += *s.Spec.Replicas
		if *s.Spec.Replicas > 0 || len(v.pods) > 0 {
			populated++
		}
		for j, p := range v.pods {
			if w.available(p, v.crews[j], s.Spec.MinReadySeconds) {
				available++
			}
		}
	}
	return size, available, populated <= 1
}

// checkCreated judges a pod that was just made.
func (w *world) checkCreated(p *corev1.Pod) {
	controllers := 0
	for _, r := range p.OwnerReferences {
		if r.Controller != nil && *r.Controller {
			controllers++
		}
	}
	if controllers > 1 {
		w.fail("pod %s has %d owners", describe(p), controllers)
	}
	if controllers == 0 {
		return
	}
	if o := w.objectByUID(ownerUID(p.OwnerReferences)); o != nil {
		if k := w.kindOf(o); k.made != nil {
			k.made(w, o, p)
		}
		return
	}
	d, rs := w.deploymentOf(p)
	if rs == nil {
		w.fail("pod %s is made for an owner that is gone", describe(p))
		return
	}
	active := int32(0)
	for _, sibling := range w.podsOf(rs.UID) {
		if isActive(sibling) {
			active++
		}
	}
	if active > *rs.Spec.Replicas {
		w.fail("pod %s is one too many: ReplicaSet %s has %d active pods of %d", describe(p), rs.Name, active, *rs.Spec.Replicas)
	}
	if d == nil {
		return
	}
	f := w.familyOf(d)
	if n := w.activeOf(d); n > f.limit && !f.disturbed {
		w.fail("pod %s is one too many: Deployment %s has %d active pods, the surge allows %d", describe(p), d.Name, n, f.limit)
	}
	if f.apart && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && !f.disturbed {
		for _, s := range w.setsOf(d.UID) {
			if s.UID != rs.UID && len(w.podsOf(s.UID)) > 0 {
				w.fail("pod %s of Deployment %s is made before the old ones are gone", describe(p), d.Name)
			}
		}
	}
}

// checkDeleted judges a pod that is about to be ended. One that serves may go only if enough others do.
func (w *world) checkDeleted(p *corev1.Pod) {
	w.noteEnd(p)
	if o := w.objectByUID(ownerUID(p.OwnerReferences)); o != nil {
		if k := w.kindOf(o); k.ending != nil && p.DeletionTimestamp == nil {
			k.ending(w, o, p)
		}
		return
	}
	d, rs := w.deploymentOf(p)
	s := w.crewOf(p)
	if d == nil || p.DeletionTimestamp != nil || !reportedReady(p) || !w.available(p, s, rs.Spec.MinReadySeconds) {
		return // a pod that began to serve this very moment, and nobody knows yet, is not held against a planner
	}
	if !w.surely(s, rs.Spec.MinReadySeconds) {
		return
	}
	left := w.availableOf(d) - 1
	if f := w.familyOf(d); left < f.floor && !f.disturbed {
		w.fail("pod %s is ended although only %d others of Deployment %s are available, %d must be", describe(p), left, d.Name, f.floor)
	}
}

// noteEnd notes when a pod's grace begins.
func (w *world) noteEnd(p *corev1.Pod) {
	w.ends[p.UID] = ending{at: w.clock.since, grace: w.graceOf(p), jumps: w.clock.jumps}
}

func (w *world) graceOf(p *corev1.Pod) time.Duration {
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// availableOf counts the truth. As in Kubernetes, an old revision keeps its own minReadySeconds.
func (w *world) availableOf(d *appsv1.Deployment) (n int32) {
	x := w.index()
	_, n, _ = w.tally(x, &x.deployments[place(w.deployments, d.UID)])
	return n
}

func reportedReady(p *corev1.Pod) bool {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// checkKill holds that nothing is killed within its grace.
func (w *world) checkKill(uid types.UID, name string) {
	status, there := w.machine(uid)
	e, ok := w.ends[uid]
	if !there || !status.Sandbox.Ready || !ok || e.jumps != w.clock.jumps {
		return
	}
	if past := w.clock.since - e.at; past < e.grace {
		w.fail("container %s of pod %s is killed after %s, its grace is %s", name, uid, past, e.grace)
	}
}

func (w *world) checkRemove(uid types.UID) {
	status, _ := w.machine(uid)
	for _, c := range status.Containers {
		if c.State == runtime.Running {
			w.fail("the sandbox of pod %s is removed while container %s runs", uid, c.Name)
		}
	}
}

// checkStart holds the back-off: not earlier than the rules say, and when nothing else stood in the way not later.
func (w *world) checkStart(a reconcile.StartContainer) {
	p := w.podByUID(a.UID)
	if p == nil || p.DeletionTimestamp != nil {
		w.fail("container %s is started in a pod that ends: %s", a.Config.Name, a.Pod)
	}
	l := w.lives[lifeID{a.UID, a.Config.Name}]
	if l == nil {
		return
	}
	if l.running {
		w.fail("container %s of %s is started while it runs", a.Config.Name, a.Pod)
	}
	if l.jumps != w.clock.jumps {
		return
	}
	past, wait := w.clock.since-l.ended, max(0, l.wait)
	if past < wait {
		w.fail("container %s of %s is started again after %s, the back-off is %s", a.Config.Name, a.Pod, past, wait)
	}
	if past > wait+time.Second && !l.excused {
		w.fail("container %s of %s is started again after %s, the back-off is only %s", a.Config.Name, a.Pod, past, wait)
	}
}

// checkPull holds that what has come is not pulled again; once more for each time the clock was set since the pod was made.
func (w *world) checkPull(a reconcile.PullImage) {
	k := a.Pod.Name + " " + a.Ref
	last, again := w.asked[k]
	if !again {
		p, _ := find(w.pods, a.Pod.Name)
		last.jumps = w.born[p.UID]
	} else if w.arrived[a.Ref] > last.at {
		if last.jumps == w.clock.jumps {
			w.fail("%s has got %s, and pulls it again", a.Pod, a.Ref)
		}
		last.jumps = w.clock.jumps
	}
	last.at = w.clock.since
	w.asked[k] = last
}
