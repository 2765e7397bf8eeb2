package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// A load balancer before the machine tells by the PROXY protocol whom it forwards: that is the client for pods, for who may connect, and for an Ingress.
// Nobody else is believed, and a load balancer that does not say it is hung up on.
func TestBehindALoadBalancer(t *testing.T) {
	balancer := newNeighbour(t)
	b := harness.New(t)
	b.Load(images.Tool)
	port, restricted := openPort(t), openPort(t)
	service := func(name string, port int, more string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {type: LoadBalancer, externalTrafficPolicy: Local%s, selector: {app: who}, ports: [{port: %d, targetPort: 8080}]}\n", name, more, port)
	}
	b.Write("who.yaml", deployment("who", 1, run("who", "8080")).String()+service("who", port, "")+service("some", restricted, ", loadBalancerSourceRanges: [203.0.113.0/24]"))
	b.Write("a.yaml", deployment("a", 1, run("web", "8080", "site-a")).String()+"---\n"+serviceOf("a"))
	b.Write("ingress.yaml", "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {defaultBackend: {service: {name: a, port: {number: 80}}}}\n")
	up := b.Up("--proxy-protocol-from", neighbourAddr)
	b.UntilReady("who-", 1)
	b.UntilReady("a-", 1)
	// asked is what the load balancer hears when it sends something.
	asked := func(port int, text string) string {
		script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d && printf '%s' >&3 && timeout 2 cat <&3`, machineAddr, port, text)
		out, _ := balancer.command("bash", "-c", script).Output()
		return string(out)
	}
	header := func(client string) string {
		return fmt.Sprintf(`PROXY TCP4 %s %s 4660 80\r\n`, client, machineAddr)
	}
	until := func(what string, port int, text, want string) {
		t.Helper()
		b.Until(what, func() error {
			if got := asked(port, text); !strings.Contains(got, want) {
				return fmt.Errorf("it hears %q, not %q", got, want)
			}
			return nil
		})
	}
	const page = `GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`
	until("the client to be seen by the pod", port, header("203.0.113.7")+`question\n`, " 203.0.113.7\n")
	until("the client to be let in", restricted, header("203.0.113.7")+`question\n`, " 203.0.113.7\n")
	until("the client to be known to the Ingress", 80, header("203.0.113.7")+page, "a.test /echo http a.test 203.0.113.7")
	for what, got := range map[string]string{
		"a client that may not":             asked(restricted, header("198.51.100.7")+`question\n`),
		"the load balancer without a word":  asked(port, `question\n`),
		"the load balancer, at the Ingress": asked(80, page),
	} {
		if got != "" {
			t.Errorf("%s hears %q", what, got)
		}
	}
	if got := said(newAuthority(t).client(), "http://a.test/echo"); !strings.Contains(got, "http a.test 127.0.0.1") {
		t.Errorf("this machine, which is no load balancer: %s", got)
	}
	up.Kill()
	until("the same without a controller", 80, header("203.0.113.8")+page, "a.test /echo http a.test 203.0.113.8")

	// Without the option nobody is believed.
	b.Up()
	b.Until("the load balancer to be one like all", func() error {
		if got := asked(80, page); !strings.Contains(got, "a.test /echo http a.test "+neighbourAddr) {
			return errors.New(got)
		}
		return nil
	})
	if got := asked(80, header("203.0.113.7")+page); strings.Contains(got, "200 OK") {
		t.Errorf("a header of nobody's: %q", got)
	}
}
