package edit

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	d := manifests.Decode("f.yaml", []byte(web))
	o := d.Objects[0]
	obj := map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "status": map[string]any{"replicas": int64(1)},
		"metadata": map[string]any{"name": "web", "namespace": "default", "uid": "1", "creationTimestamp": nil, "resourceVersion": "7"},
		"spec": map[string]any{
			"strategy": map[string]any{},
			"selector": map[string]any{"matchLabels": map[string]any{"app": "web"}},
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"app": "web"}, "creationTimestamp": nil},
				"spec": map[string]any{"containers": []any{map[string]any{
					"name": "web", "image": "nginx:1.28", "command": []any{"sh", "-c", "a\nb\n"}, "env": []any{map[string]any{"name": "X", "value": "1"}},
					"resources": map[string]any{"limits": map[string]any{"cpu": "1000m"}},
				}}},
			},
		},
	}
	const want = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
spec:
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
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
`
	got, err := New("kubectl/x.yaml", o.GVK, o.Key, obj)
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("(-want +got)\n%s\n%v", diff, err)
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
