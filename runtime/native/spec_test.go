package native

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
	"berth/runtime/security"
)

// goodInput is a container like most; each case changes one thing of it.
func goodInput() specInput {
	return specInput{
		sandbox:   runtime.SandboxConfig{UID: "u", Name: "web"},
		container: runtime.ContainerConfig{Name: "main", Image: "img"},
		image: runtime.ImageConfig{
			Entrypoint: []string{"/entry"}, Cmd: []string{"cmd"}, WorkingDir: "/srv", Env: []string{"PATH=/opt:/bin", "A=image", "B=image"},
		},
		user: security.User{Home: "/root"}, caps: 1<<0 | 1<<5, hostname: "web", openFiles: 4096,
	}
}

func TestBuildSpec(t *testing.T) {
	tests := map[string]struct {
		mutate func(*specInput)
		got    func(*runtime.Spec) any
		want   any
	}{
		"image decides":            {got: args, want: []string{"/entry", "cmd"}},
		"args replace cmd":         {mutate: func(in *specInput) { in.container.Args = []string{"x"} }, got: args, want: []string{"/entry", "x"}},
		"command replaces both":    {mutate: func(in *specInput) { in.container.Command = []string{"c"} }, got: args, want: []string{"c"}},
		"command and args":         {mutate: func(in *specInput) { in.container.Command, in.container.Args = []string{"c"}, []string{"x"} }, got: args, want: []string{"c", "x"}},
		"working directory":        {got: cwd, want: "/srv"},
		"own working directory":    {mutate: func(in *specInput) { in.container.WorkingDir = "/a/../b/" }, got: cwd, want: "/b"},
		"no working directory":     {mutate: func(in *specInput) { in.image.WorkingDir = "" }, got: cwd, want: "/"},
		"environment of the image": {got: env, want: []string{"PATH=/opt:/bin", "HOSTNAME=web", "A=image", "B=image", "HOME=/root"}},
		"the last value wins": {
			mutate: func(in *specInput) { in.container.Env = []string{"B=1", "C=2", "B=3", "HOME=/me", "=bad", "bad"} },
			got:    env, want: []string{"PATH=/opt:/bin", "HOSTNAME=web", "A=image", "B=3", "C=2", "HOME=/me"},
		},
		"default path": {
			mutate: func(in *specInput) { in.image.Env, in.user.Home = nil, "" },
			got:    env, want: []string{"PATH=" + defaultPath, "HOSTNAME=web", "HOME=/"},
		},
		"terminal": {
			mutate: func(in *specInput) { in.container.TTY, in.image.Env = true, nil },
			got:    env, want: []string{"PATH=" + defaultPath, "HOSTNAME=web", "TERM=xterm", "HOME=/root"},
		},
		"root's capabilities":   {got: caps, want: [][]string{{"CAP_CHOWN", "CAP_KILL"}, {"CAP_CHOWN", "CAP_KILL"}, nil, nil}},
		"a user's capabilities": {mutate: func(in *specInput) { in.user.UID = 7 }, got: caps, want: [][]string{{"CAP_CHOWN", "CAP_KILL"}, nil, nil, nil}},
		"limits of the machine": {got: nofile, want: []uint64{1024, 4096}},
		"limits":                {mutate: func(in *specInput) { in.openFiles = 1 << 30 }, got: nofile, want: []uint64{1024, 1 << 20}},
		"namespaces":            {got: spaces, want: "mount cgroup pid network uts ipc"},
		"the machine's":         {mutate: func(in *specInput) { in.sandbox.HostNetwork, in.sandbox.HostIPC, in.sandbox.HostPID = true, true, true }, got: spaces, want: "mount cgroup"},
		"with a user namespace": {mutate: func(in *specInput) { in.sandbox.UserNamespace, in.idBase = true, 65536 }, got: spaces, want: "mount cgroup pid network uts ipc user"},
		"masked":                {got: func(s *runtime.Spec) any { return len(s.Linux.MaskedPaths) > 5 && len(s.Linux.ReadonlyPaths) > 3 }, want: true},
		"unmasked":              {mutate: func(in *specInput) { in.container.Security.UnmaskedProc = true }, got: func(s *runtime.Spec) any { return len(s.Linux.MaskedPaths) }, want: 0},
		"sysfs":                 {got: sysfs, want: "ro,nosuid,noexec,nodev"},
		"sysfs, privileged":     {mutate: func(in *specInput) { in.container.Security.Privileged = true }, got: sysfs, want: "rw,nosuid,noexec,nodev"},
		"own shared memory":     {got: shm, want: "nosuid,noexec,nodev,mode=1777,size=65536k"},
		"the pod's":             {mutate: func(in *specInput) { in.sandbox.ShareMemory = true }, got: shm, want: ""},
		"devices":               {got: func(s *runtime.Spec) any { return len(s.Linux.Devices) }, want: len(security.DefaultDevices())},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := goodInput()
			if tt.mutate != nil {
				tt.mutate(&in)
			}
			spec, err := buildSpec(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.got(spec)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func args(s *runtime.Spec) any { return s.Process.Args }
func env(s *runtime.Spec) any  { return s.Process.Env }
func cwd(s *runtime.Spec) any  { return s.Process.Cwd }
func nofile(s *runtime.Spec) any {
	return []uint64{s.Process.Rlimits[0].Soft, s.Process.Rlimits[0].Hard}
}
func sysfs(s *runtime.Spec) any { return mountOf(s, "/sys") }
func shm(s *runtime.Spec) any   { return mountOf(s, "/dev/shm") }

func caps(s *runtime.Spec) any {
	c := s.Process.Capabilities
	return [][]string{c.Bounding, c.Effective, c.Inheritable, c.Ambient}
}

func spaces(s *runtime.Spec) any {
	var names []string
	for _, n := range s.Linux.Namespaces {
		names = append(names, string(n.Type))
	}
	return strings.Join(names, " ")
}

func mountOf(s *runtime.Spec, at string) string {
	for _, m := range s.Mounts {
		if m.Destination == at {
			return strings.Join(m.Options, ",")
		}
	}
	return ""
}

func TestSpecRefuses(t *testing.T) {
	for name, mutate := range map[string]func(*specInput){
		"no command":            func(in *specInput) { in.image.Entrypoint, in.image.Cmd = nil, nil },
		"relative directory":    func(in *specInput) { in.container.WorkingDir = "srv" },
		"relative mount":        func(in *specInput) { in.container.Mounts = []runtime.Mount{{Path: "x"}} },
		"mount over the root":   func(in *specInput) { in.container.Mounts = []runtime.Mount{{Path: "//"}} },
		"mount over /proc":      func(in *specInput) { in.container.Mounts = []runtime.Mount{{Path: "/sys/../proc"}} },
		"mount below /proc":     func(in *specInput) { in.container.Mounts = []runtime.Mount{{Path: "/proc/self/attr"}} },
		"argument with a NUL":   func(in *specInput) { in.container.Args = []string{"a\x00b"} },
		"image's relative path": func(in *specInput) { in.image.WorkingDir = ".." },
	} {
		in := goodInput()
		mutate(&in)
		if _, err := buildSpec(in); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The order of steps is the design of the spawn path: each of these must come before the next.
func TestProgramOrder(t *testing.T) {
	for _, noNewPrivs := range []bool{false, true} {
		in := goodInput()
		in.idBase, in.container.Security.NoNewPrivileges = 1<<20, noNewPrivs
		spec, err := buildSpec(in)
		if err != nil {
			t.Fatal(err)
		}
		b, err := compileContainer(programInput{
			spec: spec, caps: in.caps, filter: make([]byte, 16), idBase: in.idBase, taskFiles: []string{"/cg/tasks"}, root: "/run/root",
			layers: []string{"/img/a", "/img/b"}, upper: "/u", work: "/w", joinNet: true,
			attachments: []attachment{{what: "volume v", path: "/v", dir: true}},
		})
		if err != nil {
			t.Fatal(err)
		}
		order := []string{
			"enter the group of /cg/tasks", "join the pod's network namespace", "make all mounts private", "show files with the pod's ids in the layers",
			"mount overlay", "pivot_root", "let go of the machine's file systems", "mount /proc", "mask /proc/acpi",
			"mount volume v at /v", "wait for the keeper", "enter the pod's user namespace", "lock all mounts",
		}
		tail := []string{"install the system call filter", "drop a capability", "set supplementary groups", "set the user", "set capabilities", "close descriptors", "execve /entry"}
		if noNewPrivs {
			tail = []string{"drop a capability", "set the user", "set capabilities", "close descriptors", "set no_new_privs", "install the system call filter", "execve /entry"}
		}
		at := -1
		for _, name := range append(order, tail...) {
			next := -1
			for i, n := range b.Names() {
				if n == name {
					next = i
					break
				}
			}
			if next <= at {
				t.Errorf("no_new_privs %t: step %q is %d, the one before %d", noNewPrivs, name, next, at)
			}
			at = next
		}
	}
}

func TestShareParent(t *testing.T) {
	for _, tt := range []struct {
		layers []string
		parent string
		names  []string
	}{
		{[]string{"/s/l/a"}, "/s/l", []string{"a"}},
		{[]string{"/s/l/a", "/s/l/b"}, "/s/l", []string{"b", "a"}},
		{[]string{"/s/l/a/fs", "/s/l/b,1/f:s"}, "/s/l", []string{`b\,1/f\:s`, "a/fs"}},
		{[]string{"/s/l", "/s/lib/x"}, "/s", []string{"lib/x", "l"}},
		{[]string{"/a", "/b"}, "/", []string{"b", "a"}},
	} {
		parent, names := shareParent(tt.layers)
		if diff := cmp.Diff(tt.names, names); parent != tt.parent || diff != "" {
			t.Errorf("shareParent(%q) = %q, %q", tt.layers, parent, names)
		}
	}
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "..", "a/b", "A", "-a", "a-", "a.b", strings.Repeat("a", 65)} {
		if checkUID(bad) == nil {
			t.Errorf("UID %q was accepted", bad)
		}
	}
	for s, ok := range map[string]bool{"a.0": true, "a-b.12": true, "a": false, "a.": false, "a.01": false, "a.-1": false, "a.4294967296": false, "a.1.new": false} {
		if _, _, got := parseAttemptName(s); got != ok {
			t.Errorf("parseAttemptName(%q) = %t", s, got)
		}
	}
}
