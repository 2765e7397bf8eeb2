package native

import (
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/program"
)

// attach binds volumes and berth's own files into the container. The target is looked up by the kernel within bounds: it never leaves
// the root, and a link never leads from the image into /proc, /dev, /sys or another volume.
func (c *compiler) attach() {
	for i, a := range c.in.attachments {
		tree := program.Slot(a.slot)
		if reg, ok := c.sources[i]; ok {
			tree = program.Reg(reg)
		}
		if a.idmap {
			c.Call(stepIDMap+" in "+a.what, unix.SYS_MOUNT_SETATTR, tree, c.String(""), program.Imm(unix.AT_EMPTY_PATH|unix.AT_RECURSIVE),
				c.mountAttr(unix.MOUNT_ATTR_IDMAP, program.Slot(program.SlotUserNS)), program.Imm(mountAttrSize))
		}
		resolve := c.resolveFor(i)
		c.open("find "+a.path+" for "+a.what, a.path, resolve, !a.dir)
		c.Call("mount "+a.what+" at "+a.path, unix.SYS_MOVE_MOUNT, tree, c.String(""), program.Reg(regTarget), c.String(""),
			program.Imm(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
	}
}

// resolveFor is how the target of attachment i may be looked up: below another mount, which a neighbour may be changing, links are
// refused altogether; elsewhere they may not lead onto another mount.
func (c *compiler) resolveFor(i int) uint64 {
	const inside = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	under := func(dir string) bool { return strings.HasPrefix(c.in.attachments[i].path+"/", dir+"/") }
	for _, m := range c.in.spec.Mounts {
		if under(m.Destination) {
			return inside | unix.RESOLVE_NO_SYMLINKS
		}
	}
	for _, other := range c.in.attachments[:i] {
		if under(other.path) {
			return inside | unix.RESOLVE_NO_SYMLINKS
		}
	}
	return inside | unix.RESOLVE_NO_XDEV
}

// open leaves a descriptor of p in regTarget and makes what is missing of it: directories, and a file at the end when file is set. A
// link that leads nowhere gives way to what is needed in its place.
func (c *compiler) open(name, p string, resolve uint64, file bool) {
	how := c.openHow(unix.O_PATH, resolve)
	lookup := func(p string) *program.Step {
		s := c.Call(name, unix.SYS_OPENAT2, program.Imm(atFDCWD), c.String(p), how, program.Imm(openHowSize))
		s.SaveTo = 1 + regTarget
		return s
	}
	parts := strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	steps := 1 + len(parts)*c.partSteps()
	c.unlessMissing(lookup(p), steps)
	lookup("/")
	dir := "/"
	for i, part := range parts {
		dir = path.Join(dir, part)
		probe := lookup(dir)
		c.unlessMissing(probe, c.partSteps()-2)
		c.Call("make "+dir, unix.SYS_UNLINKAT, program.Reg(regTarget), c.String(part), program.Imm(0)).Ignore = [3]syscall.Errno{syscall.ENOENT}
		if file && i == len(parts)-1 {
			c.Call("make "+dir, unix.SYS_MKNODAT, program.Reg(regTarget), c.String(part), program.Imm(unix.S_IFREG|0o644), program.Imm(0))
		} else {
			c.Call("make "+dir, unix.SYS_MKDIRAT, program.Reg(regTarget), c.String(part), program.Imm(0o755))
		}
		if c.in.idBase != 0 {
			c.Call("own "+dir, unix.SYS_FCHOWNAT, program.Reg(regTarget), c.String(part),
				program.Imm(c.in.idBase), program.Imm(c.in.idBase), program.Imm(unix.AT_SYMLINK_NOFOLLOW))
		}
		lookup(dir)
	}
}

// partSteps is the number of steps that open needs for each component that may be missing.
func (c *compiler) partSteps() int {
	if c.in.idBase != 0 {
		return 6
	}
	return 5
}

// unlessMissing makes a lookup that succeeds jump over the given number of steps that would make what is missing.
func (c *compiler) unlessMissing(lookup *program.Step, steps int) {
	lookup.Ignore = [3]syscall.Errno{syscall.ENOENT}
	lookup.SkipOnError = 1
	c.Call("go on", program.NRJump, program.Imm(c.Len()+1+steps))
}

// openCwd opens the working directory while the child may still make it. Links of procfs are not followed: one of them could lead to a
// descriptor that the keeper had open.
func (c *compiler) openCwd() {
	cwd := c.in.spec.Process.Cwd
	if cwd == "/" {
		return
	}
	c.open("enter working directory "+cwd, cwd, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS, false)
	c.Call("enter working directory "+cwd, unix.SYS_FCNTL, program.Reg(regTarget), program.Imm(unix.F_DUPFD_CLOEXEC), program.Imm(3)).SaveTo = 1 + regCwd
}
