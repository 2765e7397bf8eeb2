package layers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProjectKeepsItsLayers(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	imports, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(imports) < 100 {
		t.Fatalf("only %d imports were found: this test looks in the wrong place", len(imports))
	}
	for _, fault := range Check("berth", imports) {
		t.Error(fault)
	}
}

func TestEveryRuleCanBreak(t *testing.T) {
	tests := map[string]struct {
		from, to string
		test     bool
		want     string
	}{
		"runtime to controller":          {"runtime/native", "berth/controller", false, "no arrow goes from runtime to controller"},
		"runtime to manifests in a test": {"runtime", "berth/manifests", true, "no arrow"},
		"manifests to reconcile":         {"manifests/dir", "berth/reconcile", false, "no arrow"},
		"e2e to runtime":                 {"e2e", "berth/runtime", true, "no arrow"},
		"a new top-level folder":         {"pkg/util", "berth/runtime", false, "no folder pkg"},
		"controller to a part":           {"controller", "berth/runtime/native", false, "only the contract"},
		"controller to the fake":         {"controller", "berth/runtime/runtimetest", true, ""},
		"the simulation to the fake":     {"reconcile/reconciletest", "berth/runtime/runtimetest", false, ""},
		"Kubernetes below runtime":       {"runtime/image", "k8s.io/api/core/v1", false, "speaks OCI"},
		"x/sys outside runtime":          {"cmd/berth/internal/daemon", "golang.org/x/sys/unix", false, "x/sys"},
		"x/sys inside runtime":           {"runtime/internal/sys", "golang.org/x/sys/unix", false, ""},
		"reconcile reads files":          {"reconcile/pod", "os", false, "pure"},
		"reconcile logs":                 {"reconcile", "github.com/go-logr/logr", false, "pure"},
		"reconcile rolls dice":           {"reconcile/pod", "math/rand/v2", false, "pure"},
		"reconcile's test reads files":   {"reconcile/pod", "os", true, ""},
		"heavy keeper":                   {"runtime/keeper", "fmt", false, "cheap"},
		"heavy keeper protocol":          {"runtime/keeper/wire", "net", false, "cheap"},
		"heavy pages":                    {"runtime/footprint/pages", "fmt", false, "cheap"},
		"the keeper to its pages":        {"runtime/keeper", "berth/runtime/footprint/pages", false, ""},
		"the keeper to the footprint":    {"runtime/keeper", "berth/runtime/footprint", false, "cheap"},
		"the keeper's client":            {"runtime/keeper/client", "fmt", false, ""},
		"a banned module":                {"cmd/berth", "github.com/sirupsen/logrus", false, "decided against"},
		"cmd to all":                     {"cmd/berth/internal/daemon", "berth/runtime/native", false, ""},
		"controller to the contract":     {"controller", "berth/runtime", false, ""},
		"within one folder":              {"e2e", "berth/e2e/leak", true, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := Check("berth", []Import{{Package: tc.from, Path: tc.to, File: tc.from + "/x.go", Line: 1, Test: tc.test}})
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("refused: %s", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("got %q, want one fault with %q", got, tc.want)
			}
		})
	}
}

func TestDecisionsDoNotLookAtTheClock(t *testing.T) {
	uses, err := ClockUses("../../reconcile")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uses {
		t.Error(u)
	}
	found, err := clockUsesOf("x.go", "package x\nimport \"time\"\nfunc f() time.Duration { return time.Since(time.Now()) }\n")
	if err != nil || len(found) != 2 {
		t.Errorf("got %q, %v: want two uses", found, err)
	}
}
