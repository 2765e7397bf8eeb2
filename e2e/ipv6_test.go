package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// addressesIn are those that a pod has by its own /etc/hosts.
func addressesIn(t *testing.T, b *harness.Berth, pod string) (all []netip.Addr) {
	t.Helper()
	for line := range strings.Lines(b.Must("exec", pod, "--", "cat", "/etc/hosts")) {
		if fields := strings.Fields(line); slices.Contains(fields[1:], pod) {
			all = append(all, netip.MustParseAddr(fields[0]))
		}
	}
	return all
}

// Pods get IPv6 when berth is told to give it to them: those that run when they are replaced, and all lose it when it is not told so any more.
func TestIPv6(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("old.yaml", pod("old", run("web", "8080", "old")).String())
	up := b.Up()
	b.UntilReady("old", 1)
	up.Kill()
	up = b.Up("--ipv6")
	client := pod("client", run("sleep"))
	client.pod = "hostUsers: false" // its network belongs to others than the machine's root
	b.Write("new.yaml", pod("new", run("web", "8080", "new")).String()+"---\n"+client.String())
	b.UntilReady("new", 1)
	b.UntilReady("client", 1)
	if got := addressesIn(t, b, "client"); len(got) != 2 {
		t.Errorf("a pod of other users has %v", got)
	}
	if got := addressesIn(t, b, "old"); len(got) != 1 || !got[0].Is4() {
		t.Errorf("a pod from before has %v", got)
	}
	addresses := addressesIn(t, b, "new")
	if len(addresses) != 2 || !addresses[0].Is4() || !addresses[1].Is6() {
		t.Fatalf("a pod has %v, want one address of each family", addresses)
	}
	url := func(a netip.Addr) string { return "http://" + netip.AddrPortFrom(a, 8080).String() + "/" }
	for _, a := range addresses {
		if got := b.CLI("exec", "client", "--", "wget", "-qO-", url(a)); !strings.HasPrefix(got.Stdout, "new ") {
			t.Errorf("a pod is told by %s %q: %s", a, got.Stdout, got.Stderr)
		}
		untilFetched(b, url(a), "new ")
	}
	untilFetched(b, url(addressesIn(t, b, "old")[0]), "old ")

	reached := func(a netip.Addr) bool {
		return strings.HasPrefix(b.CLI("exec", "client", "--", "timeout", "2", "wget", "-qO-", url(a)).Stdout, "new ")
	}
	b.Write("policy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: nobody}\nspec: {podSelector: {matchLabels: {app: new}}, policyTypes: [Ingress]}\n")
	for _, a := range addresses {
		b.Until("a policy to hold", func() error {
			if reached(a) {
				return fmt.Errorf("%s answers", a)
			}
			return nil
		})
		untilFetched(b, url(a), "new ") // the machine may
	}
	b.Delete("policy.yaml")
	b.Until("the policy to be gone", func() error {
		if !reached(addresses[0]) || !reached(addresses[1]) {
			return fmt.Errorf("%v do not answer", addresses)
		}
		return nil
	})

	before := b.UntilReady("new", 1)
	up.Kill()
	up = b.Up("--ipv6")
	untilFetched(b, url(addresses[1]), "new ")
	up.Kill()
	b.Up()
	b.Until("the address to be gone", func() error {
		if body, err := fetch(url(addresses[1])); err == nil {
			return fmt.Errorf("it says %q", body)
		}
		return nil
	})
	untilFetched(b, url(addresses[0]), "new ")
	if got := harness.PIDs(b.UntilReady("new", 1)); fmt.Sprint(got) != fmt.Sprint(harness.PIDs(before)) {
		t.Errorf("the pod was started anew: %v, before %v", got, before)
	}
}
