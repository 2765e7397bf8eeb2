package manifests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {v: %q}\n", name, value)
}

func decodeAll(files map[string]string) []Decoded {
	var all []Decoded
	for name, text := range files {
		all = append(all, Decode(name, []byte(text)))
	}
	return all
}

func summary(s Snapshot) string {
	var parts []string
	for _, o := range s.Objects {
		parts = append(parts, o.Key.Name+"@"+o.Origin.String())
	}
	for _, f := range s.Faults {
		parts = append(parts, fmt.Sprintf("%s:%d!", f.File, f.Line))
	}
	return strings.Join(append(parts, s.Incomplete...), " ")
}

func TestMerge(t *testing.T) {
	broken := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: 1}\n"
	tests := map[string]struct {
		files    map[string]string
		reserved map[Key]Origin
		want     string
	}{
		"sorted by key":            {files: map[string]string{"2.yaml": configMap("a", "1"), "1.yaml": configMap("b", "1")}, want: "a@2.yaml:1 b@1.yaml:1"},
		"the first by path":        {files: map[string]string{"2.yaml": configMap("a", "2"), "1.yaml": configMap("a", "1")}, want: "a@1.yaml:1 2.yaml:1!"},
		"the last in a file":       {files: map[string]string{"1.yaml": configMap("a", "1") + "---\n" + configMap("a", "2")}, want: "a@1.yaml:6 1.yaml:6!"},
		"three in a file":          {files: map[string]string{"1.yaml": strings.Repeat(configMap("a", "1")+"---\n", 3)}, want: "a@1.yaml:11 1.yaml:6! 1.yaml:11!"},
		"twice in the second file": {files: map[string]string{"2.yaml": configMap("a", "2") + "---\n" + configMap("a", "3"), "1.yaml": configMap("a", "1")}, want: "a@1.yaml:1 2.yaml:1! 2.yaml:6!"},
		"a faulty owner":           {files: map[string]string{"1.yaml": broken, "2.yaml": configMap("a", "2")}, want: "1.yaml:4! 2.yaml:1! 1.yaml"},
		"a faulty copy":            {files: map[string]string{"2.yaml": broken, "1.yaml": configMap("a", "2")}, want: "a@1.yaml:1 2.yaml:4! 2.yaml"},
		"an unreadable owner":      {files: map[string]string{"1.yaml": "[", "2.yaml": configMap("a", "2")}, reserved: map[Key]Origin{{Kind: "ConfigMap", Namespace: "default", Name: "a"}: {File: "1.yaml"}}, want: "1.yaml:1! 2.yaml:1! 1.yaml"},
		"half of the owner":        {files: map[string]string{"1.yaml": configMap("a", "1") + "---\n["}, reserved: map[Key]Origin{{Kind: "ConfigMap", Namespace: "default", Name: "a"}: {File: "1.yaml"}}, want: "a@1.yaml:1 1.yaml:6! 1.yaml"},
		"another namespace":        {files: map[string]string{"1.yaml": configMap("a", "1"), "2.yaml": strings.Replace(configMap("a", "1"), "{name: a}", "{name: a, namespace: x}", 1)}, want: "a@1.yaml:1 a@2.yaml:1"},
		"a folder for kustomize":   {files: map[string]string{"k/kustomization.yaml": "resources: []", "k/1.yaml": "kind: X", "k/2.yaml": "kind: X", "1.yaml": configMap("a", "1")}, want: "a@1.yaml:1 k/kustomization.yaml:1! k/1.yaml k/2.yaml"},
		"a good one for kustomize": {files: map[string]string{"k/kustomization.yaml": "resources: []", "k/1.yaml": configMap("a", "1")}, want: "a@k/1.yaml:1 k/kustomization.yaml:1!"},
	}
	for name, tt := range tests {
		for range 5 { // maps give the files in another order each time
			if got := summary(Merge("d", decodeAll(tt.files), tt.reserved)); got != tt.want {
				t.Errorf("%s: got %s, want %s", name, got, tt.want)
			}
		}
	}
}

// A patched snapshot is the merged one, or refused.
func TestPatch(t *testing.T) {
	files := map[string]string{"1.yaml": configMap("a", "1") + "---\n" + configMap("c", "1"), "2.yaml": configMap("b", "1"), "3.yaml": strings.Replace(configMap("p", "1"), "data", "# x\ndata", 1)}
	edits := map[string]struct {
		file, text string
		ok         bool
	}{
		"a value":     {"1.yaml", configMap("a", "2") + "---\n" + configMap("c", "1"), true},
		"a line":      {"1.yaml", "# hello\n" + files["1.yaml"], true},
		"the order":   {"1.yaml", configMap("c", "1") + "---\n" + configMap("a", "1"), true},
		"a warning":   {"2.yaml", strings.Replace(configMap("b", "1"), "\ndata: {", "\ndata: {v: '0', ", 1), true},
		"one more":    {"2.yaml", files["2.yaml"] + "---\n" + configMap("d", "1"), false},
		"one less":    {"1.yaml", configMap("a", "1"), false},
		"another":     {"2.yaml", configMap("z", "1"), false},
		"a duplicate": {"2.yaml", configMap("a", "1"), false},
		"a fault":     {"2.yaml", "kind: [", false},
		"one twice":   {"1.yaml", configMap("a", "1") + "---\n" + configMap("a", "2"), false},
	}
	base := Merge("d", decodeAll(files), nil)
	for name, e := range edits {
		before, after := Decode(e.file, []byte(files[e.file])), Decode(e.file, []byte(e.text))
		got, ok := base.Patch(before, after)
		if ok != e.ok {
			t.Errorf("%s: patched: %v", name, ok)
		}
		if !ok {
			continue
		}
		now := map[string]string{e.file: e.text}
		for f, text := range files {
			if f != e.file {
				now[f] = text
			}
		}
		if diff := cmp.Diff(Merge("d", decodeAll(now), nil), got); diff != "" {
			t.Errorf("%s: (-merged +patched)\n%s", name, diff)
		}
	}
}
