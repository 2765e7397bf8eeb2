package edit

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"berth/manifests"
)

// set changes a value of an object by its path; nil removes it. A number in the path is an index; "+" appends.
func set(obj any, value any, path ...any) any {
	if len(path) == 0 {
		return value
	}
	switch step := path[0].(type) {
	case string:
		if list, ok := obj.([]any); ok && step == "+" {
			return append(list, value)
		}
		m, _ := obj.(map[string]any)
		if m == nil {
			m = map[string]any{}
		}
		if v := set(m[step], value, path[1:]...); v == nil {
			delete(m, step)
		} else {
			m[step] = v
		}
		return m
	case int:
		list := obj.([]any)
		v := set(list[step], value, path[1:]...)
		if v == nil {
			return append(append([]any{}, list[:step]...), list[step+1:]...)
		}
		list[step] = v
		return list
	}
	panic("a path of strings and numbers")
}

func objectOf(t testing.TB, o manifests.Object) map[string]any {
	t.Helper()
	data, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := utiljson.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// edited changes the i-th object of a text.
func edited(t testing.TB, text string, i int, value any, path ...any) (string, error) {
	t.Helper()
	d := manifests.Decode("f.yaml", []byte(text))
	if len(d.Objects) <= i {
		t.Fatalf("%d objects, %v in\n%s", len(d.Objects), d.Faults, text)
	}
	wish := set(objectOf(t, d.Objects[i]), value, path...).(map[string]any)
	out, err := Update(Request{File: "f.yaml", Data: []byte(text), Key: d.Objects[i].Key, Wish: wish})
	return string(out), err
}

const web = `# the shop's front
apiVersion: apps/v1
kind: Deployment   # a workload
metadata:
  name: web
  labels: {app: web, 'tier': "front"} # for people
spec:
  replicas: 3 # enough

  # how it is found
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      # the server
      - name: web
        image: "nginx:1.28"  # pinned
        args: [-g, 'daemon off;']
        env:
          - name: A
            value: "1"
          # about B
          - name: B
            value: 'two'
        # where it listens
        ports:
        - containerPort: 80
      - name: side
        image: busybox
        command:
        - sh
        - -c
        - |
          # not a comment
          sleep 1000
      terminationGracePeriodSeconds: 5
`

func TestUpdate(t *testing.T) {
	spec := func(path ...any) []any { return append([]any{"spec", "template", "spec"}, path...) }
	tests := map[string]struct {
		value     any
		path      []any
		old, want string // parts of the text
	}{
		"a number":                  {int64(5), []any{"spec", "replicas"}, "replicas: 3 #", "replicas: 5 #"},
		"a quoted string":           {"nginx:1.29", spec("containers", 0, "image"), `"nginx:1.28"`, `"nginx:1.29"`},
		"a plain string":            {"busybox:1.36", spec("containers", 1, "image"), "image: busybox", "image: busybox:1.36"},
		"single quotes":             {"it's", spec("containers", 0, "env", 1, "value"), "'two'", "'it''s'"},
		"a string like a number":    {"5", spec("containers", 0, "env", 1, "name"), "- name: B\n", "- name: \"5\"\n"},
		"an entry in brackets":      {"debug on;", spec("containers", 0, "args", 1), "'daemon off;'", "'debug on;'"},
		"one more in brackets":      {"-q", spec("containers", 0, "args", "+"), "'daemon off;']", "'daemon off;', -q]"},
		"one less in brackets":      {nil, spec("containers", 0, "args", 0), "[-g, 'daemon off;']", "['daemon off;']"},
		"the last in brackets":      {nil, spec("containers", 0, "args", 1), "[-g, 'daemon off;']", "[-g]"},
		"a label in braces":         {"x", []any{"metadata", "labels", "tier"}, `'tier': "front"`, `'tier': "x"`},
		"a new label in braces":     {"x", []any{"metadata", "labels", "new"}, `"front"}`, `"front", new: x}`},
		"a label less in braces":    {nil, []any{"metadata", "labels", "app"}, "{app: web, 'tier'", "{'tier'"},
		"a text":                    {"# not a comment\nsleep 9\necho\n", spec("containers", 1, "command", 2), "          sleep 1000\n", "          sleep 9\n          echo\n"},
		"a text without its end":    {"sleep 9\necho", spec("containers", 1, "command", 2), "- |\n          # not a comment\n          sleep 1000\n", "- |-\n          sleep 9\n          echo\n"},
		"a new key":                 {"Always", spec("containers", 0, "imagePullPolicy"), "        - containerPort: 80\n", "        - containerPort: 80\n        imagePullPolicy: Always\n"},
		"a new map":                 {map[string]any{"a/b": "c"}, []any{"metadata", "annotations"}, "# for people\n", "# for people\n  annotations:\n    a/b: c\n"},
		"a default said":            {map[string]any{"type": "Recreate"}, []any{"spec", "strategy"}, "Seconds: 5\n", "Seconds: 5\n  strategy:\n    type: Recreate\n"},
		"a part of a default":       {int64(0), []any{"spec", "strategy", "rollingUpdate", "maxSurge"}, "Seconds: 5\n", "Seconds: 5\n  strategy:\n    rollingUpdate:\n      maxSurge: 0\n"},
		"a key less":                {nil, spec("terminationGracePeriodSeconds"), "      terminationGracePeriodSeconds: 5\n", ""},
		"a key with its comment":    {nil, spec("containers", 0, "ports"), "        # where it listens\n        ports:\n        - containerPort: 80\n", ""},
		"an entry with its comment": {nil, spec("containers", 0, "env", 1), "          # about B\n          - name: B\n            value: 'two'\n", ""},
		"a whole list":              {nil, spec("containers", 0, "env"), "        env:\n          - name: A\n            value: \"1\"\n          # about B\n          - name: B\n            value: 'two'\n", ""},
		"a new entry":               {map[string]any{"name": "C", "value": "3"}, spec("containers", 0, "env", "+"), "value: 'two'\n", "value: 'two'\n          - name: C\n            value: \"3\"\n"},
		"a container less":          {nil, spec("containers", 0), web[strings.Index(web, "      # the server"):strings.Index(web, "      - name: side")], ""},
		"a line of a command":       {"bash", spec("containers", 1, "command", 0), "- sh\n", "- bash\n"},
		"a line more":               {"x", spec("containers", 1, "command", "+"), "sleep 1000\n", "sleep 1000\n        - x\n"},
		"a new list":                {[]any{map[string]any{"name": "A", "value": "b"}}, spec("containers", 1, "env"), "sleep 1000\n", "sleep 1000\n        env:\n        - name: A\n          value: b\n"},
		"what no file says":         {"abc", []any{"metadata", "uid"}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if strings.Count(web, tt.old) != 1 && tt.old != "" {
				t.Fatalf("%q stands %d times", tt.old, strings.Count(web, tt.old))
			}
			want := strings.Replace(web, tt.old, tt.want, 1)
			got, err := edited(t, web, 0, tt.value, tt.path...)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("(-want +got)\n%s\n%v", diff, err)
			}
			crlf := strings.ReplaceAll(web, "\n", "\r\n")
			got, err = edited(t, "\xef\xbb\xbf"+crlf, 0, tt.value, tt.path...)
			if diff := cmp.Diff("\xef\xbb\xbf"+strings.ReplaceAll(want, "\n", "\r\n"), got); diff != "" || err != nil {
				t.Errorf("CRLF (-want +got)\n%s\n%v", diff, err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	tests := map[string]struct {
		text  string
		value any
		path  []any
		want  string
	}{
		"an alias":            {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: &x b\n  c: *x\n", "z", []any{"data", "c"}, "data.c: the value is the alias *x"},
		"a used anchor":       {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: &x b\n  c: *x\n", "z", []any{"data", "a"}, "data.a: the value is the anchor &x"},
		"below a used anchor": {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: &l {a: b}\n  annotations: *l\n", "z", []any{"metadata", "labels", "a"}, "metadata.labels: the value is the anchor &l"},
		"out of a merge":      {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: &l {a: b}\n  annotations:\n    <<: *l\n    c: d\n", nil, []any{"metadata", "annotations", "a"}, "metadata.annotations.a: the value comes in by the merge key"},
		"the name":            {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n", "b", []any{"metadata", "name"}, "would not be ConfigMap/default/a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := edited(t, tt.text, 0, tt.value, tt.path...)
			var refused *Error
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	t.Run("not valid", func(t *testing.T) {
		_, err := edited(t, web, 0, int64(-1), "spec", "replicas")
		var invalid *Invalid
		if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "spec.replicas") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("comments further in go with an entry", func(t *testing.T) {
		const text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: # theirs\n    x: one\n    # or two\n  # about labels\n  labels: {k: v}\n"
		got, err := edited(t, text, 0, nil, "metadata", "annotations")
		if want := strings.Replace(text, "  annotations: # theirs\n    x: one\n    # or two\n", "", 1); got != want || err != nil {
			t.Errorf("got %s, %v", got, err)
		}
	})
	t.Run("the last of two counts", func(t *testing.T) {
		twice := named("a") + "---\n" + named("a") + "data: {v: \"1\"}\n"
		got, err := edited(t, twice, 1, "2", "data", "v")
		if want := strings.Replace(twice, `"1"`, `"2"`, 1); got != want || err != nil {
			t.Errorf("got %s, %v", got, err)
		}
	})
	t.Run("changed meanwhile", func(t *testing.T) {
		d := manifests.Decode("f.yaml", []byte(web))
		_, err := Update(Request{File: "f.yaml", Data: []byte(strings.Replace(web, "3", "4", 1)), Key: d.Objects[0].Key, Hash: d.Objects[0].Hash, Wish: objectOf(t, d.Objects[0])})
		if !errors.Is(err, ErrNotThere) {
			t.Errorf("got %v", err)
		}
	})
}

// What the server added is seen by clients and stays out of the file; other ways of saying the same thing stay as they are.
func TestSeen(t *testing.T) {
	edit := func(text string, seen func(map[string]any), wish func(map[string]any)) string {
		t.Helper()
		d := manifests.Decode("f.yaml", []byte(text))
		o := d.Objects[0]
		r := Request{File: "f.yaml", Data: []byte(text), Key: o.Key, Seen: objectOf(t, o), Wish: objectOf(t, o)}
		seen(r.Seen)
		seen(r.Wish)
		wish(r.Wish)
		out, err := Update(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	check := func(name, text, old, now, got string) {
		t.Helper()
		if diff := cmp.Diff(strings.Replace(text, old, now, 1), got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  type: NodePort\n  ports:\n  - port: 80 # web\n    name: a\n"
	check("a Service", service, "80 # web\n    name: a\n", "80 # web\n    name: a\n    targetPort: 8080\n", edit(service,
		func(o map[string]any) {
			set(o, "10.0.0.7", "spec", "clusterIP")
			set(o, []any{"10.0.0.7"}, "spec", "clusterIPs")
			set(o, int64(30001), "spec", "ports", 0, "nodePort")
		},
		func(o map[string]any) { set(o, int64(8080), "spec", "ports", 0, "targetPort") }))
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  word: 'old' # plain\ndata:\n  raw: AAE=\n"
	none := func(map[string]any) {}
	check("a Secret's text", secret, "'old'", "'new'", edit(secret, none, func(o map[string]any) { set(o, "bmV3", "data", "word") }))
	check("a Secret's bytes", secret, "AAE=", "AAI=", edit(secret, none, func(o map[string]any) { set(o, "AAI=", "data", "raw") }))
	old := "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: 1 # one\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: i}]}\n"
	check("a removed version", old, "1 # one", "2 # one", edit(old, none, func(o map[string]any) { set(o, int64(2), "spec", "replicas") }))
	quantity := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: i\n    resources: {limits: {cpu: 0.5, memory: 1024Mi}}\n"
	check("a quantity", quantity, "cpu: 0.5", "cpu: 750m", edit(quantity, none, func(o map[string]any) { set(o, "0.75", "spec", "containers", 0, "resources", "limits", "cpu") }))
}
