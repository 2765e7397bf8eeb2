package native

import (
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/keeper/program"
)

// programInput is everything a container's program follows from, beside its specification.
type programInput struct {
	spec *runtime.Spec
	// caps is the bounding set as a mask; filter the system call filter, nil for none.
	caps   uint64
	filter []byte
	// idBase is what id 0 of the pod is on the machine; 0 without a user namespace.
	idBase uint32
	// taskFiles are the v1 cgroup files into which the child writes itself.
	taskFiles []string
	// cgroups are the container's groups, to be shown inside.
	cgroups []groupTree
	// input is where the FIFO that becomes standard input is made; "" for none. inputEnds: it is a pipe that the keeper has made and lets end, instead.
	input     string
	inputEnds bool
	// root is an empty directory of berth's own that the root file system is mounted on, in the child's mount namespace only.
	root string
	// layers are the image's, lowest first; upper and work belong to this attempt. skeleton lies below all of them and has the places
	// that berth's own files are mounted on: making these in the upper directory takes far longer.
	layers      []string
	skeleton    string
	upper, work string
	// attachments are what is bound into the container, in order.
	attachments []attachment
	// ownDirs are the places of the image's VOLUMEs that nothing of the pod is mounted on or above.
	ownDirs []string
	// joinIPC, joinNet and joinUTS enter the sandbox's namespaces.
	joinIPC, joinNet, joinUTS bool
	// birth is set for a container that brings the sandbox's namespaces along, instead.
	birth *birth
}

// attachment is a mount tree that is attached inside the container: sent along as a descriptor, or opened by the child from a path
// of berth's own that exists in the keeper's mount namespace only.
type attachment struct {
	what string // "volume data"
	path string // inside the container
	dir  bool
	slot int
	// layers are those of an image, lowest first, from which the child makes the tree.
	layers []string
	// source is opened by the child when it is not empty; sub is resolved inside it.
	source, sub string
	readOnly    bool
	// idmap shows the files with the ids of the pod's user namespace.
	idmap bool
}

// compiler turns the input into steps. Each method appends some; their order in compileContainer is the design of the spawn path.
type compiler struct {
	program.Builder
	in programInput
	// sources holds the register of each attachment that the child opens.
	sources map[int]int
}

// Registers of the program. Those from regSource on hold the trees of attachments.
const (
	regScratch = iota
	regTree
	regTarget
	regNull
	regCwd
	regTTY
	regTTYPeer
	regSource
)

// atFDCWD is where the kernel starts the lookup of a relative path: the current directory.
const atFDCWD = unix.AT_FDCWD

// compileContainer lays out all that a child does between clone3 and execve. The child stays the machine's root until every mount is
// made, in its own mount namespace, and only then enters the pod's user namespace and gives up its rights.
func compileContainer(in programInput) (*program.Builder, error) {
	c := &compiler{in: in, sources: map[int]int{}}
	c.joinCgroups()
	c.oomScore()
	c.Call("start a session", unix.SYS_SETSID)
	c.stdout()
	c.openInput()
	if in.birth != nil {
		in.birth.from = c.Len()
		c.sandbox(in.birth.config, in.birth.hostname)
		in.birth.to = c.Len()
	}
	c.joinSandbox()
	c.Call("make all mounts private", unix.SYS_MOUNT, program.Imm(0), c.String("/"), program.Imm(0), program.Imm(unix.MS_REC|unix.MS_PRIVATE))
	c.idmap()
	if err := c.openSources(); err != nil {
		return nil, err
	}
	if err := c.rootfs(); err != nil {
		return nil, err
	}
	c.pivot()
	c.systemMounts()
	c.stdin()
	c.maskPaths()
	c.attach()
	c.keepOwnDirs()
	c.openCwd()
	if in.spec.Root.Readonly {
		attr := c.mountAttr(unix.MOUNT_ATTR_RDONLY, program.Imm(0))
		c.Call("make the root file system read-only", unix.SYS_MOUNT_SETATTR, program.Imm(atFDCWD), c.String("/"), program.Imm(0), attr, program.Imm(mountAttrSize))
	}
	if in.birth != nil && !in.birth.config.HostNetwork {
		c.loopback() // as late as this: it would stand in the way of the interface that is being attached
	}
	if !in.spec.Process.Terminal { // else the terminal has been handed over there
		c.waitAtGate()
	}
	c.enterUserNamespace(in.idBase != 0)
	c.limits()
	c.dropPrivileges(in.spec.Process, in.caps, in.filter)
	c.execute(in.spec.Process)
	return &c.Builder, nil
}

// joinCgroups makes the child write itself into its v1 groups. "tasks" and not "cgroup.procs": a thread that moves itself takes no global lock.
func (c *compiler) joinCgroups() {
	for _, file := range c.in.taskFiles {
		c.Call("open "+file, unix.SYS_OPENAT, program.Imm(atFDCWD), c.String(file), program.Imm(unix.O_WRONLY|unix.O_CLOEXEC)).SaveTo = 1 + regScratch
		c.Call("enter the group of "+file, unix.SYS_WRITE, program.Reg(regScratch), c.String("0"), program.Imm(1))
	}
}

// oomScore is written while the machine's /proc is in sight and the child may lower it.
func (c *compiler) oomScore() {
	adj := c.in.spec.Process.OOMScoreAdj
	if adj == nil {
		return
	}
	const file = "/proc/self/oom_score_adj"
	text := strconv.Itoa(*adj)
	c.Call("open "+file, unix.SYS_OPENAT, program.Imm(atFDCWD), c.String(file), program.Imm(unix.O_WRONLY|unix.O_CLOEXEC)).SaveTo = 1 + regScratch
	// EACCES: the machine lets nobody lower it here; the one inherited stays.
	c.Call("write "+file, unix.SYS_WRITE, program.Reg(regScratch), c.String(text), program.Imm(len(text))).Ignore = [3]syscall.Errno{syscall.EACCES}
}

func (c *compiler) stdout() {
	if c.in.spec.Process.Terminal {
		return
	}
	c.Call("put standard output in place", unix.SYS_DUP3, program.Slot(program.SlotStdout), program.Imm(1), program.Imm(0))
	c.Call("put standard error in place", unix.SYS_DUP3, program.Slot(program.SlotStderr), program.Imm(2), program.Imm(0))
}

// openInput makes a FIFO standard input. The container's own end is open for both directions, so that it never ends and whoever attaches later
// finds it waiting. One that is to end is a pipe.
func (c *compiler) openInput() {
	if c.in.inputEnds {
		c.Call("put standard input in place", unix.SYS_DUP3, program.Slot(program.SlotStdin), program.Imm(0), program.Imm(0))
		return
	}
	if c.in.input == "" {
		return
	}
	// EEXIST: a start that was cut short has left it.
	c.Call("make "+c.in.input, unix.SYS_MKNODAT, program.Imm(atFDCWD), c.String(c.in.input), program.Imm(unix.S_IFIFO|0o644), program.Imm(0)).
		Ignore = [3]syscall.Errno{syscall.EEXIST}
	c.openat("open "+c.in.input, c.in.input, unix.O_RDWR).SaveTo = 1 + regScratch
	c.Call("put standard input in place", unix.SYS_DUP3, program.Reg(regScratch), program.Imm(0), program.Imm(0))
}

func (c *compiler) joinSandbox() {
	for _, ns := range []struct {
		join       bool
		name       string
		slot, flag int
	}{
		{c.in.joinNet, "network", program.SlotNetNS, unix.CLONE_NEWNET},
		{c.in.joinIPC, "ipc", program.SlotIPCNS, unix.CLONE_NEWIPC},
		{c.in.joinUTS, "uts", program.SlotUTSNS, unix.CLONE_NEWUTS},
	} {
		if ns.join {
			c.Call("join the pod's "+ns.name+" namespace", unix.SYS_SETNS, program.Slot(ns.slot), program.Imm(ns.flag))
		}
	}
	c.Call("make a cgroup namespace", unix.SYS_UNSHARE, program.Imm(unix.CLONE_NEWCGROUP))
	// The keeper's session keyring would be shared by all containers. Where keys are not built in or used up, there is none to share.
	c.Call("start a session keyring", unix.SYS_KEYCTL, program.Imm(unix.KEYCTL_JOIN_SESSION_KEYRING), program.Imm(0)).
		Ignore = [3]syscall.Errno{syscall.ENOSYS, syscall.EDQUOT, syscall.EPERM}
}

// stdin gives the container a /dev/null of its own as standard input, never the machine's, if it has no terminal and nothing to read.
func (c *compiler) stdin() {
	c.openat("open /dev/null", "/dev/null", unix.O_RDWR).SaveTo = 1 + regNull
	if !c.in.spec.Process.Terminal {
		if c.in.input != "" || c.in.inputEnds {
			return
		}
		c.Call("put standard input in place", unix.SYS_DUP3, program.Reg(regNull), program.Imm(0), program.Imm(0))
		return
	}
	c.terminal()
}

// waitAtGate lets the keeper record the child, and the pod's network be attached, before anything of the image runs. At the end of file the keeper is gone, and so must be
// the child: a mapping as long as the answer fails when that is empty.
func (c *compiler) waitAtGate() {
	c.Call("wait for the keeper", unix.SYS_READ, program.Slot(program.SlotGate), c.Bytes(make([]byte, 8)), program.Imm(1)).SaveTo = 1 + regScratch
	c.Call("hear from the keeper", unix.SYS_MMAP, program.Imm(0), program.Reg(regScratch), program.Imm(unix.PROT_NONE),
		program.Imm(unix.MAP_PRIVATE|unix.MAP_ANONYMOUS), program.Imm(-1), program.Imm(0))
}

func (c *compiler) openat(name, path string, flags int) *program.Step {
	return c.Call(name, unix.SYS_OPENAT, program.Imm(atFDCWD), c.String(path), program.Imm(flags|unix.O_CLOEXEC))
}

func (c *compiler) enterUserNamespace(wanted bool) {
	if !wanted {
		return
	}
	c.Call("enter the pod's user namespace", unix.SYS_SETNS, program.Slot(program.SlotUserNS), program.Imm(unix.CLONE_NEWUSER))
	c.Call("become root of the user namespace", unix.SYS_SETRESGID, program.Imm(0), program.Imm(0), program.Imm(0))
	c.Call("become root of the user namespace", unix.SYS_SETRESUID, program.Imm(0), program.Imm(0), program.Imm(0))
	// A copy of the mount namespace that the pod owns: every mount in it is locked, so that no capability in the pod can take one away.
	c.Call("lock all mounts", unix.SYS_UNSHARE, program.Imm(unix.CLONE_NEWNS))
}

func (c *compiler) limits() {
	for _, l := range c.in.spec.Process.Rlimits {
		if l.Type == "RLIMIT_NOFILE" {
			c.nofile(l)
		}
	}
}

func (c *compiler) nofile(l specs.POSIXRlimit) {
	// EPERM: the machine's hard limit is lower and must not be raised; the one inherited stays.
	c.Call("set the limit of open files", unix.SYS_PRLIMIT64, program.Imm(0), program.Imm(unix.RLIMIT_NOFILE),
		c.Words(program.Imm(l.Soft), program.Imm(l.Hard)), program.Imm(0)).Ignore = [3]syscall.Errno{syscall.EPERM}
}
