package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// The addresses of a neighbour of the machine, and of the machine as it sees it (RFC 2544).
const neighbourAddr, machineAddr = "198.18.0.2", "198.18.0.1"

// neighbour is another machine: a network namespace with a wire to this one.
type neighbour struct{ pid int }

func newNeighbour(t *testing.T) neighbour {
	t.Helper()
	sleep := exec.Command("unshare", "--net", "sleep", "infinity")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	n := neighbour{sleep.Process.Pid}
	must := func(line ...string) {
		t.Helper()
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", line, err, out)
		}
	}
	t.Cleanup(func() {
		_ = exec.Command("ip", "link", "del", "wire0").Run()
		_ = sleep.Process.Kill()
		_ = sleep.Wait()
	})
	self, err := exec.Command("readlink", "/proc/self/ns/net").Output()
	for deadline := time.Now().Add(5 * time.Second); err == nil; { // it has left our network before it is a sleep
		theirs, _ := exec.Command("readlink", fmt.Sprintf("/proc/%d/ns/net", n.pid)).Output()
		if len(theirs) > 0 && string(theirs) != string(self) || time.Now().After(deadline) {
			break
		}
	}
	must("ip", "link", "add", "wire0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(n.pid))
	// Its routes of IPv6, which come a moment later, would be taken for something that berth has left.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/wire0/disable_ipv6", []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	must("ip", "addr", "add", machineAddr+"/24", "dev", "wire0")
	must("ip", "link", "set", "wire0", "up")
	n.must(t, "ip", "addr", "add", neighbourAddr+"/24", "dev", "eth0")
	n.must(t, "ip", "link", "set", "eth0", "up")
	return n
}

func (n neighbour) command(line ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(n.pid), "-n", "--"}, line...)...)
}

func (n neighbour) must(t *testing.T, line ...string) {
	t.Helper()
	if out, err := n.command(line...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", line, err, out)
	}
}

// seen asks a port of the machine by whom it is answered and as whom it is seen there.
func (n neighbour) seen(protocol string, port int) (pod, address string, err error) {
	// Not by bash's own read, which takes a byte at a time and loses the rest of a datagram.
	script := fmt.Sprintf("exec 3<>/dev/%s/%s/%d && echo question >&3 && dd bs=1500 count=1 status=none <&3", protocol, machineAddr, port)
	return words(n.command("timeout", "3", "bash", "-c", script).Output())
}

func words(out []byte, err error) (pod, address string, _ error) {
	fields := strings.Fields(string(out))
	if err == nil && len(fields) < 2 {
		err = fmt.Errorf("%q is no answer", out)
	}
	if err != nil {
		return "", "", err
	}
	return fields[0], fields[1], nil
}

// Pods see a client as it is where externalTrafficPolicy is Local, and behind host ports, by TCP and UDP: a neighbour, another pod, the machine.
// Where that cannot be (the pod itself, the machine's loopback) or is not asked for, they see the machine, and answer all the same. It holds over
// kill -9 of the proxy and over a flush of the machine's rules.
func TestPodsSeeTheirClients(t *testing.T) {
	outside := newNeighbour(t)
	b := harness.New(t)
	b.Load(images.Tool)
	local, cluster, host := openPort(t), openPort(t), openPort(t)
	service := func(name, policy string, port int) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {type: LoadBalancer, externalTrafficPolicy: %s, selector: {app: who}, ports: [%s]}\n", name, policy,
			fmt.Sprintf("{name: t, port: %[1]d, targetPort: 8080}, {name: u, port: %[1]d, targetPort: 8080, protocol: UDP}", port))
	}
	b.Write("who.yaml", deployment("who", 1, run("who", "8080")).String()+service("local", "Local", local)+service("cluster", "Cluster", cluster))
	b.Write("hosted.yaml", pod("hosted", run("who", "8080")+fmt.Sprintf(", ports: [{containerPort: 8080, hostPort: %[1]d}, {containerPort: 8080, protocol: UDP, hostPort: %[1]d}]", host)).String())
	b.Up()
	who := b.UntilReady("who-", 1)[0]
	hosted := b.UntilReady("hosted", 1)[0]
	untilSeen := func(what, want string, ask func() (string, string, error)) {
		t.Helper()
		b.Until(what+" to be seen as "+want, func() error {
			_, address, err := ask()
			if err == nil && address != want {
				err = fmt.Errorf("it is seen as %s", address)
			}
			return err
		})
	}
	from := func(place string, port int) func() (string, string, error) {
		return func() (string, string, error) {
			return words([]byte(b.CLI("exec", place, "--", "sh", "-c", fmt.Sprintf("echo question | nc -w 5 %s %d", machineAddr, port)).Stdout), nil)
		}
	}
	here := func(addr string, port int) func() (string, string, error) {
		return func() (string, string, error) {
			answer, err := askTCP("", net.JoinHostPort(addr, strconv.Itoa(port)))
			return words([]byte(answer), err)
		}
	}
	gateway := ""
	b.Until("the neighbour to be answered as the machine", func() (err error) {
		_, gateway, err = outside.seen("tcp", cluster)
		return err
	})
	if gateway == neighbourAddr || gateway == machineAddr {
		t.Errorf("with the policy Cluster a neighbour is seen as %s", gateway)
	}
	all := func() {
		t.Helper()
		for _, protocol := range []string{"tcp", "udp"} {
			untilSeen("a neighbour by "+protocol, neighbourAddr, func() (string, string, error) { return outside.seen(protocol, local) })
			untilSeen("a neighbour by "+protocol+" at a host port", neighbourAddr, func() (string, string, error) { return outside.seen(protocol, host) })
		}
	}
	all()
	untilSeen("another pod", hosted.IP, from("hosted", local))
	untilSeen("the pod itself", gateway, from(who.Name, local))
	untilSeen("the machine", gateway, here(machineAddr, local))
	untilSeen("the machine's loopback", gateway, here("127.0.0.1", local))
	untilSeen("the machine's loopback of IPv6", gateway, here("::1", local))

	if pids := b.Processes("proxy"); len(pids) != 1 || syscall.Kill(pids[0], syscall.SIGKILL) != nil {
		t.Fatalf("proxies %v", pids)
	}
	all()
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("nft flush ruleset: %v: %s", err, out)
	}
	all()

	// And a NetworkPolicy judges them by it. The machine reaches all.
	policy := func(block string) {
		b.Write("policy.yaml", fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: who}\nspec: {podSelector: {matchLabels: {app: who}}, ingress: [{from: [{ipBlock: {cidr: %s}}]}]}\n", block))
	}
	policy("203.0.113.0/24")
	for _, protocol := range []string{"tcp", "udp"} {
		b.Until("the neighbour to be kept out by "+protocol, func() error {
			if pod, _, err := outside.seen(protocol, local); err == nil {
				return fmt.Errorf("%s answers", pod)
			}
			return nil
		})
	}
	if _, _, err := here(machineAddr, local)(); err != nil {
		t.Errorf("the machine is kept out: %v", err)
	}
	policy(neighbourAddr + "/32")
	for _, protocol := range []string{"tcp", "udp"} {
		untilSeen("the neighbour that is let in by "+protocol, neighbourAddr, func() (string, string, error) { return outside.seen(protocol, local) })
	}
}

// Where a Service asks for it, by berth's word or by a provider's, its load balancer tells pods of their clients by the PROXY protocol, those of IPv6
// too; nginx understands it. Its node port is not the load balancer's and does not.
func TestProxyProtocol(t *testing.T) {
	outside := newNeighbour(t)
	b := harness.New(t)
	b.Load(images.Nginx)
	port := openPort(t)
	b.Write("nginx.conf.yaml", `apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data:
  nginx.conf: |
    user www-data;
    pid /run/nginx.pid;
    error_log /dev/null;
    events {}
    http {
      access_log off;
      server { listen 80 proxy_protocol; location / { return 200 "$proxy_protocol_addr $proxy_protocol_server_port\n"; } }
    }
`)
	m := pod("nginx", fmt.Sprintf("image: %q, volumeMounts: [{name: conf, mountPath: /etc/nginx/nginx.conf, subPath: nginx.conf}]", images.Ref(images.Nginx)))
	m.pod = "volumes: [{name: conf, configMap: {name: conf}}]"
	b.Write("nginx.yaml", m.String())
	for i, annotation := range []string{`berth.dev/proxy-protocol: v1`, `service.beta.kubernetes.io/aws-load-balancer-proxy-protocol: "*"`} {
		b.Write("service.yaml", fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: nginx, annotations: {%s}}\nspec: {type: LoadBalancer, selector: {app: nginx}, ports: [{port: %d, targetPort: 80}]}\n", annotation, port))
		if i == 0 {
			b.Up()
			b.UntilReady("nginx", 1)
		}
		b.Until("nginx to know the neighbour: "+annotation, func() error {
			script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3`, machineAddr, port)
			out, err := outside.command("timeout", "5", "bash", "-c", script).Output()
			if want := fmt.Sprintf("\r\n\r\n%s %d\n", neighbourAddr, port); err == nil && !strings.HasSuffix(string(out), want) {
				err = fmt.Errorf("it answers %q, want %q", out, want)
			}
			return err
		})
		if body, err := fetch(fmt.Sprintf("http://[::1]:%d/", port)); err != nil || body != fmt.Sprintf("::1 %d\n", port) {
			t.Errorf("%s: by IPv6: %q, %v", annotation, body, err)
		}
	}
	node := b.MustKubectl("get", "service", "nginx", "-o", "jsonpath={.spec.ports[0].nodePort}")
	if body, err := fetch("http://127.0.0.1:" + node + "/"); err == nil && strings.Contains(body, "127.0.0.1") {
		t.Errorf("the node port tells nginx: %q", body)
	}
}
