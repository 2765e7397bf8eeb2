package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// What a NetworkPolicy says, as far as the scene uses it.
type (
	netPolicy struct {
		Metadata struct{ Namespace, Name string }
		Spec     netSpec
	}
	netSpec struct {
		PodSelector     netSelector
		PolicyTypes     []string
		Ingress, Egress []netRule
	}
	netRule struct {
		From, To []netPeer
		Ports    []netPort
	}
	netSelector struct{ MatchLabels map[string]string }
	netPeer     struct {
		PodSelector, NamespaceSelector *netSelector
		IPBlock                        *struct {
			CIDR   string
			Except []string
		}
	}
	netPort struct {
		Protocol string
		Port     any
		EndPort  float64
	}
	netPod struct {
		namespace, app, ip string
		named              map[string]int // its TCP ports by name
	}
)

func (p netPod) String() string { return p.namespace + "/" + p.app }

func (s netSelector) means(labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// netWorld is what policies are about, and what the documentation says of a connection in it.
type netWorld struct {
	pods       []netPod
	namespaces map[string]map[string]string
	policies   []netPolicy
}

func (w *netWorld) allowed(from, to netPod, protocol string, port int) bool {
	if from.ip == to.ip {
		return true
	}
	return w.permits("Egress", from, to, to, protocol, port) && w.permits("Ingress", to, from, to, protocol, port)
}

func (w *netWorld) permits(direction string, subject, other, target netPod, protocol string, port int) bool {
	restricted := false
	for _, p := range w.policies {
		types := p.Spec.PolicyTypes
		if len(types) == 0 {
			if types = []string{"Ingress"}; len(p.Spec.Egress) > 0 {
				types = append(types, "Egress")
			}
		}
		if p.Metadata.Namespace != subject.namespace || !slices.Contains(types, direction) || !p.Spec.PodSelector.means(map[string]string{"app": subject.app}) {
			continue
		}
		restricted = true
		rules := p.Spec.Ingress
		if direction == "Egress" {
			rules = p.Spec.Egress
		}
		for _, r := range rules {
			if w.isPeer(p.Metadata.Namespace, append(slices.Clone(r.From), r.To...), other) && isPort(r.Ports, target, protocol, port) {
				return true
			}
		}
	}
	return !restricted
}

func (w *netWorld) isPeer(namespace string, peers []netPeer, other netPod) bool {
	for _, p := range peers {
		switch {
		case p.IPBlock != nil:
			addr := netip.MustParseAddr(other.ip)
			in := netip.MustParsePrefix(p.IPBlock.CIDR).Contains(addr)
			for _, e := range p.IPBlock.Except {
				in = in && !netip.MustParsePrefix(e).Contains(addr)
			}
			if in {
				return true
			}
			continue
		case p.NamespaceSelector == nil && other.namespace != namespace:
			continue
		case p.NamespaceSelector != nil && !p.NamespaceSelector.means(w.namespaces[other.namespace]):
			continue
		}
		if p.PodSelector == nil || p.PodSelector.means(map[string]string{"app": other.app}) {
			return true
		}
	}
	return len(peers) == 0
}

func isPort(ports []netPort, target netPod, protocol string, port int) bool {
	for _, p := range ports {
		if p.Protocol == "" {
			p.Protocol = "TCP"
		}
		if !strings.EqualFold(p.Protocol, protocol) {
			continue
		}
		switch n := p.Port.(type) {
		case nil:
			return true
		case string:
			if protocol == "tcp" && target.named[n] == port {
				return true
			}
		case float64:
			if int(n) == port || int(n) <= port && port <= int(p.EndPort) {
				return true
			}
		}
	}
	return len(ports) == 0
}

// netPlaces are where each pod of the scene answers.
var netPlaces = []string{"tcp/8080", "tcp/8081", "udp/8080"}

// table asks from inside every pod of the scene for every pod at every place, and returns who was answered: "FROM → TO PLACE".
func (w *netWorld) table(b *harness.Berth) (answered, expected map[string]bool) {
	answered, expected = map[string]bool{}, map[string]bool{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, from := range w.pods {
		args := []string{"exec", "-n", from.namespace, from.app, "--", "/bin/tool", "reach", "2000"}
		what := map[string]string{}
		for _, to := range w.pods {
			for _, place := range netPlaces {
				protocol, port, _ := strings.Cut(place, "/")
				at := protocol + "/" + to.ip + ":" + port
				what[at] = fmt.Sprintf("%s → %s %s", from, to, place)
				var number int
				fmt.Sscan(port, &number)
				expected[what[at]] = w.allowed(from, to, protocol, number)
				args = append(args, at)
			}
		}
		group.Go(func() {
			out := b.CLI(args...)
			mu.Lock()
			defer mu.Unlock()
			for line := range strings.Lines(out.Stdout) {
				at, answer, _ := strings.Cut(strings.TrimSpace(line), " ")
				if what[at] != "" {
					answered[what[at]] = strings.HasPrefix(answer, from.ip+":")
				}
			}
		})
	}
	group.Wait()
	return answered, expected
}

// untilTable waits until the table is as documented, and says how much of it is allowed.
func (w *netWorld) untilTable(t *testing.T, b *harness.Berth, when string) {
	t.Helper()
	allowed := 0
	b.Until("the table "+when, func() error {
		answered, expected := w.table(b)
		var wrong []string
		allowed = 0
		for what, want := range expected {
			got, asked := answered[what]
			if want {
				allowed++
			}
			if !asked || got != want {
				wrong = append(wrong, fmt.Sprintf("%s: %v, want %v", what, got, want))
			}
		}
		if len(wrong) > 0 {
			slices.Sort(wrong)
			return fmt.Errorf("%d of %d are wrong:\n%s", len(wrong), len(expected), strings.Join(wrong, "\n"))
		}
		return nil
	})
	total := len(w.pods) * len(w.pods) * len(netPlaces)
	t.Logf("%s: %d connections as documented, %d of them allowed", when, total, allowed)
	if allowed == 0 || allowed == total {
		t.Errorf("%s: that proves little", when)
	}
}

// netPolicies are those of the scene. $D is the address of shop/d, $NET the range of all pods.
const netPolicies = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: nothing-comes-in}
spec: {podSelector: {}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: a-is-for-b-of-red}
spec:
  podSelector: {matchLabels: {app: a}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: red}}, podSelector: {matchLabels: {app: b}}}]
    ports: [{port: page}]
  - from: [{podSelector: {matchLabels: {app: c}}}]
    ports: [{port: 8000, endPort: 8080}, {port: 8080, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: b-is-for-a-range}
spec:
  podSelector: {matchLabels: {app: b}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: $NET, except: [$D/32]}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: red, name: out-to-pages}
spec:
  podSelector: {matchLabels: {app: b}}
  policyTypes: [Egress]
  egress:
  - to: [{namespaceSelector: {}}]
    ports: [{port: page}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: red, name: c-goes-nowhere}
spec: {podSelector: {matchLabels: {app: c}}, policyTypes: [Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: blue, name: both-ways}
spec:
  podSelector: {matchLabels: {app: d}}
  ingress: [{ports: [{protocol: UDP}]}]
  egress: [{to: [{podSelector: {}}, {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: red}}}]}]
`

// Four pods in each of three namespaces, three places in each: every connection comes about exactly where the documentation of NetworkPolicy
// says so, seen from inside the pods; also while no controller runs, and after policies, labels and pods have changed.
func TestNetworkPolicies(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	w := &netWorld{namespaces: map[string]map[string]string{
		"shop": {"kubernetes.io/metadata.name": "shop"}, "red": {"kubernetes.io/metadata.name": "red", "team": "red"}, "blue": {"kubernetes.io/metadata.name": "blue"},
	}}
	for _, namespace := range slices.Sorted(maps.Keys(w.namespaces)) {
		text := ""
		for _, app := range []string{"a", "b", "c", "d"} {
			page := 8080
			if app == "d" {
				page = 8081
			}
			w.pods = append(w.pods, netPod{namespace: namespace, app: app, named: map[string]int{"page": page}})
			main := run(append([]string{"answer"}, netPlaces...)...) + fmt.Sprintf(", ports: [{name: page, containerPort: %d}], readinessProbe: {periodSeconds: 1, tcpSocket: {port: 8081}}", page)
			m := strings.Replace(pod(app, main).String(), "metadata: {", "metadata: {namespace: "+namespace+", ", 1)
			text += m + "---\n"
		}
		b.Write(namespace+".yaml", text)
	}
	namespace := func(labels string) {
		b.Write("0-red.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: red, labels: {"+labels+"}}\n")
	}
	namespace("team: red")
	up := b.Up()
	ready := b.UntilStatus("12 pods to be ready", func(s harness.Status) error {
		n := 0
		for _, p := range s.Pods {
			if p.Ready {
				n++
			}
		}
		if n < len(w.pods) {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	for i := range w.pods {
		for _, p := range ready.Pods {
			if p.Namespace == w.pods[i].namespace && p.Name == w.pods[i].app {
				w.pods[i].ip = p.IP
			}
		}
	}
	shopD := w.pods[slices.IndexFunc(w.pods, func(p netPod) bool { return p.String() == "shop/d" })].ip
	pods, err := netip.MustParseAddr(shopD).Prefix(12)
	if err != nil {
		t.Fatal(err)
	}
	policies := strings.NewReplacer("$D", shopD, "$NET", pods.String()).Replace(netPolicies)
	w.policies = readPolicies(t, policies)
	b.Write("policies.yaml", policies)
	w.untilTable(t, b, "with policies")
	if out := b.MustKubectl("get", "networkpolicy", "-n", "shop"); !strings.Contains(out, "POD-SELECTOR") || !strings.Contains(out, "nothing-comes-in") {
		t.Errorf("kubectl get networkpolicy:\n%s", out)
	}
	if out := b.MustKubectl("describe", "networkpolicy", "-n", "shop", "a-is-for-b-of-red"); !strings.Contains(out, "To Port: page/TCP") {
		t.Errorf("kubectl describe networkpolicy:\n%s", out)
	}

	up.Kill()
	w.untilTable(t, b, "without a controller")
	b.Up()
	namespace("team: none")
	w.namespaces["red"]["team"] = "none"
	w.untilTable(t, b, "with another label of a namespace")

	less := policies[strings.Index(policies, "---"):]
	w.policies = readPolicies(t, less)
	b.Write("policies.yaml", less)
	w.untilTable(t, b, "with one policy less")
	b.Delete("policies.yaml")
	b.Until("no table to be left", func() error {
		if out, err := exec.Command("nft", "list", "tables").CombinedOutput(); err != nil || strings.Contains(string(out), b.InstanceID()+"-policies") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
}

func readPolicies(t *testing.T, text string) (list []netPolicy) {
	t.Helper()
	for doc := range strings.SplitSeq(text, "---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		var p netPolicy
		if err := yaml.Unmarshal([]byte(doc), &p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// A pod whose policy comes with it is never free, not even for its first connection; and a policy that opens is in force for the next one.
func TestNetworkPolicyFromTheStart(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("server.yaml", pod("server", run("answer", "tcp/8080")).String())
	b.Up()
	at := "tcp/" + b.UntilReady("server", 1)[0].IP + ":8080"
	policy := func(egress string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {matchLabels: {closed: \"yes\"}}, policyTypes: [Egress], egress: [" + egress + "]}\n"
	}
	job := `apiVersion: batch/v1
kind: Job
metadata: {name: eager}
spec:
  completions: 12
  parallelism: 6
  template:
    metadata: {labels: {closed: "yes"}}
    spec: {restartPolicy: Never, containers: [{name: main, ` + run("reach", "700", at) + `}]}
`
	b.Write("all.yaml", policy("")+"---\n"+job)
	b.MustKubectl("wait", "--for=condition=complete", "--timeout=120s", "job/eager")
	out := b.MustKubectl("logs", "-l", "job-name=eager", "--tail=-1", "--prefix")
	if n := strings.Count(out, at+" silent"); n != 12 || strings.Count(out, at) != 12 {
		t.Errorf("%d of 12 were silent:\n%s", n, out)
	}
	b.Write("client.yaml", strings.Replace(pod("client", run("sleep")).String(), "labels: {", "labels: {closed: \"yes\", ", 1))
	b.UntilReady("client", 1)
	if out := b.Must("exec", "client", "--", "/bin/tool", "reach", "500", at); !strings.Contains(out, "silent") {
		t.Fatalf("before: %s", out)
	}
	b.Write("all.yaml", policy("{to: [{podSelector: {matchLabels: {app: server}}}]}")+"---\n"+job)
	changed := time.Now()
	b.Until("the server to be reached", func() error {
		if out := b.Must("exec", "client", "--", "/bin/tool", "reach", "100", at); strings.Contains(out, "silent") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	t.Logf("open %v after the file was saved", time.Since(changed))
}

// Names are asked for by what policies for clusters say: the pods of kube-dns. Nothing else is let out by that.
func TestNetworkPolicyAndNames(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 1, run("web", "8080", "found")).String())
	b.Write("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}\n")
	b.Write("client.yaml", pod("client", run("sleep")).String())
	policy := func(egress string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [" + egress + "]}\n"
	}
	const dns = "{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}"
	b.Up()
	b.UntilReady("web-", 1)
	b.UntilReady("client", 1)
	asks := func(url string) func() bool {
		return func() bool {
			r := b.CLI("exec", "client", "--", "timeout", "3", "wget", "-qO-", url)
			return strings.HasPrefix(r.Stdout, "found")
		}
	}
	named := func() bool {
		r := b.CLI("exec", "client", "--", "timeout", "3", "/bin/tool", "lookup", "web.default.svc.cluster.local")
		return r.Code == 0 && strings.TrimSpace(r.Stdout) != "none"
	}
	page := asks("http://web")
	check := func(when string, wantNamed, wantPage bool) {
		t.Helper()
		b.Until(when, func() error {
			if n, p := named(), page(); n != wantNamed || p != wantPage {
				return fmt.Errorf("its name is known: %v, want %v; it is reached: %v, want %v", n, wantNamed, p, wantPage)
			}
			return nil
		})
	}
	check("without a policy", true, true)
	b.Write("policy.yaml", policy(""))
	check("nothing goes out", false, false)
	b.Write("policy.yaml", policy(dns))
	check("names", true, false)
	b.Write("policy.yaml", policy(dns+", {to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}"))
	check("names and pages, at the port of the pod", true, true)
	b.Write("policy.yaml", policy(dns+", {to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}"))
	check("the port of the Service is not the pod's", true, false)
}

// Who comes by a published port is judged by the address he has, not by the machine's, which is what pods see. The machine itself always may.
func TestNetworkPolicyAtPublishedPorts(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	port := openPort(t)
	b.Write("web.yaml", deployment("web", 2, run("web", "8080", "published")).String())
	b.Write("service.yaml", balancer(port))
	for _, name := range []string{"friend", "stranger"} {
		b.Write(name+".yaml", pod(name, run("sleep")).String())
	}
	policy := func(from string) {
		b.Write("policy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\nspec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: ["+from+"]}\n")
	}
	b.Up()
	b.UntilReady("web-", 2)
	b.UntilReady("friend", 1)
	stranger := b.UntilReady("stranger", 1)[0]
	route := strings.Fields(b.Must("exec", "stranger", "--", "ip", "route")) // default via ADDRESS …
	url := fmt.Sprintf("http://%s/", net.JoinHostPort(route[2], fmt.Sprint(port)))
	check := func(when string, friend, other bool) {
		t.Helper()
		b.Until(when, func() error {
			for name, want := range map[string]bool{"friend": friend, "stranger": other} {
				r := b.CLI("exec", name, "--", "timeout", "5", "wget", "-qO-", url)
				if got := strings.HasPrefix(r.Stdout, "published"); got != want {
					return fmt.Errorf("%s: %v, want %v: %s%s", name, got, want, r.Stdout, r.Stderr)
				}
			}
			_, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", port))
			return err
		})
	}
	check("without a policy", true, true)
	policy("")
	check("nobody", false, false)
	policy("{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: 8080}]}")
	check("a friend", true, false)
	policy("{from: [{ipBlock: {cidr: " + stranger.IP + "/32}}]}")
	check("an address", false, true)
	policy("{ports: [{port: 80}]}")
	check("the Service's port is not the pod's", false, false)
}
