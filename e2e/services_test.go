package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/load"
)

// drained is a container that ends as a well-made server does, and is ready when it answers.
func drained(text string, late time.Duration) string {
	return run("drain", "8080", text, fmt.Sprint(late.Milliseconds())) + `, ports: [{name: page, containerPort: 8080}], readinessProbe: {periodSeconds: 1, httpGet: {path: /, port: page}}`
}

// steadily sends requests in two ways, each request on a connection of its own and over connections that are kept, while something happens. Not one
// may fail.
func steadily(t *testing.T, addr string, rate int, happens func()) []load.Result {
	t.Helper()
	results := load.During(t.Context(), happens, load.Config{Addr: addr, Rate: rate}, load.Config{Addr: addr, Rate: rate, Connections: 20})
	for i, name := range []string{"a connection for each", "kept connections"} {
		t.Logf("%s: %s", name, results[i])
		if results[i].Failures() > 0 {
			t.Errorf("%s: %s", name, results[i])
		}
	}
	return results
}

// updated waits until a Deployment has n pods of the newest revision and no others.
func updated(b *harness.Berth, prefix, text string, n int) {
	b.Helper()
	b.Until(fmt.Sprintf("%d pods of %s to say %q", n, prefix, text), func() error {
		s, err := b.Look()
		if err != nil {
			return err
		}
		pods := s.PodsOf(prefix)
		for _, p := range pods {
			if !p.Ready || p.IP == "" {
				return fmt.Errorf("%s is not ready", p.Name)
			}
			if body, err := fetch("http://" + p.IP + ":8080/"); err != nil || !strings.HasPrefix(body, text) {
				return fmt.Errorf("%s says %q, %v", p.Name, body, err)
			}
		}
		if len(pods) != n {
			return fmt.Errorf("%d pods", len(pods))
		}
		return nil
	})
}

// A Service is reached from pods and from the machine at its own address, and loses no request while its pods are scaled, replaced and their
// controller is killed. Pods know its address by its variables, and it stays.
func TestService(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	const never = "strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 2}}"
	web := func(n int, text string) string {
		m := deployment("web", n, drained(text, 0))
		m.spec = never
		return m.String()
	}
	b.Write("a-client.yaml", pod("client", run("sleep")).String())
	b.Write("web.yaml", web(3, "one"))
	b.Write("z-service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: page}]}\n")
	up := b.Up()
	b.UntilReady("web-", 3)
	b.UntilReady("client", 1)
	ip := strings.TrimSpace(b.Must("exec", "client", "--", "sh", "-c", "echo $WEB_SERVICE_HOST"))
	if net.ParseIP(ip) == nil {
		t.Fatalf("WEB_SERVICE_HOST is %q", ip)
	}
	answered := map[string]bool{}
	b.Until("all three to answer a pod and the machine", func() error {
		for _, ask := range []func() (string, error){
			func() (string, error) { return b.CLI("exec", "client", "--", "wget", "-qO-", "http://"+ip).Stdout, nil },
			func() (string, error) { return fetch("http://" + ip) },
		} {
			body, err := ask()
			if err != nil || !strings.HasPrefix(body, "one web-") {
				return fmt.Errorf("it says %q, %v", body, err)
			}
			answered[body] = true
		}
		if len(answered) != 3 {
			return fmt.Errorf("answered by %v", answered)
		}
		return nil
	})
	steadily(t, ip+":80", 100, func() {
		b.Write("web.yaml", web(3, "two"))
		updated(b, "web-", "two", 3)
		b.Write("web.yaml", web(6, "two"))
		b.UntilReady("web-", 6)
		up.Kill()
		b.Write("web.yaml", web(1, "two"))
		up = b.Up()
		b.UntilReady("web-", 1)
		b.Write("web.yaml", web(2, "three"))
		updated(b, "web-", "three", 2)
	})
	b.Write("web.yaml", web(0, "three"))
	b.Until("the Service to refuse", func() error {
		c, err := net.DialTimeout("tcp", ip+":80", time.Second)
		if err == nil {
			c.Close()
			return fmt.Errorf("it accepts")
		}
		if !strings.Contains(err.Error(), "refused") {
			return err
		}
		return nil
	})
}

// One replica with a host port is replaced without losing a request: the new one has the port beside the old one. A port that another workload
// has is waited for, and the status says whose it is.
func TestHostPortIsHandedOver(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	port := openPort(t)
	web := func(name, text string) string {
		m := deployment(name, 1, strings.Replace(drained(text, 200*time.Millisecond), "containerPort: 8080", fmt.Sprintf("containerPort: 8080, hostPort: %d", port), 1))
		m.spec = "strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}"
		return m.String()
	}
	b.Write("web.yaml", web("web", "one"))
	b.Up()
	b.UntilReady("web-", 1)
	at := fmt.Sprintf("127.0.0.1:%d", port)
	untilFetched(b, "http://"+at+"/", "one web-")
	steadily(t, at, 100, func() {
		for _, text := range []string{"two", "three", "four"} {
			b.Write("web.yaml", web("web", text))
			updated(b, "web-", text, 1)
		}
		b.Write("rival.yaml", web("rival", "rival"))
		b.UntilReady("rival-", 1)
	})
	b.Until("the status to say whose port it is", func() error {
		if text := b.CLI("status").Stdout; !strings.Contains(text, "Deployment/default/rival: PortUnavailable:") || !strings.Contains(text, "Deployment/default/web") {
			return fmt.Errorf("it says:\n%s", text)
		}
		return nil
	})
	b.Delete("web.yaml")
	untilFetched(b, "http://"+at+"/", "rival rival-")
}

// answers are what a pod is told on so many connections to a Service of who.
func answers(t *testing.T, b *harness.Berth, client, address string, times int) (names, seenAs map[string]bool) {
	t.Helper()
	out := b.Must("exec", client, "--", "sh", "-c", fmt.Sprintf("for i in $(seq %d); do nc %s 80 </dev/null; done", times, address))
	names, seenAs = map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(out) {
		if name, as, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			names[name], seenAs[as] = true, true
		}
	}
	if n := strings.Count(out, "\n"); n != times {
		t.Errorf("%s got %d answers to %d connections: %s", client, n, times, out)
	}
	return names, seenAs
}

// A pod with affinity stays with the pod that answered it first at a Service's own address, for as long as that is there; each is seen as itself. Pods
// that are all on one machine are local to every client.
func TestServiceKnowsItsClients(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	const local = "externalTrafficPolicy: Local, internalTrafficPolicy: Local, ports: [{port: 80, targetPort: 8080}]"
	b.Write("who.yaml", who(3, "sessionAffinity: ClientIP, "+local))
	b.Write("client.yaml", deployment("client", 6, run("sleep", "1000")).String())
	b.Up()
	b.UntilReady("who-", 3)
	clients := b.UntilReady("client-", 6)
	address := b.MustKubectl("get", "service", "who", "-o", "jsonpath={.spec.clusterIP}")
	b.Until("the Service to have all three", func() error {
		if got := strings.Fields(b.MustKubectl("get", "endpoints", "who", "-o", "jsonpath={.subsets[*].addresses[*].ip}")); len(got) != 3 {
			return fmt.Errorf("it has %v", got)
		}
		return nil
	})
	had := map[string]string{}
	for _, c := range clients {
		names, as := answers(t, b, c.Name, address, 8)
		if len(names) != 1 || len(as) != 1 || !as[c.IP] {
			t.Errorf("%s with %s is answered by %v, as %v", c.Name, c.IP, names, as)
		}
		for name := range names {
			had[c.Name] = name
		}
	}
	gone := had[clients[0].Name]
	b.MustKubectl("delete", "pod", gone)
	b.Until("another pod in its place", func() error {
		for _, p := range b.UntilReady("who-", 3) {
			if p.Name == gone {
				return fmt.Errorf("%s is still there", gone)
			}
		}
		return nil
	})
	for _, c := range clients {
		names, _ := answers(t, b, c.Name, address, 8)
		if before := had[c.Name]; len(names) != 1 || names[gone] || before != gone && !names[before] {
			t.Errorf("%s was answered by %s, and now by %v", c.Name, before, names)
		}
	}
	b.Write("who.yaml", who(3, local))
	b.Until("clients to be led to all again", func() error {
		if names, _ := answers(t, b, clients[0].Name, address, 30); len(names) != 3 {
			return fmt.Errorf("answered by %v", names)
		}
		return nil
	})
}
