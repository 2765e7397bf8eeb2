package reconciletest

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/barepod"
	"berth/reconcile/deployment"
	"berth/reconcile/gc"
	"berth/reconcile/pod"
	"berth/reconcile/replicaset"
	"berth/runtime"
)

// pass looks at one key, decides and acts, as the controller's loop does. A fault in the middle leaves the rest undone and tries again.
func (w *world) pass(k reconcile.Key) {
	w.passes++
	delete(w.timers, k)
	if k == trafficKey {
		w.direct()
		return
	}
	plan, ok := w.plan(k)
	if !ok {
		return
	}
	before := w.sizes(k)
	for _, a := range plan.Actions {
		w.actions++
		if w.tracing {
			w.say("%s: %s", k, a)
		}
		if err := w.execute(a); err != nil {
			w.say("%s: %v", k, err)
			w.timers[k] = w.clock.since + time.Second
			if errors.Is(err, errKilled) {
				w.restart()
			}
			return
		}
	}
	if plan.RequeueAfter > 0 {
		w.timers[k] = w.clock.since + plan.RequeueAfter
	}
	if adopts(plan) {
		before = w.sizes(k) // what an orphan had is its Deployment's from now on
	}
	w.checkStep(k, before)
}

// plan gathers the input of a key and asks its planner. It reports false when the object is gone.
func (w *world) plan(k reconcile.Key) (reconcile.Plan, bool) {
	now := w.clock.wall
	switch k.Kind {
	case reconcile.KindDeployment:
		d, i := find(w.deployments, k.Name)
		if i < 0 {
			return reconcile.Plan{}, false
		}
		if p := w.planAdoption(d); len(p.Actions) > 0 {
			return p, true
		}
		return deployment.Plan(w.deploymentInput(d)), true
	case reconcile.KindReplicaSet:
		s, i := find(w.sets, k.Name)
		if i < 0 {
			return reconcile.Plan{}, false
		}
		w.nonce++
		return replicaset.Plan(replicaset.Input{ReplicaSet: s, Pods: w.podsOf(s.UID), Nonce: w.nonce, Now: now}), true
	case reconcile.KindBarePod:
		wish, _ := find(w.wishes, k.Name)
		var pods []*corev1.Pod
		for _, p := range w.pods {
			if p.Name == k.Name && ownerUID(p.OwnerReferences) == "" {
				pods = append(pods, p)
			}
		}
		return barepod.Plan(barepod.Input{Wish: wish, Pods: pods, Now: now}), true
	case kindGC:
		return gc.Plan(gc.Input{Live: w.owners(), Objects: w.ownable()}), true
	}
	if kind := w.kinds[k.Kind]; kind != nil {
		o, i := w.object(k)
		if i < 0 || kind.plan == nil {
			return reconcile.Plan{}, false
		}
		return kind.plan(w, o), true
	}
	p, i := find(w.pods, k.Name)
	if i < 0 {
		return reconcile.Plan{}, false
	}
	return pod.Plan(w.podInput(p)), true
}

func (w *world) podInput(p *corev1.Pod) pod.Input {
	in := pod.Input{
		Pod: p, Config: w.contents, Claims: w.claimsOf(p), Images: w.images, Memory: *w.memoryOf(p.UID), Now: w.clock.wall,
		Node: pod.Node{Name: "sim", HostIP: "192.0.2.1", CPUs: 2, Memory: 1 << 30},
	}
	in.Observed, in.Probes = w.observe(p.UID)
	in.Routed = w.isRouted(p)
	return in
}

func (w *world) observe(uid types.UID) (*runtime.PodStatus, map[string]pod.Probe) {
	status, ok := w.machine(uid)
	if !ok {
		return nil, nil
	}
	var probes map[string]pod.Probe
	for _, c := range status.Containers {
		l := w.lives[lifeID{uid, c.Name}]
		if c.State != runtime.Running || l == nil || !l.probed {
			continue
		}
		if probes == nil {
			probes = map[string]pod.Probe{}
		}
		v := pod.Probe{Started: true, Ready: l.ready}
		if l.sick {
			v.Failed = pod.Liveness
		}
		probes[c.Name] = v
	}
	return &status, probes
}

func (w *world) machine(uid types.UID) (runtime.PodStatus, bool) {
	status, err := w.fake.Status(background, string(uid))
	return status, err == nil
}

func (w *world) owners() map[types.UID]bool {
	live := map[types.UID]bool{}
	for _, d := range w.deployments {
		live[d.UID] = true
	}
	for _, p := range w.pods { // they may own, too
		live[p.UID] = true
	}
	return live
}

// ownable are the objects that others may own, owners first.
func (w *world) ownable() []reconcile.Object {
	all := make([]reconcile.Object, 0, len(w.objects)+len(w.sets)+len(w.pods))
	all = append(all, w.objects...)
	for _, s := range w.sets {
		all = append(all, s)
	}
	for _, p := range w.pods {
		all = append(all, p)
	}
	return all
}
