// Package isolate runs a test program in namespaces and cgroups of its own, so that what other programs of the machine do in the
// meantime neither disturbs its counting nor is disturbed by it, and so that nothing survives its end, however it ends.
//
// The program starts itself three times: outside (makes one cgroup in each hierarchy), as the first process of the new namespaces
// (reaps) and as the program proper. On a machine that belongs to the test alone, BERTH_E2E_ISOLATE=0 runs it as it is.
package isolate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	stageVar  = "BERTH_E2E_STAGE"
	cgroupVar = "BERTH_E2E_CGROUP"
	// SwitchVar set to 0 turns isolation off.
	SwitchVar  = "BERTH_E2E_ISOLATE"
	cgroupRoot = "/sys/fs/cgroup"
	// groupPrefix begins the name of a run's cgroups.
	groupPrefix = "e2e-"
)

// Inside says whether this process is the program proper: the one that shall run the tests.
func Inside() bool {
	return os.Getenv(stageVar) == "program" || os.Getenv(SwitchVar) == "0"
}

// Outermost says whether this process is the one that was started by hand: what it sets up is there for the others, and is to be undone by it.
func Outermost() bool { return os.Getenv(stageVar) == "" }

// Root ends the program with one line when it does not run as root.
func Root() {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests make namespaces, cgroups and mounts: run them as root (make root, make e2e)")
		os.Exit(1)
	}
}

// Main calls program in namespaces and cgroups of its own and returns its exit code. It has to be the first thing a test's TestMain
// or a main function does. The outermost call runs prepare before, on the machine as it is; it may be nil.
func Main(prepare func() error, program func() int) int {
	Root()
	switch os.Getenv(stageVar) {
	case "list":
		return program()
	case "init":
		return report(initStage())
	case "program":
		if err := enterCgroups(); err != nil {
			return report(0, err)
		}
		return program()
	}
	if prepare != nil {
		if err := prepare(); err != nil {
			return report(0, err)
		}
	}
	if os.Getenv(SwitchVar) == "0" {
		return program()
	}
	if err := sweep(time.Now()); err != nil {
		return report(0, err)
	}
	return report(outer(os.Stdout, os.Stderr, os.Args[1:]))
}

func report(code int, err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolate:", err)
		return 1
	}
	return code
}

// outer makes the cgroups and a directory for temporary files, starts the first process of the new namespaces with args, and removes them after it.
func outer(out, errOut io.Writer, args []string) (code int, err error) {
	name := fmt.Sprintf(groupPrefix+"%08x", rand.Uint32())
	dirs, err := makeCgroups(name)
	defer func() { err = errors.Join(err, removeCgroups(dirs)) }()
	if err != nil {
		return 0, err
	}
	tmp, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	cmd := again("init", args, cgroupVar+"="+name, "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = out, errOut
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	// The death signal comes when the thread that forked ends: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return run(cmd)
}

// initStage is the first process: it sets the namespaces up, starts the program and reaps whatever is left to it.
func initStage() (int, error) {
	runtime.LockOSThread()
	name := os.Getenv(cgroupVar)
	for _, dir := range hierarchies() {
		if err := os.WriteFile(filepath.Join(dir, name, "cgroup.procs"), []byte("0"), 0); err != nil {
			return 0, fmt.Errorf("cannot enter cgroup %s/%s: %w", dir, name, err)
		}
	}
	if err := privateMounts(); err != nil {
		return 0, err
	}
	if err := loopbackUp(); err != nil {
		return 0, err
	}
	cmd := again("program", os.Args[1:])
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: cloneNewCgroup, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("cannot start the program: %w", err)
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("cannot wait for the program: %w", err)
		case pid == cmd.Process.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == cmd.Process.Pid:
			return status.ExitStatus(), nil
		}
	}
}

const cloneNewCgroup = 0x02000000

func again(stage string, args []string, env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(append(os.Environ(), stageVar+"="+stage), env...)
	return cmd
}

func run(cmd *exec.Cmd) (int, error) {
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// privateMounts cuts the mount tree off the machine's, leaves out what others have mounted for a while (which ends when they remove the directory), and
// mounts what shows the new namespaces: /proc, and a /run in memory.
func privateMounts() error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot cut off the mounts: %w", err)
	}
	points, err := mountPoints()
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		// The directory for temporary files of this run is not mounted, and lies beside them.
		if strings.HasPrefix(point, "/run/") || strings.HasPrefix(point, filepath.Dir(os.TempDir())+"/") {
			_ = syscall.Unmount(point, syscall.MNT_DETACH)
		}
	}
	for _, m := range []struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}{
		{"proc", "/proc", "proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=755"},
	} {
		if err := syscall.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.target, err)
		}
	}
	return nil
}

// mountPoints lists where things are mounted, in the order in which they were.
func mountPoints() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("cannot list mounts: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 {
			out = append(out, f[1])
		}
	}
	return out, nil
}

// hierarchies lists the mount points of all cgroup hierarchies.
func hierarchies() []string {
	var out []string
	for _, m := range cgroupMounts() {
		out = append(out, m.dir)
	}
	return out
}

type cgroupMount struct{ dir, fstype, options string }

func cgroupMounts() []cgroupMount {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var out []cgroupMount
	seen := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[2] != "cgroup" && f[2] != "cgroup2" || !strings.HasPrefix(f[1], cgroupRoot) || seen[f[1]] {
			continue
		}
		seen[f[1]] = true
		out = append(out, cgroupMount{f[1], f[2], v1Options(f[3])})
	}
	return out
}

// v1Options keeps of a mount's options those that name a hierarchy.
func v1Options(all string) string {
	var keep []string
	for o := range strings.SplitSeq(all, ",") {
		switch o {
		case "rw", "ro", "relatime", "noatime", "nosuid", "nodev", "noexec", "nsdelegate", "memory_recursiveprot", "seclabel":
		default:
			if strings.HasPrefix(o, "name=") {
				keep = append(keep, "none")
			}
			keep = append(keep, o)
		}
	}
	return strings.Join(keep, ",")
}

func makeCgroups(name string) ([]string, error) {
	var made []string
	for _, h := range hierarchies() {
		dir := filepath.Join(h, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return made, fmt.Errorf("cannot make a cgroup: %w", err)
		}
		made = append(made, dir)
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			// A new v1 cpuset is empty and takes no process.
			if value, err := os.ReadFile(filepath.Join(h, f)); err == nil && len(strings.TrimSpace(string(value))) > 0 {
				if err := os.WriteFile(filepath.Join(dir, f), value, 0); err != nil {
					return made, fmt.Errorf("cannot copy %s: %w", f, err)
				}
			}
		}
	}
	return made, nil
}

// removeCgroups removes the trees below dirs, for which the processes in them may still be dying.
func removeCgroups(dirs []string) error {
	var err error
	for _, dir := range dirs {
		for wait := time.Millisecond; wait < 4*time.Second; wait *= 2 {
			if err = removeTree(dir); err == nil {
				break
			}
			time.Sleep(wait)
		}
	}
	return err
}

func removeTree(dir string) error {
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(all) {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("cannot remove cgroup %s: %w", dir, err)
		}
	}
	return nil
}

// enterCgroups mounts every hierarchy anew, as the cgroup namespace shows it: the program's own cgroup is the root of what it sees.
func enterCgroups() error {
	for _, m := range cgroupMounts() {
		if err := syscall.Unmount(m.dir, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", m.dir, err)
		}
		data := m.options
		if m.fstype == "cgroup2" {
			data = ""
		}
		if err := syscall.Mount(m.fstype, m.dir, m.fstype, syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, data); err != nil {
			return fmt.Errorf("cannot mount %s (%s): %w", m.dir, data, err)
		}
		if m.fstype == "cgroup2" {
			if err := leaveRoot(m.dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaveRoot moves the program into a leaf: on cgroup v2 a group with processes gives its children no controllers.
func leaveRoot(dir string) error {
	leaf := filepath.Join(dir, "e2e-runner")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make a cgroup: %w", err)
	}
	for _, pid := range []int{1, os.Getpid()} {
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("cannot move process %d to %s: %w", pid, leaf, err)
		}
	}
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(controllers)) {
		// Those that cannot be handed down are left out.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
	return nil
}
