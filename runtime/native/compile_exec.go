package native

import (
	"path"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/runtime/keeper/program"
)

// Names of the steps that fail for a reason of the container's own.
const (
	execStep = "execve "
	findStep = "find program "
)

// lastCapability is the greatest number a capability may ever have: the sets are 64 bits wide.
const lastCapability = 63

// terminal opens a pty of the container's own, hands its master to the keeper and makes its other end the controlling terminal.
func (c *compiler) terminal() {
	c.openat("open a terminal", "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY).SaveTo = 1 + regTTY
	c.Call("unlock the terminal", unix.SYS_IOCTL, program.Reg(regTTY), program.Imm(unix.TIOCSPTLCK), c.Bytes(make([]byte, 4)))
	c.Call("open the terminal's other end", unix.SYS_IOCTL, program.Reg(regTTY), program.Imm(unix.TIOCGPTPEER),
		program.Imm(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)).SaveTo = 1 + regTTYPeer
	c.Call("own the terminal", unix.SYS_FCHOWN, program.Reg(regTTYPeer), program.Imm(c.in.idBase+c.in.spec.Process.User.UID), program.Imm(c.in.idBase+ttyGroup))
	c.Call("hand over the terminal", unix.SYS_DUP3, program.Reg(regTTY), program.Slot(program.SlotPTY), program.Imm(unix.O_CLOEXEC))
	c.Call("hand over the terminal", unix.SYS_WRITE, program.Slot(program.SlotReady), c.String("t"), program.Imm(1))
	c.waitAtGate()
	c.standardStreams(program.Reg(regTTYPeer))
	c.console()
}

func (c *compiler) standardStreams(tty program.Arg) {
	for fd := range 3 {
		c.Call("put the terminal in place", unix.SYS_DUP3, tty, program.Imm(fd), program.Imm(0))
	}
	c.Call("take the terminal", unix.SYS_IOCTL, program.Imm(0), program.Imm(unix.TIOCSCTTY), program.Imm(0))
}

// console binds the terminal to /dev/console by its descriptor: a name in /dev/pts is never trusted.
func (c *compiler) console() {
	c.Call("make /dev/console", unix.SYS_MKNODAT, program.Imm(atFDCWD), c.String("/dev/console"), program.Imm(unix.S_IFREG|0o600), program.Imm(0))
	c.Call("open /dev/console", unix.SYS_OPEN_TREE, program.Reg(regTTYPeer), c.String(""),
		program.Imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)).SaveTo = 1 + regTree
	c.Call("mount /dev/console", unix.SYS_MOVE_MOUNT, program.Reg(regTree), c.String(""), program.Imm(atFDCWD), c.String("/dev/console"),
		program.Imm(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// dropPrivileges gives up what the container shall not have. With no_new_privs the filter goes on last, right before execve. Without,
// installing it needs a right that is about to be dropped: the calls that follow must then be in the filter.
func (c *compiler) dropPrivileges(p *specs.Process, caps uint64, filter []byte) {
	if !p.NoNewPrivileges {
		c.seccomp(filter)
	}
	c.boundingSet(caps)
	c.Call("clear ambient capabilities", unix.SYS_PRCTL, program.Imm(unix.PR_CAP_AMBIENT), program.Imm(unix.PR_CAP_AMBIENT_CLEAR_ALL),
		program.Imm(0), program.Imm(0), program.Imm(0))
	c.Call("set supplementary groups", unix.SYS_SETGROUPS, program.Imm(len(p.User.AdditionalGids)), c.groups(p.User.AdditionalGids))
	gid := program.Imm(p.User.GID)
	c.Call("set the group", unix.SYS_SETRESGID, gid, gid, gid)
	c.become(p.User.UID, p.Cwd)
	// Another user than root has lost all sets by now, as Linux has it; for root they are what the bounding set leaves.
	if p.User.UID == 0 {
		c.capset(caps)
	} else {
		c.capset(0)
	}
	c.Call("set umask", unix.SYS_UMASK, program.Imm(0o022))
	c.Call("close descriptors", unix.SYS_CLOSE_RANGE, program.Imm(3), program.Imm(^uint32(0)), program.Imm(unix.CLOSE_RANGE_CLOEXEC))
	if p.NoNewPrivileges {
		c.Call("set no_new_privs", unix.SYS_PRCTL, program.Imm(unix.PR_SET_NO_NEW_PRIVS), program.Imm(1), program.Imm(0), program.Imm(0), program.Imm(0))
		c.seccomp(filter)
	}
}

// become changes the user, in the working directory. Root enters it, as images begin in directories like /root that another user may not enter; only
// where even root may not (a file server's word), that user has to.
func (c *compiler) become(uid uint32, cwd string) {
	user := func() {
		c.Call("set the user", unix.SYS_SETRESUID, program.Imm(uid), program.Imm(uid), program.Imm(uid))
	}
	if cwd == "/" {
		user()
		return
	}
	enter := func() *program.Step {
		return c.Call("enter working directory "+cwd, unix.SYS_FCHDIR, program.Reg(regCwd))
	}
	first := enter()
	first.Ignore, first.SkipOnError = [3]syscall.Errno{syscall.EACCES}, 1
	c.Call("go on", program.NRJump, program.Imm(c.Len()+4))
	user()
	enter()
	c.Call("go on", program.NRJump, program.Imm(c.Len()+2))
	user()
}

// sockFilterSize is the size of one instruction of a filter.
const sockFilterSize = 8

func (c *compiler) seccomp(filter []byte) {
	if len(filter) == 0 {
		return
	}
	prog := c.Words(program.Imm(len(filter)/sockFilterSize), c.Bytes(filter))
	c.Call("install the system call filter", unix.SYS_SECCOMP, program.Imm(unix.SECCOMP_SET_MODE_FILTER), program.Imm(0), prog)
}

func (c *compiler) boundingSet(caps uint64) {
	for n := 0; n <= lastCapability; n++ {
		if caps&(1<<n) == 0 {
			// EINVAL: this kernel does not know the capability.
			c.Call("drop a capability", unix.SYS_PRCTL, program.Imm(unix.PR_CAPBSET_DROP), program.Imm(n), program.Imm(0), program.Imm(0), program.Imm(0)).
				Ignore = [3]syscall.Errno{syscall.EINVAL}
		}
	}
}

func (c *compiler) groups(gids []uint32) program.Arg {
	data := make([]byte, 0, 4*len(gids)+4)
	for _, g := range gids {
		data = append(data, byte(g), byte(g>>8), byte(g>>16), byte(g>>24))
	}
	return c.Bytes(append(data, 0, 0, 0, 0))
}

// capset sets permitted and effective to caps, and inheritable to nothing.
func (c *compiler) capset(caps uint64) {
	header := c.Words(program.Imm(unix.LINUX_CAPABILITY_VERSION_3), program.Imm(0))
	low, high := caps&0xffff_ffff, caps>>32
	// Two structures of {effective, permitted, inheritable}, 32 bits each: the low halves, then the high ones.
	data := c.Words(program.Imm(low|low<<32), program.Imm(high<<32), program.Imm(high))
	c.Call("set capabilities", unix.SYS_CAPSET, header, data)
}

// execute becomes the container's program. A name without a slash is looked for in PATH, as a shell would.
func (c *compiler) execute(p *specs.Process) {
	argv, env := c.Strings(p.Args), c.Strings(p.Env)
	name := p.Args[0]
	if strings.Contains(name, "/") {
		c.Call(execStep+name, unix.SYS_EXECVE, c.String(name), argv, env)
		return
	}
	if name != "" {
		for dir := range strings.SplitSeq(pathOf(p.Env), ":") {
			try := path.Join(firstOf(dir, "."), name)
			c.Call(execStep+try, unix.SYS_EXECVE, c.String(try), argv, env).Ignore = [3]syscall.Errno{syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES}
		}
	}
	// The empty path is never found: this step names what the steps before have tried in vain.
	c.Call(findStep+name, unix.SYS_EXECVE, c.String(""), argv, env)
}

func pathOf(env []string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			return v
		}
	}
	return ""
}
