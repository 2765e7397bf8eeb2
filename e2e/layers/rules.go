package layers

import (
	"slices"
	"strings"
)

// rule judges one import; tests says whether test files are held to it too.
type rule struct {
	tests  bool
	broken func(module string, i Import) string
}

// arrows say what of ours each top-level folder may import, beside itself.
var arrows = map[string][]string{
	"cmd":        {"controller", "manifests", "reconcile", "runtime"},
	"controller": {"manifests", "reconcile", "runtime"},
	"reconcile":  {"runtime"},
	"manifests":  nil,
	"runtime":    nil,
	"e2e":        nil,
}

// keeperLight are the packages the keeper's early hook may be made of: it runs before anything else of the binary is initialised.
var (
	keeperPackages = []string{"runtime/keeper", "runtime/keeper/program", "runtime/keeper/wire", "runtime/footprint/pages"}
	keeperMay      = []string{"encoding/binary", "errors", "os", "reflect", "strconv", "sync", "sync/atomic", "syscall", "unsafe", "math/bits", "runtime", "time"}
)

var rules = []rule{
	{tests: true, broken: func(module string, i Import) string {
		ours, ok := strings.CutPrefix(i.Path, module+"/")
		if !ok {
			return ""
		}
		from, _, _ := strings.Cut(i.Package, "/")
		to, _, _ := strings.Cut(ours, "/")
		allowed, known := arrows[from]
		if !known {
			return "no folder " + from + " at the top level: they are fixed"
		}
		if from == to || below(to, allowed...) {
			return ""
		}
		return "no arrow goes from " + from + " to " + to
	}},
	{broken: func(module string, i Import) string {
		if below(i.Package, "reconcile/reconciletest") {
			return "" // the simulation: the planners on the fake runtime
		}
		if below(i.Package, "reconcile", "controller") && i.Path != module+"/runtime" && below(i.Path, module+"/runtime") {
			return "only the contract, package runtime itself, may be known here; cmd puts the parts together"
		}
		return ""
	}},
	{tests: true, broken: func(_ string, i Import) string {
		if below(i.Package, "runtime") && strings.HasPrefix(i.Path, "k8s.io/") {
			return "the runtime speaks OCI and knows no Kubernetes"
		}
		return ""
	}},
	{broken: func(_ string, i Import) string {
		if !below(i.Package, "runtime") && below(i.Path, "golang.org/x/sys") {
			return "golang.org/x/sys is for runtime only"
		}
		return ""
	}},
	{broken: func(_ string, i Import) string {
		if !below(i.Package, "reconcile") || below(i.Package, "reconcile/reconciletest") {
			return ""
		}
		for _, impure := range []string{
			"os", "net", "syscall", "io/fs", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand",
			"github.com/go-logr/logr", "k8s.io/klog/v2", "k8s.io/utils/clock",
		} {
			if i.Path == impure || impure == "os" && below(i.Path, "os") || impure == "net" && strings.HasPrefix(i.Path, "net/http") {
				return "a decision is pure: no input or output, clock, log or randomness"
			}
		}
		return ""
	}},
	{broken: func(module string, i Import) string {
		if !below(i.Package, keeperPackages...) || below(i.Package, "runtime/keeper/client") {
			return ""
		}
		if slices.Contains(keeperMay, i.Path) {
			return ""
		}
		if below(i.Path, module+"/runtime/keeper", module+"/runtime/footprint/pages") {
			return ""
		}
		return "the keeper's hook is initialised before everything else and imports only what is cheap: " + strings.Join(keeperMay, " ")
	}},
	{tests: true, broken: func(_ string, i Import) string {
		for _, no := range []string{
			"github.com/sirupsen/logrus", "github.com/stretchr/testify", "sigs.k8s.io/controller-runtime",
			"k8s.io/apiserver", "k8s.io/client-go/kubernetes", "github.com/containerd/containerd",
		} {
			if below(i.Path, no) {
				return "decided against"
			}
		}
		return ""
	}},
}
