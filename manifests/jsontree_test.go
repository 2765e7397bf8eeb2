package manifests

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A file that begins with JSON may go on with YAML, and nothing of it is lost without a word.
func TestBehindJSON(t *testing.T) {
	const a, b = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n"
	const c = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`
	for name, test := range map[string]struct {
		text    string
		objects []string
		lines   []int // of faults
	}{
		"nothing":              {a + "\n", []string{"a"}, nil},
		"JSON":                 {a + c, []string{"a", "c"}, nil},
		"a separator and YAML": {a + "\n---\n" + b, []string{"a", "b"}, nil},
		"YAML":                 {a + "\n" + b, []string{"a", "b"}, nil},
		"a comment":            {a + "\n# done\n", []string{"a"}, nil},
		"a separator and JSON": {a + "\n---\n" + c, []string{"a", "c"}, nil},
		"a brace":              {a + "}", []string{"a"}, []int{1}},
		"a brace further down": {a + "\n\n}\n", []string{"a"}, []int{3}},
		"a brace behind two":   {a + "\n" + c + "}", []string{"a", "c"}, []int{2}},
		"faulty YAML":          {a + "\n" + b + "x: y\n", []string{"a"}, []int{6}},
		"a comma inside":       {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a",},}`, []string{"a"}, nil},
		"a List of nothing":    {`{"apiVersion":"v1","kind":"List"}`, nil, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decode("f.json", []byte(test.text))
			var objects []string
			for _, o := range d.Objects {
				objects = append(objects, o.Key.Name)
			}
			var lines []int
			for _, f := range d.Faults {
				if f.Severity == Error {
					lines = append(lines, f.Line)
				}
			}
			if diff := cmp.Diff(test.objects, objects); diff != "" {
				t.Errorf("objects (-want +got):\n%s%v", diff, d.Faults)
			}
			if diff := cmp.Diff(test.lines, lines); diff != "" {
				t.Errorf("lines of faults (-want +got):\n%s%v", diff, d.Faults)
			}
			if d.Incomplete != (len(test.lines) > 0) {
				t.Errorf("incomplete: %v", d.Incomplete)
			}
		})
	}
}
