package reconciletest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile/service"
	"berth/runtime"
)

// kindTraffic names the pass that makes the table of traffic.
const kindTraffic = "Traffic"

var trafficKey = key(kindTraffic, "")

// traffic is a router, and what the controller knows of it. It has dice of its own, so that worlds with one live as those without.
type traffic struct {
	rng      *rand.Rand
	ranges   service.Ranges
	dual     *rand.Rand // dice for what only a machine of two families has; nil for one of one
	services []*corev1.Service
	firsts   map[types.UID]string // the first address of each Service
	// applied is what the machine goes by: it outlives the controller.
	applied service.Table
	// routed are the pods that the controller takes for routed; known is false until a table of its own has been applied.
	routed map[types.UID]bool
	known  bool
	busy   int           // the table under way, 0 for none
	next   service.Table // what that is
	tables int
	made   made
	// left is when a pod was last seen to be no endpoint any more.
	left map[types.UID]leaving
}

type leaving struct {
	at    time.Duration
	jumps int
}

func newTraffic(seed uint64) *traffic {
	t := &traffic{
		rng: rand.New(rand.NewPCG(seed, 0x726f757465)), left: map[types.UID]leaving{}, ranges: service.Ranges{IPv4: servicesCIDR}, firsts: map[types.UID]string{},
	}
	if dual := rand.New(rand.NewPCG(seed, 0x69707636)); dual.IntN(2) == 0 {
		t.dual, t.ranges.IPv6 = dual, servicesCIDR6
	}
	return t
}

// families gives a Service families, or has it change what it says of them.
func (t *traffic) families(s *corev1.Service) *corev1.Service {
	if t.dual == nil || s.Spec.IPFamilyPolicy != nil && t.dual.IntN(20) > 0 {
		return s
	}
	n := s.DeepCopy()
	switch t.dual.IntN(4) {
	case 0:
		n.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicySingleStack)
	case 1:
		n.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyPreferDualStack)
	case 2:
		n.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyRequireDualStack)
	}
	if s.Spec.IPFamilyPolicy != nil {
		n.Spec.ClusterIP, n.Spec.ClusterIPs, n.Spec.IPFamilies = "", nil, nil // as its file has it
		if t.dual.IntN(4) == 0 {
			n.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} // refused, unless it was so
		}
		if errs := service.Carry(n, s, t.ranges); len(errs) > 0 {
			return s
		}
		return n
	}
	if n.Spec.ClusterIP == "" && t.dual.IntN(3) == 0 {
		n.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	}
	service.Carry(n, nil, t.ranges) // nothing that it states is refused here
	return n
}

// trafficChanged makes the table due, and notes a pod that leaves it.
func (w *world) trafficChanged(old, p *corev1.Pod) {
	if w.traffic == nil {
		return
	}
	w.enqueue(trafficKey)
	if old != nil && p != nil && isEndpoint(old) && !isEndpoint(p) {
		w.traffic.left[p.UID] = leaving{w.clock.since, w.clock.jumps}
	}
}

func isEndpoint(p *corev1.Pod) bool { return p.DeletionTimestamp == nil && isReady(p) }

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// isRouted is what the planner of a pod is told.
func (w *world) isRouted(p *corev1.Pod) bool {
	t := w.traffic
	return t != nil && (!t.known || t.routed[p.UID] || isEndpoint(p))
}

// stateServices gives each Deployment a Service, of which some state the address of another.
func (w *world) stateServices() {
	t := w.traffic
	t.services = slices.DeleteFunc(t.services, func(s *corev1.Service) bool {
		_, i := find(w.deployments, s.Name)
		return i < 0
	})
	for _, d := range w.deployments {
		if _, i := find(t.services, d.Name); i >= 0 {
			continue
		}
		s := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: d.Name, UID: w.traffic.uid(), CreationTimestamp: metav1.NewTime(w.clock.wall)},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, Selector: d.Spec.Selector.MatchLabels,
				Ports: []corev1.ServicePort{{Port: int32(80 + t.rng.IntN(2)), Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
			},
		}
		if len(t.services) > 0 && t.rng.IntN(4) == 0 {
			s.Spec.ClusterIP = t.services[0].Spec.ClusterIP
		}
		t.services = append(t.services, s)
	}
	for i, s := range t.services {
		t.services[i] = t.families(s)
	}
	changed, _ := service.Allocate(t.services, t.ranges)
	for _, n := range changed {
		_, i := find(t.services, n.Name)
		t.services[i] = n
	}
	if again, _ := service.Allocate(t.services, t.ranges); len(again) > 0 {
		w.fail("Service %s is given something again", again[0].Name)
	}
	for _, s := range t.services {
		if first := t.firsts[s.UID]; first != "" && first != s.Spec.ClusterIP {
			w.fail("Service %s had the address %s and has %s", s.Name, first, s.Spec.ClusterIP)
		}
		t.firsts[s.UID] = s.Spec.ClusterIP
	}
}

var (
	servicesCIDR  = netip.MustParsePrefix("10.43.0.0/27")
	servicesCIDR6 = netip.MustParsePrefix("fd00:3::/123")
)

func (t *traffic) uid() types.UID {
	t.tables++
	return types.UID(fmt.Sprintf("service%d", t.tables))
}

// direct makes a table and has it applied, which takes a moment and may fail.
func (w *world) direct() {
	t := w.traffic
	if t.busy > 0 {
		return // made due when that one is done
	}
	w.stateServices()
	table := w.tableNow()
	w.checkTable(&table)
	routed := map[types.UID]bool{}
	for uid := range t.routed {
		routed[uid] = true
	}
	for uid := range table.Held {
		routed[uid] = true
	}
	t.routed = routed
	t.tables++
	t.busy, t.next = t.tables, table
	this, fails := t.tables, t.rng.IntN(20) == 0 && w.quirks != (quirks{})
	w.later(time.Duration(t.rng.IntN(30))*time.Millisecond, func() {
		if t.busy != this {
			return // the controller has died meanwhile
		}
		if t.busy = 0; !fails {
			t.applied, t.routed, t.known = table, table.Held, true
			for _, p := range w.pods { // in their order: that of a map is another one each time
				if routed[p.UID] && !table.Held[p.UID] {
					w.enqueue(podKey(p))
				}
			}
		}
		w.enqueueTraffic(&table)
	})
}

// made is the table that was made last, and of what. Objects are never written into: the same ones make the same table.
type made struct {
	services []*corev1.Service
	pods     []*corev1.Pod
	table    service.Table
}

func (w *world) tableNow() service.Table {
	m := &w.traffic.made
	if slices.Equal(m.pods, w.pods) && slices.Equal(m.services, w.traffic.services) {
		return m.table
	}
	in := service.Input{Services: w.traffic.services, Ranges: w.traffic.ranges}
	for _, p := range w.pods {
		in.Pods = append(in.Pods, service.Pod{Pod: p})
	}
	*m = made{slices.Clone(in.Services), slices.Clone(w.pods), service.TableOf(in)}
	return m.table
}

// enqueueTraffic makes a table due when another one would be made now.
func (w *world) enqueueTraffic(last *service.Table) {
	now := w.tableNow()
	if !sameTraffic(&now, last) || !sameTraffic(&now, &w.traffic.applied) || len(now.Held) != len(w.traffic.routed) {
		w.enqueue(trafficKey)
	}
}

func sameTraffic(a, b *service.Table) bool {
	return slices.EqualFunc(a.Traffic.Services, b.Traffic.Services, func(x, y runtime.Service) bool {
		return x.Name == y.Name && slices.EqualFunc(x.Ports, y.Ports, func(p, q runtime.ServicePort) bool { return slices.Equal(p.Backends, q.Backends) })
	})
}

// trafficRestarted is a new controller: it knows nothing of what holds. What the old one was about was done, or not.
func (w *world) trafficRestarted() {
	if t := w.traffic; t != nil {
		if t.busy > 0 && t.rng.IntN(2) == 0 {
			t.applied = t.next
		}
		t.routed, t.known, t.busy = nil, false, 0
		w.enqueue(trafficKey)
	}
}

// checkTable holds that nobody is sent to a pod that is not ready or that ends while another is there, and that nothing is given out twice.
func (w *world) checkTable(table *service.Table) {
	taken := map[netip.Addr]string{}
	for _, s := range table.Traffic.Services {
		for _, a := range s.ClusterIPs {
			r := w.traffic.ranges.IPv4
			if a.Is6() {
				r = w.traffic.ranges.IPv6
			}
			if taken[a] != "" || !r.Contains(a) || a == service.DNSAddress(r) {
				w.fail("Service %s has the address %s of %q", s.Name, a, taken[a])
			}
			taken[a] = s.Name
		}
		w.checkBackends(&s)
	}
	ports := map[uint16]string{}
	for _, p := range table.Traffic.Ports {
		if ports[p.Port] != "" {
			w.fail("port %d is open for %s and %s", p.Port, ports[p.Port], p.Owner)
		}
		ports[p.Port] = p.Owner
	}
}

func (w *world) checkBackends(s *runtime.Service) {
	d, i := find(w.deployments, s.Name)
	if i < 0 {
		return
	}
	families := []corev1.IPFamily{corev1.IPv4Protocol}
	if svc, _ := find(w.traffic.services, s.Name); svc != nil && len(svc.Spec.IPFamilies) > 0 {
		families = svc.Spec.IPFamilies
	}
	if len(s.ClusterIPs) > len(families) {
		w.fail("Service %s of %v has the addresses %v", s.Name, families, s.ClusterIPs)
	}
	var well, serving []string
	for _, p := range w.pods {
		if p.Labels["app"] != d.Spec.Selector.MatchLabels["app"] || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded || !isReady(p) {
			continue
		}
		if p.DeletionTimestamp == nil {
			well = append(well, reached(p, families)...)
		} else {
			serving = append(serving, reached(p, families)...)
		}
	}
	if len(well) == 0 {
		well = serving
	}
	got := make([]string, 0, len(s.Ports[0].Backends))
	for _, b := range s.Ports[0].Backends {
		got = append(got, b.String())
	}
	slices.Sort(well)
	slices.Sort(got)
	if !slices.Equal(got, slices.Compact(well)) {
		w.fail("Service %s sends connections to %v, those that serve are %v", s.Name, got, well)
	}
}

// reached is where a pod is, by some families.
func reached(p *corev1.Pod, families []corev1.IPFamily) []string {
	var out []string
	for _, ip := range p.Status.PodIPs {
		a, family := netip.MustParseAddr(ip.IP), corev1.IPv4Protocol
		if a.Is6() {
			family = corev1.IPv6Protocol
		}
		if slices.Contains(families, family) {
			out = append(out, netip.AddrPortFrom(a, 8080).String())
		}
	}
	return out
}

// checkHears holds that a pod does not hear of its end while the machine sends connections to it that could go elsewhere, but for an end that has waited
// as long as it may.
func (w *world) checkHears(uid types.UID, what string) {
	t := w.traffic
	p := w.podByUID(uid)
	if t == nil || p == nil || !t.applied.Held[uid] {
		return
	}
	grace := w.graceOf(p)
	if s := p.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	left, ok := t.left[uid]
	waited := w.clock.since - left.at
	if ok && (left.jumps != w.clock.jumps || waited >= min(5*time.Second, grace/2)) || grace == 0 {
		return
	}
	w.fail("pod %s gets its %s %s after it was taken out of service, and connections are still sent to it", p.Name, what, waited)
}

// checkTraffic holds that at the end the machine goes by what there is.
func (w *world) checkTraffic() {
	t := w.traffic
	if t == nil {
		return
	}
	if t.busy > 0 {
		w.fail("everything is as wished, and a table is still under way")
	}
	w.checkTable(&t.applied)
	if len(t.applied.Traffic.Services)+len(t.applied.Problems) < len(t.services) {
		w.fail("%d of %d Services are served, and nobody says why", len(t.applied.Traffic.Services), len(t.services))
	}
}
