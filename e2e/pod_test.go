package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// view is what the test program sees of itself.
type view struct {
	UID, GID, PID int
	Groups        []int
	Hostname, Cwd string
	Env, Args     []string
	Status, FDs   map[string]string
	Namespaces    map[string]string
	Mounts        string
	Cgroup        string
	UIDMap        string `json:"uidMap"`
	Processes     []string
	Links         []string
}

// inspect runs the test program inside a pod's container.
func inspect(t *testing.T, b *harness.Berth, pod string) view {
	t.Helper()
	var v view
	if err := json.Unmarshal([]byte(b.Must("exec", pod, "--", "/bin/tool", "inspect")), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func fetch(url string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

func logHas(b *harness.Berth, pod, text string, more ...string) {
	b.Helper()
	b.Until(fmt.Sprintf("%q in the log of %s", text, pod), func() error {
		r := b.CLI(append([]string{"logs", pod}, more...)...)
		if r.Code != 0 || !strings.Contains(r.Stdout, text) {
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
}

func running(p harness.Pod) error {
	if !p.Ready {
		return fmt.Errorf("not ready: %s %s", p.Phase, p.Reason)
	}
	return nil
}

// A Pod from a docker archive runs in namespaces of its own, writes a log, and goes without a trace.
func TestPodFromArchive(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	if list := b.Must("image", "ls"); !strings.Contains(list, "e2e/tool") {
		t.Errorf("image ls does not show it:\n%s", list)
	}
	b.Write("one.yaml", pod("one", run("count", "20")).String())
	b.Up()
	p := b.UntilPod("one", "to run", running)
	logHas(b, "one", "line 3\n")

	pid := p.Container("main").PID
	for _, ns := range []string{"pid", "mnt", "ipc", "uts", "cgroup", "net"} {
		own, _ := os.Readlink("/proc/self/ns/" + ns)
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err != nil || own == its {
			t.Errorf("namespace %s: the container has %s, the test %s (%v)", ns, its, own, err)
		}
	}
	v := inspect(t, b, "one")
	if v.Hostname != "one" {
		t.Errorf("host name %q", v.Hostname)
	}
	if got := strings.Join(v.Links, " "); got != "lo eth0" && got != "eth0 lo" {
		t.Errorf("links %q", got)
	}
	for _, e := range v.Env {
		if strings.HasPrefix(e, "BERTH") || strings.HasPrefix(e, "SECRET_OF_HOST") {
			t.Errorf("the host's environment leaks: %s", e)
		}
	}
	if !strings.Contains(strings.Join(v.Env, "\n"), "FROM_IMAGE=yes") {
		t.Errorf("the image's environment is missing: %q", v.Env)
	}
	if p.IP == "" {
		t.Error("no address")
	}
}

// Programs of the distribution, not written for this test, run too: nginx opens /dev/stdout by name, redis runs as a user of the image.
func TestRealImages(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Nginx)
	b.Load(images.Redis)
	b.Write("nginx.yaml", pod("nginx", fmt.Sprintf("image: %q", images.Ref(images.Nginx))).String())
	b.Write("redis.yaml", pod("redis", fmt.Sprintf("image: %q", images.Ref(images.Redis))).String())
	b.Up()
	web := b.UntilPod("nginx", "to run", running)
	b.Until("nginx to answer", func() error {
		body, err := fetch("http://" + web.IP + "/")
		if err == nil && !strings.Contains(body, "nginx on berth") {
			err = fmt.Errorf("it says %q", body)
		}
		return err
	})
	logHas(b, "nginx", "GET / HTTP/1.1")
	b.UntilPod("redis", "to run", running)
	b.Until("redis to answer", func() error {
		r := b.CLI("exec", "redis", "--", "redis-cli", "ping")
		if r.Code != 0 || strings.TrimSpace(r.Stdout) != "PONG" {
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	if r := b.CLI("exec", "redis", "--", "id", "-u"); strings.TrimSpace(r.Stdout) != "100" {
		t.Errorf("redis runs as %q", r.Stdout)
	}
}

// Init containers run one after the other and before the rest; one that fails keeps the rest away.
func TestInitContainers(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	mount := "volumeMounts: [{name: v, mountPath: /v}]"
	b.Write("a.yaml", manifest{
		name: "ordered", replicas: -1, main: shell("cat /v/log; exec tool sleep") + ", " + mount, pod: "volumes: [{name: v, emptyDir: {}}]",
		init: []string{
			"{name: first, " + shell("sleep 0.2; echo first >> /v/log") + ", " + mount + "}",
			"{name: second, " + shell("echo second >> /v/log") + ", " + mount + "}",
		},
	}.String())
	b.Write("b.yaml", manifest{
		name: "blocked", replicas: -1, main: run("sleep"), init: []string{"{name: bad, " + run("exit", "7") + "}"},
	}.String())
	b.Up()
	b.UntilPod("ordered", "to run", running)
	logHas(b, "ordered", "first\nsecond\n")
	b.UntilPod("blocked", "the init container to have failed twice", func(p harness.Pod) error {
		if c := p.Container("bad"); c.Restarts < 1 || c.ExitCode != 7 {
			return fmt.Errorf("init container %+v", c)
		}
		if p.Container("main").PID != 0 {
			t.Fatal("the container runs although its init container failed")
		}
		return nil
	})
}

// Containers of a pod share an emptyDir; a hostPath is the machine's; read-only is read-only.
func TestVolumes(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	host := filepath.Join(filepath.Dir(b.Manifests), "host")
	if err := os.Mkdir(host, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "in"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.Write("v.yaml", manifest{
		name: "v", replicas: -1,
		main: shell("echo shared > /e/x; cat /h/in; touch /ro/x && echo WRITABLE; echo out > /h/out; exec tool sleep") +
			", volumeMounts: [{name: e, mountPath: /e}, {name: h, mountPath: /h}, {name: h, mountPath: /ro, readOnly: true}, {name: m, mountPath: /m}]",
		more: []string{"{name: other, " + shell("until cat /e/x; do sleep 0.05; done; exec tool sleep") + ", volumeMounts: [{name: e, mountPath: /e, readOnly: true}]}"},
		pod:  fmt.Sprintf("volumes: [{name: e, emptyDir: {}}, {name: m, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, {name: h, hostPath: {path: %q, type: Directory}}]", host),
	}.String())
	b.Up()
	b.UntilPod("v", "to run", running)
	logHas(b, "v", "from the host\n", "-c", "main")
	logHas(b, "v", "shared\n", "-c", "other")
	if log := b.Must("logs", "v", "-c", "main"); strings.Contains(log, "WRITABLE") {
		t.Errorf("a read-only mount was written to: %s", log)
	}
	b.Until("the host to see what was written", func() error {
		_, err := os.Stat(filepath.Join(host, "out"))
		return err
	})
	if r := b.CLI("exec", "v", "-c", "main", "--", "sh", "-c", "dd if=/dev/zero of=/m/big bs=1M count=2"); r.Code == 0 {
		t.Error("2 MiB fit into a memory volume of 1 MiB")
	}
	if r := b.CLI("exec", "v", "-c", "main", "--", "sh", "-c", "grep ' /m ' /proc/self/mounts"); !strings.Contains(r.Stdout, "tmpfs") {
		t.Errorf("the memory volume is %q", r.Stdout)
	}
}

// Command, arguments, environment and working directory: the manifest over the image, with references to variables expanded.
func TestCommandAndEnvironment(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := pod("env", `image: `+images.Ref(images.Tool)+`, args: [inspect], workingDir: /tmp, env: [{name: A, value: one}, {name: B, value: "$(A) two $$(A) $(NOPE)"}, {name: FROM_IMAGE, value: "no"}, {name: NODE, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]`)
	m.pod = "restartPolicy: Never"
	b.Write("env.yaml", m.String())
	b.Up()
	b.UntilPod("env", "to have ended", func(p harness.Pod) error {
		if p.Phase != "Succeeded" {
			return fmt.Errorf("%s", p.Phase)
		}
		return nil
	})
	logHas(b, "env", "\n")
	var v view
	if err := json.Unmarshal([]byte(strings.SplitN(b.Must("logs", "env"), "\n", 2)[0]), &v); err != nil {
		t.Fatal(err)
	}
	env := "\n" + strings.Join(v.Env, "\n") + "\n"
	for _, want := range []string{"A=one", "B=one two $(A) $(NOPE)", "FROM_IMAGE=no", "NODE=env"} {
		if !strings.Contains(env, "\n"+want+"\n") {
			t.Errorf("%q is not in the environment: %q", want, v.Env)
		}
	}
	if v.Cwd != "/tmp" || strings.Join(v.Args, " ") != "/bin/tool inspect" {
		t.Errorf("in %q it was run as %q", v.Cwd, v.Args)
	}
	if v.PID != 1 {
		t.Errorf("pid %d in its own namespace", v.PID)
	}
	for fd, target := range v.FDs {
		// The Go runtime of the program itself keeps its processor quota open.
		if fd > "2" && !strings.HasPrefix(target, "/sys/fs/cgroup/") && !strings.HasPrefix(target, "/proc/") && !strings.Contains(target, "anon_inode") {
			t.Errorf("descriptor %s is %s", fd, target)
		}
	}
}
