package dir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/manifests"
)

func lines(faults []manifests.Fault) []string {
	var all []string
	for _, f := range faults {
		text := f.String()
		if len(text) > 90 {
			text = text[:90]
		}
		all = append(all, text)
	}
	return all
}

func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: nginx\n    envFrom: [{configMapRef: {name: %s}}]\n"
	mustWrite(t, "d/a.yaml", strings.ReplaceAll(pod, "%s", "there"))
	mustWrite(t, "d/b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there}\n---\n"+strings.ReplaceAll(pod, "%s", "missing"))
	mustWrite(t, "k/kustomization.yaml", "resources: [patch.yaml]\n")
	mustWrite(t, "k/patch.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 2}\n")
	mustWrite(t, "k/patch2.yaml", "kind: Deployment\n")
	mustWrite(t, "named", "apiVersion: v1\nkind: Podd\n")
	if err := os.Mkdir("empty", 0o755); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ path, want string }{
		"directory":     {"d", "d/b.yaml:5: error: Pod/p: Pod/default/p is declared twice: a.yaml:1 keeps it"},
		"world of one":  {"d/a.yaml", "d/a.yaml:8:37: warning: Pod/p spec.containers[0].envFrom[0].configMapRef.name: names the ConfigMap"},
		"kustomization": {"k", "k/kustomization.yaml:1: error: this folder is made for kustomize, and 2 of its files"},
		"any name":      {"named", "named:2:7: error: Podd: there is no kind"},
		"missing":       {"nope.yaml", "nope.yaml: error: cannot be read: no such file or directory"},
		"empty":         {"empty", ""},
	}
	for name, tt := range tests {
		got := lines(Check([]string{tt.path}))
		if tt.want == "" && len(got) == 0 {
			continue
		}
		if len(got) == 0 || !strings.HasPrefix(got[0], tt.want[:min(len(tt.want), 80)]) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
		if name == "kustomization" && len(got) != 1 {
			t.Errorf("%s: more than one message: %q", name, got)
		}
	}
}

// The folders of the corpus, whose expectations are in words.
func TestCorpusDirs(t *testing.T) {
	corpus := "../../../shared/corpus/"
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("the corpus is not beside the project (%s)", corpus)
	}
	want := map[string]int{
		"dup-across-files":   1,
		"broken-beside-good": 1,
		"bom-and-crlf":       1, // a ConfigMap called y, which YAML reads as a boolean: a server refuses it, whatever the index says
	}
	var folders []string
	for _, part := range []string{"dirs", "apps"} {
		entries, err := os.ReadDir(corpus + part)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				folders = append(folders, filepath.Join(corpus, part, e.Name()))
			}
		}
	}
	for _, folder := range folders {
		if filepath.Base(folder) == "rename-between-files" {
			continue // two steps of one story, not one folder
		}
		var errs []string
		for _, f := range Check([]string{folder}) {
			if f.Severity == manifests.Error {
				errs = append(errs, f.String())
			}
		}
		if diff := cmp.Diff(want[filepath.Base(folder)], len(errs)); diff != "" {
			t.Errorf("%s: %v", folder, errs)
		}
	}
}
