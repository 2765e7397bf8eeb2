package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

func stop(t *testing.T, up *harness.Up) {
	t.Helper()
	up.Signal(syscall.SIGTERM)
	if code := up.Wait(harness.Patience); code != 0 {
		t.Fatalf("up ended with %d", code)
	}
}

// Somebody flushes all rules of the machine, as `systemctl reload nftables` does: Services answer again at once.
func TestFlushedRuleset(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 1, run("web", "8080", "through")).String())
	b.Write("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}\n")
	b.Up()
	b.UntilReady("web-", 1)
	url := "http://" + b.MustKubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}") + "/"
	untilFetched(b, url, "through")
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("nft flush ruleset: %v: %s", err, out)
	}
	b.Until("the Service to answer again", func() error {
		_, err := fetch(url)
		return err
	})
}

// Somebody takes the network of the pods apart, as a restart of systemd-networkd may, and `sysctl --system`: it is put back, and said.
func TestNetworkTakenApart(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 1, run("web", "8080", "through")).String())
	b.Write("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}\n")
	up := b.Up()
	b.UntilReady("web-", 1)
	url := "http://" + b.MustKubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}") + "/"
	untilFetched(b, url, "through")
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	bridge := links[slices.IndexFunc(links, func(l net.Interface) bool { return strings.HasPrefix(l.Name, "br-") })].Name
	if out, err := exec.Command("ip", "link", "del", bridge).CombinedOutput(); err != nil {
		t.Fatalf("ip link del: %v: %s", err, out)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	untilFetched(b, url, "through")
	b.Until("the word of it", func() error {
		if log := up.Output(); !strings.Contains(log, "bridge "+bridge+" was removed") {
			return errors.New(log)
		}
		if on, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err != nil || string(on) != "1\n" {
			return fmt.Errorf("ip_forward is %q, %w", on, err)
		}
		return nil
	})
}

// A host's program runs in a pod's network, and only there: exit code, arguments and files are the machine's.
func TestNetns(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("one.yaml", pod("one", run("sleep", "1000")).String())
	host := pod("host", run("sleep", "1000"))
	host.pod = "hostNetwork: true"
	b.Write("host.yaml", host.String())
	b.Up()
	one := b.UntilReady("one", 1)[0]
	b.UntilReady("host", 1)
	if out := b.Must("netns", "one", "--", "ip", "-o", "-4", "address", "show", "eth0"); !strings.Contains(out, one.IP+"/32") {
		t.Errorf("got %q, want %s", out, one.IP)
	}
	file := t.TempDir() + "/seen"
	if r := b.CLI("netns", "one", "--", "sh", "-c", "echo here > "+file+"; exit 7"); r.Code != 7 {
		t.Errorf("got exit code %d, want 7: %s", r.Code, r.Stderr)
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		t.Error("the program did not see the machine's files")
	}
	if r := b.CLI("netns", "one", "--", "no-such-program"); r.Code != 127 {
		t.Errorf("got exit code %d, want 127: %s", r.Code, r.Stderr)
	}
	if r := b.CLI("netns", "host", "--", "true"); r.Code == 0 || !strings.Contains(r.Stderr, "the machine's own") {
		t.Errorf("a pod without a network: %d, %s", r.Code, r.Stderr)
	}
	complete := exec.Command(os.Getenv(harness.BinaryVar), "__complete", "netns", "o")
	complete.Env = append(os.Environ(), "BERTH_STATE_DIR="+b.State, "BERTH_RUN_DIR="+b.Run)
	if out, err := complete.Output(); err != nil || !strings.HasPrefix(string(out), "one\n") {
		t.Errorf("completion: %q, %v", out, err)
	}
}

// ip-netns(8) knows the networks of pods by name, for as long as something runs in them; over restarts of the container and of berth.
func TestNamesForIPNetns(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("one.yaml", pod("one", run("sleep", "1000")).String())
	up := b.Up()
	one := b.UntilReady("one", 1)[0]
	name := "berth-" + b.InstanceID() + "-default-one"
	leads := func() error {
		out, err := exec.Command("ip", "netns", "exec", name, "ip", "-o", "-4", "address", "show", "eth0").CombinedOutput()
		if err == nil && !strings.Contains(string(out), one.IP+"/32") {
			err = fmt.Errorf("%s is not the pod's", out)
		}
		return err
	}
	b.Until("ip netns to know the pod", leads)
	again := func(what string, restarts int) {
		b.UntilPod("one", what, func(p harness.Pod) error {
			if c := p.Container("main"); c.Restarts < restarts || !p.Ready {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
		b.Until("ip netns to know the pod, "+what, leads)
	}
	_ = syscall.Kill(one.Container("main").PID, syscall.SIGKILL)
	again("started again", 1)
	up.Kill()
	now := b.UntilPod("one", "to run without a controller", func(harness.Pod) error { return nil })
	_ = syscall.Kill(now.Container("main").PID, syscall.SIGKILL)
	b.Up()
	again("that ended without a controller", 2)
	b.Must("down")
	if out, err := exec.Command("ip", "netns", "list").CombinedOutput(); err != nil || strings.Contains(string(out), b.InstanceID()) {
		t.Errorf("left: %s, %v", out, err)
	}
}
