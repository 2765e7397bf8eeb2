package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// Where packets come from and go to that are no pod's: a host beyond the machine's uplink.
const uplinkAddress, outsideAddress = "198.51.100.1", "198.51.100.2"

// host runs a program of the machine and returns what it prints.
func host(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// outside makes a host beyond the machine, with a page, and the machine's way there. It returns what a command begins with that runs there.
func outside(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	there := exec.Command("busybox", "httpd", "-f", "-p", "80", "-h", dir)
	there.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := there.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = there.Process.Kill()
		_ = there.Wait()
	})
	enter := fmt.Sprintf("nsenter --net=/proc/%d/ns/net ", there.Process.Pid)
	host(t, fmt.Sprintf("ip link add uplink type veth peer name next netns %d && ip link set uplink addrgenmode none && ip address add %s/24 dev uplink && ip link set uplink up", there.Process.Pid, uplinkAddress))
	t.Cleanup(func() { host(t, "ip link del uplink") })
	host(t, enter+"ip address add "+outsideAddress+"/24 dev next && "+enter+"ip link set next up && ip route add default via "+outsideAddress)
	return enter
}

// filterBridged is what Docker and Kubernetes' tools have on: what passes a bridge is asked for by rules that are for what is routed.
func filterBridged(t *testing.T) {
	t.Helper()
	const path = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	was, err := os.ReadFile(path)
	if err != nil {
		t.Logf("without bridge-nf-call-iptables: %v", err)
		return
	}
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(path, was, 0o644) })
}

// removeFilter takes away what iptables and its front ends have made.
func removeFilter(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		for _, table := range []string{"filter", "nat", "mangle", "raw"} {
			_ = exec.Command("nft", "delete", "table", "ip", table).Run() // most are not there
		}
	})
}

// ufw turns the firewall of Ubuntu on, with rules of this scene's own, that lets nothing in but port 8080.
func ufw(t *testing.T) {
	t.Helper()
	installed(t, "ufw")
	dir := t.TempDir()
	for _, own := range []string{"/etc/ufw", "/etc/default/ufw"} {
		mine := filepath.Join(dir, strings.ReplaceAll(own, "/", "-"))
		host(t, fmt.Sprintf("cp -a %s %s", own, mine))
		if own == "/etc/default/ufw" { // neither settings of the machine nor modules, and IPv4 only: berth has no other
			host(t, `sed -i 's/^IPT_SYSCTL=.*/IPT_SYSCTL=/; s/^IPT_MODULES=.*/IPT_MODULES=""/; s/^IPV6=.*/IPV6=no/' `+mine)
		}
		host(t, fmt.Sprintf("mount --bind %s %s", mine, own))
		t.Cleanup(func() { host(t, "umount "+own) })
	}
	removeFilter(t)
	host(t, "ufw allow 8080/tcp && ufw --force enable")
	t.Cleanup(func() { host(t, "ufw --force disable") })
}

// docker makes the rules of a Docker daemon (version 28), and one that denies port 9090.
func docker(t *testing.T) {
	t.Helper()
	removeFilter(t)
	restore := exec.Command("iptables-restore")
	restore.Stdin = strings.NewReader(`*filter
:INPUT ACCEPT
:FORWARD DROP
:OUTPUT ACCEPT
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A INPUT -i uplink -p tcp --dport 9090 -j DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
`)
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("iptables-restore: %v: %s", err, out)
	}
}

// guarded is a machine behind a firewall, with pods and published ports.
type guarded struct {
	*harness.Berth
	t      *testing.T
	beyond string
}

// page is a shell's line that prints what a page says.
func page(address string, port int) string {
	return fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3`, address, port)
}

// wantOpen tries each path: from pod to pod by the address of a Service, and to the outside; and, when they have to be open, the Service's name.
func (g guarded) wantOpen(open bool) {
	g.t.Helper()
	address := g.MustKubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	in := []string{"netns", "client", "--", "timeout", "2", "bash", "-c"}
	for want, ask := range map[string][]string{
		"through": append(slices.Clip(in), page(address, 8080)), "outside": append(slices.Clip(in), page(outsideAddress, 80)),
		address: {"exec", "client", "--", "tool", "lookup", "web"},
	} {
		reach := func() error {
			r := g.CLI(ask...)
			if r.Code != 0 || !strings.Contains(r.Stdout, want) {
				return fmt.Errorf("%d, %s%s", r.Code, r.Stdout, r.Stderr)
			}
			return nil
		}
		switch {
		case open:
			g.Until("the way to "+want, reach)
		case want != address && reach() == nil:
			g.t.Errorf("a packet came through that the firewall drops: %s", want)
		}
	}
}

// wantPublished asks from outside for the allowed port, and for the denied one.
func (g guarded) wantPublished() {
	g.t.Helper()
	get := func(port int) error {
		line := append(strings.Fields(g.beyond), "timeout", "2", "bash", "-c", page(uplinkAddress, port))
		out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
		if err == nil && !strings.Contains(string(out), "through") {
			err = fmt.Errorf("it says %s", out)
		}
		return err
	}
	g.Until("the allowed port to answer", func() error { return get(8080) })
	if get(9090) == nil {
		g.t.Error("the denied port answers")
	}
}

func (g guarded) quiet() error {
	if text := g.Must("status"); strings.Contains(text, "drops packets") {
		return fmt.Errorf("status says:\n%s", text)
	}
	return nil
}

var remedies = regexp.MustCompile("`([^`]+)`")

// behind plays a machine behind a firewall. Status says what cuts the pods' paths, and the lines it names open them, as --firewall=allow does; what that
// has put there goes with `down`. Published ports are the machine's own: what is denied stays denied.
func behind(t *testing.T, firewall func(*testing.T), want ...string) {
	t.Helper()
	installed(t, "iptables")
	filterBridged(t)
	g := guarded{t: t, beyond: outside(t)}
	firewall(t)
	rules := func() string { return host(t, "iptables-save | grep -v '^#' | sed 's/\\[.*\\]//'") }
	before := rules()
	g.Berth = harness.New(t)
	g.Load(images.Tool)
	g.Write("web.yaml", deployment("web", 2, run("web", "8080", "through")).String())
	g.Write("service.yaml", balancer(8080)+"---\n"+strings.Replace(balancer(9090), "{name: web}", "{name: denied}", 1))
	g.Write("client.yaml", pod("client", run("sleep", "1000")).String())
	up := g.Up()
	g.UntilReady("web-", 2)
	g.UntilReady("client", 1)
	var text string
	g.Until("status to say what cuts", func() error {
		text = g.Must("status")
		for _, w := range want {
			if w = strings.ReplaceAll(w, "BRIDGE", "br-"+g.InstanceID()); !strings.Contains(text, w) {
				return fmt.Errorf("no %q in:\n%s", w, text)
			}
		}
		return nil
	})
	g.wantOpen(false)
	g.wantPublished()
	for line := range strings.Lines(text) {
		if _, lines, ok := strings.Cut(line, "to open it: "); ok {
			for _, remedy := range remedies.FindAllStringSubmatch(lines, -1) {
				t.Log(remedy[1])
				host(t, remedy[1])
			}
		}
	}
	g.wantOpen(true)
	g.Until("status to be quiet", g.quiet)
	stop(t, up)
	// The administrator takes that back, and nothing else: `ufw delete` would write all its rules anew.
	for line := range strings.Lines(rules()) {
		if rule, ok := strings.CutPrefix(line, "-A "); ok && !strings.Contains(before, line) {
			host(t, "iptables -D "+rule)
		}
	}
	up = g.Up("--firewall=allow")
	g.wantOpen(true)
	g.Until("status to be quiet", g.quiet)
	g.wantPublished()
	stop(t, up)
	g.Must("down")
	if after := rules(); after != before {
		t.Errorf("before:\n%s\nafter down:\n%s", before, after)
	}
}

func TestFirewall(t *testing.T) {
	behind(t, func(t *testing.T) {
		t.Helper()
		removeFilter(t)
		host(t, "iptables -P FORWARD DROP && iptables -A INPUT -i uplink -p tcp --dport 9090 -j DROP")
	}, "chain FORWARD of table ip filter by its policy", "`iptables -I FORWARD -i BRIDGE -j ACCEPT`")
}

func TestFirewallOfUfw(t *testing.T) {
	behind(t, ufw, "`ufw route allow in on BRIDGE`", "`ufw allow in on BRIDGE to any port ")
}

func TestFirewallOfDocker(t *testing.T) {
	behind(t, docker, "`iptables -I DOCKER-USER -i BRIDGE -j ACCEPT`")
}
