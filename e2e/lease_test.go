package e2e

import (
	"strings"
	"testing"

	"berth/e2e/harness"
)

// Programs of which one shall lead agree on it by a Lease, as client-go's leader election does: of two that have seen the same one is told that it
// came too late, and who holds it is not forgotten by a restart.
func TestLeaseElectsOne(t *testing.T) {
	b := harness.New(t)
	up := b.Up()
	lease := func(holder, version string) string {
		return `{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lock", "namespace": "default", "resourceVersion": "` + version +
			`"}, "spec": {"holderIdentity": "` + holder + `", "leaseDurationSeconds": 15, "leaseTransitions": 1, "renewTime": "2026-01-02T03:04:05.678901Z"}}`
	}
	if r := b.KubectlWithInput(lease("nobody", ""), "create", "-f", "-"); r.Code != 0 || strings.Contains(r.Stderr, "Warning") {
		t.Fatalf("create: %+v", r)
	}
	if r := b.KubectlWithInput(lease("third", ""), "create", "-f", "-"); r.Code == 0 || !strings.Contains(r.Stderr, "AlreadyExists") {
		t.Errorf("another create: %+v", r)
	}
	seen := b.MustKubectl("get", "lease", "lock", "-o", "jsonpath={.metadata.resourceVersion}")
	if r := b.KubectlWithInput(lease("first", seen), "replace", "-f", "-"); r.Code != 0 {
		t.Fatalf("replace: %+v", r)
	}
	if r := b.KubectlWithInput(lease("second", seen), "replace", "-f", "-"); r.Code == 0 || !strings.Contains(r.Stderr, "Conflict") {
		t.Errorf("who came second: %+v", r)
	}
	up.Kill()
	b.Up()
	if held := b.MustKubectl("get", "lease", "lock", "-o", "jsonpath={.spec.holderIdentity} {.spec.renewTime}"); held != "first 2026-01-02T03:04:05.678901Z" {
		t.Errorf("after a restart: %q", held)
	}
}
