package service

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/big"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"berth/reconcile"
	"berth/runtime"
)

// Node ports are Kubernetes' own range. What is allocated begins behind a part that is left to those who state their ports, as there.
const (
	firstNodePort   = 30000
	lastNodePort    = 32767
	statedNodePorts = 86
)

// Addresses of the range that no Service gets: Kubernetes gives them to its API and, by custom, to DNS.
const (
	apiIndex = 1
	dnsIndex = 10
)

// DNSAddress is the address of the range that is kept for the resolver of names; the zero value for a range without one.
func DNSAddress(cidr netip.Prefix) netip.Addr {
	if !cidr.IsValid() || size(cidr) <= dnsIndex+1 {
		return netip.Addr{}
	}
	return at(cidr, dnsIndex)
}

// claims say which Service has which address and which port of all nodes. What two state the older has.
type claims struct {
	ranges    Ranges
	addresses map[reconcile.Key][]netip.Addr
	holders   map[netip.Addr]reconcile.Key
	nodePorts map[nodePort]reconcile.Key
	fronts    map[front]reconcile.Key
	// unfit are the Services that state families they cannot have.
	unfit    map[reconcile.Key]bool
	problems []runtime.RouteProblem
}

type nodePort struct {
	protocol corev1.Protocol
	port     int32
}

// front is where packets come to.
type front struct {
	addr     netip.Addr
	protocol corev1.Protocol
	port     int32
}

// judge gives every Service what it states, as far as it can have it.
func judge(services []*corev1.Service, ranges Ranges) *claims {
	c := &claims{
		ranges: ranges, addresses: map[reconcile.Key][]netip.Addr{}, holders: map[netip.Addr]reconcile.Key{},
		nodePorts: map[nodePort]reconcile.Key{}, fronts: map[front]reconcile.Key{}, unfit: map[reconcile.Key]bool{},
	}
	for _, svc := range byAge(services) {
		if c.fits(svc) && addressed(svc) {
			for i, text := range clusterIPs(svc) {
				if !c.claimAddress(svc, i, text) && i == 0 {
					break // without its first address it is not there
				}
			}
		}
		c.claimNodePorts(svc)
	}
	for _, svc := range byAge(services) { // own addresses go before those that are only said to lead here
		c.claimExternal(svc)
	}
	return c
}

func byAge(services []*corev1.Service) []*corev1.Service {
	list := slices.Clone(services)
	slices.SortFunc(list, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func (c *claims) problem(svc *corev1.Service, reason, format string, args ...any) {
	c.problems = append(c.problems, runtime.RouteProblem{Owner: reconcile.KeyOf(svc).String(), Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// claimAddress takes one of a Service's own addresses, where it can have it. A second one of a family that the machine has no more is left out without a word: the first serves.
func (c *claims) claimAddress(svc *corev1.Service, place int, text string) bool {
	key := reconcile.KeyOf(svc)
	addr, err := netip.ParseAddr(text)
	family := familyOf(addr)
	if !c.ranges.has(family) {
		if place == 0 {
			c.problem(svc, ReasonAddress, "clusterIP %s is of %s, which this machine's Services do not have: start berth with --ipv6", text, family)
		}
		return false
	}
	switch holder, taken := c.holders[addr]; {
	case err != nil, c.outside(addr):
		c.problem(svc, ReasonAddress, "clusterIP %s is not in this machine's range %s: leave it out, or choose one of the range", text, c.ranges.of(family))
	case c.kept(addr):
		c.problem(svc, ReasonAddress, "clusterIP %s is kept for berth's own use: leave it out, or choose another", addr)
	case taken:
		c.problem(svc, ReasonAddress, "clusterIP %s is that of %s, which is older", addr, holder)
	default:
		c.holders[addr] = key
		c.addresses[key] = append(c.addresses[key], addr)
		return true
	}
	return false
}

// outside tells of addresses beyond the range of their family, where there is one.
func (c *claims) outside(addr netip.Addr) bool {
	cidr := c.ranges.of(familyOf(addr))
	return cidr.IsValid() && !cidr.Contains(addr)
}

func (c *claims) claimNodePorts(svc *corev1.Service) {
	key := reconcile.KeyOf(svc)
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.NodePort == 0 || !onNode(svc) {
			continue
		}
		n := nodePort{known(p.Protocol), p.NodePort}
		switch holder, taken := c.nodePorts[n]; {
		case p.NodePort < firstNodePort || p.NodePort > lastNodePort:
			c.problem(svc, ReasonPort, "nodePort %d is not in the range %d-%d", p.NodePort, firstNodePort, lastNodePort)
		case taken && holder != key:
			c.problem(svc, ReasonPort, "nodePort %d is that of %s, which is older", p.NodePort, holder)
		default:
			c.nodePorts[n] = key
		}
	}
}

// claimExternal takes the external addresses with all ports, or not at all.
func (c *claims) claimExternal(svc *corev1.Service) {
	key := reconcile.KeyOf(svc)
	for _, text := range svc.Spec.ExternalIPs {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue // validation has told
		}
		if other, taken := c.holders[addr]; taken {
			c.problem(svc, ReasonAddress, "externalIP %s is the own address of %s", addr, other)
			continue
		}
		for i := range svc.Spec.Ports {
			f := front{addr, known(svc.Spec.Ports[i].Protocol), svc.Spec.Ports[i].Port}
			if other, taken := c.fronts[f]; taken && other != key {
				c.problem(svc, ReasonPort, "port %d of externalIP %s is that of %s, which is older", f.port, addr, other)
				break
			}
			c.fronts[f] = key
		}
	}
}

// has tells whether a Service has an external address.
func (c *claims) has(svc *corev1.Service, addr netip.Addr) bool {
	if _, own := c.holders[addr]; own {
		return false
	}
	key := reconcile.KeyOf(svc)
	for i := range svc.Spec.Ports {
		if c.fronts[front{addr, known(svc.Spec.Ports[i].Protocol), svc.Spec.Ports[i].Port}] != key {
			return false
		}
	}
	return true
}

// kept tells of addresses that no Service gets.
func (c *claims) kept(addr netip.Addr) bool {
	cidr := c.ranges.of(familyOf(addr))
	return cidr.IsValid() && slices.ContainsFunc([]int64{0, apiIndex, dnsIndex, size(cidr) - 1}, func(i int64) bool { return addr == at(cidr, i) })
}

// Allocate gives addresses and node ports to the Services that need some and have none: it returns new versions of these. The same names get
// the same ones again as long as they are free. Refused are the Services that state what they cannot have.
func Allocate(services []*corev1.Service, ranges Ranges) (changed []*corev1.Service, refused map[reconcile.Key]bool) {
	c := judge(services, ranges)
	refused = map[reconcile.Key]bool{}
	for _, svc := range byAge(services) {
		if n := c.allocate(svc); n != svc {
			changed = append(changed, n)
		}
	}
	for _, p := range c.problems {
		for _, svc := range services {
			if key := reconcile.KeyOf(svc); key.String() == p.Owner {
				refused[key] = true
			}
		}
	}
	return changed, refused
}

// allocate returns the Service itself when there is nothing to add.
func (c *claims) allocate(svc *corev1.Service) *corev1.Service {
	if svc.Spec.Type == corev1.ServiceTypeExternalName || c.unfit[reconcile.KeyOf(svc)] {
		return svc
	}
	n := svc.DeepCopy()
	if unsettled(n) {
		c.ranges.settle(n, nil) // it is not unfit
	}
	c.allocateAddresses(n)
	for i := range n.Spec.Ports {
		if p := &n.Spec.Ports[i]; p.NodePort == 0 && wantsNodePorts(svc) {
			p.NodePort = c.freeNodePort(n, i)
		}
	}
	if sameAllocation(svc, n) {
		return svc
	}
	return n
}

// allocateAddresses gives a Service an address of each of its families that it has none of.
func (c *claims) allocateAddresses(n *corev1.Service) {
	n.Spec.ClusterIPs = slices.Clone(clusterIPs(n))
	if len(n.Spec.ClusterIPs) > 0 && len(c.addresses[reconcile.KeyOf(n)]) == 0 {
		return // what it states it cannot have
	}
	for i := len(n.Spec.ClusterIPs); addressed(n) && i < len(n.Spec.IPFamilies); i++ {
		addr, ok := c.freeAddress(n, c.ranges.of(n.Spec.IPFamilies[i]))
		if !ok {
			break // the range is full, or there is none
		}
		c.holders[addr] = reconcile.KeyOf(n)
		n.Spec.ClusterIPs = append(n.Spec.ClusterIPs, addr.String())
		n.Spec.ClusterIP = n.Spec.ClusterIPs[0]
	}
}

func sameAllocation(a, b *corev1.Service) bool {
	return a.Spec.ClusterIP == b.Spec.ClusterIP && slices.Equal(a.Spec.ClusterIPs, b.Spec.ClusterIPs) && slices.Equal(a.Spec.IPFamilies, b.Spec.IPFamilies) &&
		(a.Spec.IPFamilyPolicy == nil) == (b.Spec.IPFamilyPolicy == nil) &&
		slices.EqualFunc(a.Spec.Ports, b.Spec.Ports, func(x, y corev1.ServicePort) bool { return x.NodePort == y.NodePort })
}

// freeAddress begins to look where the Service's name points to, so that a lost state finds the same again.
func (c *claims) freeAddress(svc *corev1.Service, cidr netip.Prefix) (netip.Addr, bool) {
	if !cidr.IsValid() {
		return netip.Addr{}, false
	}
	n := size(cidr)
	first := min(max(16, n/16), 256) // as Kubernetes: the first ones are left to those who state their address
	if n <= 16 {
		first = 0
	}
	at := func(i int64) netip.Addr { return at(cidr, i) }
	return pick(hash(svc.Namespace, svc.Name), n, first, func(i int64) (netip.Addr, bool) {
		_, taken := c.holders[at(i)]
		return at(i), !taken && !c.kept(at(i))
	})
}

func (c *claims) freeNodePort(svc *corev1.Service, i int) int32 {
	p := &svc.Spec.Ports[i]
	port, ok := pick(hash(svc.Namespace, svc.Name, p.Name), lastNodePort-firstNodePort+1, statedNodePorts, func(i int64) (int32, bool) {
		n := firstNodePort + int32(i)
		for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
			if _, taken := c.nodePorts[nodePort{protocol, n}]; taken {
				return 0, false
			}
		}
		return n, true
	})
	if ok {
		c.nodePorts[nodePort{known(p.Protocol), port}] = reconcile.KeyOf(svc)
	}
	return port
}

// pick tries the places from first on, beginning with that of the hash, then those before first.
func pick[T any](hash uint64, size, first int64, try func(int64) (T, bool)) (T, bool) {
	upper := size - first
	for i := range size {
		place := first + (int64(hash%uint64(upper))+i)%upper
		if i >= upper {
			place = i - upper
		}
		if v, ok := try(place); ok {
			return v, true
		}
	}
	var none T
	return none, false
}

func hash(words ...string) uint64 {
	h := fnv.New64a()
	for _, w := range words {
		_, _ = h.Write(append([]byte(w), 0)) // never fails
	}
	x := h.Sum64()
	return (x ^ x>>33) * 0xff51afd7ed558ccd >> 1
}

// size is the number of addresses of a range, as far as it is used.
func size(cidr netip.Prefix) int64 {
	return 1 << min(cidr.Addr().BitLen()-cidr.Bits(), 20)
}

// at is an address of a range by its place.
func at(cidr netip.Prefix, i int64) netip.Addr {
	b := cidr.Masked().Addr().AsSlice()
	sum := new(big.Int).Add(new(big.Int).SetBytes(b), big.NewInt(i))
	addr, _ := netip.AddrFromSlice(sum.FillBytes(b))
	return addr
}

// Carry gives a new version of a Service what its old one was allocated, where the file says nothing else, and settles its families: n is nobody's yet, and
// is changed. old is nil for a new one. Families that it cannot have are in the result, in the words of Kubernetes' API: then it is not to be.
func Carry(n, old *corev1.Service, ranges Ranges) field.ErrorList {
	if old != nil {
		carryNodePorts(n, old)
	}
	return carryFamilies(n, old, ranges)
}

func carryNodePorts(n, old *corev1.Service) {
	if !wantsNodePorts(n) {
		return
	}
	stated := map[int32]bool{}
	for i := range n.Spec.Ports {
		stated[n.Spec.Ports[i].NodePort] = true
	}
	for i := range n.Spec.Ports {
		p := &n.Spec.Ports[i]
		for j := range old.Spec.Ports {
			o := &old.Spec.Ports[j]
			if p.NodePort == 0 && o.Port == p.Port && known(o.Protocol) == known(p.Protocol) && !stated[o.NodePort] {
				p.NodePort = o.NodePort
				stated[o.NodePort] = true
			}
		}
	}
}

// addressed tells that a Service has an address of its own, or shall have one.
func addressed(svc *corev1.Service) bool {
	return svc.Spec.Type != corev1.ServiceTypeExternalName && svc.Spec.ClusterIP != corev1.ClusterIPNone
}

// onNode tells that a Service's node ports are to be opened.
func onNode(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// wantsNodePorts tells that a Service is given node ports where it states none.
func wantsNodePorts(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort ||
		svc.Spec.Type == corev1.ServiceTypeLoadBalancer && value(svc.Spec.AllocateLoadBalancerNodePorts, true)
}
