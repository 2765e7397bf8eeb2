package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"berth/runtime"
)

func pod(namespace, name, addr string, ls labels.Set, ports ...corev1.ContainerPort) Pod {
	return Pod{
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), Labels: ls},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: ports}}},
		},
		Address: netip.MustParseAddr(addr),
	}
}

func port(name string, number int32, protocol corev1.Protocol) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: protocol}
}

func policyOf(t testing.TB, namespace, spec string) *networkingv1.NetworkPolicy {
	t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "policy"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

// allows asks the table, as the kernel does.
func (t *Table) allows(from, to netip.Addr, protocol runtime.Protocol, number uint16) bool {
	if from == to {
		return true
	}
	judge := func(d runtime.Direction, pod, other netip.Addr) bool {
		for i := range t.Groups {
			g := &t.Groups[i]
			if g.Direction != d || !slices.Contains(g.Pods, pod) {
				continue
			}
			return slices.ContainsFunc(g.Rules, func(r runtime.PolicyRule) bool {
				return opens(r.Ports, number, protocol) && (r.Everybody || contains(r.Blocks, other) || slices.Contains(t.peers(r.Peers), other))
			})
		}
		return true
	}
	return judge(runtime.Outgoing, from, to) && judge(runtime.Incoming, to, from)
}

func TestNetworkPolicyTable(t *testing.T) {
	web, http := labels.Set{"app": "web"}, port("http", 8080, "")
	base := func() Input {
		return Input{
			Pods: []Pod{
				pod("shop", "web", "10.0.0.2", web, http, port("dns", 53, corev1.ProtocolUDP)),
				pod("shop", "db", "10.0.0.3", labels.Set{"app": "db"}, port("http", 9090, "")),
				pod("other", "web", "10.0.0.4", web, http),
			},
			Namespaces: map[string]labels.Set{"other": {"team": "red"}},
			DNS:        netip.MustParseAddr("10.96.0.10"),
		}
	}
	const shopWeb, shopDB, otherWeb, dns, outside = "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.96.0.10", "192.0.2.1"
	type want map[string]bool // "FROM TO PROTOCOL PORT"
	conn := func(from, to, protocol string, number int) string {
		return fmt.Sprintf("%s %s %s %d", from, to, protocol, number)
	}
	tests := map[string]struct {
		namespace, spec string
		mutate          func(*Input)
		want            want
	}{
		"no policy for it": {"empty", `podSelector: {}`, nil, want{conn(shopWeb, shopDB, "tcp", 80): true}},
		"nothing comes in": {"shop", `podSelector: {}`, nil, want{
			conn(shopWeb, shopDB, "tcp", 80): false, conn(otherWeb, shopDB, "udp", 80): false, conn(outside, shopDB, "tcp", 80): false,
			conn(shopWeb, otherWeb, "tcp", 80): true, conn(shopDB, shopDB, "tcp", 80): true,
		}},
		"it is about what goes out only": {"shop", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}`, nil, want{
			conn(shopWeb, shopDB, "tcp", 80): false, conn(shopWeb, dns, "udp", 53): false, conn(shopDB, shopWeb, "tcp", 80): true, conn(shopDB, otherWeb, "tcp", 80): true,
		}},
		"rules for what goes out": {"shop", `{podSelector: {}, egress: [{}]}`, nil, want{
			conn(shopWeb, shopDB, "tcp", 80): false, conn(shopWeb, outside, "tcp", 80): true,
		}},
		"pods of its namespace": {"shop", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`, nil, want{
			conn(shopWeb, shopDB, "tcp", 80): true, conn(otherWeb, shopDB, "tcp", 80): false,
		}},
		"namespaces": {"shop", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]}`, nil, want{
			conn(shopWeb, shopDB, "tcp", 80): false, conn(otherWeb, shopDB, "tcp", 80): true,
		}},
		"a namespace by its name": {
			"shop", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}]}]}`,
			func(in *Input) { in.Namespaces = nil },
			want{conn(shopWeb, shopDB, "tcp", 80): false, conn(otherWeb, shopDB, "tcp", 80): true},
		},
		"pods of namespaces": {"shop", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]}`, nil, want{
			conn(shopWeb, shopDB, "tcp", 80): true, conn(otherWeb, shopDB, "tcp", 80): true, conn(shopDB, shopWeb, "tcp", 80): false,
		}},
		"pods or namespaces": {"shop", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}, {podSelector: {matchLabels: {app: db}}}]}]}`, nil, want{
			conn(shopDB, shopWeb, "tcp", 80): true, conn(otherWeb, shopWeb, "tcp", 80): true, conn(shopWeb, shopDB, "tcp", 80): false,
		}},
		"a block and what is not of it": {"shop", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/30, 192.0.2.128/25]}}]}]}`, nil, want{
			conn(outside, shopWeb, "tcp", 80): false, conn("192.0.2.4", shopWeb, "tcp", 80): true, conn("192.0.2.127", shopWeb, "tcp", 80): true, conn("192.0.2.128", shopWeb, "tcp", 80): false,
		}},
		"a block of pods":          {"shop", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.4/32}}]}]}`, nil, want{conn(otherWeb, shopWeb, "tcp", 1): true, conn(shopDB, shopWeb, "tcp", 1): false}},
		"everything":               {"shop", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}`, nil, want{conn("255.255.255.255", shopWeb, "tcp", 80): true, conn("0.0.0.0", shopWeb, "tcp", 80): true}},
		"everything but something": {"shop", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [255.0.0.0/8, 0.0.0.0/8]}}]}]}`, nil, want{conn("255.255.255.255", shopWeb, "tcp", 80): false, conn("0.0.0.0", shopWeb, "tcp", 80): false, conn("1.0.0.0", shopWeb, "tcp", 80): true}},
		"what cannot be read":      {"shop", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [nonsense]}}, {ipBlock: {cidr: nonsense}}]}]}`, nil, want{conn(outside, shopWeb, "tcp", 80): false}},
		"IPv4 in IPv6":             {"shop", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "::ffff:192.0.2.0/120"}}]}]}`, nil, want{conn(outside, shopWeb, "tcp", 80): true}},
		"a port is TCP's": {"shop", `{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`, nil, want{
			conn(outside, shopWeb, "tcp", 80): true, conn(outside, shopWeb, "tcp", 81): false, conn(outside, shopWeb, "udp", 80): false,
		}},
		"a range": {"shop", `{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90, protocol: UDP}]}]}`, nil, want{
			conn(outside, shopWeb, "udp", 79): false, conn(outside, shopWeb, "udp", 80): true, conn(outside, shopWeb, "udp", 90): true, conn(outside, shopWeb, "udp", 91): false, conn(outside, shopWeb, "tcp", 85): false,
		}},
		"a protocol": {"shop", `{podSelector: {}, ingress: [{ports: [{protocol: SCTP}]}]}`, nil, want{conn(outside, shopWeb, "sctp", 1): true, conn(outside, shopWeb, "tcp", 1): false}},
		"a name is the target's": {"shop", `{podSelector: {}, ingress: [{ports: [{port: http}]}]}`, nil, want{
			conn(outside, shopWeb, "tcp", 8080): true, conn(outside, shopWeb, "tcp", 9090): false, conn(outside, shopDB, "tcp", 9090): true, conn(outside, shopDB, "tcp", 8080): false,
		}},
		"a name that nobody has": {"shop", `{podSelector: {}, ingress: [{ports: [{port: nope}]}]}`, nil, want{conn(outside, shopWeb, "tcp", 8080): false}},
		"a name of another protocol": {"shop", `{podSelector: {}, ingress: [{ports: [{port: dns}]}]}`, nil, want{
			conn(outside, shopWeb, "udp", 53): false, conn(outside, shopWeb, "tcp", 53): false,
		}},
		"out to a name": {"shop", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]}`, nil, want{
			conn(shopDB, shopWeb, "tcp", 8080): true, conn(shopDB, shopWeb, "tcp", 9090): false, conn(shopDB, otherWeb, "tcp", 8080): false, conn(shopDB, outside, "tcp", 8080): false,
		}},
		"out to a name of anybody": {"shop", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{ports: [{port: http}, {port: 81}]}]}`, nil, want{
			conn(shopDB, shopWeb, "tcp", 8080): true, conn(shopDB, otherWeb, "tcp", 8080): true, conn(shopDB, outside, "tcp", 8080): false, conn(shopDB, outside, "tcp", 81): true, conn(shopDB, shopWeb, "tcp", 9090): false,
		}},
		"out to a name in a block": {"shop", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.4/32}}], ports: [{port: http}]}]}`, nil, want{
			conn(shopDB, shopWeb, "tcp", 8080): false, conn(shopDB, otherWeb, "tcp", 8080): true,
		}},
		"names of the cluster": {"shop", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}]}`, nil, want{
			conn(shopWeb, dns, "udp", 53): true, conn(shopWeb, dns, "tcp", 53): true, conn(shopWeb, shopDB, "udp", 53): false, conn(shopWeb, dns, "udp", 54): false,
		}},
		"names by any namespace": {"shop", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: dns, protocol: UDP}]}]}`, nil, want{
			conn(shopWeb, dns, "udp", 53): true, conn(shopWeb, outside, "udp", 53): false,
		}},
		"a pod in the machine's network": {"shop", `podSelector: {}`, func(in *Input) { in.Pods[1].Spec.HostNetwork = true }, want{conn(outside, shopDB, "tcp", 80): true, conn(outside, shopWeb, "tcp", 80): false}},
		"a pod without an address":       {"shop", `podSelector: {}`, func(in *Input) { in.Pods[1].Address = netip.Addr{} }, want{conn(outside, shopDB, "tcp", 80): true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := base()
			in.Policies = []*networkingv1.NetworkPolicy{policyOf(t, tt.namespace, tt.spec)}
			if tt.mutate != nil {
				tt.mutate(&in)
			}
			table := TableOf(in)
			got := want{}
			for c := range tt.want {
				var from, to, protocol string
				var number uint16
				if _, err := fmt.Sscan(c, &from, &to, &protocol, &number); err != nil {
					t.Fatal(err)
				}
				got[c] = table.allows(netip.MustParseAddr(from), netip.MustParseAddr(to), runtime.Protocol(protocol), number)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got:\n%s\n%+v", d, table)
			}
		})
	}
}

// An address is given out again when its pod has gone, and its Pod may be known for a moment longer: nothing of the old one holds for the new one.
func TestTwoPodsWithOneAddress(t *testing.T) {
	old, young := pod("shop", "old", "10.0.0.2", labels.Set{"role": "friend"}), pod("shop", "young", "10.0.0.2", nil)
	young.CreationTimestamp = metav1.Unix(10, 0)
	in := Input{Pods: []Pod{old, young, pod("shop", "db", "10.0.0.3", labels.Set{"app": "db"})}, Policies: []*networkingv1.NetworkPolicy{
		policyOf(t, "shop", `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}`),
	}}
	for range 2 {
		table := TableOf(in)
		if table.allows(young.Address, netip.MustParseAddr("10.0.0.3"), runtime.TCP, 80) {
			t.Error("it passes for the old one")
		}
		if _, ok := table.Judged[old.UID]; ok || table.Judged[young.UID] != young.Address {
			t.Errorf("judged: %v", table.Judged)
		}
		in.Pods[0], in.Pods[1] = in.Pods[1], in.Pods[0]
	}
}

// Pods come and go in groups and sets, and neither gets another name or other rules by that.
func TestNamesStay(t *testing.T) {
	in := Input{Policies: []*networkingv1.NetworkPolicy{
		policyOf(t, "shop", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: http}]}], egress: [{to: [{podSelector: {}}]}]}`),
	}}
	in.Pods = []Pod{pod("shop", "a", "10.0.0.2", nil, port("http", 80, "")), pod("shop", "b", "10.0.0.3", nil, port("http", 80, ""))}
	before := TableOf(in)
	in.Pods = append(in.Pods, pod("other", "c", "10.0.0.4", nil), pod("shop", "d", "10.0.0.5", nil, port("http", 80, "")))
	after := TableOf(in)
	strip := func(t Table) runtime.Policies {
		p := runtime.Policies{Groups: slices.Clone(t.Groups), Peers: slices.Clone(t.Peers)}
		for i := range p.Groups {
			p.Groups[i].Pods = nil
		}
		for i := range p.Peers {
			p.Peers[i].Pods = nil
		}
		return p
	}
	if d := cmp.Diff(strip(before), strip(after), cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); d != "" || len(before.Groups) != 2 {
		t.Errorf("-before +after:\n%s", d)
	}
}

func TestPolicySources(t *testing.T) {
	in := Input{Pods: []Pod{pod("shop", "web", "10.0.0.2", labels.Set{"app": "web"}), pod("shop", "friend", "10.0.0.3", nil)}, Policies: []*networkingv1.NetworkPolicy{
		policyOf(t, "shop", `{podSelector: {matchLabels: {app: web}}, ingress: [
			{from: [{podSelector: {}}, {ipBlock: {cidr: "2001:db8::/32"}}, {ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/25]}}], ports: [{port: 80}]}, {ports: [{port: 443}]}]}`),
	}}
	table := TableOf(in)
	tests := map[string]struct {
		to         string
		protocol   runtime.Protocol
		restricted bool
		yes, no    []string
	}{
		"some":           {"10.0.0.2:80", runtime.TCP, true, []string{"10.0.0.3", "192.0.2.128", "2001:db8::7", "10.0.0.2"}, []string{"10.0.0.4", "192.0.2.127", "2001:db9::"}},
		"everybody":      {"10.0.0.2:443", runtime.TCP, false, nil, nil},
		"nobody":         {"10.0.0.2:81", runtime.TCP, true, nil, []string{"10.0.0.3"}},
		"nobody by UDP":  {"10.0.0.2:80", runtime.UDP, true, nil, []string{"10.0.0.3"}},
		"not restricted": {"10.0.0.3:80", runtime.TCP, false, nil, nil},
		"not known":      {"10.0.0.9:80", runtime.TCP, false, nil, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			from, restricted := table.Sources(netip.MustParseAddrPort(tt.to), tt.protocol)
			if restricted != tt.restricted {
				t.Errorf("restricted: %v", restricted)
			}
			for _, a := range tt.yes {
				if !contains(from, netip.MustParseAddr(a)) {
					t.Errorf("%s is not in %v", a, from)
				}
			}
			for _, a := range tt.no {
				if contains(from, netip.MustParseAddr(a)) {
					t.Errorf("%s is in %v", a, from)
				}
			}
		})
	}
}

// naive says what the documentation of NetworkPolicy says, one connection at a time and without any table.
func naive(in Input, from, to Pod, protocol corev1.Protocol, number int32) bool {
	if from.Address == to.Address {
		return true
	}
	one := func(d networkingv1.PolicyType, subject, other Pod) bool {
		if subject.Pod == nil {
			return true
		}
		isolated := false
		for _, p := range in.Policies {
			if p.Namespace != subject.Namespace || !selects(&p.Spec.PodSelector, subject.Labels) || !slices.Contains(p.Spec.PolicyTypes, d) {
				continue
			}
			isolated = true
			if d == networkingv1.PolicyTypeIngress {
				for _, r := range p.Spec.Ingress {
					if naivePeers(in, p.Namespace, r.From, other) && naivePorts(r.Ports, to, protocol, number) {
						return true
					}
				}
				continue
			}
			for _, r := range p.Spec.Egress {
				if naivePeers(in, p.Namespace, r.To, other) && naivePorts(r.Ports, to, protocol, number) {
					return true
				}
			}
		}
		return !isolated
	}
	return one(networkingv1.PolicyTypeEgress, from, to) && one(networkingv1.PolicyTypeIngress, to, from)
}

func selects(s *metav1.LabelSelector, set labels.Set) bool {
	for k, v := range s.MatchLabels {
		if set[k] != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		v, has := set[e.Key]
		if in := has && slices.Contains(e.Values, v); e.Operator == metav1.LabelSelectorOpIn && !in || e.Operator == metav1.LabelSelectorOpNotIn && in {
			return false
		}
		if e.Operator == metav1.LabelSelectorOpExists && !has || e.Operator == metav1.LabelSelectorOpDoesNotExist && has {
			return false
		}
	}
	return true
}

func naivePeers(in Input, namespace string, list []networkingv1.NetworkPolicyPeer, other Pod) bool {
	for _, p := range list {
		if p.IPBlock != nil {
			is := netip.MustParsePrefix(p.IPBlock.CIDR).Contains(other.Address)
			for _, e := range p.IPBlock.Except {
				is = is && !netip.MustParsePrefix(e).Contains(other.Address)
			}
			if is {
				return true
			}
			continue
		}
		if other.Pod == nil {
			continue
		}
		ok := p.PodSelector == nil || selects(p.PodSelector, other.Labels)
		if p.NamespaceSelector == nil {
			ok = ok && other.Namespace == namespace
		} else {
			set := labels.Merge(in.Namespaces[other.Namespace], labels.Set{corev1.LabelMetadataName: other.Namespace})
			ok = ok && selects(p.NamespaceSelector, set)
		}
		if ok {
			return true
		}
	}
	return len(list) == 0
}

func naivePorts(list []networkingv1.NetworkPolicyPort, to Pod, protocol corev1.Protocol, number int32) bool {
	for _, p := range list {
		if *p.Protocol != protocol {
			continue
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.Int && p.EndPort != nil && p.Port.IntVal <= number && number <= *p.EndPort:
			return true
		case p.Port.Type == intstr.Int && p.Port.IntVal == number:
			return true
		case p.Port.Type == intstr.String && to.Pod != nil:
			for _, c := range to.Spec.Containers[0].Ports {
				if c.Name == p.Port.StrVal && c.Protocol == protocol && c.ContainerPort == number {
					return true
				}
			}
		}
	}
	return len(list) == 0
}

// Random policies over random pods mean the same to the table and to whoever reads the documentation.
func TestNetworkPolicyTableMeansWhatIsDocumented(t *testing.T) {
	allowed, asked := 0, 0
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 7))
		in := randomInput(random)
		table := TableOf(in)
		outside := Pod{Address: netip.MustParseAddr("192.0.2.77")}
		for _, from := range append(slices.Clone(in.Pods), outside) {
			for _, to := range append(slices.Clone(in.Pods), outside) {
				if from.Pod == nil && to.Pod == nil {
					continue
				}
				for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
					for _, number := range []int32{80, 81, 85, 8080} {
						want := naive(in, from, to, protocol, number)
						asked++
						if want {
							allowed++
						}
						if got := table.allows(from.Address, to.Address, protocolOf(&protocol), uint16(number)); got != want {
							t.Fatalf("seed %d: %s to %s, %s %d: %v, want %v", seed, from.Address, to.Address, protocol, number, got, want)
						}
						if to.Pod != nil && from != to {
							only := in
							only.Policies = incomingOnly(in.Policies)
							sources, restricted := table.Sources(netip.AddrPortFrom(to.Address, uint16(number)), protocolOf(&protocol))
							if got, want := !restricted || contains(sources, from.Address), naive(only, from, to, protocol, number); got != want {
								t.Fatalf("seed %d: sources of %s: %s, %s %d: %v, want %v", seed, to.Address, from.Address, protocol, number, got, want)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d of %d connections allowed", allowed, asked)
	if allowed < asked/10 || allowed > asked*9/10 {
		t.Error("that proves little")
	}
}

func incomingOnly(list []*networkingv1.NetworkPolicy) (out []*networkingv1.NetworkPolicy) {
	for _, p := range list {
		if slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			n := p.DeepCopy()
			n.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
			out = append(out, n)
		}
	}
	return out
}

func randomInput(r *rand.Rand) Input {
	in := Input{Namespaces: map[string]labels.Set{}}
	namespaces := []string{"x", "y", "z"}
	some := func(n int) bool { return r.IntN(n) == 0 }
	set := func() labels.Set {
		s := labels.Set{}
		for _, k := range []string{"app", "tier"} {
			if !some(3) {
				s[k] = []string{"a", "b"}[r.IntN(2)]
			}
		}
		return s
	}
	for _, ns := range namespaces {
		in.Namespaces[ns] = set()
	}
	for i := range 7 {
		var ports []corev1.ContainerPort
		if !some(3) {
			ports = append(ports, port("http", []int32{80, 8080}[r.IntN(2)], corev1.ProtocolTCP))
		}
		if some(2) {
			ports = append(ports, port("dns", 81, corev1.ProtocolUDP))
		}
		in.Pods = append(in.Pods, pod(namespaces[r.IntN(3)], fmt.Sprint(i), fmt.Sprintf("10.0.0.%d", 2+i), set(), ports...))
	}
	selector := func() *metav1.LabelSelector {
		s := &metav1.LabelSelector{}
		if some(2) {
			s.MatchLabels = map[string]string{"app": []string{"a", "b"}[r.IntN(2)]}
		}
		if some(3) {
			op := []metav1.LabelSelectorOperator{metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist}[r.IntN(4)]
			e := metav1.LabelSelectorRequirement{Key: "tier", Operator: op}
			if r.IntN(4); op == metav1.LabelSelectorOpIn || op == metav1.LabelSelectorOpNotIn {
				e.Values = []string{"a"}
			}
			s.MatchExpressions = append(s.MatchExpressions, e)
		}
		return s
	}
	peers := func() (list []networkingv1.NetworkPolicyPeer) {
		for range r.IntN(3) {
			var p networkingv1.NetworkPolicyPeer
			switch r.IntN(4) {
			case 0:
				p.PodSelector = selector()
			case 1:
				p.NamespaceSelector = selector()
			case 2:
				p.PodSelector, p.NamespaceSelector = selector(), selector()
			case 3:
				b := &networkingv1.IPBlock{CIDR: []string{"10.0.0.0/29", "0.0.0.0/0", "192.0.2.64/27"}[r.IntN(3)]}
				if b.CIDR != "192.0.2.64/27" {
					for range r.IntN(3) {
						b.Except = append(b.Except, []string{"10.0.0.4/31", "10.0.0.2/32"}[r.IntN(2)])
					}
				}
				p.IPBlock = b
			}
			list = append(list, p)
		}
		return list
	}
	ports := func() (list []networkingv1.NetworkPolicyPort) {
		for range r.IntN(3) {
			p := networkingv1.NetworkPolicyPort{Protocol: new([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}[r.IntN(2)])}
			switch r.IntN(4) {
			case 0:
				p.Port = new(intstr.FromInt32([]int32{80, 81, 8080}[r.IntN(3)]))
			case 1:
				p.Port, p.EndPort = new(intstr.FromInt32(80)), new(int32(84))
			case 2:
				p.Port = new(intstr.FromString([]string{"http", "dns"}[r.IntN(2)]))
			}
			list = append(list, p)
		}
		return list
	}
	for i := range 1 + r.IntN(4) {
		p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespaces[r.IntN(3)], Name: fmt.Sprint(i)}}
		p.Spec.PodSelector = *selector()
		p.Spec.PolicyTypes = [][]networkingv1.PolicyType{{"Ingress"}, {"Egress"}, {"Ingress", "Egress"}}[r.IntN(3)]
		for range r.IntN(3) {
			p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers(), Ports: ports()})
			p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: peers(), Ports: ports()})
		}
		in.Policies = append(in.Policies, p)
	}
	return in
}
