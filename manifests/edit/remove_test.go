package edit

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/manifests"
)

func named(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n"
}

func TestRemove(t *testing.T) {
	object := func(name string) string {
		return `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "` + name + `"}}`
	}
	tests := map[string]struct {
		text, want string // "": no file
	}{
		"the only one":           {named("x"), ""},
		"with separators":        {"---\n" + named("x") + "---\n", ""},
		"with its own comment":   {"# about x\n" + named("x"), ""},
		"with a file's comment":  {"# the file's\n\n# about x\n" + named("x"), "# the file's\n\n"},
		"of several, the first":  {named("x") + "---\n" + named("b"), named("b")},
		"the first and comments": {"# the file's\n\n# about x\n" + named("x") + "---\n# about b\n" + named("b"), "# the file's\n\n---\n# about b\n" + named("b")},
		"the middle":             {named("a") + "---\n# about x\n" + named("x") + "\n--- # next\n" + named("b"), named("a") + "--- # next\n" + named("b")},
		"the last":               {named("a") + "---\n# about x\n" + named("x"), named("a")},
		"CRLF":                   {strings.ReplaceAll(named("a")+"---\n"+named("x"), "\n", "\r\n"), strings.ReplaceAll(named("a"), "\n", "\r\n")},
		"of a List":              {"kind: List\napiVersion: v1\nitems:\n# about a\n- " + strings.ReplaceAll(strings.TrimSpace(named("a")), "\n", "\n  ") + "\n# about x\n- " + strings.ReplaceAll(strings.TrimSpace(named("x")), "\n", "\n  ") + "\n", "kind: List\napiVersion: v1\nitems:\n# about a\n- " + strings.ReplaceAll(strings.TrimSpace(named("a")), "\n", "\n  ") + "\n"},
		"the last of a List":     {"kind: List\napiVersion: v1\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(named("x")), "\n", "\n  ") + "\n---\n" + named("b"), named("b")},
		"JSON":                   {object("x"), ""},
		"a JSON stream":          {object("a") + "\n" + object("x") + "\n" + object("b") + "\n", object("a") + "\n" + object("b") + "\n"},
		"a JSON List":            {`{"kind": "List", "apiVersion": "v1", "items": [` + object("a") + ", " + object("x") + `]}`, `{"kind": "List", "apiVersion": "v1", "items": [` + object("a") + `]}`},
	}
	key := manifests.Key{Kind: "ConfigMap", Namespace: "default", Name: "x"}
	for name, tt := range tests {
		got, err := Remove("f.yaml", []byte(tt.text), key, "")
		if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil || (got == nil) != (tt.want == "") {
			t.Errorf("%s: (-want +got)\n%s\n%v", name, diff, err)
		}
		if d := manifests.Decode("f.yaml", got); got != nil && d.Incomplete {
			t.Errorf("%s: what is left is at fault: %v", name, d.Faults)
		}
	}
	var refused *Error
	if _, err := Remove("f.yaml", []byte(named("x")+"---\n"+named("x")), key, ""); !errors.As(err, &refused) {
		t.Errorf("twice: %v", err)
	}
	if _, err := Remove("f.yaml", []byte(named("y")), key, ""); !errors.Is(err, ErrNotThere) {
		t.Errorf("another: %v", err)
	}
}

func TestNew(t *testing.T) {
	none := map[string]any{}
	obj := map[string]any{
		"apiVersion": "v1", "kind": "Pod", "status": map[string]any{"phase": "Pending"},
		"metadata": map[string]any{"name": "web", "namespace": "shop", "uid": "1", "creationTimestamp": nil, "resourceVersion": "7"},
		"spec": map[string]any{"containers": []any{
			map[string]any{
				"name": "web", "image": "nginx:1.28", "command": []any{"sh", "-c", "a\nb\n"}, "env": []any{map[string]any{"name": "X", "value": "1"}},
				"resources": map[string]any{"limits": map[string]any{"cpu": "1000m"}},
			},
			map[string]any{"name": "side", "image": "i", "resources": none},
		}},
	}
	const want = `apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
spec:
  containers:
  - name: web
    command:
    - sh
    - -c
    - |
      a
      b
    env:
    - name: X
      value: "1"
    image: nginx:1.28
    resources:
      limits:
        cpu: "1"
  - name: side
    image: i
`
	got, err := New("kubectl/x.yaml", corev1.SchemeGroupVersion.WithKind("Pod"), manifests.Key{Kind: "Pod", Namespace: "shop", Name: "web"}, obj)
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("(-want +got)\n%s\n%v", diff, err)
	}
	o := manifests.Decode("f.yaml", []byte(web)).Objects[0]
	wish := set(set(objectOf(t, o), none, "spec", "strategy"), none, "spec", "template", "spec", "containers", 0, "resources").(map[string]any)
	if got, err := New("kubectl/x.yaml", o.GVK, o.Key, wish); err != nil || strings.Contains(string(got), "strategy") || strings.Contains(string(got), "resources") {
		t.Errorf("got %s, %v", got, err)
	}
}

// FuzzUpdate looks for texts that are changed elsewhere than said, and for panics.
func FuzzUpdate(f *testing.F) {
	for _, text := range []string{web, commented(web), named("a"), "# c\n" + named("a") + "data: {a: &x b, c: *x}\n", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`} {
		f.Add(text, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		d := manifests.Decode("f.yaml", []byte(text))
		for _, o := range d.Objects {
			if !utf8.ValidString(value) {
				return // what comes as JSON is valid
			}
			wish := set(objectOf(t, o), value, "metadata", "annotations", "fuzz").(map[string]any)
			if out, err := Update(Request{File: "f.yaml", Data: []byte(text), Key: o.Key, Wish: wish}); err == nil {
				after, _ := stated(manifests.Decode("f.yaml", out), o.Key)
				meta, _ := objectOf(t, after)["metadata"].(map[string]any)
				if have, _ := meta["annotations"].(map[string]any); have["fuzz"] != value {
					t.Errorf("%q became %q", text, out)
				}
			}
			_, _ = Remove("f.yaml", []byte(text), o.Key, "")
		}
	})
}
