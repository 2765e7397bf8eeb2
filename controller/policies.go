package controller

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/policy"
	"berth/reconcile/service"
	"berth/runtime"
)

// keyPolicies names the table of the network policies: it is made as a whole, by one worker at a time.
var keyPolicies = reconcile.Key{Kind: "NetworkPolicies"}

// policies is what the controller knows of the table that connections of pods are judged by.
type policies struct {
	mu    sync.Mutex
	pause time.Duration
	// asked counts the changes that concern the table, done those that it holds.
	asked, done uint64
	// known is true when a table of this controller has been applied: before that of the last one holds.
	known   bool
	applied runtime.Policies
	// judged are the pods that the table knows, by the address it knows them by: no other pod begins to run while there are policies.
	judged map[types.UID]netip.Addr
	// stale makes the next table be applied also when it is the same.
	stale bool
	// planned is the table as it is to be, for published ports, whose clients are not the kernel's to judge; nil while it has not been made.
	planned  *policy.Table
	failures int // in a row
	failure  error
}

// policiesChanged makes the table due when a change concerns it.
func (c *Controller) policiesChanged(ch store.Change) {
	switch ch.Key.Kind {
	case reconcile.KindNetworkPolicy:
	case reconcile.KindNamespace, reconcile.KindPod:
		if !c.restricts() || !concerns(ch) {
			return
		}
	default:
		return
	}
	c.queue.AddAfter(keyPolicies, c.policies.ask())
}

// concerns tells whether what policies look at has changed.
func concerns(ch store.Change) bool {
	if ch.Old == nil || ch.New == nil || !maps.Equal(ch.Old.GetLabels(), ch.New.GetLabels()) {
		return true
	}
	old, ok := ch.Old.(*corev1.Pod)
	now, is := ch.New.(*corev1.Pod)
	return ok && is && old.Status.PodIP != now.Status.PodIP
}

// restricts tells whether there are policies, or were in the table that holds.
func (c *Controller) restricts() bool {
	p := c.policies
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.known || len(p.applied.Groups) > 0 || c.store.Len(reconcile.KindNetworkPolicy) > 0
}

// ask notes a change and tells how long to wait for others: as long as a table takes, so that half of the time is for others.
func (p *policies) ask() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return min(max(trafficPause, p.pause), longestTrafficPause)
}

// doubt has the next table applied also when it is the same.
func (p *policies) doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = true
}

// settled tells that the table that holds is made of all there is, or that it cannot be.
func (p *policies) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done == p.asked || p.failures >= stuckAfter
}

// problem is why the table cannot be applied, time after time.
func (p *policies) problem() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures < stuckAfter {
		return nil
	}
	return []Problem{{Object: keyPolicies.Kind, Reason: "FailedNetworkPolicies", Message: firstLine(p.failure) + "; until it can be done no new pod runs"}}
}

// unjudged tells that connections of a pod would be judged by nothing, or by what was meant for another: it must not run yet.
func (c *Controller) unjudged(p *corev1.Pod, observed *runtime.PodStatus) bool {
	if c.opts.Judge == nil || p.Spec.HostNetwork || c.store.Len(reconcile.KindNetworkPolicy) == 0 {
		return false
	}
	if observed == nil || !observed.Sandbox.Ready {
		return true // its address is not known
	}
	if observed.Sandbox.IP == "" {
		return false
	}
	c.policies.mu.Lock()
	defer c.policies.mu.Unlock()
	addr, ok := c.policies.judged[p.UID]
	return !ok || addr.String() != observed.Sandbox.IP
}

// judge makes the table and has it applied where it differs from the one that holds.
func (c *Controller) judge(ctx context.Context) (after time.Duration, err error) {
	p := c.policies
	p.mu.Lock()
	asked, known := p.asked, p.known
	p.mu.Unlock()
	if !known && c.policiesMayBeLost() {
		return time.Second, nil
	}
	began := c.opts.Clock.Now()
	in := c.policyInput()
	table := policy.TableOf(in)
	if len(in.Policies) == 0 {
		table.Judged = nil // by nothing: a pod that begins to run when there are some waits for the table that has them
	}
	p.mu.Lock()
	first := p.planned == nil
	moved := first || !reflect.DeepEqual(p.planned.Policies, table.Policies)
	p.planned = &table
	same := p.known && !p.stale && reflect.DeepEqual(p.applied, table.Policies)
	p.stale = false
	p.mu.Unlock()
	if first && len(in.Policies) > 0 || moved && c.publishes() { // the table of the traffic waits for the first
		c.queue.AddAfter(keyTraffic, c.traffic.ask())
	}
	if !same && c.opts.Judge != nil {
		err = c.opts.Judge.SetPolicies(ctx, table.Policies)
	}
	for _, uid := range p.hold(&table, asked, c.opts.Clock.Since(began), err) {
		if key, ok := c.store.ByUID(uid); ok {
			c.queue.Add(key)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("cannot apply the network policies: %w", err)
	}
	return 0, nil
}

// hold notes that a table holds, or why it does not, and returns the pods that it knows and the one before did not.
func (p *policies) hold(t *policy.Table, asked uint64, took time.Duration, err error) (fresh []types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure = err; err != nil {
		p.failures++
		p.stale = true
		return nil
	}
	for uid, addr := range t.Judged {
		if p.judged[uid] != addr {
			fresh = append(fresh, uid)
		}
	}
	p.pause = took
	p.applied, p.judged, p.known, p.done, p.failures = t.Policies, t.Judged, true, asked, 0
	return fresh
}

// publishes tells whether ports of the machine lead to pods.
func (c *Controller) publishes() bool {
	c.traffic.mu.Lock()
	defer c.traffic.mu.Unlock()
	return len(c.traffic.applied.Ports) > 0
}

// unplanned tells that it is not known yet who may connect to published ports.
func (c *Controller) unplanned() bool {
	c.policies.mu.Lock()
	defer c.policies.mu.Unlock()
	return c.policies.planned == nil && c.store.Len(reconcile.KindNetworkPolicy) > 0
}

// withPolicies adds to a table who may connect to published ports.
func (c *Controller) withPolicies(table *service.Table) {
	c.policies.mu.Lock()
	planned := c.policies.planned
	c.policies.mu.Unlock()
	if planned == nil {
		return
	}
	for i := range table.Traffic.Ports {
		p := &table.Traffic.Ports[i]
		for _, b := range p.Backends {
			if from, restricted := planned.Sources(b, p.Protocol); restricted {
				p.Only = append(p.Only, runtime.BackendSources{Backend: b, Sources: from})
			}
		}
	}
}

// policiesMayBeLost tells that there may be policies that nobody has heard of yet: those that hold stay meanwhile.
func (c *Controller) policiesMayBeLost() bool {
	return c.opts.Source != nil && c.store.Len(reconcile.KindNetworkPolicy) == 0 && !c.ingest.hasSeen() && c.opts.Clock.Since(c.started) < sourcePatience
}

// policyInput is what the table is made of. Pods are looked at first: a policy that was there before a pod had its address is in every table that
// knows the pod.
func (c *Controller) policyInput() policy.Input {
	in := policy.Input{Namespaces: map[string]labels.Set{}, DNS: c.opts.ClusterDNS}
	for _, p := range all[*corev1.Pod](c.store, reconcile.KindPod) {
		at := policy.Pod{Pod: p}
		if o := c.observed.peek(string(p.UID)); o != nil {
			at.Address, _ = netip.ParseAddr(o.Sandbox.IP) // none yet: its address makes the table due again
			at.Address6 = o.Sandbox.Address6
		}
		in.Pods = append(in.Pods, at)
	}
	for _, ns := range all[*corev1.Namespace](c.store, reconcile.KindNamespace) {
		in.Namespaces[ns.Name] = ns.Labels
	}
	in.Policies = all[*networkingv1.NetworkPolicy](c.store, reconcile.KindNetworkPolicy)
	return in
}
