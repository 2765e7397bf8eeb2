package native

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

// TestInside looks around from inside containers that differ in one thing each.
func TestInside(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{FSGroup: new(int64(2000))})
	const capLines = `grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\t' | tr '\n' ' '`
	tests := map[string]struct {
		script string
		mutate func(*runtime.ContainerConfig)
		want   string
	}{
		"environment": {
			script: `echo $FROM $BOTH $OWN $HOME $(env | grep ^HOSTNAME)`,
			mutate: func(c *runtime.ContainerConfig) { c.Env = []string{"BOTH=container", "OWN=1"} },
			want:   "image container 1 /root HOSTNAME=web\n",
		},
		"nothing of berth's own environment": {script: `env | cut -d= -f1 | sort | tr '\n' ' '`, want: "BOTH FROM HOME HOSTNAME PATH PWD SHLVL "},
		"root's rights": {
			script: capLines,
			want:   "CapInh:0000000000000000 CapPrm:00000000000405fb CapEff:00000000000405fb CapBnd:00000000000405fb CapAmb:0000000000000000 NoNewPrivs:0 Seccomp:2 ",
		},
		"a user's rights": {
			script: `id; ` + capLines,
			mutate: func(c *runtime.ContainerConfig) {
				c.Security = runtime.Security{User: new(int64(1000)), Group: new(int64(1000)), NoNewPrivileges: true, SupplementalGroups: []int64{3000}}
			},
			want: "uid=1000(app) gid=1000 groups=1000,2000,3000\nCapInh:0000000000000000 CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:00000000000405fb CapAmb:0000000000000000 NoNewPrivs:1 Seccomp:2 ",
		},
		"no rights, no filter": {
			script: capLines,
			mutate: func(c *runtime.ContainerConfig) {
				c.Security = runtime.Security{DropCapabilities: []string{"ALL"}, Seccomp: runtime.Seccomp{Type: "Unconfined"}}
			},
			want: "CapInh:0000000000000000 CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:0000000000000000 CapAmb:0000000000000000 NoNewPrivs:0 Seccomp:0 ",
		},
		"descriptors": {script: `exec ls /proc/self/fd`, want: "0\n1\n2\n3\n"}, // 3 is ls' own
		"masked": {
			script: `wc -c < /proc/keys; ls /sys/firmware | wc -l; (echo 1 > /proc/sys/kernel/panic) 2>&1; (echo > /sys/kernel/profiling) 2>&1`,
			want:   "0\n0\nsh: can't create /proc/sys/kernel/panic: Read-only file system\nsh: can't create /sys/kernel/profiling: Read-only file system\n",
		},
		"cgroups cannot be written": {
			script: `find /sys/fs/cgroup -name cgroup.procs | head -1 | while read f; do (echo $$ > $f) 2>&1 | sed 's,.*: ,,'; done; mkdir /sys/fs/cgroup/x 2>&1 | sed 's,.*: ,,'`,
			want:   "Read-only file system\nRead-only file system\n",
		},
		"first process":   {script: `echo $$; ls -d /proc/[0-9]* | head -1`, want: "1\n/proc/1\n"},
		"umask and limit": {script: `umask; ulimit -n`, want: "0022\n1024\n"},
		"own loopback":    {script: `ifconfig lo | grep -c RUNNING; ls /sys/class/net; cat /proc/sys/net/ipv4/ping_group_range`, want: "1\nlo\n0\t2147483647\n"},
		"read-only root": {
			script: `touch /x 2>&1; echo no > /dev/null && touch /dev/shm/x && echo yes`,
			mutate: func(c *runtime.ContainerConfig) { c.Security.ReadOnlyRootfs = true },
			want:   "touch: /x: Read-only file system\nyes\n",
		},
		"working directory is made": {
			script: `pwd; ls -ld /new/place | cut -c1-10`,
			mutate: func(c *runtime.ContainerConfig) { c.WorkingDir = "/new/place/" },
			want:   "/new/place\ndrwxr-xr-x\n",
		},
		"working directory of root's": {
			script: `pwd; id -u; ls 2>&1`,
			mutate: func(c *runtime.ContainerConfig) {
				c.WorkingDir, c.Security.User = "/work", new(int64(1000))
			},
			want: "/work\n1000\nls: .: Permission denied\n",
		},
		"devices":             {script: `echo x > /dev/null; head -c3 /dev/zero | wc -c; (echo y > /dev/full) 2>&1 | grep -c space; mknod /tmp/d c 1 3 2>&1`, want: "3\n1\nmknod: /tmp/d: Operation not permitted\n"},
		"standard output":     {script: `echo a >> /dev/stdout; echo b > /proc/self/fd/1; echo c > /dev/stderr`, want: "a\nb\nc\n"},
		"hosts and resolver":  {script: `grep -c localhost /etc/hosts; grep web /etc/hosts; cat /etc/hostname; test -f /etc/resolv.conf && echo yes`, want: "2\n10.0.0.1\tweb\nfd00::1\tweb\nweb\nyes\n"},
		"no way to the host":  {script: `cat /proc/1/mountinfo | grep -c ' - ext4 '; ls /proc/1/root/work | wc -l; ls / | tr '\n' ' '`, want: "3\n0\nbin dev etc proc sys tmp work "},
		"io_uring and AF_ALG": {script: `grep -c Seccomp_filters /proc/self/status`, want: "1\n"},
	}
	attempt := uint32(0)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := script(tt.script)
			cfg.Attempt = attempt
			attempt++
			if tt.mutate != nil {
				tt.mutate(&cfg)
			}
			got, _ := m.output(t, cfg)
			if diff := cmp.Diff(strings.TrimSpace(tt.want), strings.TrimSpace(got)); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommandNotFound(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	for attempt, tt := range []struct {
		command []string
		reason  string
		message string
	}{
		{[]string{"/no/such"}, runtime.ReasonCannotRun, "cannot execve /no/such: no such file or directory"},
		{[]string{"nosuch"}, runtime.ReasonCannotRun, "cannot find program nosuch: no such program in PATH"},
		{[]string{"/etc/passwd"}, runtime.ReasonCannotRun, "cannot execve /etc/passwd: permission denied"},
		{[]string{""}, runtime.ReasonCannotRun, "cannot find program : no such program in PATH"},
	} {
		st, err := m.StartContainer(t.Context(), "pod", runtime.ContainerConfig{Name: "main", Attempt: uint32(attempt), Image: testImage, Command: tt.command})
		var start *runtime.StartError
		if !errors.As(err, &start) || start.Reason != tt.reason || start.Error() != tt.message {
			t.Errorf("starting %q = %v, want %s: %s", tt.command, err, tt.reason, tt.message)
		}
		if st.State != runtime.Exited || st.ExitCode != runtime.CannotStartExitCode || st.Message != tt.message {
			t.Errorf("the status after %q is %+v", tt.command, st)
		}
	}
	for name, mutate := range map[string]func(*runtime.ContainerConfig){
		"no volume":         func(c *runtime.ContainerConfig) { c.Mounts = []runtime.Mount{{Volume: "none", Path: "/x"}} },
		"mount over /proc":  func(c *runtime.ContainerConfig) { c.Mounts = []runtime.Mount{{Volume: "none", Path: "/proc/self"}} },
		"relative workdir":  func(c *runtime.ContainerConfig) { c.WorkingDir = "x" },
		"no such profile":   func(c *runtime.ContainerConfig) { c.Security.Seccomp = runtime.Seccomp{Type: "Localhost"} },
		"no such right":     func(c *runtime.ContainerConfig) { c.Security.AddCapabilities = []string{"FLY"} },
		"root, refused":     func(c *runtime.ContainerConfig) { c.Security.RunAsNonRoot = true },
		"no such image":     func(c *runtime.ContainerConfig) { c.Image = "test.invalid/none" },
		"name with a slash": func(c *runtime.ContainerConfig) { c.Name = "../x" },
	} {
		cfg := script("true")
		cfg.Name, cfg.Attempt = "other", 0
		mutate(&cfg)
		if _, err := m.StartContainer(t.Context(), "pod", cfg); err == nil {
			t.Errorf("%s: started", name)
		}
		if p, _ := m.Status(t.Context(), "pod"); len(p.Containers) != 4 {
			t.Errorf("%s: left %+v", name, p.Containers)
		}
	}
}

func TestVolumes(t *testing.T) {
	m := newMachine(t)
	host := t.TempDir()
	must(t, os.WriteFile(filepath.Join(host, "file"), []byte("from the host\n"), 0o644))
	m.sandbox(t, runtime.SandboxConfig{
		FSGroup: new(int64(2000)), ShareMemory: true,
		Volumes: []runtime.Volume{
			{Name: "disk", EmptyDir: &runtime.EmptyDir{}},
			{Name: "memory", EmptyDir: &runtime.EmptyDir{Memory: true, SizeLimit: 1 << 20}},
			{Name: "host", HostPath: &runtime.HostPath{Path: host, Type: "Directory"}},
			{Name: "config", Files: &runtime.Files{Hash: "1a", Entries: []runtime.File{{Path: "key", Data: []byte("value\n"), Mode: 0o640}, {Path: "a/b", Data: []byte("deep\n"), Mode: 0o600}}}},
		},
	})
	mounts := []runtime.Mount{
		{Volume: "disk", Path: "/disk"},
		{Volume: "memory", Path: "/memory"},
		{Volume: "host", Path: "/host", ReadOnly: true},
		{Volume: "config", Path: "/config"},
		{Volume: "disk", SubPath: "made/here", Path: "/disk/nested/sub"},
		{Volume: "config", SubPath: "key", Path: "/etc/key"},
		{Volume: "memory", SubPath: "part", Path: "/part"},
		{Volume: "disk", SubPath: "held", Path: "/held", ReadOnly: true}, // is made, too
		{Volume: "memory", SubPath: "kept", Path: "/kept", ReadOnly: true},
	}
	writer := script(`umask 0; echo one > /disk/f; echo two > /memory/f; echo three > /dev/shm/f; echo four > /disk/nested/sub/f; echo five > /part/f
		cat /host/file /config/key /config/a/b /etc/key; touch /host/x 2>&1; touch /config/x 2>&1; touch /held/x 2>&1; touch /kept/x 2>&1
		ls -ln /disk | tail -1 | cut -c1-10; stat -c '%a %g' /disk /memory; id -G; df -k /memory | tail -1 | awk '{print $2}'; sleep 1000`)
	writer.Mounts, writer.Name = mounts, "writer"
	st, err := m.StartContainer(t.Context(), "pod", writer)
	if err != nil {
		t.Fatal(err)
	}
	m.awaitLog(t, st.LogPath, "1024\n")
	want := "from the host\nvalue\ndeep\nvalue\ntouch: /host/x: Read-only file system\ntouch: /config/x: Read-only file system\ntouch: /held/x: Read-only file system\ntouch: /kept/x: Read-only file system\ndrwxr-sr-x\n2777 2000\n2777 2000\n0 2000\n1024\n"
	if diff := cmp.Diff(want, logText(t, st.LogPath)); diff != "" {
		t.Errorf("writer (-want +got):\n%s", diff)
	}
	reader := script(`cat /disk/f /memory/f /dev/shm/f /disk/made/here/f /memory/part/f`)
	reader.Mounts = mounts
	if got, _ := m.output(t, reader); got != "one\ntwo\nthree\nfour\nfive\n" {
		t.Errorf("reader: %q", got)
	}
	if data, err := os.ReadFile(filepath.Join(m.dirs.volumes("pod"), "disk/made/here/f")); err != nil || string(data) != "four\n" {
		t.Errorf("subPath on disk: %q, %v", data, err)
	}
}

// TestHostileImages starts images whose symbolic links point out of themselves.
func TestHostileImages(t *testing.T) {
	m := newMachine(t)
	canary := t.TempDir()
	m.sandbox(t, runtime.SandboxConfig{Volumes: []runtime.Volume{{Name: "v", EmptyDir: &runtime.EmptyDir{}}}})
	tests := map[string]struct {
		links  map[string]string // path in the layer: target
		mutate func(*runtime.ContainerConfig)
		starts bool
	}{
		"/proc is a link":            {links: map[string]string{"proc": canary}},
		"/dev is a link":             {links: map[string]string{"dev": "../../../../.." + canary}},
		"/sys is a link":             {links: map[string]string{"sys": "tmp"}},
		"/etc is a link out":         {links: map[string]string{"etc": canary}, starts: true},
		"/etc/hosts is a link out":   {links: map[string]string{"etc/hosts": canary + "/hosts"}, starts: true},
		"mount behind a link":        {links: map[string]string{"vol": canary}, starts: true, mutate: func(c *runtime.ContainerConfig) { c.Mounts = []runtime.Mount{{Volume: "v", Path: "/vol/sub"}} }},
		"mount behind a link to /pr": {links: map[string]string{"vol": "/proc/self"}, mutate: func(c *runtime.ContainerConfig) { c.Mounts = []runtime.Mount{{Volume: "v", Path: "/vol/attr"}} }},
		"workdir behind a link":      {links: map[string]string{"wd": canary}, starts: true, mutate: func(c *runtime.ContainerConfig) { c.WorkingDir = "/wd/made" }},
		"workdir is a descriptor":    {mutate: func(c *runtime.ContainerConfig) { c.WorkingDir = "/proc/self/fd/7" }},
		"workdir links a descriptor": {links: map[string]string{"wd": "/proc/self/fd/8"}, mutate: func(c *runtime.ContainerConfig) { c.WorkingDir = "/wd/x" }},
		"the keeper as the program":  {mutate: func(c *runtime.ContainerConfig) { c.Command = []string{"/proc/self/exe", "keeper"} }, starts: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			img := busybox(t, t.TempDir())
			for p, target := range tt.links {
				must(t, os.RemoveAll(filepath.Join(img.Layers[0], p)))
				must(t, os.Symlink(target, filepath.Join(img.Layers[0], p)))
			}
			ref := "test.invalid/" + strings.ReplaceAll(name, " ", "-")
			m.images[ref] = img
			cfg := script("ls -d /proc/1 /dev/null; pwd")
			cfg.Image = ref
			cfg.Attempt = uint32(len(m.images))
			if tt.mutate != nil {
				tt.mutate(&cfg)
			}
			st, err := m.StartContainer(t.Context(), "pod", cfg)
			if (err == nil) != tt.starts {
				t.Errorf("StartContainer = %v, want a start: %t", err, tt.starts)
			}
			if err == nil {
				m.awaitEnd(t, cfg.Name, cfg.Attempt)
				if text := logText(t, st.LogPath); strings.Contains(text, canary) && !strings.Contains(text, canary+"/made") {
					t.Errorf("output %q", text)
				}
			}
			if left, err := os.ReadDir(canary); err != nil || len(left) > 0 {
				t.Errorf("outside of the image there is %v, %v", left, err)
			}
		})
	}
}

func TestOOMAndMessage(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	cfg := script("echo last words > /dev/termination-log; tail /dev/zero")
	cfg.TerminationMessagePath = "/dev/termination-log"
	cfg.Resources.MemoryLimit = 16 << 20
	_, st := m.output(t, cfg)
	if st.Reason != runtime.ReasonOOMKilled || st.ExitCode == 0 || st.Message != "last words\n" {
		t.Errorf("status %+v, want OOMKilled with a message", st)
	}
	// The next attempt is judged by its own kills only.
	cfg = script("ln -sf /etc/passwd /dev/termination-log; echo why; exit 1")
	cfg.Attempt, cfg.TerminationMessagePath, cfg.MessageFromLog = 1, "/dev/termination-log", true
	cfg.Resources.MemoryLimit = 16 << 20
	_, st = m.output(t, cfg)
	if st.Reason != runtime.ReasonError || !strings.HasSuffix(st.Message, "why\n") || strings.Contains(st.Message, "root:") {
		t.Errorf("status %+v, want Error with the log's end", st)
	}
}

func TestExec(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	cfg := script("sleep 1000")
	cfg.Security = runtime.Security{User: new(int64(1000)), Group: new(int64(1000))}
	cfg.WorkingDir = "/tmp"
	if _, err := m.StartContainer(t.Context(), "pod", cfg); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	code, err := m.Exec(t.Context(), "pod", "main", runtime.ExecConfig{
		Command: []string{"sh", "-c", "cat; id -u; pwd; echo $FROM; grep CapBnd /proc/self/status; ls /proc/self/fd | wc -l; echo bad >&2; exit 4"},
		Stdin:   strings.NewReader("typed\n"), Stdout: &out, Stderr: &errOut,
	})
	want := "typed\n1000\n/tmp\nimage\nCapBnd:\t00000000000405fb\n4\n"
	if err != nil || code != 4 || out.String() != want || errOut.String() != "bad\n" {
		t.Errorf("Exec = %d, %v, output %q, errors %q", code, err, out.String(), errOut.String())
	}
	out.Reset()
	sizes := make(chan runtime.Size, 1)
	sizes <- runtime.Size{Width: 77, Height: 33}
	code, err = m.Exec(t.Context(), "pod", "main", runtime.ExecConfig{
		Command: []string{"sh", "-c", "while [ \"$(stty size 2>/dev/null)\" != '33 77' ]; do usleep 1000; done; tty; echo $TERM; stty size"}, Stdout: &out, TTY: true, Resize: sizes,
	})
	if want := "/dev/pts/0\r\nxterm\r\n33 77\r\n"; err != nil || code != 0 || out.String() != want {
		t.Errorf("Exec with a terminal = %d, %v, output %q", code, err, out.String())
	}
	_, err = m.Exec(t.Context(), "pod", "main", runtime.ExecConfig{Command: []string{"nosuch"}})
	var start *runtime.StartError
	if !errors.As(err, &start) || start.Reason != runtime.ReasonCannotRun {
		t.Errorf("Exec of nothing = %v", err)
	}
}

func TestTerminal(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	cfg := script("tty; test -t 0 && test -t 1 && test -t 2 && echo yes; echo x > /dev/console; ls -l /dev/pts/0 | awk '{print $3}'")
	cfg.TTY = true
	cfg.Security.User = new(int64(1000))
	out, _ := m.output(t, cfg)
	if want := "/dev/pts/0\r\nyes\r\nx\r\napp\r\n"; strings.ReplaceAll(out, "\r", "") != strings.ReplaceAll(want, "\r", "") {
		t.Errorf("output %q, want %q", out, want)
	}
}
