package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/controller"
	"berth/manifests"
	"berth/manifests/fields"
)

// run is one command line on directories of its own.
func run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("BERTH_STATE_DIR", filepath.Join(dir, "state"))
	t.Setenv("BERTH_RUN_DIR", filepath.Join(dir, "run"))
	var o, e bytes.Buffer
	code = Main(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n"

func TestCommands(t *testing.T) {
	good, bad := write(t, pod), write(t, strings.Replace(pod, "containers", "container", 1))
	pinned := write(t, strings.Replace(pod, "spec: {", "spec: {nodeName: other, ", 1))
	tests := map[string]struct {
		args     []string
		code     int
		out, err string // are part of what is printed
	}{
		"help teaches":              {[]string{"--help"}, 0, "berth up ./manifests", ""},
		"unknown command":           {[]string{"upp"}, 1, "", "unknown command \"upp\""},
		"unknown flag":              {[]string{"status", "--wide"}, 1, "", "unknown flag"},
		"unknown output":            {[]string{"status", "-o", "yaml"}, 1, "", "the only other form is json"},
		"a good file":               {[]string{"validate", good}, 0, "", ""},
		"a bad file":                {[]string{"validate", bad}, 1, "file.yaml:4:8: error: Pod/p spec.container: unknown field", ""},
		"a bad file as JSON":        {[]string{"validate", "-o", "json", bad}, 1, `"field": "spec.container"`, ""},
		"a field without effect":    {[]string{"validate", pinned}, 0, "file.yaml:4:18: warning: Pod/p spec.nodeName: is not enforced: there is one machine", ""},
		"the same, strictly":        {[]string{"validate", "--strict", pinned}, 1, "file.yaml:4:18: error: Pod/p spec.nodeName: is not enforced: there is one machine", ""},
		"the same as JSON":          {[]string{"validate", "--strict", "-o", "json", pinned}, 1, `"verdict": "not enforced"`, ""},
		"a good file, strictly":     {[]string{"validate", "--strict", good}, 0, "", ""},
		"no file":                   {[]string{"validate", "/nowhere.yaml"}, 1, "/nowhere.yaml", ""},
		"plan: changes pending":     {[]string{"plan", filepath.Dir(good)}, 2, "create Pod/default/p (file.yaml:1)", ""},
		"plan: a fault":             {[]string{"plan", filepath.Dir(bad)}, 1, "", "spec.container"},
		"plan of a file":            {[]string{"plan", good}, 1, "", "not a directory"},
		"status of nothing":         {[]string{"status"}, 0, "berth is not running", ""},
		"status of nothing as JSON": {[]string{"status", "-o", "json"}, 0, `"pods": []`, ""},
		"down of nothing":           {[]string{"down"}, 0, "nothing runs here", ""},
		"allow without a berth":     {[]string{"allow"}, 1, "", "berth is not running"},
		"logs of nothing":           {[]string{"logs", "web"}, 1, "", `cannot find pod "web"`},
		"exec without a command":    {[]string{"exec", "web"}, 1, "", "requires at least 2 arg"},
		"no images":                 {[]string{"image", "ls"}, 0, "IMAGE", ""},
		"load what is no image":     {[]string{"image", "load", good}, 1, "", "cannot load"},
		"a unit is shown":           {[]string{"install", "--print", filepath.Dir(good)}, 0, "KillMode=process", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := run(t, tc.args...)
			if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(errOut, tc.err) {
				t.Errorf("berth %q: exit code %d, want %d\n%s%s\nwant %q and %q", tc.args, code, tc.code, out, errOut, tc.out, tc.err)
			}
		})
	}
}

func status() *controller.Status {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	return &controller.Status{
		Time: now, Ready: true, Source: controller.SourceStatus{Name: "/srv/m", Files: 2, Objects: 1},
		Workloads: []controller.Workload{{
			Kind: "Deployment", Namespace: "default", Name: "web", File: "web.yaml:2", Desired: 3, Ready: 1, Updated: 2, Created: now.Add(-time.Hour),
			Problem: "pod web-a: CrashLoopBackOff: \x1b[2J",
		}},
		Pods: []controller.PodRow{
			{Namespace: "default", Name: "web-a", UID: "1", Owner: "Deployment/web", Reason: "CrashLoopBackOff", Restarts: 4, Created: now.Add(-90 * time.Second)},
			{
				Namespace: "default", Name: "web-b", UID: "2", Owner: "Deployment/web", Reason: "Running", Ready: 1, IP: "10.1.2.3", Created: now.Add(-5 * time.Minute),
				Containers: []controller.ContainerRow{{Name: "setup", Init: true, State: "Completed"}, {Name: "web", State: "Running", PID: 42}},
			},
			{Namespace: "shop", Name: "web-b", UID: "3", Reason: "Running"},
		},
		Faults:  []manifests.Fault{{File: "b.yaml", Line: 3, Severity: manifests.Error, Text: "holds a NUL byte"}},
		Waiting: []controller.Waiting{{Object: "Pod/default/old", File: "old.yaml", Why: controller.WaitConsent}},
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	table{w: &b, rows: 2}.print(status())
	want := `/srv/m: 2 files, 1 object, 2 to look at

b.yaml:3: error: holds a NUL byte

Pod/default/old (from old.yaml) waits for consent to be removed
  most objects vanished at once, so berth asks first: ` + "`berth allow`" + ` removes them, restoring the files keeps them

NAMESPACE  WORKLOAD        READY  UP-TO-DATE  AVAILABLE  AGE  FILE
default    Deployment/web  1/3    2           0          60m  web.yaml:2
Deployment/web: pod web-a: CrashLoopBackOff: \u001b[2J

NAMESPACE  POD    READY  STATUS            RESTARTS  ADDRESS   PID  AGE
default    web-a  0/0    CrashLoopBackOff  4         -         -    90s
default    web-b  1/1    Running           0         10.1.2.3  42   5m
… and 1 more
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFindPod(t *testing.T) {
	tests := map[string]struct {
		namespace, name string
		uid, err        string
	}{
		"by name":                   {"default", "web-a", "1", ""},
		"of another namespace":      {"shop", "web-b", "3", ""},
		"by the beginning":          {"shop", "we", "3", ""},
		"by an unclear beginning":   {"default", "web", "", "2 begin so"},
		"pod/NAME":                  {"default", "pod/web-b", "2", ""},
		"a workload: a running one": {"default", "deploy/web", "2", ""},
		"an unknown workload":       {"default", "deploy/nope", "", "cannot find a pod of Deployment/nope"},
		"an unknown name":           {"default", "nope", "", "berth status"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := findPod(status(), tc.namespace, tc.name)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || p.UID != tc.uid {
				t.Errorf("pod %+v, %v, want uid %s", p, err, tc.uid)
			}
		})
	}
}

func TestFindContainer(t *testing.T) {
	p := &status().Pods[1]
	if c, err := findContainer(p, ""); err != nil || c.Name != "web" {
		t.Errorf("the default container is %+v, %v, want the first that is no init container", c, err)
	}
	if c, err := findContainer(p, "setup"); err != nil || c.Name != "setup" {
		t.Errorf("container setup is %+v, %v", c, err)
	}
	if _, err := findContainer(p, "nope"); err == nil || !strings.Contains(err.Error(), "setup, web") {
		t.Errorf("error %v does not name what there is", err)
	}
}

func TestTexts(t *testing.T) {
	for want, got := range map[string]string{
		`a\u001b[31mb`:       safe("a\x1b[31mb"),
		`x\u202ey`:           safe("x\u202ey"),
		"ä is fine":          safe("ä is fine"),
		"999 B":              bytesText(999),
		"1.5 kB":             bytesText(1500),
		"43.6 MB":            bytesText(43_600_000),
		"2.0 GB":             bytesText(2_000_000_000),
		"0s":                 ageText(-time.Second),
		"119s":               ageText(119 * time.Second),
		"3m20s":              ageText(200 * time.Second),
		"4h":                 ageText(4 * time.Hour),
		"12d":                ageText(12 * 24 * time.Hour),
		"abc\x1b[0m":         clip("abcdef", 3),
		"\x1b[31mabc\x1b[0m": clip("\x1b[31mabcdef", 3),
		"short":              clip("short", 80),
		"/l/c/3.log":         must(neighbour("/l/c/2.log", 1)),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if _, err := neighbour("/l/c/0.log", -1); err == nil {
		t.Error("there is an attempt before the first")
	}
}

func must(s string, err error) string {
	if err != nil {
		return err.Error()
	}
	return s
}

// Hundreds of fields that are not honoured must not hide what is wrong.
func TestFewFaults(t *testing.T) {
	var all []manifests.Fault
	for range 20 {
		all = append(all, manifests.Fault{Severity: manifests.Warning, Verdict: fields.NotEnforced})
	}
	all = append(all, manifests.Fault{Severity: manifests.Error, Text: "wrong"})
	few, more := fewFaults(all)
	if len(few) != 6 || more != 15 || few[5].Text != "wrong" {
		t.Errorf("%d shown, %d not: %v", len(few), more, few)
	}
}
