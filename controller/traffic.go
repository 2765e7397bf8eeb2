package controller

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/service"
	"berth/runtime"
)

// keyTraffic names the table of all traffic: it is made as a whole, by one worker at a time.
var keyTraffic = reconcile.Key{Kind: "Traffic"}

const (
	// trafficPause collects what happens at the same time: a table is made for all of it. A pod that ends waits so much longer for its signal.
	trafficPause = 2 * time.Millisecond
	// longestTrafficPause bounds the pause that grows with the time the machine takes for a table.
	longestTrafficPause = 100 * time.Millisecond
	// askAgain is how soon the router is asked how it goes with what it could not do.
	askAgain = 5 * time.Second
	// sourcePatience is how long a machine without a single Service leaves the old table alone until its source has said something: the state may
	// be lost, and with it the Services that are being served.
	sourcePatience = 10 * time.Second
)

// traffic is what the controller knows of the table: what was asked for, and what holds.
type traffic struct {
	allocating sync.Mutex // held while addresses are given out

	mu sync.Mutex
	// asked counts the changes that concern the table, done those that it holds.
	asked, done uint64
	// routed are the pods that hold connections, or are about to: those of the table that holds, and of the one that is being applied. known
	// is false until a table of this controller has been applied: before that of the last one holds, whatever it says.
	routed map[types.UID]bool
	known  bool
	// tried is true when a table of this controller has been applied, or could not be.
	tried bool
	// stale makes the next table be applied also when it is the same.
	stale    bool
	applied  runtime.Traffic
	table    service.Table
	pause    time.Duration
	problems []runtime.RouteProblem // sorted by owner
	broken   bool                   // some of the problems are the router's
	refused  map[reconcile.Key]bool
	failures int                          // in a row
	failure  error                        // the last of them
	services map[string][]*corev1.Service // by namespace; nil while it is to be found out
	secrets  []reconcile.Key              // that the table is made of
}

func newTraffic() *traffic { return &traffic{pause: trafficPause, stale: true} }

// trafficChanged makes the table due when a change concerns it.
func (c *Controller) trafficChanged(ch store.Change) {
	switch ch.Key.Kind {
	case reconcile.KindPod, reconcile.KindIngress:
	case reconcile.KindIngressClass:
		for _, it := range c.store.List(reconcile.KindIngress) {
			c.queue.Add(it.Key) // it may be another's now
		}
	case reconcile.KindSecret:
		if !c.traffic.uses(ch.Key) {
			return
		}
	case reconcile.KindService:
		c.traffic.forgetServices()
	case reconcile.KindEndpoints, reconcile.KindEndpointSlice:
		if derived(ch) {
			return
		}
	default:
		return
	}
	c.queue.AddAfter(keyTraffic, c.traffic.ask())
}

// ask notes a change and tells how long to wait for others.
func (t *traffic) ask() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	return t.pause
}

// doubt has the next table applied also when it is the same.
func (t *traffic) doubt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stale = true
}

// took makes the pause between two tables as long as one takes: half of the time is for others.
func (t *traffic) took(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pause = min(max(trafficPause, d), longestTrafficPause)
}

// failed counts the tables in a row that could not be applied.
func (t *traffic) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failures++; err == nil {
		t.failures = 0
	}
	t.failure = err
}

// settled tells that the table that holds is made of all there is, or that it cannot be.
func (t *traffic) settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done == t.asked || t.failures >= stuckAfter
}

// routes tells whether connections are sent to a pod, or may be at any moment.
func (c *Controller) routes(p *corev1.Pod) bool {
	if c.opts.Router == nil {
		return false
	}
	t := c.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.known || t.routed[p.UID] || p.DeletionTimestamp == nil && ready(p)
}

// direct makes the table and has it applied where it differs from the one that holds. after is when to ask again.
func (c *Controller) direct(ctx context.Context) (after time.Duration, err error) {
	if c.opts.Router != nil && c.tooEarly() {
		return time.Second, nil
	}
	if c.unplanned() {
		return time.Second, nil // the plan makes it due
	}
	c.allocate()
	t := c.traffic
	t.mu.Lock()
	asked := t.asked
	t.mu.Unlock()
	began := c.opts.Clock.Now()
	table := c.announced()
	status, err := c.route(ctx, &table)
	t.took(c.opts.Clock.Since(began))
	c.startWaiting()
	if t.failed(err); err != nil {
		return 0, err
	}
	released, differing, first := t.hold(&table, asked)
	c.waysChanged(table.Traffic.Ingress)
	if first {
		for _, it := range c.store.List(reconcile.KindIngress) {
			c.queue.Add(it.Key)
		}
		for _, it := range c.store.List(reconcile.KindPod) {
			if p, ok := it.Object.(*corev1.Pod); ok && (p.DeletionTimestamp != nil || !ready(p)) {
				c.queue.Add(it.Key) // it may have waited to hear what the table says of it
			}
		}
	}
	c.tellProblems(&table, status)
	c.released(released)
	c.queue.Add(differing...)
	if len(status.Problems) > 0 {
		after = askAgain
	}
	return after, nil
}

// directed tells whether the machine goes by a table, as far as it can.
func (c *Controller) directed() bool {
	c.traffic.mu.Lock()
	defer c.traffic.mu.Unlock()
	return c.traffic.tried || c.opts.Router == nil
}

// startWaiting makes due, once, the pods that waited for somebody to answer for names.
func (c *Controller) startWaiting() {
	c.traffic.mu.Lock()
	first := !c.traffic.tried
	c.traffic.tried = true
	c.traffic.mu.Unlock()
	if first {
		for _, it := range c.store.List(reconcile.KindPod) {
			c.queue.Add(it.Key)
		}
	}
}

// tooEarly tells that Services may be served that nobody has heard of yet.
func (c *Controller) tooEarly() bool {
	c.traffic.mu.Lock()
	known := c.traffic.known
	c.traffic.mu.Unlock()
	return !known && c.opts.Source != nil && c.store.Len(reconcile.KindService) == 0 && !c.ingest.hasSeen() &&
		c.opts.Clock.Since(c.started) < sourcePatience
}

// hasSeen tells whether a snapshot has come.
func (in *ingest) hasSeen() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.seen
}

// announced is a table whose pods were known to be in it before it was made. So either the table sees that a pod ends, or who ends the pod sees
// that it is in the table.
func (c *Controller) announced() service.Table {
	t := c.traffic
	for {
		in := c.trafficInput()
		table := service.TableOf(in)
		table.Traffic.Forwarders = c.opts.Forwarders
		c.withIngress(&table, in.Services)
		c.withPolicies(&table)
		t.mu.Lock()
		fresh := t.announce(table.Held)
		t.mu.Unlock()
		if !slices.ContainsFunc(fresh, c.ends) {
			return table
		}
	}
}

// announce adds pods to those that are routed, and returns those that were not.
func (t *traffic) announce(held map[types.UID]bool) []types.UID {
	var fresh []types.UID
	for uid := range held {
		if !t.routed[uid] {
			fresh = append(fresh, uid)
		}
	}
	if len(fresh) > 0 {
		routed := make(map[types.UID]bool, len(t.routed)+len(fresh))
		maps.Copy(routed, t.routed)
		maps.Copy(routed, held)
		t.routed = routed
	}
	return fresh
}

// ends tells that a pod takes no connections any more.
func (c *Controller) ends(uid types.UID) bool {
	key, ok := c.store.ByUID(uid)
	if !ok {
		return true
	}
	p, ok := store.Get[*corev1.Pod](c.store, key)
	return !ok || p.UID != uid || p.DeletionTimestamp != nil || !ready(p)
}

// route applies a table unless it is the one that holds already.
func (c *Controller) route(ctx context.Context, table *service.Table) (runtime.RouteStatus, error) {
	t := c.traffic
	t.mu.Lock()
	same := t.known && !t.stale && !t.broken && reflect.DeepEqual(t.applied, table.Traffic)
	t.stale = false
	t.mu.Unlock()
	if same || c.opts.Router == nil {
		return runtime.RouteStatus{}, nil
	}
	status, err := c.opts.Router.Route(ctx, table.Traffic)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.stale = true
		return status, fmt.Errorf("cannot direct the traffic: %w", err)
	}
	t.applied, t.broken = table.Traffic, len(status.Problems) > 0
	return status, nil
}

// hold makes a table the one that holds, and returns the pods that no longer get connections, the Services that have other endpoints now, and
// whether it is the first of this controller.
func (t *traffic) hold(table *service.Table, asked uint64) (released []types.UID, differing []reconcile.Key, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for uid := range t.routed {
		if !table.Held[uid] {
			released = append(released, uid)
		}
	}
	differing, first = service.Differing(&t.table, table), !t.known
	t.table, t.routed, t.known, t.done = *table, table.Held, true, asked
	return released, differing, first
}

// released makes due the pods that get no connections any more: some wait for that.
func (c *Controller) released(uids []types.UID) {
	for _, uid := range uids {
		if key, ok := c.store.ByUID(uid); ok {
			c.queue.Add(key)
		}
	}
}

// trafficInput is what the table is made of.
func (c *Controller) trafficInput() service.Input {
	in := service.Input{
		Services: all[*corev1.Service](c.store, reconcile.KindService), Ranges: c.ranges(),
		Slices: statedOnes[*discoveryv1.EndpointSlice](c.store, reconcile.KindEndpointSlice), Endpoints: statedOnes[*corev1.Endpoints](c.store, reconcile.KindEndpoints),
	}
	for _, p := range all[*corev1.Pod](c.store, reconcile.KindPod) {
		in.Pods = append(in.Pods, c.trafficPod(p))
	}
	return in
}

// trafficPod adds what a pod comes from where somebody asks: two that want one port are told apart by it.
func (c *Controller) trafficPod(p *corev1.Pod) service.Pod {
	out := service.Pod{Pod: p}
	if !service.Publishes(&p.Spec) {
		return out
	}
	key := c.workloadOf(p)
	out.Workload, out.Since = key, p.CreationTimestamp.Time
	if it, ok := c.store.Get(key); ok {
		out.Since = it.Object.GetCreationTimestamp().Time
	}
	if key.Kind == reconcile.KindBarePod {
		out.Workload.Kind = reconcile.KindPod
	}
	return out
}

// statedOnes are the objects of a kind that files state.
func statedOnes[T store.Object](s *store.Store, kind string) []T {
	var out []T
	for _, it := range s.List(kind) {
		if o, ok := it.Object.(T); ok && it.Source != nil {
			out = append(out, o)
		}
	}
	return out
}
