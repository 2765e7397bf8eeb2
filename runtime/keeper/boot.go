package keeper

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"berth/runtime/keeper/wire"
)

// The start has three stages, each a fresh execution of the binary: detach (in the caller's session, ends at once), enter (makes the
// session and the mount namespace, which only a process's first thread can do for all), serve (runs from a read-only copy of the binary).
const (
	stageEnv = "BERTH_KEEPER"       // set for serve
	stateEnv = "BERTH_KEEPER_STATE" // set by an upgrade: descriptor of the state
	readyFD  = 3
)

// detach starts the keeper as a process that nobody but init is the parent of.
func detach(a arguments, argv []string) int {
	args := make([]string, 0, len(argv))
	for _, s := range argv {
		if s != "--detach" {
			args = append(args, s)
		}
	}
	files := []uintptr{0, 1, 2}
	if a.ready >= 0 {
		for len(files) < a.ready {
			files = append(files, ^uintptr(0))
		}
		files = append(files, uintptr(a.ready))
	}
	_, err := syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		complain("cannot start the keeper", err)
		return 1
	}
	return 0
}

// enter turns the process into one that depends on nothing of its caller's, and executes the serving stage.
func enter(a arguments) int {
	_, _ = syscall.Setsid() // EPERM: leads one already
	syscall.Umask(0o077)
	if err := syscall.Mkdir(a.runDir, 0o700); err != nil && err != syscall.EEXIST {
		return startFailed(a, "cannot make the run directory", err)
	}
	if err := stdio(a); err != nil {
		return startFailed(a, "cannot open the log of the keeper", err)
	}
	exe := readOnlySelf()
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return startFailed(a, "cannot make a mount namespace", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		return startFailed(a, "cannot separate the mounts", err)
	}
	if err := syscall.Chdir("/"); err != nil {
		return startFailed(a, "cannot change to /", err)
	}
	_, _, _ = syscall.Syscall(sysCloseRange, 3, maxFD, closeCloexec) // fails for no kernel from 5.11 on
	if a.ready >= 0 {
		if err := keepAt(a.ready, readyFD, &exe); err != nil {
			return startFailed(a, "cannot keep a descriptor", err)
		}
	}
	return startFailed(a, "cannot execute the keeper", execute(exe, a, -1))
}

// keepAt moves a descriptor to a number that survives execve, and another out of its way.
func keepAt(fd, at int, other *int) error {
	if *other == at {
		n, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(*other), syscall.F_DUPFD_CLOEXEC, 10)
		if e != 0 {
			return e
		}
		*other = int(n)
	}
	if fd == at {
		_, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
		return errnoErr(e)
	}
	return syscall.Dup3(fd, at, 0)
}

// stdio puts /dev/null and the log in the place of what the caller had.
func stdio(a arguments) error {
	null, err := open("/dev/null", syscall.O_RDWR, 0)
	if err != nil {
		return err
	}
	log, err := open(a.runDir+"/"+wire.LogName, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	var st syscall.Stat_t
	if syscall.Fstat(log, &st) == nil && st.Size > 1<<20 {
		_ = syscall.Ftruncate(log, 0) // a few lines per start: this much is history
	}
	for to, from := range []int{null, log, log} {
		if err := syscall.Dup3(from, to, 0); err != nil && from != to {
			return err
		}
	}
	return nil
}

// readOnlySelf is a copy of the running binary's mount that cannot be written through, so that a container that gets hold of
// /proc/PID/exe cannot change the binary. Where the kernel cannot, it is the binary itself.
func readOnlySelf() int {
	fd, err := readOnly("/proc/self/exe")
	if err != nil {
		fd, _ = open("/proc/self/exe", 0x200000 /* O_PATH */, 0)
	}
	return fd
}

func readOnly(path string) (int, error) {
	p, err := syscall.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	at := atFDCWD
	fd, _, e := syscall.Syscall(sysOpenTree, uintptr(at), uintptr(unsafe.Pointer(p)), openTreeClone|syscall.O_CLOEXEC)
	if e != 0 {
		return -1, e
	}
	attr := [4]uint64{mountAttrRDOnly}
	var empty byte
	_, _, e = syscall.Syscall6(sysMountSetattr, fd, uintptr(unsafe.Pointer(&empty)), atEmptyPath, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		syscall.Close(int(fd))
		return -1, e
	}
	return int(fd), nil
}

// execute replaces the process by the serving stage. state is the descriptor an upgrade leaves, or -1. It returns only on failure.
func execute(exe int, a arguments, state int) error {
	argv := []string{a.argv0, "keeper", "--run-dir", a.runDir}
	for _, c := range a.cgroups {
		argv = append(argv, "--cgroup", c)
	}
	if a.ready >= 0 {
		argv = append(argv, "--ready-fd", strconv.Itoa(readyFD))
	}
	// A small heap makes fork cheap; two processors are what spawning can use.
	env := []string{stageEnv + "=serve", "GOMAXPROCS=2", "GOGC=20", "GODEBUG=disablethp=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if state >= 0 {
		env = append(env, stateEnv+"="+strconv.Itoa(state))
	}
	// It also puts back the limit of open files that package os raised.
	return syscall.Exec("/proc/self/fd/"+strconv.Itoa(exe), argv, env)
}

// startFailed reports a failed start to the log and to who waits for it.
func startFailed(a arguments, what string, err error) int {
	complain(what, err)
	tell(a.ready, "E"+what+": "+err.Error())
	return 1
}

// tell writes the outcome of the start: R ready, B another keeper serves, E and a text.
func tell(fd int, text string) {
	if fd >= 0 {
		_, _ = syscall.Write(fd, []byte(text)) // EPIPE: nobody waits any more
		syscall.Close(fd)
	}
}

func complain(what string, err error) {
	text := "berth keeper: " + what
	if err != nil {
		text += ": " + err.Error()
	}
	_, _ = os.Stderr.WriteString(text + "\n") // there is no other place to complain to
}
