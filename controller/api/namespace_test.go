package api

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/manifests"
	"berth/reconcile"
)

// A namespace goes from the files with all that is in it, or stays as it is.
func TestDeleteNamespace(t *testing.T) {
	inShop := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: shop}\n"
	}
	const space, other = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"
	anchored := "kind: List\napiVersion: v1\nitems:\n- &x {apiVersion: v1, kind: ConfigMap, metadata: {name: l, namespace: shop}}\n- {<<: *x, metadata: {name: k}}\n"
	const all, before = "/api/v1/namespaces/shop", "delete Namespace//shop"
	tests := map[string]struct {
		files, want map[string]string
		path        string
		code        int
		message     string
		asked       string
		fails       error
	}{
		"everything": {
			files: map[string]string{"shop.yaml": space + "---\n" + inShop("a"), "mixed.yaml": inShop("b") + "---\n" + other, "twice.yaml": inShop("a")},
			want:  map[string]string{"mixed.yaml": other}, code: 200, asked: before,
		},
		"one that nobody states": {files: map[string]string{"b.yaml": inShop("b")}, want: map[string]string{}, code: 200, asked: before},
		"a dry run":              {files: map[string]string{"b.yaml": inShop("b")}, path: all + "?dryRun=All", code: 200},
		"a read-only source":     {files: map[string]string{"b.yaml": inShop("b")}, fails: manifests.ErrReadOnly, code: 403, message: "cannot write b.yaml"},
		"one that needs it":      {files: map[string]string{"b.yaml": inShop("b"), "l.yaml": anchored}, code: 409, message: "l.yaml"},
		"the default one":        {path: "/api/v1/namespaces/default", code: 403, message: "may not be deleted"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := newPlace(t)
			p.files, p.fails = maps.Clone(tt.files), tt.fails
			p.ingest()
			for _, name := range []string{"shop", "default"} {
				_ = p.store.Create(reconcile.Key{Kind: reconcile.KindNamespace, Name: name}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil) // unless a file states it
			}
			code, out, _ := askTo(s, "DELETE", cmp.Or(tt.path, all), "", "")
			if message, _ := out["message"].(string); code != tt.code || !strings.Contains(message, tt.message) {
				t.Errorf("got %d %v, want %d %s", code, out, tt.code, tt.message)
			}
			if tt.want == nil {
				tt.want = tt.files
			}
			if diff := gocmp.Diff(tt.want, p.files); diff != "" {
				t.Errorf("files (-want +got)\n%s", diff)
			}
			if got := strings.Join(slices.Compact(p.asked), ", "); got != tt.asked { // once more for what two files state
				t.Errorf("asked %q, want %q", got, tt.asked)
			}
		})
	}
	p, s := newPlace(t)
	now := metav1.Now()
	_ = p.store.Create(reconcile.Key{Kind: reconcile.KindNamespace, Name: "shop"}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", DeletionTimestamp: &now}}, nil)
	if code, out, _ := askTo(s, "POST", all+"/configmaps", jsonType, `{"metadata":{"name":"n"}}`); code != 403 || !strings.Contains(fmt.Sprint(out["message"]), "being terminated") {
		t.Errorf("something new in it: %d %v", code, out)
	}
}
