package edit

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/manifests"
)

func TestRemoveAll(t *testing.T) {
	gone := func(k manifests.Key) bool { return strings.HasPrefix(k.Name, "x") }
	item := func(name string) string {
		return "- " + strings.ReplaceAll(strings.TrimSpace(named(name)), "\n", "\n  ") + "\n"
	}
	list := func(names ...string) string {
		text := "kind: List\napiVersion: v1\nitems:\n"
		for _, n := range names {
			text += item(n)
		}
		return text
	}
	object := func(name string) string {
		return `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "` + name + `"}}`
	}
	tests := map[string]struct{ text, want string }{ // "": no file
		"none":                  {named("a") + "---\n" + named("b"), named("a") + "---\n" + named("b")},
		"all":                   {named("x1") + "---\n" + named("x2") + "---\n# three\n" + named("x3"), ""},
		"the first two":         {named("x1") + "---\n" + named("x2") + "---\n" + named("b"), "---\n" + named("b")},
		"the last two":          {named("a") + "---\n" + named("x1") + "---\n# about two\n" + named("x2"), named("a")},
		"every other":           {named("x1") + "---\n" + named("a") + "---\n" + named("x2") + "---\n" + named("b"), named("a") + "---\n" + named("b")},
		"the same twice":        {named("x") + "---\n" + named("a") + "---\n" + named("x"), named("a")},
		"the file's comment":    {"# the file's\n\n" + named("x1") + "---\n" + named("x2"), "# the file's\n\n"},
		"of a List":             {list("x1", "a", "x2", "x3", "b"), list("a", "b")},
		"a List":                {list("x1", "x2") + "---\n" + named("a"), named("a")},
		"a List and a document": {list("x1", "x2") + "---\n" + named("x3"), ""},
		"CRLF":                  {strings.ReplaceAll(named("a")+"---\n"+named("x1")+"---\n"+named("x2"), "\n", "\r\n"), strings.ReplaceAll(named("a"), "\n", "\r\n")},
		"a JSON stream":         {object("a") + "\n" + object("x1") + "\n" + object("x2") + "\n" + object("b") + "\n", object("a") + "\n" + object("b") + "\n"},
		"a JSON List":           {`{"kind": "List", "apiVersion": "v1", "items": [` + object("x1") + ", " + object("x2") + ", " + object("a") + `]}`, `{"kind": "List", "apiVersion": "v1", "items": [` + object("a") + `]}`},
		"beside a fault":        {named("x1") + "---\n" + named("a") + "dat: 1\n", named("a") + "dat: 1\n"},
		"all but a fault":       {"dat: 1\n---\n" + named("x1"), "dat: 1\n"},
	}
	for name, tt := range tests {
		got, err := RemoveAll("f.yaml", []byte(tt.text), gone)
		if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil || (got == nil) != (tt.want == "") {
			t.Errorf("%s: (-want +got)\n%s\n%v", name, diff, err)
		}
	}
	var refused *Error
	if _, err := RemoveAll("f.yaml", []byte("kind: List\napiVersion: v1\nitems:\n- &x "+object("x1")+"\n- {<<: *x, metadata: {name: a}}\n"), gone); !errors.As(err, &refused) {
		t.Errorf("what another needs: %v", err)
	}
	var b strings.Builder
	const many = 1000
	for i := range many {
		fmt.Fprintf(&b, "---\n%sdata: {a: \"1\"}\n", named(fmt.Sprint("x", i)))
	}
	start := time.Now()
	if got, err := RemoveAll("f.yaml", []byte(b.String()+"---\n"+named("a")), gone); string(got) != "---\n"+named("a") || err != nil {
		t.Errorf("of many documents %q is left, %v", got, err)
	}
	if took := time.Since(start); took > 20*time.Second { // three readings of the file, each well below a second
		t.Errorf("%d documents took %s", many, took)
	}
}
