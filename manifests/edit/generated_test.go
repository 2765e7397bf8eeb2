package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"berth/manifests"
)

// leaf is a scalar of an object that its text says.
type leaf struct {
	path []any
	n    *node
	v    any
}

func leaves(n *node, v any, path []any) (all []leaf) {
	if n = n.real(); n == nil {
		return nil
	}
	below := func(child *node, v any, step any) {
		all = append(all, leaves(child, v, append(append([]any{}, path...), step))...)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range ordered(v) {
			if i := n.find(name); n.kind == mapping && i >= 0 && n.pairs[i].value.kind != alias {
				below(n.pairs[i].value, v[name], name)
			}
		}
	case []any:
		for i := range v {
			if n.kind == sequence && len(n.items) == len(v) {
				below(n.items[i].value, v[i], i)
			}
		}
	case string, int64:
		all = append(all, leaf{path: path, n: n, v: v})
	}
	return all
}

var words = []any{
	"x", "5", "true", "~", "a: b", "a #b", "it's", "\"q\"", "é", " lead", "tail ", "one\ntwo\n", "one\n\n  two", "#no", "- a", "[a]", "{a}", "a,b", "*x", "&x", "!t", "0x1F", "1e3", "12:30", "null", "%a",
	"@a", "`a`", "back\\slash", "tab\there", "end:", "one\ntwo\n\n", "\ttab\n", "-", "---", "?", "? a", ":", "=", "<<", "...", "a\u2028b", "\u0007", "\x7f", "😀", "\ufeffb", "very " + strings.Repeat("long ", 40),
}

// mutation is a change of one value.
func mutation(r *rand.Rand, l leaf) any {
	if n, ok := l.v.(int64); ok {
		return n + 1
	}
	return words[r.IntN(len(words))]
}

// change region: what of the old text is not in the new one, and what is there instead.
func region(old, now []byte) (start, end, end2 int) {
	for start < len(old) && start < len(now) && old[start] == now[start] {
		start++
	}
	end, end2 = len(old), len(now)
	for end > start && end2 > start && old[end-1] == now[end2-1] {
		end, end2 = end-1, end2-1
	}
	return start, end, end2
}

type tally struct {
	edits, invalid int
	refused        map[string]int
}

// try makes edits of one object and holds the text around them against the old one.
func (y *tally) try(t *testing.T, r *rand.Rand, name string, data []byte, o manifests.Object, edits int) {
	t.Helper()
	d, err := open(data, o)
	if err != nil {
		y.refused[err.Error()]++
		return
	}
	all := leaves(d.root, objectOf(t, o), nil)
	for range edits {
		l := all[r.IntN(len(all))]
		value := mutation(r, l)
		wish := set(objectOf(t, o), value, l.path...).(map[string]any)
		out, err := Update(Request{File: name, Data: data, Key: o.Key, Hash: o.Hash, Wish: wish})
		if y.counts(t, name, l.path, err) {
			continue
		}
		start, end, _ := region(data, out)
		// the same bytes may end the value and what is behind it, so that the difference is found some bytes off: the value's last byte decides
		if from, to := d.text.rawOffset(l.n.start), d.text.rawOffset(l.n.end); start < end && (start < from-1 || end > to+1) {
			t.Errorf("%s: %v = %q: bytes %d to %d changed, the value is %d to %d:\n%s\n---\n%s", name, l.path, value, start, end, from, to, data[max(0, start-80):min(len(data), end+80)], out[max(0, start-80):min(len(out), end+80)])
		}
		y.around(t, name, data, o, r)
	}
}

// around adds a label, and takes it away again: the old text is what comes out.
func (y *tally) around(t *testing.T, name string, data []byte, o manifests.Object, r *rand.Rand) {
	t.Helper()
	value := fmt.Sprint("v", r.IntN(1000))
	out, err := Update(Request{File: name, Data: data, Key: o.Key, Wish: set(objectOf(t, o), value, "metadata", "annotations", "berth.example/generated").(map[string]any)})
	if y.counts(t, name, []any{"annotations"}, err) {
		return
	}
	if start, end, _ := region(data, out); end > start && !bytes.Equal(bytes.TrimSpace(data[start:end]), []byte("{}")) {
		if lost := strings.Trim(string(data[start:end]), "\r\n ,"); lost != "" && lost != "null" && lost != "~" {
			t.Errorf("%s: a new annotation has cost %q", name, lost)
		}
	}
	after, _ := stated(manifests.Decode(name, out), o.Key)
	back, err := Update(Request{File: name, Data: out, Key: o.Key, Wish: objectOf(t, o)})
	if y.counts(t, name, []any{"annotations"}, err) {
		return
	}
	if again, _ := stated(manifests.Decode(name, back), o.Key); again.Hash != o.Hash {
		t.Errorf("%s: %s is another one after all: %s", name, o.Key, after.Hash)
	}
	if got, want := squeeze(back), squeeze(data); got != want {
		a, b, c := region([]byte(got), []byte(want))
		t.Errorf("%s: what was added and taken away has left its traces: %q, it was %q", name, got[a:b], want[a:c])
	}
}

var emptied = regexp.MustCompile(`,?\s*"?annotations"?:?\s*(null|\{\s*\})?\s*,?\s*$`)

// squeeze forgets an empty map that an only entry leaves behind, and a missing last line feed.
func squeeze(data []byte) string {
	var out []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\r\n"); !emptied.MatchString(line) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// counts reports whether an edit did not come about, for reasons that are none of ours.
func (y *tally) counts(t *testing.T, name string, path []any, err error) bool {
	t.Helper()
	y.edits++
	if err == nil {
		return false
	}
	var invalid *Invalid
	var refused *Error
	switch {
	case errors.As(err, &invalid):
		y.edits--
		y.invalid++
	case errors.As(err, &refused):
		reason := refused.Reason
		if strings.HasPrefix(reason, "the text would not be") || strings.HasPrefix(reason, "the file would") {
			t.Errorf("%s: %v: %v", name, path, err)
		}
		y.refused[strings.Join(strings.Fields(reason)[:min(5, len(strings.Fields(reason)))], " ")]++
	default:
		t.Errorf("%s: %v: %v", name, path, err)
	}
	return true
}

// variants write the same objects in many ways.
func variants(t *testing.T) map[string]string {
	t.Helper()
	d := manifests.Decode("f.yaml", []byte(web))
	obj := Clean(objectOf(t, d.Objects[0]))
	pretty, err := json.MarshalIndent(obj, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	compact, _ := json.Marshal(obj)
	list, _ := json.MarshalIndent(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{obj, json.RawMessage(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`)}}, "", "\t")
	other := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other} # it\ndata:\n  a: |\n    --- x\n    b\n"
	item := "    " + strings.ReplaceAll(strings.TrimSpace(web[strings.Index(web, "apiVersion"):]), "\n", "\n    ") + "\n"
	v := map[string]string{
		"as it is":          web,
		"commented":         commented(web),
		"CRLF":              strings.ReplaceAll(web, "\n", "\r\n"),
		"CR":                strings.ReplaceAll(web, "\n", "\r"),
		"BOM":               bom + web,
		"no last line feed": strings.TrimSuffix(web, "\n"),
		"before another":    web + "---\n" + other,
		"after another":     other + "--- # next\n" + web + "...\n",
		"JSON":              string(pretty) + "\n",
		"JSON, one line":    string(compact),
		"JSON stream":       strings.ReplaceAll(string(compact), `"name":"web","namespace"`, `"name":"first","namespace"`) + "\n" + string(pretty) + "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}",
		"JSON List, tabs":   string(list),
		"List":              "kind: List\napiVersion: v1\nitems:\n  -" + item[3:] + "  - # the other\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: x}\n",
		"List, no indent":   "kind: List\napiVersion: v1\nitems:\n-" + strings.ReplaceAll(item, "\n    ", "\n  ")[3:],
		"anchors":           strings.Replace(strings.Replace(web, "labels: {app", "labels: &l {app", 1), "  template:\n    metadata:\n      labels:\n        app: web\n", "  template:\n    metadata:\n      labels:\n        <<: *l\n        app: &unused web\n      annotations: *l\n", 1),
		"brackets":          renderFlowFile(obj, false),
		"KYAML":             "---\n" + renderFlowFile(obj, true),
		"wide":              wide(web),
	}
	return v
}

func renderFlowFile(obj map[string]any, kyaml bool) string {
	f := flowWriter{}
	if kyaml {
		f = flowWriter{lines: true, trailing: true, step: 2, quote: '"'}
	}
	return f.value(obj, 0) + "\n"
}

// commented puts a comment at every place where one may stand.
func commented(text string) string {
	var out []string
	block := -1
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		indent := leading([]byte(line), 0)
		if block >= 0 && indent > block {
			out = append(out, line)
			continue
		}
		block = -1
		pad := strings.Repeat(" ", indent)
		out = append(out, fmt.Sprintf("%s# above %d", pad, i), "", fmt.Sprintf("%s# right above %d", pad, i))
		if strings.HasSuffix(line, "|") {
			block = indent
			line += fmt.Sprintf(" # at %d", i)
		} else if line != "" && !strings.Contains(line, "#") {
			line += fmt.Sprintf(" # at %d", i)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n") + "\n# the end\n"
}

// wide indents by four.
func wide(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.Repeat(" ", leading([]byte(line), 0)) + line
		lines[i] = strings.Replace(lines[i], "- ", "-   ", 1)
		if strings.Contains(line, "Seconds") || !strings.HasPrefix(strings.TrimSpace(line), "-") {
			lines[i] = strings.Repeat(" ", leading([]byte(line), 0)) + line
		}
	}
	return strings.Join(lines, "\n")
}

func TestGenerated(t *testing.T) {
	y := tally{refused: map[string]int{}}
	for name, text := range variants(t) {
		r := rand.New(rand.NewPCG(1, uint64(len(name))))
		d := manifests.Decode(name, []byte(text))
		if len(d.Objects) == 0 || d.Incomplete {
			t.Fatalf("%s: %v\n%s", name, d.Faults, text)
		}
		for _, o := range d.Objects {
			y.try(t, r, name, []byte(text), o, 20)
		}
	}
	t.Logf("%d edits, %d of values that the object must not have, refused: %v", y.edits, y.invalid, y.refused)
	if y.edits < 500 {
		t.Errorf("only %d edits", y.edits)
	}
}

// TestCorpus edits the manifests of others.
func TestCorpus(t *testing.T) {
	const dir = "../../../shared/corpus"
	every := 10 // all of them take two minutes
	if os.Getenv("CORPUS") == "all" {
		every = 1
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the corpus is not beside the project (%s)", dir)
	}
	y := tally{refused: map[string]int{}}
	files := 0
	for _, part := range []string{"valid", "edge", "legacy-api", "apps", "dirs"} {
		_ = filepath.WalkDir(filepath.Join(dir, part), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil //nolint:nilerr // what cannot be read is left out
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return nil //nolint:nilerr // what cannot be read is left out
			}
			name := filepath.Base(path)
			d := manifests.Decode(name, data)
			if files++; files%every != 0 {
				return nil
			}
			r := rand.New(rand.NewPCG(2, uint64(len(data))))
			for _, o := range d.Objects {
				if counts, _ := stated(d, o.Key); counts.Origin != o.Origin || counts.Hash != o.Hash {
					continue
				}
				y.try(t, r, name, data, o, 2)
			}
			return nil
		})
	}
	t.Logf("%d files, %d edits, %d of values that the object must not have, refused: %v", files, y.edits, y.invalid, y.refused)
}
