package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// who is a Deployment that tells each client by whom it was answered and as whom it is seen, and a Service of type LoadBalancer for it.
func who(replicas int, service string) string {
	m := deployment("who", replicas, run("who", "8080")+", readinessProbe: {tcpSocket: {port: 8080}}")
	return m.String() + "---\napiVersion: v1\nkind: Service\nmetadata: {name: who}\nspec: {type: LoadBalancer, selector: {app: who}, " + service + "}\n"
}

// askTCP is the answer on a new connection from an address of the machine; "" for any.
func askTCP(from, to string) (string, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	answer, err := io.ReadAll(c)
	return strings.TrimSpace(string(answer)), err
}

// datagrams is a client of a UDP port, with one address and port of its own.
type datagrams struct {
	net.Conn
	sent int
}

func newDatagrams(t *testing.T, from, to string) *datagrams {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}).Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &datagrams{Conn: c}
}

// ask sends a datagram, again when no answer comes, and returns by whom it was answered. Late answers to earlier ones do not count.
func (d *datagrams) ask() (string, error) {
	d.sent++
	question := fmt.Sprintf("question %d", d.sent)
	buf := make([]byte, 1500)
	var err error
	for range 20 {
		_ = d.SetDeadline(time.Now().Add(250 * time.Millisecond))
		if _, err = d.Write([]byte(question)); err != nil {
			return "", err
		}
		var n int
		for n, err = d.Read(buf); err == nil; n, err = d.Read(buf) {
			if answer, ok := strings.CutSuffix(string(buf[:n]), " "+question); ok {
				return strings.Fields(answer)[0], nil
			}
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return "", err
		}
	}
	return "", err
}

// A client with affinity stays with its pod for as long as that is there, and goes to one of the others then; only the ranges that a Service
// states may connect to its load balancer's port.
func TestPublishedPortKnowsItsClients(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	port := openPort(t)
	at := fmt.Sprintf("127.0.0.1:%d", port)
	const sticky = "sessionAffinity: ClientIP, "
	ports := fmt.Sprintf("ports: [{port: %d, targetPort: 8080}]", port)
	b.Write("who.yaml", who(3, sticky+ports))
	b.Up()
	b.UntilReady("who-", 3)
	early := 0
	b.Until("new clients to be led to all three", func() error {
		answered := map[string]bool{}
		for range 9 {
			early++
			answer, err := askTCP(fmt.Sprintf("127.0.1.%d", early%250+1), at)
			if err != nil {
				return err
			}
			answered[strings.Fields(answer)[0]] = true
		}
		if len(answered) != 3 {
			return fmt.Errorf("nine clients are answered by %v", answered)
		}
		return nil
	})
	had := map[string]string{} // by client
	different := map[string]bool{}
	for i := range 9 {
		client := fmt.Sprintf("127.0.0.%d", 11+i)
		for range 6 {
			answer, err := askTCP(client, at)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.Fields(answer)[0]
			if had[client] != "" && had[client] != name {
				t.Errorf("%s was answered by %s and %s", client, had[client], name)
			}
			had[client] = name
			different[name] = true
		}
	}
	if len(different) != 3 {
		t.Errorf("nine clients were answered by %v only", different)
	}
	// The pod of the first client goes: another one takes the client, and keeps it. Nobody else moves.
	gone := had["127.0.0.11"]
	b.MustKubectl("delete", "pod", gone)
	b.Until("another pod in its place", func() error {
		s, err := b.Look()
		if err != nil {
			return err
		}
		ready := 0
		for _, p := range s.PodsOf("who-") {
			if p.Name == gone {
				return fmt.Errorf("%s is still there", gone)
			}
			if p.Ready {
				ready++
			}
		}
		if ready != 3 {
			return fmt.Errorf("%d are ready", ready)
		}
		return nil
	})
	after := ""
	for client, before := range had {
		for range 4 {
			answer, err := askTCP(client, at)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.Fields(answer)[0]
			switch {
			case before != gone && name != before:
				t.Errorf("%s was moved from %s to %s", client, before, name)
			case client == "127.0.0.11" && after != "" && name != after:
				t.Errorf("%s was answered by %s and %s after its pod went", client, after, name)
			case client == "127.0.0.11":
				after = name
			}
		}
	}

	b.Write("who.yaml", who(3, "loadBalancerSourceRanges: [127.0.0.2/32, 10.9.0.0/16], "+ports))
	b.Until("strangers to be turned away", func() error {
		if answer, err := askTCP("127.0.0.3", at); err == nil && answer != "" {
			return fmt.Errorf("127.0.0.3 is answered by %s", answer)
		}
		return nil
	})
	answered := map[string]bool{} // and nobody is kept any more
	for range 6 {
		answer, err := askTCP("127.0.0.2", at)
		if err != nil {
			t.Fatalf("127.0.0.2 may connect: %v", err)
		}
		answered[strings.Fields(answer)[0]] = true
	}
	if len(answered) != 3 {
		t.Errorf("without affinity six connections went to %v only", answered)
	}
	if answer, err := askTCP("::1", fmt.Sprintf("[::1]:%d", port)); err == nil && answer != "" {
		t.Errorf("::1 is in no range and answered by %s", answer)
	}
}

// Datagrams to a published port reach a pod and the answers their client, each client its own; when the pods change, the next datagram of an old
// client goes to a new pod, and without pods clients are told that nobody is there.
func TestPublishedUDP(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	port := openPort(t)
	at := fmt.Sprintf("127.0.0.1:%d", port)
	service := fmt.Sprintf("ports: [{port: %d, targetPort: 8080, protocol: UDP}]", port)
	b.Write("who.yaml", who(2, service))
	b.Up()
	b.UntilReady("who-", 2)
	var clients []*datagrams
	b.Until("the port to answer", func() error {
		_, err := newDatagrams(t, "127.0.0.1", at).ask()
		return err
	})
	answered := map[string]int{}
	for i := range 20 {
		// Two of each address: a client is an address and a port.
		d := newDatagrams(t, fmt.Sprintf("127.0.0.%d", 2+i/2), at)
		clients = append(clients, d)
		name, err := d.ask()
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		answered[name]++
	}
	if len(answered) != 2 {
		t.Errorf("20 clients were answered by %v", answered)
	}
	// All at once, from now on to the end of a change of pods.
	old := b.UntilReady("who-", 2)
	b.Write("who.yaml", strings.Replace(who(2, service), `"8080"`, `"8080", "again"`, 1))
	b.Until("every client to be answered by a new pod", func() error {
		for i, d := range clients {
			name, err := d.ask()
			if err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			if name == old[0].Name || name == old[1].Name {
				return fmt.Errorf("client %d is answered by the old %s", i, name)
			}
		}
		return nil
	})
	b.Write("who.yaml", who(0, service))
	b.Until("the port to refuse", func() error {
		if name, err := clients[0].ask(); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("%q, %v", name, err)
		}
		return nil
	})
	b.Write("who.yaml", who(1, service))
	b.UntilReady("who-", 1)
	b.Until("an old client to be answered again", func() error { _, err := clients[0].ask(); return err })
}
