package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/controller/api/openapi"
)

// moduleDir is where the source of a module is.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("cannot find the module %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// Our description, made from Go types, says the same as the generated one of Kubernetes: the same fields of the same types, merged the same way.
func TestOpenAPIIsThatOfKubernetes(t *testing.T) {
	dir := filepath.Join(moduleDir(t, "k8s.io/kubernetes"), "api", "openapi-spec", "v3")
	s := fixture(t)
	schemas, fields := 0, 0
	for gv := range s.registry.versions {
		if gv.Group == metricsGroup {
			continue // of another project
		}
		data, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(pathOf(gv), "/", "__")+"_openapi.json"))
		if err != nil {
			t.Fatal(err)
		}
		theirs, ours := schemasOf(t, data), schemasOf(t, mustJSON(t, openapi.Document("test", s.described(gv))))
		for _, name := range slices.Sorted(maps.Keys(ours)) {
			their, ok := theirs[name].(map[string]any)
			if !ok {
				if !strings.HasSuffix(name, "List") {
					t.Errorf("%s: Kubernetes has no %s", gv, name)
				}
				continue
			}
			our := ours[name].(map[string]any)
			schemas++
			same(t, name, "required", sorted(their["required"]), sorted(our["required"]))
			same(t, name, "map-type", their["x-kubernetes-map-type"], our["x-kubernetes-map-type"])
			theirFields, ourFields := fieldsOf(their), fieldsOf(our)
			same(t, name, "fields", slices.Sorted(maps.Keys(theirFields)), slices.Sorted(maps.Keys(ourFields)))
			for f := range ourFields {
				fields++
				compareField(t, name+"."+f, theirFields[f], ourFields[f])
			}
		}
	}
	t.Logf("compared %d schemas and %d fields", schemas, fields)
	if schemas < 300 || fields < 1500 {
		t.Errorf("compared only %d schemas and %d fields", schemas, fields)
	}
}

func compareField(t *testing.T, name string, their, our any) {
	t.Helper()
	th, ok1 := their.(map[string]any)
	us, ok2 := our.(map[string]any)
	if !ok1 || !ok2 {
		return // the names differ, and that was said
	}
	for _, mark := range []string{
		"type", "format", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-patch-strategy",
		"x-kubernetes-patch-merge-key", "description",
	} {
		theirs, ours := th[mark], us[mark]
		if mark == "x-kubernetes-map-type" && theirs == "granular" {
			theirs = nil // the default, said
		}
		if mark == "x-kubernetes-list-type" && theirs == nil && ours == "atomic" {
			continue // the same, said
		}
		if mark == "description" {
			theirs, ours = theirs != nil, ours != nil || name == "io.k8s.api.storage.v1.VolumeAttachmentSource.inlineVolumeSpec" // it has none in Go
		}
		same(t, name, mark, theirs, ours)
	}
}

func sorted(list any) any {
	l, ok := list.([]any)
	if !ok {
		return list
	}
	slices.SortFunc(l, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return l
}

func same(t *testing.T, where, what string, theirs, ours any) {
	t.Helper()
	if a, b := fmt.Sprint(theirs), fmt.Sprint(ours); a != b {
		t.Errorf("%s: %s is %s in Kubernetes, %s here", where, what, a, b)
	}
}

func fieldsOf(schema map[string]any) map[string]any {
	m, _ := schema["properties"].(map[string]any)
	return m
}

func schemasOf(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var doc struct {
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Components.Schemas
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
