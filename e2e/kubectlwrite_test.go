package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// front is a Deployment as a person writes it.
const front = `# the front: two of them
apiVersion: apps/v1
kind: Deployment   # in one
metadata:
  name: web
  labels: {app: web} # for people
spec:
  replicas: 2 # enough
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      # the server
      - name: main
        image: "IMAGE"   # pinned
        args: ["web"]
        env:
          - {name: COLOUR, value: 'red'} # of the sign
`

// writing is a berth whose files kubectl changes.
type writing struct {
	*harness.Berth
	t *testing.T
}

func newWriting(t *testing.T) writing {
	t.Helper()
	b := harness.New(t)
	b.Load(images.Tool)
	return writing{b, t}
}

// file is the content of a manifest.
func (w writing) file(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.Manifests, name))
	if err != nil {
		w.t.Fatalf("cannot read a manifest: %v", err)
	}
	return string(data)
}

// becomes wants web.yaml to have changed in one place.
func (w writing) becomes(before, old, now string) string {
	w.t.Helper()
	if strings.Count(before, old) != 1 {
		w.t.Fatalf("%q stands %d times in\n%s", old, strings.Count(before, old), before)
	}
	want := strings.Replace(before, old, now, 1)
	if diff := cmp.Diff(want, w.file("web.yaml")); diff != "" {
		w.t.Errorf("web.yaml (-want +got)\n%s", diff)
	}
	return w.file("web.yaml")
}

// Each verb of kubectl that writes changes the smallest part of the file, and what runs follows.
func TestKubectlWrites(t *testing.T) {
	w := newWriting(t)
	text := strings.Replace(front, "IMAGE", images.Ref(images.Tool), 1)
	w.Write("web.yaml", text)
	w.Up()
	w.UntilReady("web-", 2)

	w.MustKubectl("scale", "deployment/web", "--replicas=3")
	text = w.becomes(text, "replicas: 2 #", "replicas: 3 #")
	w.UntilReady("web-", 3)

	w.MustKubectl("set", "env", "deployment/web", "COLOUR=blue")
	text = w.becomes(text, "'red'", "'blue'")
	w.MustKubectl("rollout", "status", "deployment/web", "--timeout=60s")
	for _, p := range w.UntilReady("web-", 3) {
		for name, pid := range harness.PIDs([]harness.Pod{p}) {
			if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || !strings.Contains(string(env), "COLOUR=blue") {
				t.Errorf("%s has %q, %v", name, env, err)
			}
		}
	}

	w.MustKubectl("label", "deployment/web", "tier=front")
	text = w.becomes(text, "labels: {app: web} # for", "labels: {app: web, tier: front} # for")
	w.MustKubectl("label", "deployment/web", "tier-")
	text = w.becomes(text, "{app: web, tier: front} # for", "{app: web} # for")
	w.MustKubectl("annotate", "deployment/web", "owner=me and you")
	text = w.becomes(text, "# for people\n", "# for people\n  annotations:\n    owner: me and you\n")
	for i, args := range [][]string{
		{"--type=json", "-p", `[{"op":"replace","path":"/spec/replicas","value":1}]`},
		{"--type=merge", "-p", `{"spec":{"replicas":2}}`},
		{"--type=strategic", "-p", `{"spec":{"replicas":1}}`},
	} {
		was, is := []int{3, 1, 2}[i], []int{1, 2, 1}[i]
		w.MustKubectl(append([]string{"patch", "deployment", "web"}, args...)...)
		text = w.becomes(text, fmt.Sprintf("replicas: %d #", was), fmt.Sprintf("replicas: %d #", is))
	}
	w.UntilReady("web-", 1)

	edit := w.KubectlCommand("edit", "deployment/web")
	edit.Env = append(edit.Env, "EDITOR=sed -i 's/value: blue/value: green/'")
	if out, err := edit.CombinedOutput(); err != nil {
		t.Errorf("kubectl edit: %v\n%s", err, out)
	}
	text = w.becomes(text, "'blue'", "'green'")

	if out := w.MustKubectl("scale", "deployment/web", "--replicas=4", "--dry-run=server"); !strings.Contains(out, "scaled") {
		t.Errorf("dry run: %s", out)
	}
	if r := w.Kubectl("patch", "deployment", "web", "-p", `{"spec":{"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}}}}}`); r.Code == 0 || !strings.Contains(r.Stderr, "field is immutable") {
		t.Errorf("a changed selector: %+v", r)
	}
	if r := w.Kubectl("patch", "deployment", "web", "-p", `{"spec":{"replicas":-1}}`); r.Code == 0 || !strings.Contains(r.Stderr, "must be greater than or equal to 0") {
		t.Errorf("a negative number: %+v", r)
	}
	if diff := cmp.Diff(text, w.file("web.yaml")); diff != "" {
		t.Errorf("what must not change anything (-want +got)\n%s", diff)
	}

	w.MustKubectl("delete", "deployment/web", "--timeout=30s")
	if _, err := os.Stat(filepath.Join(w.Manifests, "web.yaml")); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
	w.UntilStatus("nothing to run", func(s harness.Status) error {
		if len(s.Pods)+len(s.Workloads) > 0 {
			return fmt.Errorf("%v", s.Pods)
		}
		return nil
	})
}

// What kubectl makes is a new file; apply finds there again what it said last.
func TestKubectlCreates(t *testing.T) {
	w := newWriting(t)
	w.Write("readme.yaml", "# nothing yet\n")
	w.Up()
	ref := images.Ref(images.Tool)

	w.MustKubectl("create", "configmap", "c", "--from-literal=a=1", "--from-literal=text=one\ntwo\n")
	const c = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  namespace: default\ndata:\n  a: \"1\"\n  text: |\n    one\n    two\n"
	if diff := cmp.Diff(c, w.file("kubectl/default.ConfigMap.c.yaml")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if r := w.Kubectl("create", "configmap", "c"); !strings.Contains(r.Stderr, `configmaps "c" already exists`) {
		t.Errorf("once more: %+v", r)
	}

	w.MustKubectl("run", "one", "--image="+ref, "--", "web")
	w.UntilReady("one", 1)
	if text := w.file("kubectl/default.Pod.one.yaml"); !strings.Contains(text, "- name: one\n") || strings.Contains(text, "status") || strings.Contains(text, "uid") {
		t.Errorf("kubectl run wrote\n%s", text)
	}
	w.MustKubectl("delete", "pod", "one", "--grace-period=1", "--timeout=30s")
	if _, err := os.Stat(filepath.Join(w.Manifests, "kubectl/default.Pod.one.yaml")); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}

	mine := filepath.Join(filepath.Dir(w.State), "mine.yaml")
	apply := func(text string) {
		t.Helper()
		if err := os.WriteFile(mine, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.MustKubectl("apply", "-f", mine)
	}
	first := strings.Replace(front, "IMAGE", ref, 1)
	apply(first)
	w.UntilReady("web-", 2)
	const web = "kubectl/default.Deployment.web.yaml"
	if text := w.file(web); strings.Contains(text, "last-applied") || strings.Contains(text, "progressDeadline") {
		t.Errorf("apply wrote\n%s", text)
	}
	w.MustKubectl("expose", "deployment/web", "--port=80", "--target-port=8080")
	if text := w.file("kubectl/default.Service.web.yaml"); strings.Contains(text, "clusterIP") || !strings.Contains(text, "port: 80") {
		t.Errorf("expose wrote\n%s", text)
	}
	before := w.file(web)
	second := strings.Replace(strings.Replace(first, "replicas: 2", "replicas: 1", 1), "          - {name: COLOUR, value: 'red'} # of the sign\n", "          - {name: SIZE, value: big}\n", 1)
	if err := os.WriteFile(mine, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.Kubectl("diff", "-f", mine); r.Code != 1 || !strings.Contains(r.Stdout, "+  replicas: 1") {
		t.Errorf("diff: %+v", r)
	}
	if w.file(web) != before {
		t.Errorf("diff wrote\n%s", w.file(web))
	}
	apply(second)
	after := strings.Replace(strings.Replace(before, "replicas: 2", "replicas: 1", 1), "- name: COLOUR\n          value: red", "- name: SIZE\n          value: big", 1)
	if diff := cmp.Diff(after, w.file(web)); diff != "" {
		t.Errorf("the second apply (-want +got)\n%s", diff)
	}
	if out := w.MustKubectl("apply", "-f", mine); !strings.Contains(out, "unchanged") {
		t.Errorf("the third apply: %s", out)
	}
	if r := w.Kubectl("diff", "-f", mine); r.Code != 0 {
		t.Errorf("diff of the same: %+v", r)
	}
	w.MustKubectl("replace", "-f", mine)
	w.MustKubectl("delete", "-f", mine, "--timeout=30s")
	w.MustKubectl("delete", "service/web", "configmap/c", "--timeout=30s")
	left, _ := filepath.Glob(filepath.Join(w.Manifests, "kubectl", "*"))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Server-side apply changes what a manager says, and nothing that another one has said, unless it insists.
func TestKubectlServerSideApply(t *testing.T) {
	w := newWriting(t)
	text := strings.Replace(front, "IMAGE", images.Ref(images.Tool), 1)
	w.Write("web.yaml", text)
	w.Up()
	w.UntilReady("web-", 2)
	const mine = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: %d\n  template: {spec: {containers: [{name: main, env: [{name: SIZE, value: big}]}]}}\n"
	apply := func(text string, more ...string) harness.Result {
		return w.KubectlWithInput(text, append([]string{"apply", "--server-side", "-f", "-"}, more...)...)
	}
	if r := apply(fmt.Sprintf(mine, 1), "--field-manager=me"); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	text = w.becomes(strings.Replace(text, "replicas: 2 #", "replicas: 1 #", 1), "# of the sign\n", "# of the sign\n          - name: SIZE\n            value: big\n")
	if r := apply(fmt.Sprintf(mine, 2), "--field-manager=you"); r.Code == 0 || !strings.Contains(r.Stderr, `conflict with "me"`) || !strings.Contains(r.Stderr, ".spec.replicas") {
		t.Errorf("a conflict: %+v", r)
	}
	if r := apply(fmt.Sprintf(mine, 2), "--field-manager=you", "--force-conflicts"); r.Code != 0 {
		t.Errorf("by force: %+v", r)
	}
	text = w.becomes(text, "replicas: 1 #", "replicas: 2 #")
	if r := apply(strings.Replace(fmt.Sprintf(mine, 2), "env: [{name: SIZE, value: big}]", "env: []", 1), "--field-manager=you"); r.Code != 0 {
		t.Errorf("one field less: %+v", r)
	}
	text = w.becomes(text, "# of the sign", "# of the sign") // the other manager still says it
	none := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: main}]}}}\n"
	if r := apply(none, "--field-manager=me"); r.Code != 0 {
		t.Errorf("nothing any more: %+v", r)
	}
	w.becomes(text, "          - name: SIZE\n            value: big\n", "")
	if r := apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: b}\n"); r.Code != 0 {
		t.Errorf("a new one: %+v", r)
	}
	if diff := cmp.Diff("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: new\n  namespace: default\ndata:\n  a: b\n", w.file("kubectl/default.ConfigMap.new.yaml")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if out := w.MustKubectl("get", "configmap", "new", "-o", "yaml", "--show-managed-fields"); !strings.Contains(out, "operation: Apply") || !strings.Contains(out, "f:data") {
		t.Errorf("nobody has the fields:\n%s", out)
	}
}

// What is asked of a rollout is no change of the file, and reading the file again does not undo it.
func TestKubectlRollout(t *testing.T) {
	w := newWriting(t)
	text := strings.Replace(front, "IMAGE", images.Ref(images.Tool), 1)
	w.Write("web.yaml", text)
	w.Up()
	first := harness.PIDs(w.UntilReady("web-", 2))
	w.MustKubectl("rollout", "restart", "deployment/web")
	w.MustKubectl("rollout", "status", "deployment/web", "--timeout=60s")
	second := harness.PIDs(w.UntilReady("web-", 2))
	for name := range second {
		if first[name] != 0 {
			t.Errorf("%s was not restarted", name)
		}
	}
	if diff := cmp.Diff(text, w.file("web.yaml")); diff != "" {
		t.Errorf("a restart wrote (-want +got)\n%s", diff)
	}
	w.Write("web.yaml", text+"# read me again\n")
	w.For(time.Second, "the pods to stay", func() error {
		if diff := cmp.Diff(second, harness.PIDs(w.UntilReady("web-", 2))); diff != "" {
			return fmt.Errorf("%s", diff)
		}
		return nil
	})

	w.MustKubectl("rollout", "pause", "deployment/web")
	if r := w.Kubectl("rollout", "pause", "deployment/web"); !strings.Contains(r.Stderr, "already paused") {
		t.Errorf("paused twice: %+v", r)
	}
	w.MustKubectl("rollout", "resume", "deployment/web")

	w.MustKubectl("set", "env", "deployment/web", "COLOUR=blue")
	w.MustKubectl("rollout", "status", "deployment/web", "--timeout=60s")
	now := w.file("web.yaml")
	w.MustKubectl("rollout", "undo", "deployment/web")
	w.Until("the pods to be red again", func() error {
		for name, pid := range harness.PIDs(w.UntilReady("web-", 2)) {
			if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); !strings.Contains(string(env), "COLOUR=red") {
				return fmt.Errorf("%s has %q", name, env)
			}
		}
		return nil
	})
	if diff := cmp.Diff(now, w.file("web.yaml")); diff != "" {
		t.Errorf("an undo wrote (-want +got)\n%s", diff)
	}
	pod := w.UntilReady("web-", 2)[0].Name
	w.MustKubectl("delete", "pod", pod, "--timeout=30s")
	w.UntilReady("web-", 2)
	if diff := cmp.Diff(now, w.file("web.yaml")); diff != "" {
		t.Errorf("a pod's end wrote (-want +got)\n%s", diff)
	}
}

// A namespace goes with everything in it, out of every file that states some of it, or not at all.
func TestKubectlDeleteNamespace(t *testing.T) {
	w := newWriting(t)
	inShop := func(kind, name, more string) string {
		return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: shop}\n%s", map[string]string{"Deployment": "apps/v1"}[kind]+map[bool]string{true: "v1"}[kind != "Deployment"], kind, name, more)
	}
	pod := fmt.Sprintf("{containers: [{name: main, image: %q, args: [%%q]}]}", images.Ref(images.Tool))
	web := inShop("Deployment", "web", "spec: {replicas: 2, selector: {matchLabels: {a: web}}, template: {metadata: {labels: {a: web}}, spec: "+fmt.Sprintf(pod, "web")+"}}\n")
	kept := "# the rest\n\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept} # of default\n"
	w.Write("shop/all.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"+web)
	w.Write("mixed.yaml", kept+"---\n"+inShop("Service", "web", "spec: {selector: {a: web}, ports: [{port: 80, targetPort: 8080}]}\n")+"---\n"+
		inShop("PersistentVolumeClaim", "data", "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}\n"))
	w.Write("pod.yaml", inShop("Pod", "slow", "spec: "+fmt.Sprintf(pod, "stubborn")+"\n"))
	w.Up()
	w.UntilReady("web-", 2)
	slow := harness.PIDs(w.UntilReady("slow", 1))["slow/main"]
	w.MustKubectl("create", "-n", "shop", "configmap", "made")

	if out := w.MustKubectl("delete", "namespace", "shop", "--dry-run=server"); !strings.Contains(out, "deleted") {
		t.Errorf("dry run: %s", out)
	}
	if r := w.Kubectl("delete", "namespace", "default"); r.Code == 0 || !strings.Contains(r.Stderr, "this namespace may not be deleted") {
		t.Errorf("default: %+v", r)
	}
	readOnly := filepath.Join(w.Manifests, "shop")
	if err := syscall.Mount(readOnly, readOnly, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(readOnly, syscall.MNT_DETACH) })
	if err := syscall.Mount("", readOnly, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if r := w.Kubectl("delete", "namespace", "shop"); r.Code == 0 || !strings.Contains(r.Stderr, "shop/all.yaml") || !strings.Contains(r.Stderr, "read-only") {
		t.Errorf("a file that cannot be written: %+v", r)
	}
	if err := syscall.Unmount(readOnly, syscall.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	w.UntilReady("web-", 2)
	if out := w.MustKubectl("get", "namespace", "shop", "-o", "jsonpath={.status.phase}"); out != "Active" || !strings.Contains(w.file("mixed.yaml"), "data") {
		t.Errorf("what was refused has made it %s:\n%s", out, w.file("mixed.yaml"))
	}

	w.MustKubectl("delete", "namespace", "shop", "--wait=false")
	if out := w.MustKubectl("get", "namespaces"); !strings.Contains(out, "Terminating") {
		t.Errorf("while a pod is ending:\n%s", out)
	}
	if r := w.Kubectl("create", "-n", "shop", "configmap", "late"); r.Code == 0 || !strings.Contains(r.Stderr, "because it is being terminated") {
		t.Errorf("something new in it: %+v", r)
	}
	if err := syscall.Kill(slow, syscall.SIGKILL); err != nil {
		t.Errorf("the last pod has not waited: %v", err)
	}
	w.MustKubectl("wait", "namespace", "shop", "--for=delete", "--timeout=30s")
	w.UntilStatus("nothing to run", func(s harness.Status) error {
		if len(s.Pods)+len(s.Workloads) > 0 {
			return fmt.Errorf("%v", s.Pods)
		}
		return nil
	})
	if diff := cmp.Diff(kept, w.file("mixed.yaml")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, name := range []string{"shop/all.yaml", "pod.yaml", "kubectl/shop.ConfigMap.made.yaml"} {
		if _, err := os.Stat(filepath.Join(w.Manifests, name)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	w.MustKubectl("create", "namespace", "shop")
	w.MustKubectl("delete", "namespace", "shop", "--timeout=30s")
}

// kubectl drain empties the machine as fast as its disruption budgets allow, and the files stay as they are; after uncordon all is back.
func TestKubectlDrain(t *testing.T) {
	w := newWriting(t)
	text := strings.Replace(front, "IMAGE", images.Ref(images.Tool), 1)
	w.Write("web.yaml", text)
	const budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: %d, selector: {matchLabels: {app: web}}}\n"
	w.Write("budget.yaml", fmt.Sprintf(budget, 1))
	w.Write("agent.yaml", "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent}\nspec:\n  selector: {matchLabels: {a: agent}}\n  template:\n    metadata: {labels: {a: agent}}\n"+
		fmt.Sprintf("    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: %q, args: [web]}]}\n", images.Ref(images.Tool)))
	up := w.Up()
	pods := w.UntilReady("web-", 2)
	agent := harness.PIDs(w.UntilReady("agent-", 1))
	w.Until("the budget to be counted", func() error {
		out := w.Kubectl("get", "pdb", "web", "--no-headers").Stdout
		if got := strings.Fields(out); len(got) != 5 || strings.Join(got[:4], " ") != "web 1 N/A 1" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	evict := func(pod string) harness.Result {
		return w.KubectlWithInput(fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":"default"}}`, pod),
			"create", "--raw", "/api/v1/namespaces/default/pods/"+pod+"/eviction", "-f", "-")
	}
	node := strings.TrimPrefix(strings.TrimSpace(w.MustKubectl("get", "nodes", "-o", "name")), "node/")
	w.MustKubectl("cordon", node)
	if out := w.MustKubectl("get", "nodes"); !strings.Contains(out, "Ready,SchedulingDisabled") {
		t.Errorf("cordoned:\n%s", out)
	}
	if r := evict(pods[0].Name); r.Code != 0 {
		t.Fatalf("the first of two: %+v", r)
	}
	if r := evict(pods[1].Name); r.Code == 0 || !strings.Contains(r.Stderr, "would violate the pod's disruption budget") {
		t.Fatalf("the second of two: %+v", r)
	}
	w.UntilStatus("the successor to wait for the machine", func(s harness.Status) error {
		for _, p := range s.Pods {
			if strings.Contains(p.Message, "unschedulable") {
				return nil
			}
		}
		return fmt.Errorf("%v", s.Pods)
	})
	if r := w.Kubectl("drain", node, "--ignore-daemonsets", "--timeout=5s"); r.Code == 0 || !strings.Contains(r.Stderr, "disruption budget") {
		t.Errorf("a drain that the budget does not allow: %+v", r)
	}
	w.Write("budget.yaml", fmt.Sprintf(budget, 0))
	w.MustKubectl("drain", node, "--ignore-daemonsets", "--timeout=30s")
	up.Kill()
	w.Up()
	w.For(time.Second, "the machine to stay empty", func() error {
		if now, err := w.Look(); err != nil || len(harness.PIDs(now.Pods)) != 1 {
			return fmt.Errorf("%v, %v", now.Pods, err)
		}
		return nil
	})
	if diff := cmp.Diff(text, w.file("web.yaml")); diff != "" {
		t.Errorf("a drain wrote (-want +got)\n%s", diff)
	}
	w.MustKubectl("uncordon", node)
	w.UntilReady("web-", 2)
	if diff := cmp.Diff(agent, harness.PIDs(w.UntilReady("agent-", 1))); diff != "" {
		t.Errorf("the DaemonSet's pod (-want +got)\n%s", diff)
	}
}

// kubectl debug looks into a pod that runs: beside its processes, with its network, and without a word in its file.
func TestKubectlDebug(t *testing.T) {
	w := newWriting(t)
	w.Load(images.Busybox)
	text := strings.Replace(front, "IMAGE", images.Ref(images.Tool), 1)
	w.Write("web.yaml", text)
	up := w.Up()
	pods := w.UntilReady("web-", 2)
	pids := harness.PIDs(pods)
	name := pods[0].Name
	busybox := "--image=" + images.Ref(images.Busybox)
	r := w.KubectlWithInput("grep -c web /proc/1/cmdline; cat /proc/net/tcp /proc/net/tcp6 | grep -q :1F90 && echo reached\nexit 3\n",
		"debug", "-i", "--quiet", "pod/"+name, busybox, "--target=main", "--container=look", "--", "sh")
	if !strings.Contains(r.Stdout, "1\n") || !strings.Contains(r.Stdout, "reached") {
		t.Fatalf("looking around: %+v", r)
	}
	w.Until("its end to be told", func() error {
		out := w.Kubectl("get", "pod", name, "-o", "jsonpath={.status.ephemeralContainerStatuses[*].state.terminated.exitCode}").Stdout
		if out != "3" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	w.MustKubectl("debug", "pod/"+name, busybox, "--target=main", "--container=stays", "--", "sleep", "1000")
	running := func() error {
		out := w.Kubectl("get", "pod", name, "-o", `jsonpath={.status.ephemeralContainerStatuses[?(@.name=="stays")].state.running.startedAt}`).Stdout
		if out == "" {
			return fmt.Errorf("it does not run")
		}
		return nil
	}
	w.Until("the second one to run", running)
	up.Kill()
	w.Up()
	w.Until("the second one to be found again", running)
	if out := w.MustKubectl("exec", name, "-c", "stays", "--", "sh", "-c", "ls -d /proc/1 && echo inside"); !strings.Contains(out, "inside") {
		t.Errorf("exec: %s", out)
	}
	if diff := cmp.Diff(pids, harness.PIDs(w.UntilReady("web-", 2))); diff != "" {
		t.Errorf("the pods (-want +got)\n%s", diff)
	}
	w.MustKubectl("delete", "pod", name, "--timeout=30s")
	if diff := cmp.Diff(text, w.file("web.yaml")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	w.UntilReady("web-", 2)
	other := w.UntilReady("web-", 2)[0].Name
	w.MustKubectl("debug", "pod/"+other, busybox, "--copy-to=copy", "--container=look", "--share-processes", "--attach=false", "--", "sleep", "1000")
	w.UntilReady("copy", 1)
	w.MustKubectl("delete", "pod", "copy", "--grace-period=1", "--timeout=30s")
}

// Somebody else's file is not ours to write.
func TestKubectlRefused(t *testing.T) {
	w := newWriting(t)
	anchored := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  first: &x one\n  second: *x\n"
	w.Write("a.yaml", anchored)
	w.Up()
	w.Until("the ConfigMap", func() error {
		if r := w.Kubectl("get", "configmap", "a"); r.Code != 0 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if r := w.Kubectl("patch", "configmap", "a", "-p", `{"data":{"second":"two"}}`); r.Code == 0 || !strings.Contains(r.Stderr, "alias *x") {
		t.Errorf("an alias: %+v", r)
	}
	if r := w.Kubectl("create", "secret", "generic", "s", "--from-literal=a=b"); r.Code != 0 {
		t.Errorf("a Secret: %+v", r)
	}
	if info, err := os.Stat(filepath.Join(w.Manifests, "kubectl/default.Secret.s.yaml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a Secret's file: %v, %v", info, err)
	}
	if err := syscall.Mount(w.Manifests, w.Manifests, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(w.Manifests, syscall.MNT_DETACH) })
	if err := syscall.Mount("", w.Manifests, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if r := w.Kubectl("patch", "configmap", "a", "-p", `{"data":{"third":"3"}}`); r.Code == 0 || !strings.Contains(r.Stderr, "a.yaml:1") || !strings.Contains(r.Stderr, "read-only") {
		t.Errorf("a read-only directory: %+v", r)
	}
	if r := w.Kubectl("create", "configmap", "more"); r.Code == 0 || !strings.Contains(r.Stderr, "forbidden") {
		t.Errorf("something new in a read-only directory: %+v", r)
	}
	if err := syscall.Unmount(w.Manifests, syscall.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if r := w.Kubectl("create", "configmap", "Bad_Name"); r.Code == 0 || !strings.Contains(r.Stderr, "RFC 1123") {
		t.Errorf("a bad name: %+v", r)
	}
	if diff := cmp.Diff(anchored, w.file("a.yaml")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
