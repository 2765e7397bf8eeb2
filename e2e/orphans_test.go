package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// What an owner has made outlives it when somebody says so (--cascade=orphan): the same processes, through a kill of the controller, until somebody deletes
// them or an owner comes that selects them.
func TestOrphans(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	asSet := strings.NewReplacer("kind: Deployment", "kind: StatefulSet", "  replicas:", "  serviceName: db\n  replicas:")
	manifests := map[string]string{
		"web.yaml": deployment("web", 2, run("web")).String(), "db.yaml": asSet.Replace(deployment("db", 2, run("web")).String()),
	}
	for name, text := range manifests {
		b.Write(name, text)
	}
	up := b.Up()
	pids := harness.PIDs(b.UntilReady("web-", 2))
	maps.Copy(pids, harness.PIDs(b.UntilReady("db-", 2)))
	still := func(when string) {
		t.Helper()
		now := harness.PIDs(b.UntilReady("web-", 2))
		maps.Copy(now, harness.PIDs(b.UntilReady("db-", 2)))
		if diff := cmp.Diff(pids, now); diff != "" {
			t.Errorf("%s other processes run (-before +after):\n%s", when, diff)
		}
	}
	owners := func(of string) string {
		return b.MustKubectl("get", of, "-o", "jsonpath={.items[*].metadata.ownerReferences[*].name}")
	}

	b.MustKubectl("delete", "deployment/web", "statefulset/db", "--cascade=orphan")
	for name := range manifests {
		if _, err := os.Stat(filepath.Join(b.Manifests, name)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	still("after the deletion")
	if got := owners("replicasets") + owners("pods,controllerrevisions"); strings.Count(got, "web-") != 2 || strings.Contains(got, "db") {
		t.Errorf("owners are left: %s", got)
	}
	up.Kill()
	up = b.Up()
	still("after a kill")

	for name, text := range manifests {
		b.Write(name, text)
	}
	b.Until("adoption", func() error {
		if got := owners("replicasets,controllerrevisions") + " " + owners("pods"); strings.Count(got, "web") != 3 || strings.Count(got, "db") != 3 {
			return fmt.Errorf("the owners are %s", got)
		}
		return nil
	})
	b.MustKubectl("rollout", "status", "deployment/web", "--timeout=20s")
	b.MustKubectl("rollout", "status", "statefulset/db", "--timeout=20s")
	up.Kill()
	b.Up()
	still("after adoption and a kill")

	// A pod that is taken out of the selector stays, and gets a successor.
	broken := b.UntilReady("web-", 2)[0].Name
	b.MustKubectl("label", "pod", broken, "app=broken", "--overwrite")
	b.UntilReady("web-", 3)
	if pid := harness.PIDs(b.UntilReady(broken, 1))[broken+"/main"]; pid != pids[broken+"/main"] {
		t.Errorf("%s was process %d and is %d", broken, pids[broken+"/main"], pid)
	}
	b.MustKubectl("delete", "pod", broken)
	b.UntilReady("web-", 2)

	// Nobody makes an orphan again.
	b.MustKubectl("delete", "statefulset/db", "--cascade=orphan")
	b.MustKubectl("delete", "pod", "db-1")
	b.UntilReady("db-", 1)
	b.MustKubectl("delete", "deployment/web", "--cascade=orphan")
	set := strings.TrimSpace(b.MustKubectl("get", "replicasets", "-o", "name"))
	b.MustKubectl("scale", set, "--replicas=1")
	b.UntilReady("web-", 1)
	b.MustKubectl("delete", set)
	b.UntilReady("web-", 0)
}
