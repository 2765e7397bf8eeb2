package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// kubectl exec: streams, exit codes, containers, terminals; and what was started ends with who has started it.
func TestKubectlExec(t *testing.T) {
	b, p := besides(t, shell("echo here; exec sleep 1000"))
	tests := map[string]execution{
		"output":            {[]string{"exec", "p", "-c", "main", "--", "echo", "hello"}, "", 0, "hello\n", ""},
		"exit code":         {[]string{"exec", "p", "-c", "main", "--", "sh", "-c", "exit 7"}, "", 7, "", "command terminated with exit code 7"},
		"two streams":       {[]string{"exec", "p", "-c", "main", "--", "sh", "-c", "echo a; echo b >&2"}, "", 0, "a\n", "b\n"},
		"input":             {[]string{"exec", "-i", "p", "-c", "main", "--", "cat"}, "through\x00\xff\n", 0, "through\x00\xff\n", ""},
		"input not read":    {[]string{"exec", "-i", "p", "-c", "main", "--", "true"}, strings.Repeat("x", 4<<20), 0, "", ""},
		"another container": {[]string{"exec", "p", "-c", "side", "--", "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline"}, "", 0, "sleep 1000 ", ""},
		"default container": {[]string{"exec", "p", "--", "echo", "first"}, "", 0, "first\n", "Defaulted container"},
		"no such program":   {[]string{"exec", "p", "-c", "main", "--", "/none"}, "", 1, "", "/none"},
		"no such pod":       {[]string{"exec", "none", "--", "true"}, "", 1, "", `pods "none" not found`},
		"no such container": {[]string{"exec", "p", "-c", "none", "--", "true"}, "", 1, "", "container none is not valid for pod p"},
	}
	for _, websockets := range []string{"true", "false"} {
		for name, tc := range tests {
			t.Run(name+" websockets "+websockets, func(t *testing.T) {
				t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
				tc.check(t, b.KubectlWithInput(tc.in, tc.args...))
			})
		}
		t.Run("10 MB both ways websockets "+websockets, func(t *testing.T) {
			t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
			data := noise(10 << 20)
			r := b.KubectlWithInput(data, "exec", "-i", "p", "-c", "main", "--", "cat")
			if r.Code != 0 || sha256.Sum256([]byte(r.Stdout)) != sha256.Sum256([]byte(data)) {
				t.Errorf("exit code %d, %d of %d bytes, %s", r.Code, len(r.Stdout), len(data), r.Stderr)
			}
		})
	}
	t.Run("handed over by berth", func(t *testing.T) {
		if r := b.CLI("kubectl", "exec", "p", "-c", "main", "--", "sh", "-c", "echo by kubectl; exit 9"); r.Code != 9 || r.Stdout != "by kubectl\n" {
			t.Errorf("exit code %d, %q, %q", r.Code, r.Stdout, r.Stderr)
		}
		if out := b.Must("get", "pods", "-o", "name"); out != "pod/p\n" {
			t.Errorf("get pods: %q", out)
		}
	})
	t.Run("terminal", func(t *testing.T) { execOnTerminal(t, b) })
	t.Run("killed client", func(t *testing.T) { execKilled(t, b) })
	if !harness.Running(p.Container("main").PID) {
		t.Error("the container did not outlive this")
	}
}

// noise is the same bytes every time, none of them a pattern.
func noise(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return string(p)
}

func execOnTerminal(t *testing.T, b *harness.Berth) {
	t.Helper()
	// It reads lines as the terminal gives them: an editing shell would ask the terminal things, and eat what is typed meanwhile.
	script := `trap 'echo interrupted' INT; echo ready; while read -r x; do eval "$x"; done`
	term := b.OnTerminal(b.KubectlCommand("exec", "-it", "p", "-c", "main", "--", "sh", "-c", script), 100, 30)
	term.Await("ready")
	term.Type("stty size; tty\r")
	term.Await("30 100\r\n/dev/pts/0")
	term.Resize(132, 43)
	term.Type("until [ \"$(stty size)\" = '43 132' ]; do sleep 0.02; done; echo resized\r") // when kubectl has passed it on
	term.Await("\nresized")
	term.Type("sh -c 'echo sleeping; exec sleep 1000'\r") // who says so is who sleeps: nothing begins after the signal
	term.Await("\nsleeping")
	term.Type("\x03") // ends the sleep, not the shell
	term.Await("interrupted")
	term.Type("exit 5\r")
	if code := term.End(); code != 5 {
		t.Errorf("exit code %d; shown:\n%s", code, term.Seen())
	}
}

// execKilled ends clients of all kinds in the middle of everything: nothing of what they have started stays.
func execKilled(t *testing.T, b *harness.Berth) {
	t.Helper()
	for _, websockets := range []string{"true", "false"} {
		t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
		cmd := b.KubectlCommand("exec", "-i", "p", "-c", "main", "--", "sh", "-c", "sleep 4242 & echo begun; sleep 4343")
		never, typed := io.Pipe()
		defer typed.Close()
		cmd.Stdin = never
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("begun\n"))); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Kill()
		_ = typed.Close()
		_ = cmd.Wait()
		b.Until("what was started to end", func() error {
			ps := b.Must("exec", "p", "-c", "main", "--", "ps")
			if strings.Contains(ps, "4242") || strings.Contains(ps, "4343") {
				return fmt.Errorf("%s", ps)
			}
			return nil
		})
	}
}

// kubectl logs, with each of its options.
func TestKubectlLogs(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("p.yaml", manifest{
		name: "p", replicas: -1, main: shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done; sleep 1; echo late; exec tool sleep"),
		more: []string{"{name: side, " + shell("test -e /data/x && exec tool sleep; touch /data/x; echo first life; exit 3") + ", volumeMounts: [{name: data, mountPath: /data}]}"},
		pod:  "volumes: [{name: data, emptyDir: {}}]",
	}.String())
	b.Write("waiting.yaml", pod("waiting", "image: example.invalid/none:1, imagePullPolicy: Never").String())
	b.Up()
	b.UntilPod("p", "to run again", func(p harness.Pod) error {
		if p.Container("side").Restarts != 1 || p.Container("side").Reason != "Running" {
			return fmt.Errorf("%+v", p.Containers)
		}
		return nil
	})
	b.Until("the last line", func() error {
		if out := b.MustKubectl("logs", "p", "-c", "main"); strings.HasSuffix(out, "late\n") {
			return nil
		}
		return fmt.Errorf("it is not there")
	})
	lines := func(out string) []string { return strings.Split(strings.TrimSuffix(out, "\n"), "\n") }
	if all := lines(b.MustKubectl("logs", "p", "-c", "main")); len(all) != 7 || all[6] != "late" {
		t.Errorf("all: %q", all)
	}
	if out := b.MustKubectl("logs", "p", "-c", "main", "--tail=1"); out != "late\n" {
		t.Errorf("tail: %q", out)
	}
	if out := b.MustKubectl("logs", "p", "-c", "main", "--tail=0"); out != "" {
		t.Errorf("no tail: %q", out)
	}
	if out := b.MustKubectl("logs", "p", "-c", "main", "--limit-bytes=3"); len(out) != 3 {
		t.Errorf("limited: %q", out)
	}
	stamped := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z late\n$`)
	out := b.MustKubectl("logs", "p", "-c", "main", "--tail=1", "--timestamps")
	if !stamped.MatchString(out) {
		t.Errorf("stamped: %q", out)
	}
	at, _, _ := strings.Cut(out, " ")
	if got := b.MustKubectl("logs", "p", "-c", "main", "--since-time="+at); got != "late\n" {
		t.Errorf("since %s: %q", at, got)
	}
	if got := b.MustKubectl("logs", "p", "-c", "main", "--since=1h"); len(lines(got)) != 7 {
		t.Errorf("since an hour: %q", got)
	}
	if got := b.MustKubectl("logs", "p", "-c", "side", "--previous"); got != "first life\n" {
		t.Errorf("previous: %q", got)
	}
	if got := b.MustKubectl("logs", "p", "--all-containers", "--prefix", "--tail=1"); !strings.Contains(got, "[pod/p/main] late\n") {
		t.Errorf("all containers: %q", got)
	}
	if got := b.MustKubectl("logs", "-l", "app=p", "-c", "main", "--tail=1"); got != "late\n" {
		t.Errorf("by label: %q", got)
	}
	for args, text := range map[string]string{
		"logs p -c none":    "container none is not valid for pod p",
		"logs p -c main -p": `previous terminated container "main" in pod "p" not found`,
		"logs waiting":      `container "main" in pod "waiting" is waiting to start: ErrImageNeverPull`,
		"logs none":         `pods "none" not found`,
	} {
		if r := b.Kubectl(strings.Fields(args)...); r.Code != 1 || !strings.Contains(r.Stderr, text) {
			t.Errorf("%s: exit code %d, %q", args, r.Code, r.Stderr)
		}
	}
	followers(t, b)
}

// followers follow a container to its end, many at a time, and end with it although it starts again.
func followers(t *testing.T, b *harness.Berth) {
	t.Helper()
	b.Write("f.yaml", pod("f", shell("tool burst 2000; while ! test -e /tmp/go; do usleep 10000; done; echo the end; exit 1")).String())
	b.UntilPod("f", "to run", running)
	const n = 20
	var outs [n]string
	dir := t.TempDir()
	var wait sync.WaitGroup
	for i := range n {
		cmd := b.KubectlCommand("logs", "-f", "f")
		outs[i] = filepath.Join(dir, fmt.Sprint(i))
		f, err := os.Create(outs[i])
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.Stdout = f
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill() }()
		wait.Go(func() {
			if err := cmd.Wait(); err != nil {
				t.Errorf("follower: %v", err)
			}
		})
	}
	b.Until("all to follow", func() error {
		for i := range outs {
			if got, err := os.ReadFile(outs[i]); err != nil || strings.Count(string(got), "\n") < 2000 {
				return fmt.Errorf("%d has %d bytes, %v", i, len(got), err)
			}
		}
		return nil
	})
	b.Must("exec", "f", "--", "touch", "/tmp/go")
	ended := make(chan struct{})
	go func() { wait.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(harness.Patience):
		t.Fatal("they follow on after the end")
	}
	for i := range outs {
		p, err := os.ReadFile(outs[i])
		if err != nil {
			t.Fatal(err)
		}
		got := string(p)
		if !strings.HasPrefix(got, "line 0\n") || !strings.HasSuffix(got, "line 1999\nthe end\n") || strings.Count(got, "\n") != 2001 {
			t.Errorf("follower %d: %d lines, ending in %q", i, strings.Count(got, "\n"), got[max(0, len(got)-40):])
		}
	}
}

// kubectl attach: what a container writes from now on, what it is told, and its terminal.
func TestKubectlAttach(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("quiet.yaml", pod("quiet", shell("echo before; i=0; while :; do echo tick $((i=i+1)); usleep 50000; done")).String())
	b.Write("once.yaml", manifest{name: "once", replicas: -1, main: shell("cat; echo over; echo bad >&2") + ", stdin: true, stdinOnce: true", pod: "restartPolicy: Never"}.String())
	b.Write("term.yaml", pod("term", shell("exec sh")+", stdin: true, tty: true").String())
	b.Up()
	for _, name := range []string{"quiet", "once", "term"} {
		b.UntilPod(name, "to run", running)
	}
	cmd := b.KubectlCommand("attach", "quiet")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 200)
	if _, err := io.ReadFull(out, got); err != nil || strings.Contains(string(got), "before") || !strings.Contains(string(got), "tick ") {
		t.Errorf("attached: %q, %v", got, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	data := noise(1 << 20)
	r := b.KubectlWithInput(data, "attach", "-i", "once")
	if r.Code != 0 || !strings.HasSuffix(r.Stdout, "over\n") || !strings.Contains(r.Stdout, data) || !strings.Contains(r.Stderr, "bad\n") {
		t.Errorf("input that ends: exit code %d, %d bytes of %d, %q", r.Code, len(r.Stdout), len(data), r.Stderr)
	}
	b.UntilPod("once", "to be over", func(p harness.Pod) error {
		if p.Phase != "Succeeded" {
			return fmt.Errorf("%s", p.Phase)
		}
		return nil
	})

	term := b.OnTerminal(b.KubectlCommand("attach", "-it", "term"), 90, 20)
	term.Type("\r")
	term.Type("x=kept; stty size\r")
	term.Await("20 90")
	_ = term.Cmd.Process.Kill()
	again := b.OnTerminal(b.KubectlCommand("attach", "-it", "term"), 90, 20)
	again.Type("echo it is $x\r")
	again.Await("it is kept")
}

// kubectl run: a pod for one command, with its input and with a terminal, that leaves nothing behind.
func TestKubectlRun(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Up()
	b.Until("the API", func() error {
		if r := b.Kubectl("version"); r.Code != 0 {
			return fmt.Errorf("%s", r.Stderr)
		}
		return nil
	})
	image := "--image=" + images.Ref(images.Tool)
	r := b.KubectlWithInput("from outside\n", "run", "cat", "-i", "--rm", "--restart=Never", "--image-pull-policy=Never", image, "--command", "--", "sh", "-c", "cat; echo over; exit 3")
	if r.Code != 3 || !strings.Contains(r.Stdout, "from outside\nover\n") {
		t.Errorf("with input: exit code %d, %q, %q", r.Code, r.Stdout, r.Stderr)
	}
	term := b.OnTerminal(b.KubectlCommand("run", "typed", "-it", "--rm", "--restart=Never", "--image-pull-policy=Never", image, "--command", "--",
		"sh", "-c", `echo ready; while read -r x; do eval "$x"; done`), 100, 30)
	term.Await("If you don't see a command prompt")
	term.Type("stty size\r")
	term.Await("30 100")
	term.Type("exit\r")
	if code := term.End(); code != 0 {
		t.Errorf("on a terminal: exit code %d\n%s", code, term.Seen())
	}
	b.Until("nothing to be left", func() error {
		if out := b.MustKubectl("get", "pods", "-o", "name"); out != "" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if left, err := filepath.Glob(filepath.Join(b.Manifests, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("files %q, %v", left, err)
	}
}

// kubectl cp, both ways, and what it says where an image has no tar.
func TestKubectlCp(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("p.yaml", pod("p", run("sleep")).String())
	b.Up()
	b.UntilPod("p", "to run", running)
	dir := t.TempDir()
	data := noise(3 << 20)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "tree/sub"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "tree/sub/big"), []byte(data), 0o640))
	must(os.WriteFile(filepath.Join(dir, "tree/with space"), []byte("x"), 0o755))
	b.MustKubectl("cp", filepath.Join(dir, "tree"), "p:/tmp/tree")
	if sum := b.Must("exec", "p", "--", "sha256sum", "/tmp/tree/sub/big"); !strings.HasPrefix(sum, fmt.Sprintf("%x", sha256.Sum256([]byte(data)))) {
		t.Errorf("inside it is %s", sum)
	}
	b.Must("exec", "p", "--", "ln", "-s", "/etc/passwd", "/tmp/tree/link")
	r := b.Kubectl("cp", "p:/tmp/tree", filepath.Join(dir, "back"))
	got, err := os.ReadFile(filepath.Join(dir, "back/sub/big"))
	if r.Code != 0 || err != nil || string(got) != data {
		t.Errorf("back: exit code %d, %d bytes, %v, %s", r.Code, len(got), err, r.Stderr)
	}
	if _, err := os.Lstat(filepath.Join(dir, "back/link")); err == nil || !strings.Contains(r.Stderr, "skipping symlink") {
		t.Errorf("a link that leads out: %v, %q", err, r.Stderr)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "back/with space")); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	b.Must("exec", "p", "--", "rm", "-f", "/bin/tar")
	if r := b.Kubectl("cp", filepath.Join(dir, "tree"), "p:/tmp/again"); r.Code == 0 || !strings.Contains(r.Stderr, "tar") {
		t.Errorf("without tar: exit code %d, %q", r.Code, r.Stderr)
	}
}

// kubectl port-forward: what listens on the pod's loopback address, by many connections at a time.
func TestKubectlPortForward(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("p.yaml", pod("p", shell("mkdir /www; head -c 300000 /dev/zero | tr '\\0' x >/www/big; echo hello >/www/index.html; exec busybox httpd -f -p 127.0.0.1:8080 -h /www")).String())
	b.Up()
	b.UntilPod("p", "to run", running)
	for _, websockets := range []string{"true", "false"} {
		t.Run("websockets "+websockets, func(t *testing.T) {
			t.Setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
			port := forward(t, b, "p", "8080")
			var group sync.WaitGroup
			for range 50 {
				group.Go(func() {
					resp, err := http.Get("http://127.0.0.1:" + port + "/big")
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					if body, err := io.ReadAll(resp.Body); err != nil || len(body) != 300000 {
						t.Errorf("%d bytes, %v", len(body), err)
					}
				})
			}
			group.Wait()
		})
	}
	port := forward(t, b, "p", "9")
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(harness.Patience))
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes from a port that nobody serves", n)
	}
}

// forward starts kubectl port-forward and returns its port.
func forward(t *testing.T, b *harness.Berth, pod, port string) string {
	t.Helper()
	cmd := b.KubectlCommand("port-forward", pod, ":"+port)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	m := regexp.MustCompile(`127\.0\.0\.1:(\d+) -> `).FindSubmatch(line[:n])
	if m == nil {
		t.Fatalf("it says %q", line[:n])
	}
	return string(m[1])
}
