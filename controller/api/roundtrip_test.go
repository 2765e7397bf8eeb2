package api

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// Kubernetes keeps one object of each kind with every field filled in. Each comes back as it was stored: in JSON, in YAML, and in a list.
func TestEveryFieldOfEveryKindIsServed(t *testing.T) {
	dir := filepath.Join(moduleDir(t, "k8s.io/api"), "testdata", "HEAD")
	served := 0
	for _, r := range resources() {
		if !manifests.Scheme().Recognizes(r.GVK()) || r.Kind == "ComponentStatus" {
			continue // reviews are kept nowhere; events of the younger API and components are made of what is there
		}
		t.Run(r.GVK().String(), func(t *testing.T) {
			group := r.Group
			if group == "" {
				group = "core"
			}
			data, err := os.ReadFile(filepath.Join(dir, group+"."+r.Version+"."+r.Kind+".json"))
			if err != nil {
				t.Fatal(err)
			}
			served++
			var want map[string]any
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			obj, err := manifests.Scheme().New(r.GVK())
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, obj); err != nil {
				t.Fatal(err)
			}
			stored := obj.(store.Object)
			s := fixture(t)
			if !r.Namespaced {
				stored.SetNamespace("")
			}
			key := reconcile.Key{Kind: r.Kind, Namespace: stored.GetNamespace(), Name: stored.GetName()}
			if err := s.Store().Create(key, stored, nil); err != nil {
				t.Fatal(err)
			}
			meta := want["metadata"].(map[string]any)
			meta["resourceVersion"] = stored.GetResourceVersion()
			if !r.Namespaced {
				delete(meta, "namespace")
			}
			if !generations[r.Kind] {
				delete(meta, "generation")
			}
			collection := "/" + pathOf(r.GVK().GroupVersion())
			if r.Namespaced {
				collection += "/namespaces/" + stored.GetNamespace()
			}
			collection += "/" + r.Name
			_, got := ask(t, s, "GET", collection+"/"+stored.GetName())
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("JSON (-stored +served):\n%s", diff)
			}
			hr := httptest.NewRequest("GET", collection+"/"+stored.GetName(), nil)
			hr.Header.Set("Accept", "application/yaml")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, hr)
			var fromYAML map[string]any
			if err := yaml.Unmarshal(w.Body.Bytes(), &fromYAML); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, fromYAML); diff != "" {
				t.Errorf("YAML (-stored +served):\n%s", diff)
			}
			delete(want, "kind")
			delete(want, "apiVersion")
			_, list := ask(t, s, "GET", collection)
			if diff := cmp.Diff([]any{want}, list["items"]); diff != "" {
				t.Errorf("list (-stored +served):\n%s", diff)
			}
			if code, table := ask(t, s, "GET", collection, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"); code != 200 || len(table["rows"].([]any)) != 1 {
				t.Errorf("table: %d %v", code, table)
			}
		})
	}
	if served < 40 {
		t.Errorf("only %d kinds were looked at", served)
	}
	t.Logf("%d kinds", served)
}
