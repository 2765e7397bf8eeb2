package native

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/runtime"
	"berth/runtime/security"
)

// specInput is everything a container's specification follows from.
type specInput struct {
	sandbox   runtime.SandboxConfig
	container runtime.ContainerConfig
	image     runtime.ImageConfig
	user      security.User
	// caps is the bounding set, and what root has.
	caps uint64
	// idBase is what id 0 of the pod is on the machine; 0 without a user namespace.
	idBase uint32
	// hostname is what the container finds as its own.
	hostname string
	// openFiles is the greatest hard limit of open files this machine can give.
	openFiles uint64
	// hostDevices are given to privileged containers.
	hostDevices []specs.LinuxDevice
}

const (
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// softOpenFiles is what programs with select(2) survive; those that need more raise it themselves.
	softOpenFiles = 1024
	hardOpenFiles = 1 << 20
	// idRangeSize is how many ids a pod of its own user namespace has: what uid_t had for decades, and what images count on.
	idRangeSize = 1 << 16
	// shmSize is the size of /dev/shm that images expect, in bytes.
	shmSize    = 64 << 20
	devMode    = "mode=755"
	ttyGroup   = 5
	ociVersion = "1.3.0"
)

// buildSpec merges the wish with the image, by Kubernetes' rules: command replaces entrypoint and cmd, args replaces cmd. It is pure.
func buildSpec(in specInput) (*runtime.Spec, error) {
	args, err := arguments(in.container, in.image)
	if err != nil {
		return nil, err
	}
	env := environment(in)
	cwd := firstOf(in.container.WorkingDir, in.image.WorkingDir, "/")
	if !path.IsAbs(cwd) {
		return nil, configError("use working directory %q: it is not absolute", cwd)
	}
	for _, m := range in.container.Mounts {
		if err := checkMountPath(m.Path); err != nil {
			return nil, err
		}
	}
	sec := in.container.Security
	spec := &runtime.Spec{
		Version:  ociVersion,
		Hostname: in.hostname,
		Root:     &specs.Root{Path: "rootfs", Readonly: sec.ReadOnlyRootfs},
		Process: &specs.Process{
			Terminal: in.container.TTY,
			User:     specs.User{UID: in.user.UID, GID: in.user.GID, AdditionalGids: in.user.Groups},
			Args:     args, Env: env, Cwd: path.Clean(cwd),
			NoNewPrivileges: sec.NoNewPrivileges,
			Rlimits:         []specs.POSIXRlimit{openFilesLimit(in.openFiles)},
			Capabilities:    capabilitySets(in.caps, in.user.UID),
			OOMScoreAdj:     &in.container.Resources.OOMScoreAdj,
		},
		Mounts: systemMounts(in),
		Linux: &specs.Linux{
			Namespaces: namespaces(in.sandbox),
			Devices:    devices(in),
			Sysctl:     in.sandbox.Sysctls,
		},
	}
	if in.idBase != 0 {
		m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: in.idBase, Size: idRangeSize}}
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = m, m
	}
	if !sec.Privileged && !sec.UnmaskedProc {
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = security.MaskedPaths(), security.ReadonlyPaths()
	}
	return spec, nil
}

func arguments(c runtime.ContainerConfig, img runtime.ImageConfig) ([]string, error) {
	entrypoint, cmd := img.Entrypoint, img.Cmd
	switch {
	case len(c.Command) > 0:
		entrypoint, cmd = c.Command, c.Args
	case len(c.Args) > 0:
		cmd = c.Args
	}
	args := slices.Concat(entrypoint, cmd)
	if len(args) == 0 {
		return nil, configError("find a command to run: neither the container nor the image %q has one", c.Image)
	}
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return nil, configError("use the argument %q: it has a NUL byte", a)
		}
	}
	return args, nil
}

// environment is the image's, then the container's; of equal names the last value wins, at the first one's place.
func environment(in specInput) []string {
	env := []string{"PATH=" + defaultPath, "HOSTNAME=" + in.hostname}
	if in.container.TTY {
		env = append(env, "TERM=xterm")
	}
	env = mergeEnv(env, in.image.Env)
	env = mergeEnv(env, in.container.Env)
	if !hasEnv(env, "HOME") {
		env = append(env, "HOME="+firstOf(in.user.Home, "/"))
	}
	return env
}

func mergeEnv(base, over []string) []string {
	at := make(map[string]int, len(base)+len(over))
	for i, e := range base {
		name, _, _ := strings.Cut(e, "=")
		at[name] = i
	}
	for _, e := range over {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" || strings.ContainsRune(e, 0) {
			continue // what execve cannot carry; an image may hold anything
		}
		if i, ok := at[name]; ok {
			base[i] = e
			continue
		}
		at[name] = len(base)
		base = append(base, e)
	}
	return base
}

func hasEnv(env []string, name string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}

func openFilesLimit(most uint64) specs.POSIXRlimit {
	hard := uint64(hardOpenFiles)
	if most != 0 {
		hard = min(hard, most)
	}
	return specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: min(softOpenFiles, hard), Hard: hard}
}

// capabilitySets gives root all of the bounding set, and others nothing but the bound, as execve would leave it.
func capabilitySets(mask uint64, uid uint32) *specs.LinuxCapabilities {
	var names []string
	for c := range 64 {
		if mask&(1<<c) != 0 {
			names = append(names, "CAP_"+strings.ToUpper(capability.Cap(c).String()))
		}
	}
	sets := &specs.LinuxCapabilities{Bounding: names}
	if uid == 0 {
		sets.Effective, sets.Permitted = names, names
	}
	return sets
}

// namespaces lists what the container has of its own or shares with its pod; the machine's are left out.
func namespaces(s runtime.SandboxConfig) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}}
	if !s.HostPID {
		list = append(list, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if !s.HostNetwork {
		list = append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace}, specs.LinuxNamespace{Type: specs.UTSNamespace})
	}
	if !s.HostIPC {
		list = append(list, specs.LinuxNamespace{Type: specs.IPCNamespace})
	}
	if s.UserNamespace {
		list = append(list, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	return list
}

// systemMounts are the file systems of the kernel that every container has, in the order they are mounted.
func systemMounts(in specInput) []specs.Mount {
	guard := []string{"nosuid", "noexec", "nodev"}
	uid, tty := fmt.Sprint(in.idBase), fmt.Sprint(in.idBase+ttyGroup)
	owner := []string{"uid=" + uid, "gid=" + uid}
	access := "ro"
	if in.container.Security.Privileged {
		access = "rw"
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: guard},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: append([]string{"nosuid", "strictatime", devMode, "size=65536k"}, owner...)},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=" + tty}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: guard},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append([]string{access}, guard...)},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append([]string{access}, guard...)},
	}
	if !in.sandbox.ShareMemory && !in.sandbox.HostIPC {
		mounts = append(mounts, specs.Mount{
			Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: append(append([]string{}, guard...), "mode=1777", fmt.Sprintf("size=%dk", shmSize>>10)),
		})
	}
	return mounts
}

func devices(in specInput) []specs.LinuxDevice {
	if in.container.Security.Privileged && in.idBase == 0 {
		return in.hostDevices
	}
	var list []specs.LinuxDevice
	for _, d := range security.DefaultDevices() {
		mode := osFileMode(d.Mode)
		list = append(list, specs.LinuxDevice{Path: d.Path, Type: "c", Major: int64(d.Major), Minor: int64(d.Minor), FileMode: &mode})
	}
	return list
}

// checkMountPath refuses what would let a volume stand in for the kernel's own files.
func checkMountPath(p string) error {
	clean := path.Clean(p)
	switch {
	case !path.IsAbs(p):
		return configError("mount a volume at %q: the path is not absolute", p)
	case clean == "/", clean == "/proc", strings.HasPrefix(clean, "/proc/"):
		return configError("mount a volume at %q: the runtime needs this place itself", p)
	}
	return nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
