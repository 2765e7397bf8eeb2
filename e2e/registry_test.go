package e2e

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/registry"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func startRegistry(t *testing.T) *registry.Registry {
	t.Helper()
	r, err := registry.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

func push(t *testing.T, r *registry.Registry, path, tag string) (byTag, byDigest string) {
	t.Helper()
	byTag, byDigest, err := r.Push(path, variant(t, tag))
	if err != nil {
		t.Fatal(err)
	}
	return byTag, byDigest
}

func sleeper(ref string) string { return fmt.Sprintf("image: %q, args: [sleep]", ref) }

// configFile writes a registries file: plain http for r, and what more says.
func configFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Images come by tag and by digest, each part of them once, whatever the number of replicas.
func TestPull(t *testing.T) {
	r := startRegistry(t)
	tag, _ := push(t, r, "app:1", "one")
	_, digest := push(t, r, "other:1", "two")
	b := harness.New(t)
	b.Write("tag.yaml", deployment("tag", 10, sleeper(tag)).String())
	b.Write("digest.yaml", deployment("digest", 2, sleeper(digest)).String())
	b.Up("--registries", configFile(t, plainHTTP(r)))
	b.UntilReady("tag-", 10)
	b.UntilReady("digest-", 2)
	for what, n := range r.AskedAll() {
		if strings.HasPrefix(what, "GET blob") && n > 1 {
			t.Errorf("%s: %d times", what, n)
		}
	}
	if unpacked := countFiles(t, b.State, "busybox"); unpacked != 1 {
		t.Errorf("bin/busybox is on disk %d times: two images share that layer, and ten replicas do", unpacked)
	}
	// It is there: no registry is needed for more of it.
	r.Stop()
	b.Write("tag.yaml", deployment("tag", 12, sleeper(tag)).String())
	b.UntilReady("tag-", 12)
}

func plainHTTP(r *registry.Registry) string {
	return fmt.Sprintf("mirrors:\n  %q:\n    endpoint: [\"http://%s\"]\n", r.Host, r.Host)
}

func countFiles(t *testing.T, dir, name string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() == name {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A registry that wants a password gets it from the registries file, and only then.
func TestPullWithPassword(t *testing.T) {
	r := startRegistry(t)
	r.RequireLogin("me", "secret-of-test")
	tag, _ := push(t, r, "private:1", "private")
	b := harness.New(t)
	b.Write("p.yaml", deployment("p", 1, sleeper(tag)).String())
	config := configFile(t, plainHTTP(r))
	up := b.Up("--registries", config)
	b.UntilPod("p-", "to be refused", pullFails("login"))
	up.Signal(15)
	up.Wait(harness.Patience)
	if err := os.WriteFile(config, []byte(plainHTTP(r)+fmt.Sprintf("configs:\n  %q:\n    auth: {username: me, password: secret-of-test}\n", r.Host)), 0o600); err != nil {
		t.Fatal(err)
	}
	up = b.Up("--registries", config)
	b.UntilReady("p-", 1)
	if strings.Contains(up.Output(), "secret-of-test") {
		t.Error("the password is in the output")
	}
}

// Secrets of both docker types open a registry to the pods that name them, at once when they come late.
func TestImagePullSecrets(t *testing.T) {
	r := startRegistry(t)
	r.RequireLogin("me", "secret-of-test")
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret-of-test"))
	b := harness.New(t)
	keys := map[string]string{
		"new": fmt.Sprintf(`type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: '{"auths": {"http://%s/v1/": {"auth": %q}}}'}`, r.Host, auth),
		"old": fmt.Sprintf(`type: kubernetes.io/dockercfg, stringData: {.dockercfg: '{%q: {"username": "me", "password": "secret-of-test"}}'}`, r.Host),
	}
	for name := range keys {
		tag, _ := push(t, r, name+":1", name)
		b.Write(name+".yaml", manifest{name: name, replicas: -1, main: sleeper(tag), pod: "imagePullSecrets: [{name: key-" + name + "}]"}.String())
	}
	b.Up("--registries", configFile(t, plainHTTP(r)))
	for name := range keys {
		b.UntilPod(name, "to be refused again", func(p harness.Pod) error {
			if err := pullFails("login")(p); err != nil || p.Container("main").Reason != "ImagePullBackOff" {
				return fmt.Errorf("%w %+v", err, p)
			}
			return nil
		})
	}
	if status := b.Must("status", "-o", "json"); !strings.Contains(status, "Unable to retrieve some image pull secrets (key-new)") {
		t.Errorf("no event tells of the missing Secret: %s", status)
	}
	began := time.Now()
	for name, content := range keys {
		b.Write("key-"+name+".yaml", fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: key-%s}, %s}\n", name, content))
	}
	for name := range keys {
		b.UntilPod(name, "to run", running)
	}
	if took := time.Since(began); took > 15*time.Second { // the second back-off is 20 s
		t.Errorf("it took %v: the back-off was not cut short", took)
	}
}

func pullFails(text string) func(harness.Pod) error {
	return func(p harness.Pod) error {
		c := p.Container("main")
		if (c.Reason != "ErrImagePull" && c.Reason != "ImagePullBackOff") || !strings.Contains(strings.ToLower(c.Message+p.Message), strings.ToLower(text)) {
			return fmt.Errorf("%+v", p)
		}
		return nil
	}
}

// An image that does not exist is asked for again and again, more and more rarely, and holds up nobody else.
func TestMissingImage(t *testing.T) {
	r := startRegistry(t)
	b := harness.New(t)
	b.Load(images.Tool)
	ref := r.Host + "/none:1"
	b.Write("none.yaml", deployment("none", 3, sleeper(ref)).String())
	b.Write("web.yaml", deployment("web", 1, run("web")).String())
	b.Up("--registries", configFile(t, plainHTTP(r)))
	b.UntilReady("web-", 1)
	b.UntilStatus("the back-off", func(s harness.Status) error {
		for _, p := range s.PodsOf("none-") {
			if p.Container("main").Reason == "ImagePullBackOff" {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.PodsOf("none-"))
	})
	if n := r.Asked("GET manifest") + r.Asked("HEAD manifest"); n > 8 {
		t.Errorf("asked %d times within the first moments", n)
	}
	push(t, r, "none:1", "late")
	b.UntilReady("none-", 3)
}

// A registry that is down, or comes back, is the same.
func TestRegistryDown(t *testing.T) {
	r := startRegistry(t)
	tag, _ := push(t, r, "app:1", "one")
	r.Stop()
	b := harness.New(t)
	b.Write("app.yaml", deployment("app", 2, sleeper(tag)).String())
	b.Up("--registries", configFile(t, plainHTTP(r)))
	b.UntilStatus("the failure", func(s harness.Status) error {
		for _, p := range s.PodsOf("app-") {
			if c := p.Container("main"); strings.Contains(c.Reason, "Image") && c.Reason != "ImageNeverPull" {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.Pods)
	})
	if err := r.Again(); err != nil {
		t.Fatal(err)
	}
	b.UntilReady("app-", 2)
	r.Answer(http.StatusServiceUnavailable)
	b.Write("app.yaml", deployment("app", 3, sleeper(tag)).String())
	b.UntilReady("app-", 3)
}

// A mirror for `*` answers for every registry; the name stays the manifest's.
func TestMirror(t *testing.T) {
	r := startRegistry(t)
	push(t, r, "library/app:1", "mirrored")
	push(t, r, "team/app:latest", "mirrored-too")
	b := harness.New(t)
	m := deployment("a", 1, sleeper("app:1"))
	b.Write("a.yaml", m.String())
	always := sleeper("registry.example.com/team/app") + ", imagePullPolicy: Always"
	b.Write("b.yaml", deployment("b", 1, always).String())
	b.Up("--registries", configFile(t, fmt.Sprintf("mirrors:\n  \"*\":\n    endpoint: [\"http://%s\"]\n", r.Host)))
	b.UntilReady("a-", 1)
	b.UntilReady("b-", 1)
	if list := b.Must("image", "ls"); !strings.Contains(list, "registry.example.com/team/app") {
		t.Errorf("image ls:\n%s", list)
	}
}

// Debian's own registry serves as well as the one in this process.
func TestDebianRegistry(t *testing.T) {
	program := installed(t, "docker-registry")
	dir := t.TempDir()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ref, err := name.ParseReference(host+"/team/app:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img := variant(t, "debian")
	if err := harness.Poll(harness.Patience, func() error { return remote.Write(ref, img) }); err != nil {
		t.Fatal(err)
	}
	b := harness.New(t)
	b.Write("app.yaml", deployment("app", 2, sleeper(ref.String())).String())
	b.Up("--registries", configFile(t, fmt.Sprintf("mirrors:\n  %q:\n    endpoint: [\"http://%s\"]\n", host, host)))
	b.UntilReady("app-", 2)
	b.Must("image", "pull", host+"/team/app:1", "--registries", configFile(t, fmt.Sprintf("mirrors:\n  %q:\n    endpoint: [\"http://%s\"]\n", host, host)))
}
