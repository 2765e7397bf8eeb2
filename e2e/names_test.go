package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// nameServer is the machine's own: it knows these names, and no others.
func nameServer(t *testing.T, known map[string][4]byte) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			a, ok := known[strings.ToLower(q.Name.String())]
			switch {
			case !ok:
				m.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: &dnsmessage.AResource{A: a}}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteToUDP(out, from)
			}
		}
	}()
	// It is the machine's for whoever looks, as long as the test lasts.
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("search lan.test\nnameserver 127.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(file, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount("/etc/resolv.conf", syscall.MNT_DETACH) })
}

// names is a machine with all kinds of Services, and a pod that asks.
const names = `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.7.77, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other}
spec: {clusterIP: 10.96.7.78, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: db, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: out}
spec: {type: ExternalName, externalName: www.example.test}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: %d
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, %s}]}
`

// A pod finds Services, pods of a set and the rest of the world by their names, whichever library looks them up.
func TestNames(t *testing.T) {
	nameServer(t, map[string][4]byte{"www.example.test.": {192, 0, 2, 80}, "printer.lan.test.": {192, 0, 2, 81}})
	b := harness.New(t)
	b.Load(images.Tool)
	b.Load(images.Resolvers)
	asks := fmt.Sprintf("image: %q", images.Ref(images.Resolvers))
	b.Write("names.yaml", fmt.Sprintf(names, 2, run("sleep")))
	b.Write("web.yaml", deployment("web", 1, run("web", "8080", "found")).String())
	b.Write("client.yaml", pod("client", asks).String())
	onHost := pod("on-host", asks)
	onHost.pod = "hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet"
	b.Write("on-host.yaml", onHost.String())
	b.Up("--service-cidr", "10.96.7.0/24")
	b.UntilReady("client", 1)
	b.UntilReady("on-host", 1)
	b.UntilReady("web-", 1)
	sets := addresses(b.UntilReady("db-", 2))

	lookup := func(pod, program string, names ...string) []string {
		var out []string
		for line := range strings.Lines(b.Must(append(append([]string{"exec", pod, "--"}, strings.Fields(program)...), names...)...)) {
			words := strings.Fields(line)
			slices.Sort(words)
			out = append(out, strings.Join(words, " "))
		}
		return out
	}
	untilFound := func(name, want string) {
		t.Helper()
		b.Until(name+" to be "+want, func() error {
			if got := lookup("client", "tool lookup", name); got[0] != want {
				return fmt.Errorf("it is %s", got[0])
			}
			return nil
		})
	}
	both := []string{sets["db-0"], sets["db-1"]}
	slices.Sort(both)
	untilFound("db", strings.Join(both, " ")) // who is ready has still to be told to who answers
	cases := [][2]string{
		{"web", "10.96.7.77"},
		{"web.default", "10.96.7.77"},
		{"web.default.svc", "10.96.7.77"},
		{"WEB.default.svc.cluster.local.", "10.96.7.77"},
		{"far.other", "10.96.7.78"},
		{"far", "none"},
		{"db", strings.Join(both, " ")},
		{"db-0.db", sets["db-0"]},
		{"db-1.db.default.svc.cluster.local", sets["db-1"]},
		{"db-2.db", "none"},
		{"out", "192.0.2.80"},
		{"www.example.test", "192.0.2.80"},
		{"printer", "192.0.2.81"},
		{"no.such.name.example.test", "none"},
	}
	var asked []string
	for _, c := range cases {
		asked = append(asked, c[0])
	}
	for _, pod := range []string{"client", "on-host"} {
		for _, program := range []string{"lookup-glibc", "lookup-musl", "tool lookup"} {
			got := lookup(pod, program, asked...)
			for i, c := range cases {
				if i >= len(got) || got[i] != c[1] {
					t.Errorf("%s in %s: %s: got %q, want %s", program, pod, c[0], got[min(i, len(got)-1)], c[1])
				}
			}
		}
	}
	reverse := lookup("client", "tool lookup", "_http._tcp.web.default.svc.cluster.local", "10.96.7.77", sets["db-1"])
	for i, want := range []string{"web.default.svc.cluster.local.:80", "web.default.svc.cluster.local.", "db-1.db.default.svc.cluster.local."} {
		if reverse[i] != want {
			t.Errorf("got %s, want %s", reverse[i], want)
		}
	}

	// A third pod of the set has a name as soon as it is ready, and a Service that is gone has none.
	b.Write("names.yaml", fmt.Sprintf(names, 3, run("sleep")))
	third := addresses(b.UntilReady("db-", 3))["db-2"]
	untilFound("db-2.db", third)
	b.Write("more.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {clusterIP: 10.96.7.79, ports: [{port: 1}]}\n")
	untilFound("more", "10.96.7.79")
	b.Delete("more.yaml")
	untilFound("more", "none")

	// Names do without the controller, and whoever asks while the proxy is away is answered by the next one.
	proxies := b.Processes("proxy")
	if len(proxies) != 1 {
		t.Fatalf("%d proxies run", len(proxies))
	}
	if err := syscall.Kill(proxies[0], syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	if got := lookup("client", "tool lookup", "web", "www.example.test"); got[0] != "10.96.7.77" || got[1] != "192.0.2.80" {
		t.Errorf("after the proxy was killed: %v", got)
	}
}

// A program that asks at its very start is answered at once, also when the machine has just come up, and knows the Services of its own file.
func TestNamesFromTheFirstMoment(t *testing.T) {
	nameServer(t, map[string][4]byte{"www.example.test.": {192, 0, 2, 80}})
	b := harness.New(t)
	b.Load(images.Tool)
	early := pod("early", shell("s=$(date +%s); tool lookup www.example.test shop; e=$(date +%s); echo took $((e-s)); sleep 1000"))
	early.pod = "terminationGracePeriodSeconds: 1"
	b.Write("all.yaml", early.String()+
		"---\napiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {clusterIP: 10.96.7.77, ports: [{port: 80}]}\n")
	b.Up("--service-cidr", "10.96.7.0/24")
	logHas(b, "early", "took")
	out := b.Must("logs", "early")
	var took int
	if _, err := fmt.Sscanf(out, "192.0.2.80\n10.96.7.77\ntook %d\n", &took); err != nil || took >= 5 { // a library asks again after 5 s
		t.Errorf("got\n%s", out)
	}
}

func addresses(pods []harness.Pod) map[string]string {
	out := map[string]string{}
	for _, p := range pods {
		out[p.Name] = p.IP
	}
	return out
}
