package manifests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Each file of testdata/faults says in comments at the ends of lines what is wrong there:
//
//	image: y  # error: spec.containers[0].image: must be a string
//
// and nothing else may be found. A comment on a line of its own speaks of the line below.
func TestFaultsInPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for _, f := range Decode(file, data).Faults {
				at := fmt.Sprintf("%d %s", f.Line, f.Severity)
				text := f.Text
				if f.Field != "" {
					text = f.Field + ": " + text
				}
				if f.Remedy != "" {
					text += "; " + f.Remedy
				}
				got[at] = append(got[at], text)
			}
			for at, texts := range wantFaults(string(data)) {
				for _, want := range texts {
					i := indexPrefix(got[at], want)
					if i < 0 {
						t.Errorf("line %s: want %q, got %q", at, want, got[at])
						continue
					}
					got[at] = append(got[at][:i:i], got[at][i+1:]...)
				}
				if len(got[at]) == 0 {
					delete(got, at)
				}
			}
			for at, texts := range got {
				t.Errorf("line %s: unexpected: %q", at, texts)
			}
		})
	}
}

func wantFaults(text string) map[string][]string {
	want := map[string][]string{}
	for i, line := range strings.Split(text, "\n") {
		before, comment, ok := strings.Cut(line, "# ")
		if !ok {
			continue
		}
		severity, text, ok := strings.Cut(comment, ": ")
		if !ok || severity != "error" && severity != "warning" {
			continue
		}
		n := i + 1
		if strings.TrimSpace(before) == "" {
			n++
		}
		at := fmt.Sprintf("%d %s", n, severity)
		want[at] = append(want[at], strings.TrimSpace(text))
	}
	return want
}

func indexPrefix(texts []string, prefix string) int {
	for i, t := range texts {
		if strings.HasPrefix(t, prefix) {
			return i
		}
	}
	return -1
}

const goodDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: nginx}
`

func mustDecode(t *testing.T, text string) Decoded {
	t.Helper()
	d := Decode("x.yaml", []byte(text))
	for _, f := range d.Faults {
		if f.Severity == Error {
			t.Fatalf("unexpected: %s", f)
		}
	}
	return d
}

// An object without a name gets one of its generateName, and the same one at every reading.
func TestGenerateName(t *testing.T) {
	text := strings.Replace(goodDeployment, "{name: web}", "{generateName: web-}", 1)
	first, again := mustDecode(t, text), mustDecode(t, text)
	name := first.Objects[0].Key.Name
	if !strings.HasPrefix(name, "web-") || len(name) != len("web-")+5 || again.Objects[0].Key.Name != name {
		t.Errorf("named %q, then %q", name, again.Objects[0].Key.Name)
	}
}

func TestDefaults(t *testing.T) {
	d := mustDecode(t, goodDeployment)
	o, ok := d.Objects[0].Object.(*appsv1.Deployment)
	if !ok {
		t.Fatalf("got %T", d.Objects[0].Object)
	}
	if o.Namespace != "default" || *o.Spec.Replicas != 1 || o.Spec.Strategy.RollingUpdate.MaxSurge.String() != "25%" || o.Kind != "Deployment" {
		t.Errorf("defaults are missing: %+v", o.Spec)
	}
	if c := o.Spec.Template.Spec.Containers[0]; c.ImagePullPolicy != corev1.PullAlways || c.TerminationMessagePath == "" {
		t.Errorf("defaults of the container are missing: %+v", c)
	}
}

// Only a change of meaning changes the hash.
func TestHash(t *testing.T) {
	base := mustDecode(t, goodDeployment).Objects[0].Hash
	same := map[string]string{
		"comment":       "# hello\n" + goodDeployment,
		"a default":     strings.Replace(goodDeployment, "spec:\n", "spec:\n  replicas: 1\n", 1),
		"flow":          strings.Replace(goodDeployment, "metadata: {name: web}", "metadata:\n  name: web\n  namespace: default", 1),
		"status":        goodDeployment + "status: {replicas: 4}\n",
		"line ends":     strings.ReplaceAll(goodDeployment, "\n", "\r\n"),
		"old Mac":       strings.ReplaceAll(goodDeployment, "\n", "\r"),
		"BOM":           utf8BOM + goodDeployment,
		"server fields": strings.Replace(goodDeployment, "{name: web}", "{name: web, uid: x, resourceVersion: '7', creationTimestamp: null, generation: 3, managedFields: []}", 1),
		"UTF-16":        "\xfe\xff" + wide(goodDeployment),
	}
	for name, text := range same {
		if got := mustDecode(t, text).Objects[0].Hash; got != base {
			t.Errorf("%s changed the hash", name)
		}
	}
	if got := mustDecode(t, strings.Replace(goodDeployment, "nginx", "redis", 1)).Objects[0].Hash; got == base {
		t.Error("another image has the same hash")
	}
}

func wide(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteByte(0)
		b.WriteByte(c)
	}
	return b.String()
}

func TestShapes(t *testing.T) {
	cm := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
	tests := map[string]struct{ text, want string }{
		"documents":         {fmt.Sprintf(cm, "a") + "--- # second\n" + fmt.Sprintf(cm, "b") + "---\n---\n# c\n---\n" + fmt.Sprintf(cm, "c"), "a:1 b:5 c:12"},
		"json":              {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"e":"\ud83d\ude00"}}`, "a:1"},
		"json stream":       {"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}\n\n{\"apiVersion\":\"v1\",\n\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"b\"}}", "a:1 b:3"},
		"kyaml":             {"---\n{\n  # comment\n  apiVersion: \"v1\",\n  kind: \"ConfigMap\",\n  metadata: {name: \"a\",},\n}\n", "a:4"},
		"list":              {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: b}\n", "a:4 b:7"},
		"typed list":        {"apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n", "a:4"},
		"empty list":        {"apiVersion: v1\nkind: List\nitems: []\n" + "---\n" + fmt.Sprintf(cm, "a"), "a:5"},
		"merge key":         {"apiVersion: v1\nkind: ConfigMap\nmetadata: &m {name: a, labels: {x: y1}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  <<: {name: base}\n  name: b\n", "a:1 b:5"},
		"bad beside good":   {fmt.Sprintf(cm, "a") + "---\nkind: [\n---\n" + fmt.Sprintf(cm, "b"), "a:1 b:7"},
		"bad document mark": {fmt.Sprintf(cm, "a") + "--- text\nkind: x\n---\n" + fmt.Sprintf(cm, "b"), "a:1 b:7"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			d := Decode("x.yaml", []byte(tt.text))
			for _, o := range d.Objects {
				got = append(got, fmt.Sprintf("%s:%d", o.Key.Name, o.Origin.Line))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s; %v", got, tt.want, d.Faults)
			}
			if strings.HasPrefix(name, "bad") != d.Incomplete {
				t.Errorf("incomplete: %v", d.Incomplete)
			}
		})
	}
}

// The words of YAML 1.1, which Kubernetes reads, in a ConfigMap's keys and in numbers.
func TestYAMLWords(t *testing.T) {
	d := mustDecode(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {n: '1', on: '2', 010: '3', 1.5: '4', k: 2024-01-31, t: 12:30:45}\n")
	cm := d.Objects[0].Object.(*corev1.ConfigMap)
	want := map[string]string{"false": "1", "true": "2", "8": "3", "1.5": "4", "k": "2024-01-31", "t": "12:30:45"}
	if diff := cmp.Diff(want, cm.Data); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for in, want := range map[string]string{"010": "8", "0o10": "8", "0x1F": "31", "0b11": "3", "1_000": "1000", "-7": "-7", "+7": "7"} {
		if sh, got := plainScalar(in); sh != intShape || got != want {
			t.Errorf("%s is %s %q, want %s", in, sh, got, want)
		}
	}
	for in, want := range map[string]shape{"0899": floatShape, "1e3": floatShape, ".5": floatShape, "1.2.3": stringShape, "-": stringShape, "+.inf": floatShape, "0x": stringShape, "~": nullShape} {
		if sh, _ := plainScalar(in); sh != want {
			t.Errorf("%s is a %s, want %s", in, sh, want)
		}
	}
}

func TestIncomplete(t *testing.T) {
	tests := map[string]struct {
		text             string
		incomplete, fail bool
	}{
		"empty":         {"", true, false},
		"blank":         {" \n\n", true, false},
		"separator":     {"---\n", true, false},
		"zero bytes":    {strings.Repeat("\x00", 512), true, true},
		"NUL at end":    {goodDeployment + "\x00\x00", true, true},
		"cut":           {goodDeployment[:100], true, true},
		"comments":      {"# nothing\n", false, false},
		"null document": {"null\n", true, false},
		"good":          {goodDeployment, false, false},
		"foreign":       {"apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n", false, false},
	}
	for name, tt := range tests {
		d := Decode("x.yaml", []byte(tt.text))
		failed := false
		for _, f := range d.Faults {
			failed = failed || f.Severity == Error
		}
		if d.Incomplete != tt.incomplete || failed != tt.fail {
			t.Errorf("%s: incomplete %v, failed %v: %v", name, d.Incomplete, failed, d.Faults)
		}
		if len(d.Objects) == 0 && len(d.Faults) == 0 {
			t.Errorf("%s: nothing is said about it", name)
		}
	}
}

// Input made to hurt is answered quickly. The limit is generous, and counts only what is computed here: the machine may be slow and busy.
func TestHostileInput(t *testing.T) {
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: "
	bomb := head + "\n  a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("  %c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	tests := map[string]string{
		"alias bomb":        bomb,
		"endless alias":     head + "&a [*a]\n",
		"endless merge":     head + "&a\n  <<: *a\n",
		"deep":              head + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"deep, not closed":  head + strings.Repeat("{a: ", 100000),
		"deep JSON":         strings.Repeat(`{"a":`, 100000) + "1" + strings.Repeat("}", 100000),
		"wide":              head + "[" + strings.Repeat("a,", 4_000_000) + "]",
		"too large":         head + strings.Repeat(" ", MaxFileSize),
		"dashes":            strings.Repeat("- ", 4_000_000),
		"open quote":        "\"" + strings.Repeat("\\x", 3_000_000),
		"control character": head + "\x01",
		"not UTF-8":         head + "\xff",
	}
	for name, text := range tests {
		before := cpuTime()
		d := Decode("x.yaml", []byte(text))
		if took := cpuTime() - before; took > 2*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		if !d.Incomplete || len(d.Objects) > 0 || len(d.Faults) == 0 || d.Faults[0].Line == 0 && name != "too large" {
			t.Errorf("%s: %d objects, %v", name, len(d.Objects), d.Faults)
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// seeds are texts to damage.
func seeds(tb testing.TB) [][]byte {
	tb.Helper()
	files, _ := filepath.Glob("testdata/faults/*")
	all := [][]byte{[]byte(goodDeployment), []byte(`{"apiVersion":"v1","kind":"List","items":[{"a":1e999},null,[]]}`), []byte("a: &a\n  <<: [*a, *a]\n? [x]\n: !!binary y\n--- x\n")}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

// mustBeSane checks what holds for every input: something is said, in its place, and nothing panics.
func mustBeSane(t *testing.T, data []byte) {
	t.Helper()
	d := Decode("x.yaml", data)
	if len(d.Objects) == 0 && len(d.Faults) == 0 && !d.Incomplete {
		t.Errorf("nothing is said about %q", data)
	}
	lines := strings.Count(strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n"), "\n") + 1
	for _, fault := range d.Faults {
		if fault.Text == "" || fault.Line < 0 || fault.Line > lines+1 && !strings.HasPrefix(string(data), "\xfe\xff") {
			t.Errorf("a fault out of place in %d lines: %+v", lines, fault)
		}
	}
	for _, o := range d.Objects {
		if o.Key.Name == "" || o.Hash == "" || o.Origin.Line < 1 {
			t.Errorf("half an object: %+v", o.Key)
		}
	}
}

// Coverage-guided fuzzing is slow here (the instrumented Kubernetes code is large), so blind damage runs with every test as well.
func TestRandomDamage(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	texts := seeds(t)
	odd := []string{"\x00", "\t", "- ", ": ", "---\n", "[", "}", "&a ", "*a", "<<: ", "!!int ", "\"", "|\n", "\xff", "\xfe\xff", "\r", "%", "? ", "null", "{", "0x", "~", "#", "\u2028"}
	for range 3000 {
		text := slices.Clone(texts[r.IntN(len(texts))])
		for range 1 + r.IntN(4) {
			at := r.IntN(len(text) + 1)
			to := min(at+r.IntN(20), len(text))
			switch r.IntN(4) {
			case 0:
				text = text[:at] // cut
			case 1:
				text = slices.Delete(text, at, to)
			case 2:
				text = slices.Insert(text, at, []byte(odd[r.IntN(len(odd))])...)
			default:
				text = slices.Insert(text, r.IntN(len(text)+1), slices.Clone(text[at:to])...)
			}
		}
		mustBeSane(t, text)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(mustBeSane)
}

// TestSecretData holds that text becomes data as on a server, and that no fault shows a value.
func TestSecretData(t *testing.T) {
	const head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	d := Decode("s.yaml", []byte(head+"data: {a: b2xk, b: a2VwdA==}\nstringData: {a: new, c: more}\n"))
	if len(d.Objects) != 1 {
		t.Fatalf("faults: %v", d.Faults)
	}
	s, _ := d.Objects[0].Object.(*corev1.Secret)
	want := map[string][]byte{"a": []byte("new"), "b": []byte("kept"), "c": []byte("more")}
	if diff := cmp.Diff(want, s.Data); diff != "" || s.StringData != nil {
		t.Errorf("data (-want +got):\n%s%v", diff, s.StringData)
	}
	for _, body := range []string{"data: {a: hunter2!}", "stringData: {a: 7291834}", "stringData: hunter2", "data: [hunter2]", "stringData: {a: {hunter2: x}}"} {
		faults := Decode("s.yaml", []byte(head+body)).Faults
		if text := fmt.Sprint(faults); len(faults) == 0 || strings.Contains(text, "hunter2") || strings.Contains(text, "7291834") {
			t.Errorf("%s: %s", body, text)
		}
	}
}
