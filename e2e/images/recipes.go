package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	busyboxPath = "/bin/busybox"
	nginxPath   = "/usr/sbin/nginx"
	redisPath   = "/usr/bin/redis-server"
	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

func goarch() string { return goruntime.GOARCH }

// base is what every image has: busybox with its applets, users, and the usual directories.
func base() (*tree, error) {
	t := newTree()
	for _, d := range []string{"bin", "sbin", "dev", "etc", "proc", "sys", "run", "root", "usr/bin", "var/log", "home"} {
		t.dir(d, 0o755, 0)
	}
	t.dir("tmp", 0o1777, 0)
	t.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nwww-data:x:33:33::/var/www:/bin/false\nredis:x:100:101::/var/lib/redis:/bin/false\napp:x:1000:1000::/home:/bin/sh\n")
	t.file("etc/group", "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nredis:x:101:\napp:x:1000:\nextra:x:2000:app\n")
	if _, err := os.Stat(busyboxPath); err != nil {
		return nil, fmt.Errorf("%w: install busybox-static", err)
	}
	if err := t.copy(busyboxPath, "bin/busybox"); err != nil {
		return nil, err
	}
	if out, err := command("", nil, "ldd", busyboxPath); err == nil && strings.Contains(string(out), "=>") {
		return nil, errors.New("/bin/busybox is not static: install busybox-static")
	}
	applets, err := command("", nil, busyboxPath, "--list")
	if err != nil {
		return nil, err
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" {
			t.link("bin/"+name, "busybox")
		}
	}
	return t, nil
}

func busybox() (v1.Image, error) {
	t, err := base()
	if err != nil {
		return nil, err
	}
	return fromTree(t, v1.Config{Env: []string{defaultPath}, Cmd: []string{"sh"}})
}

func tool() (v1.Image, error) {
	t, err := withTool()
	if err != nil {
		return nil, err
	}
	return fromTree(t, toolConfig())
}

func toolConfig() v1.Config {
	return v1.Config{Env: []string{defaultPath, "FROM_IMAGE=yes"}, Entrypoint: []string{"/bin/tool"}, Cmd: []string{"sleep"}}
}

func withTool() (*tree, error) {
	t, err := base()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tool")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "tool")
	if _, err := command(sourceDir(), []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./tool"); err != nil {
		return nil, err
	}
	return t, t.copy(out, "bin/tool")
}

// resolvers has one program linked with each C library: they search differently.
func resolvers() (v1.Image, error) {
	t, err := withTool()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lookup")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, compiler := range map[string][]string{"lookup-glibc": {"gcc"}, "lookup-musl": {"musl-gcc", "-static"}} {
		out := filepath.Join(dir, name)
		if _, err := command("", nil, append(compiler, "-O2", "-Wall", "-o", out, lookupSource())...); err != nil {
			return nil, fmt.Errorf("%w: install gcc and musl-tools", err)
		}
		if err := t.copy(out, "bin/"+name); err != nil {
			return nil, err
		}
		if name == "lookup-musl" {
			continue
		}
		if err := t.libraries(out); err != nil {
			return nil, err
		}
	}
	if err := t.nss(); err != nil {
		return nil, err
	}
	return fromTree(t, toolConfig())
}

func lookupSource() string { return filepath.Join(sourceDir(), "lookup", "lookup.c") }

func nginx() (v1.Image, error) {
	t, err := base()
	if err != nil {
		return nil, err
	}
	if err := t.program(nginxPath); err != nil {
		return nil, fmt.Errorf("%w: install nginx", err)
	}
	if err := t.copy("/etc/nginx/mime.types", "/etc/nginx/mime.types"); err != nil {
		return nil, err
	}
	t.file("etc/nginx/nginx.conf", `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events { worker_connections 256; }
http {
	include mime.types;
	access_log /var/log/nginx/access.log;
	server { listen 80; root /usr/share/nginx/html; }
}
`)
	t.file("usr/share/nginx/html/index.html", "<h1>nginx on berth</h1>\n")
	t.dir("var/log/nginx", 0o755, 0)
	// As the official image does: the program opens its own standard streams again, by name.
	t.link("var/log/nginx/access.log", "/dev/stdout")
	t.link("var/log/nginx/error.log", "/dev/stderr")
	t.dir("var/lib/nginx", 0o755, 0)
	if err := t.nss(); err != nil {
		return nil, err
	}
	return fromTree(t, v1.Config{
		Env: []string{defaultPath}, Cmd: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT",
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
	})
}

func redis() (v1.Image, error) {
	t, err := base()
	if err != nil {
		return nil, err
	}
	for _, p := range []string{redisPath, "/usr/bin/redis-cli"} {
		if err := t.program(p); err != nil {
			return nil, fmt.Errorf("%w: install redis-server", err)
		}
	}
	if err := t.nss(); err != nil {
		return nil, err
	}
	t.dir("data", 0o755, 100)
	return fromTree(t, v1.Config{
		Env: []string{defaultPath}, Entrypoint: []string{"redis-server", "--protected-mode", "no"}, WorkingDir: "/data", User: "redis",
		Volumes: map[string]struct{}{"/data": {}},
	})
}

// nss adds the files that glibc looks names up with.
func (t *tree) nss() error {
	t.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
	libs, _ := filepath.Glob("/lib/*-linux-gnu/libnss_files.so.2")
	for _, lib := range libs {
		if err := t.copy(lib, lib); err != nil {
			return err
		}
	}
	return nil
}

// sourceDir is where this package's source is, for building the tool: the tests run in it or beside it.
func sourceDir() string {
	_, file, _, _ := goruntime.Caller(0)
	if filepath.IsAbs(file) {
		return filepath.Dir(file)
	}
	// Built with -trimpath: the test's working directory is a folder of this module.
	out, err := command("", nil, "go", "list", "-f", "{{.Dir}}", "berth/e2e/images")
	if err != nil {
		return "."
	}
	return strings.TrimSpace(string(out))
}

func toolSources() []string {
	files, _ := filepath.Glob(filepath.Join(sourceDir(), "tool", "*.go"))
	return files
}
