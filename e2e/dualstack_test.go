package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

const dualServices = `apiVersion: v1
kind: Service
metadata: {name: both}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: page}]}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {type: NodePort, ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80, targetPort: page}]}
---
apiVersion: v1
kind: Service
metadata: {name: pods}
spec: {clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 80, targetPort: page}]}
`

// With IPv6 a Service has an address of each family it asks for, its pods are reached by both, names have both kinds of addresses, and clients see it as
// on a cluster of two families. The second address goes when a client asks for one family, and the first stays.
func TestDualStack(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("a-client.yaml", pod("client", run("sleep")).String())
	b.Write("services.yaml", dualServices)
	b.Write("web.yaml", deployment("web", 2, drained("page", 0)).String())
	b.Up("--ipv6")
	b.UntilReady("web-", 2)
	b.UntilReady("client", 1)

	field := func(what, path string) []string {
		t.Helper()
		return strings.Fields(b.MustKubectl("get", what, "-o", "jsonpath="+path))
	}
	ips := field("service/both", "{.spec.clusterIPs[*]}")
	if len(ips) != 2 || !netip.MustParseAddr(ips[0]).Is4() || !netip.MustParseAddr(ips[1]).Is6() {
		t.Fatalf("addresses: %v", ips)
	}
	only := field("service/six", "{.spec.clusterIPs[*]} {.spec.ipFamilies[*]} {.spec.ipFamilyPolicy}")
	if len(only) != 3 || !netip.MustParseAddr(only[0]).Is6() || only[1] != "IPv6" || only[2] != "SingleStack" {
		t.Errorf("of one family: %v", only)
	}
	b.Until("a slice of each family", func() error {
		kinds := strings.Fields(b.MustKubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=both", "-o", "jsonpath={.items[*].addressType}"))
		if slices.Sort(kinds); !slices.Equal(kinds, []string{"IPv4", "IPv6"}) {
			return fmt.Errorf("slices: %v", kinds)
		}
		return nil
	})
	var behind []string
	for _, name := range field("pods", "{.items[*].metadata.name}") {
		own := field("pod/"+name, "{.status.podIPs[*].ip}")
		if len(own) != 2 || !netip.MustParseAddr(own[1]).Is6() {
			t.Fatalf("%s: %v", name, own)
		}
		if strings.HasPrefix(name, "web-") {
			behind = append(behind, own[1])
		}
	}
	slices.Sort(behind)

	ask := func(url string) error {
		r := b.CLI("exec", "client", "--", "wget", "-qO-", url)
		if !strings.HasPrefix(r.Stdout, "page web-") {
			return fmt.Errorf("%s says %q %s", url, r.Stdout, r.Stderr)
		}
		return nil
	}
	for _, url := range []string{"http://" + ips[0], "http://[" + ips[1] + "]", "http://both", "http://[" + only[0] + "]", "http://six"} {
		b.Until(url+" to answer a pod", func() error { return ask(url) })
	}

	for name, want := range map[string]string{
		"both": ips[0], "ip6:both": ips[1], "six": "none", "ip6:six": only[0], "ip6:pods": strings.Join(behind, " "),
		ips[1]: "both.default.svc.cluster.local.", only[0]: "six.default.svc.cluster.local.",
	} {
		got := strings.Fields(b.Must("exec", "client", "--", "tool", "lookup", name))
		if slices.Sort(got); strings.Join(got, " ") != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	untilFetched(b, "http://127.0.0.1:"+field("service/six", "{.spec.ports[0].nodePort}")[0], "page web-")

	b.MustKubectl("patch", "service", "both", "--type", "merge", "-p", `{"spec":{"ipFamilyPolicy":"SingleStack"}}`)
	b.Until("the second address to be gone", func() error {
		if is := field("service/both", "{.spec.clusterIPs[*]}"); !slices.Equal(is, ips[:1]) {
			return fmt.Errorf("addresses: %v", is)
		}
		return nil
	})
	if err := ask("http://" + ips[0]); err != nil {
		t.Error(err)
	}
	if r := b.CLI("exec", "client", "--", "timeout", "2", "wget", "-qO-", "http://["+ips[1]+"]"); strings.HasPrefix(r.Stdout, "page") {
		t.Errorf("the second address answers: %s", r.Stdout)
	}
	next := netip.MustParseAddr(ips[0]).Next().String()
	b.MustKubectl("patch", "service", "both", "--type", "merge", "-p", `{"spec":{"clusterIP":"`+next+`"}}`)
	b.Until("the address that a client has chosen to answer", func() error { return ask("http://" + next) })
}

// A policy is about both addresses of a pod: whom it lets in reaches the pod by either, also through a Service, and nobody else by any.
func TestPolicyOfBothFamilies(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("a-policy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\n"+
		"spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}\n")
	b.Write("services.yaml", dualServices)
	b.Write("web.yaml", deployment("web", 1, drained("page", 0)).String())
	for _, name := range []string{"friend", "stranger"} {
		b.Write(name+".yaml", deployment(name, 1, run("sleep")).String())
	}
	b.Up("--ipv6")
	web := b.UntilReady("web-", 1)[0].Name
	places := strings.Fields(b.MustKubectl("get", "pod", web, "-o", "jsonpath={.status.podIPs[*].ip}"))
	for i, ip := range places {
		places[i] = net.JoinHostPort(ip, "8080")
	}
	for ip := range strings.FieldsSeq(b.MustKubectl("get", "service", "both", "-o", "jsonpath={.spec.clusterIPs[*]}")) {
		places = append(places, net.JoinHostPort(ip, "80"))
	}
	if len(places) != 4 {
		t.Fatalf("places: %v", places)
	}
	friend, stranger := b.UntilReady("friend-", 1)[0].Name, b.UntilReady("stranger-", 1)[0].Name
	for _, place := range places {
		b.Until("the friend to be let in at "+place, func() error {
			if r := b.CLI("exec", friend, "--", "timeout", "3", "wget", "-qO-", "http://"+place); !strings.HasPrefix(r.Stdout, "page web-") {
				return fmt.Errorf("it says %q %s", r.Stdout, r.Stderr)
			}
			return nil
		})
		if r := b.CLI("exec", stranger, "--", "timeout", "1", "wget", "-qO-", "http://"+place); r.Stdout != "" {
			t.Errorf("a stranger is let in at %s: %s", place, r.Stdout)
		}
	}
}

// A machine that has IPv6 no more serves Services of both families by their first address, and says of those that had no other that it cannot. When it
// has it again all are where they were.
func TestDualStackComesAndGoes(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("services.yaml", dualServices)
	b.Write("web.yaml", deployment("web", 1, drained("page", 0)).String())
	up := b.Up("--ipv6")
	b.UntilReady("web-", 1)
	addresses := func() []string {
		t.Helper()
		return strings.Fields(b.MustKubectl("get", "services", "both", "six", "-o", "jsonpath={.items[*].spec.clusterIPs[*]}"))
	}
	was := addresses()
	if len(was) != 3 {
		t.Fatalf("addresses: %v", was)
	}
	for _, ip := range was {
		untilFetched(b, "http://"+net.JoinHostPort(ip, "80")+"/", "page web-")
	}
	up.Kill()
	up = b.Up()
	untilFetched(b, "http://"+was[0]+"/", "page web-")
	b.Until("the one without an address to be named", func() error {
		if out := b.Must("status"); !strings.Contains(out, was[2]+" is of IPv6") {
			return fmt.Errorf("status: %s", out)
		}
		return nil
	})
	up.Kill()
	b.Up("--ipv6")
	for _, ip := range was {
		untilFetched(b, "http://"+net.JoinHostPort(ip, "80")+"/", "page web-")
	}
	if is := addresses(); !slices.Equal(is, was) {
		t.Errorf("addresses: %v, were %v", is, was)
	}
}

// Without IPv6 what needs it is refused, to a client and to a file, and what would rather have it does without.
func TestSingleStack(t *testing.T) {
	b := harness.New(t)
	b.Write("services.yaml", dualServices)
	b.Up()
	b.UntilStatus("the two that need IPv6 to be faults", func(s harness.Status) error {
		if len(s.Faults) != 2 {
			return fmt.Errorf("faults: %v", s.Faults)
		}
		return nil
	})
	if got := b.MustKubectl("get", "service", "pods", "-o", "jsonpath={.spec.ipFamilies}"); got != `["IPv4"]` {
		t.Errorf("families: %s", got)
	}
	r := b.KubectlWithInput(strings.SplitN(dualServices, "---", 2)[0], "create", "-f", "-")
	const want = `The Service "both" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services`
	if strings.TrimSpace(r.Stderr) != want {
		t.Errorf("a client is told %q", r.Stderr)
	}
}
