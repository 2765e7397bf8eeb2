package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTogetherIPs(t *testing.T) {
	list := func(texts ...string) any {
		var out []any
		for _, text := range texts {
			out = append(out, text)
		}
		return out
	}
	spec := func(fields ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(fields); i += 2 {
			m[fields[i].(string)] = fields[i+1]
		}
		return map[string]any{"spec": m}
	}
	seen := spec("clusterIP", "a", "clusterIPs", list("a", "b"))
	whole := spec("clusterIPs", list("a", "b"))
	tests := map[string]struct{ wish, want, inFile map[string]any }{
		"the same":            {spec("clusterIP", "a", "clusterIPs", list("a", "b")), seen, seen},
		"the older alone":     {spec("clusterIP", "c", "clusterIPs", list("a", "b")), spec("clusterIP", "c", "clusterIPs", list("c")), whole},
		"the older, no newer": {spec("clusterIP", "c"), spec("clusterIP", "c", "clusterIPs", list("c")), whole},
		"no newer":            {spec("clusterIP", "a"), seen, seen},
		"the newer":           {spec("clusterIP", "a", "clusterIPs", list("a")), spec("clusterIP", "a", "clusterIPs", list("a")), whole},
		"both":                {spec("clusterIP", "c", "clusterIPs", list("c", "d")), spec("clusterIP", "c", "clusterIPs", list("c", "d")), whole},
		"none":                {spec("clusterIPs", list("a", "b")), spec(), whole},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inFile := togetherIPs(seen, tt.wish)
			if diff := cmp.Diff(tt.want, tt.wish); diff != "" {
				t.Errorf("wish (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.inFile, inFile); diff != "" {
				t.Errorf("compared with (-want +got):\n%s", diff)
			}
		})
	}
}

// A client that changes the older field only, or the newer one only, is understood.
func TestAddressesAreChanged(t *testing.T) {
	for body, want := range map[string]string{
		`{"spec":{"clusterIP":"10.43.0.30"}}`:                                   "clusterIP: 10.43.0.30",
		`{"spec":{"clusterIP":"10.43.0.30","clusterIPs":["10.43.0.30"]}}`:       "clusterIP: 10.43.0.30",
		`{"spec":{"clusterIPs":["10.43.0.20"],"ipFamilyPolicy":"SingleStack"}}`: "clusterIP: 10.43.0.20",
	} {
		p, s := newPlace(t)
		p.files["s.yaml"] = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  clusterIP: 10.43.0.20\n  ports: [{port: 80}]\n"
		p.ingest()
		code, out, _ := askTo(s, "PATCH", "/api/v1/namespaces/default/services/s", mergePatchType, body)
		if code != 200 || !strings.Contains(p.files["s.yaml"], want) {
			t.Errorf("%s: %d %v\n%s", body, code, out["message"], p.files["s.yaml"])
		}
	}
}
