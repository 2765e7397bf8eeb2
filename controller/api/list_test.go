package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"berth/controller/store"
)

// A list that is sent in pieces is the same list, in every form.
func TestLongList(t *testing.T) {
	var all []store.Object
	for i := range 300 {
		obj := configMap(fmt.Sprintf("c%03d", i))
		obj.Data["long"] = strings.Repeat("x", 1000)
		all = append(all, obj)
	}
	s := fixture(t, all...)
	for accept, items := range map[string]string{
		"application/json": "items", "application/yaml": "items", "application/json;as=Table;v=v1;g=meta.k8s.io": "rows",
		"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io": "items",
	} {
		t.Run(accept, func(t *testing.T) {
			hr := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/configmaps", nil)
			hr.Header.Set("Accept", accept)
			w := &pieceCounter{ResponseRecorder: httptest.NewRecorder()}
			s.ServeHTTP(w, hr)
			var list map[string]any
			if err := yaml.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%d: %v", w.Code, err)
			}
			names := map[string]bool{}
			for _, it := range list[items].([]any) {
				it := it.(map[string]any)
				if obj, ok := it["object"].(map[string]any); ok {
					it = obj
				}
				names[it["metadata"].(map[string]any)["name"].(string)] = true
			}
			if len(names) != len(all) || list["kind"] == nil || list["metadata"].(map[string]any)["resourceVersion"] != fmt.Sprint(s.Store().Version()) {
				t.Errorf("%d objects, kind %v, metadata %v", len(names), list["kind"], list["metadata"])
			}
			if most := 2 * sendFrom; w.largest > most && accept != "application/yaml" {
				t.Errorf("a piece of %d bytes, want at most %d", w.largest, most)
			}
		})
	}
}

type pieceCounter struct {
	*httptest.ResponseRecorder
	largest int
}

func (w *pieceCounter) Write(p []byte) (int, error) {
	w.largest = max(w.largest, len(p))
	return w.ResponseRecorder.Write(p)
}
