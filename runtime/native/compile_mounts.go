package native

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/keeper/program"
)

const (
	// Sizes of struct mount_attr and struct open_how, as the kernel has known them from their first version.
	mountAttrSize = 32
	openHowSize   = 24
	// maxMountOptions is what mount(2) takes, the ending NUL included: one page.
	maxMountOptions = 4096
)

// mountAttr lays out a struct mount_attr.
func (c *compiler) mountAttr(set uint64, userNS program.Arg) program.Arg {
	return c.Words(program.Imm(set), program.Imm(0), program.Imm(0), userNS)
}

// idmap shows the layers of all images of the container with the pod's ids.
func (c *compiler) idmap() {
	if c.in.idBase == 0 || len(c.in.layers) == 0 {
		return
	}
	all := c.in.layers
	for _, a := range c.in.attachments {
		all = append(slices.Clip(all), a.layers...)
	}
	parent, _ := shareParent(all)
	c.idmapLayers(parent)
	if c.in.skeleton != "" {
		c.idmapLayers(c.in.skeleton)
	}
}

// openSources opens the trees that exist in the keeper's mount namespace only, while their paths can still be reached.
func (c *compiler) openSources() error {
	next := regSource
	for i, a := range c.in.attachments {
		if a.source == "" && a.layers == nil {
			continue
		}
		if next >= program.Registers {
			return fmt.Errorf("cannot mount %s: more than %d volumes in memory in one container: %w", a.what, program.Registers-regSource, runtime.ErrNotSupported)
		}
		if a.layers != nil {
			if err := c.mountImage(a); err != nil {
				return err
			}
			a.source = c.in.root
		}
		const clone = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
		if a.sub == "" {
			c.Call("open "+a.what, unix.SYS_OPEN_TREE, program.Imm(atFDCWD), c.String(a.source), program.Imm(clone)).SaveTo = uint8(1 + next)
		} else {
			c.openat("open "+a.what, a.source, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW).SaveTo = 1 + regScratch
			c.Call("open "+a.what+" subPath "+a.sub, unix.SYS_OPENAT2, program.Reg(regScratch), c.String(a.sub),
				c.openHow(unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS), program.Imm(openHowSize)).SaveTo = 1 + regScratch
			c.Call("open "+a.what+" subPath "+a.sub, unix.SYS_OPEN_TREE, program.Reg(regScratch), c.String(""),
				program.Imm(clone|unix.AT_EMPTY_PATH)).SaveTo = uint8(1 + next)
		}
		if a.readOnly {
			c.Call("make "+a.what+" read-only", unix.SYS_MOUNT_SETATTR, program.Reg(next), c.String(""), program.Imm(unix.AT_EMPTY_PATH),
				c.mountAttr(unix.MOUNT_ATTR_RDONLY, program.Imm(0)), program.Imm(mountAttrSize))
		}
		if a.layers != nil {
			c.Call("let go of "+a.what, unix.SYS_UMOUNT2, c.String(c.in.root), program.Imm(unix.MNT_DETACH))
		}
		c.sources[i] = next
		next++
	}
	return nil
}

// mountImage mounts an image's files where the root file system comes to stand later. Overlayfs without an upper directory wants two
// layers: the empty directory is one more.
func (c *compiler) mountImage(a attachment) error {
	parent, names := shareParent(a.layers)
	options := "lowerdir=" + strings.Join(append(names, escapeLower(c.in.root)), ":")
	if len(options) >= maxMountOptions {
		return fmt.Errorf("cannot mount %s: %d layers are too many: %w", a.what, len(names), runtime.ErrNotSupported)
	}
	c.Call("enter the layers of "+a.what, unix.SYS_CHDIR, c.String(parent))
	c.Call("mount "+a.what, unix.SYS_MOUNT, c.String("overlay"), c.String(c.in.root), c.String("overlay"),
		program.Imm(unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), c.String(options))
	return nil
}

func (c *compiler) openHow(flags, resolve uint64) program.Arg {
	return c.Words(program.Imm(flags|unix.O_CLOEXEC), program.Imm(0), program.Imm(resolve))
}

// rootfs mounts the overlay. Layers are named relative to the directory they share, so that many fit into one page of options.
func (c *compiler) rootfs() error {
	if len(c.in.layers) == 0 {
		return fmt.Errorf("cannot mount the root file system: the image has no layers: %w", runtime.ErrNotSupported)
	}
	parent, names := shareParent(c.in.layers)
	if c.in.skeleton != "" {
		names = append(names, escapeLower(c.in.skeleton))
	}
	options := "lowerdir=" + strings.Join(names, ":") + ",upperdir=" + escapeOption(c.in.upper) + ",workdir=" + escapeOption(c.in.work) + ",volatile"
	if len(options) >= maxMountOptions {
		return fmt.Errorf("cannot mount the root file system: %d layers are too many: %w", len(names), runtime.ErrNotSupported)
	}
	c.Call("enter the layers", unix.SYS_CHDIR, c.String(parent))
	c.Call("mount overlay", unix.SYS_MOUNT, c.String("overlay"), c.String(c.in.root), c.String("overlay"), program.Imm(0), c.String(options))
	return nil
}

// idmapLayers shows the layers with the pod's ids: one idmapped mount of the directory they share, over itself. It must be attached
// before overlayfs takes it: kernels before 6.15 do not take a detached one.
func (c *compiler) idmapLayers(parent string) {
	c.Call("open the layers", unix.SYS_OPEN_TREE, program.Imm(atFDCWD), c.String(parent),
		program.Imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).SaveTo = 1 + regTree
	c.Call(stepIDMap+" in the layers", unix.SYS_MOUNT_SETATTR, program.Reg(regTree), c.String(""), program.Imm(unix.AT_EMPTY_PATH),
		c.mountAttr(unix.MOUNT_ATTR_IDMAP, program.Slot(program.SlotUserNS)), program.Imm(mountAttrSize))
	c.Call("attach the layers", unix.SYS_MOVE_MOUNT, program.Reg(regTree), c.String(""), program.Imm(atFDCWD), c.String(parent),
		program.Imm(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// stepIDMap is the step that fails where the kernel or file system cannot show files with other ids.
const stepIDMap = "show files with the pod's ids"

// shareParent splits layers (lowest first) into the directory they share and their escaped names below it, topmost first.
func shareParent(layers []string) (string, []string) {
	parent := filepath.Dir(layers[0])
	for _, l := range layers[1:] {
		for parent != "/" && !strings.HasPrefix(l, parent+"/") {
			parent = filepath.Dir(parent)
		}
	}
	names := make([]string, 0, len(layers))
	for _, l := range layers {
		names = append(names, escapeLower(strings.TrimPrefix(strings.TrimPrefix(l, parent), "/")))
	}
	slices.Reverse(names)
	return parent, names
}

var (
	optionEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	lowerEscaper  = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`)
)

func escapeOption(s string) string { return optionEscaper.Replace(s) }
func escapeLower(s string) string  { return lowerEscaper.Replace(s) }

// pivot makes the overlay the root. It comes before all other mounts: from here every path is inside the container, so that an
// image's symbolic links reach nothing of the machine.
func (c *compiler) pivot() {
	c.Call("enter the root file system", unix.SYS_CHDIR, c.String(c.in.root))
	c.Call("pivot_root", unix.SYS_PIVOT_ROOT, c.String("."), c.String("."))
	c.Call("let go of the machine's file systems", unix.SYS_UMOUNT2, c.String("."), program.Imm(unix.MNT_DETACH))
	c.Call("enter the root file system", unix.SYS_CHDIR, c.String("/"))
}

func (c *compiler) systemMounts() {
	for _, m := range c.in.spec.Mounts {
		if m.Type == "cgroup" {
			c.cgroupMounts(m)
			continue
		}
		c.mountPoint(m.Destination)
		c.mount("mount "+m.Destination, m.Type, m.Source, m.Destination, m.Options)
		if m.Destination == "/dev" {
			c.devices()
		}
	}
}

// mountPoint makes a directory for one of the kernel's file systems and refuses a symbolic link there: an image could else lead /proc
// elsewhere. Only the last component can be the image's: what is below /dev and /sys is on file systems mounted just before.
func (c *compiler) mountPoint(dest string) {
	made := c.Call("make "+dest, unix.SYS_MKDIRAT, program.Imm(atFDCWD), c.String(dest), program.Imm(0o755))
	made.Ignore = [3]syscall.Errno{syscall.EEXIST}
	c.openat("use "+dest+" (it must be a directory, not a link)", dest, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW).SaveTo = 1 + regScratch
}

func (c *compiler) mount(name, fstype, source, dest string, options []string) {
	flags, data := mountOptions(options)
	c.Call(name, unix.SYS_MOUNT, c.String(source), c.String(dest), c.String(fstype), program.Imm(flags), c.String(data))
}

// mountOptions splits the words of mount -o into the flags of mount(2) and what is the file system's own.
func mountOptions(options []string) (uintptr, string) {
	flags := map[string]uintptr{
		"ro": unix.MS_RDONLY, "rw": 0, "nosuid": unix.MS_NOSUID, "noexec": unix.MS_NOEXEC, "nodev": unix.MS_NODEV,
		"strictatime": unix.MS_STRICTATIME, "relatime": unix.MS_RELATIME,
	}
	var set uintptr
	var data []string
	for _, o := range options {
		if f, ok := flags[o]; ok {
			set |= f
			continue
		}
		data = append(data, o)
	}
	return set, strings.Join(data, ",")
}

// devices fills the fresh /dev.
func (c *compiler) devices() {
	made := map[string]bool{"/dev": true}
	for _, d := range c.in.spec.Linux.Devices {
		c.deviceDirs(path.Dir(d.Path), made)
		mode := uint32(unix.S_IFCHR)
		if d.Type == "b" {
			mode = unix.S_IFBLK
		}
		if d.FileMode != nil {
			mode |= uint32(d.FileMode.Perm())
		}
		c.Call("make "+d.Path, unix.SYS_MKNODAT, program.Imm(atFDCWD), c.String(d.Path), program.Imm(mode),
			program.Imm(unix.Mkdev(uint32(d.Major), uint32(d.Minor))))
		owner, group := c.in.idBase, c.in.idBase
		if d.UID != nil && d.GID != nil {
			owner, group = *d.UID, *d.GID
		}
		if owner != 0 || group != 0 {
			c.Call("own "+d.Path, unix.SYS_FCHOWNAT, program.Imm(atFDCWD), c.String(d.Path), program.Imm(owner), program.Imm(group),
				program.Imm(unix.AT_SYMLINK_NOFOLLOW))
		}
	}
	for _, l := range [][2]string{
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
		{"pts/ptmx", "/dev/ptmx"},
	} {
		c.Call("link "+l[1], unix.SYS_SYMLINKAT, c.String(l[0]), program.Imm(atFDCWD), c.String(l[1]))
	}
}

func (c *compiler) deviceDirs(dir string, made map[string]bool) {
	if made[dir] || !strings.HasPrefix(dir, "/dev/") {
		return
	}
	c.deviceDirs(path.Dir(dir), made)
	made[dir] = true
	c.Call("make "+dir, unix.SYS_MKDIRAT, program.Imm(atFDCWD), c.String(dir), program.Imm(0o755))
}

// cgroupMounts shows the container its own groups, as binds of them: a new mount of a hierarchy takes many times as long. With v1 every
// hierarchy the container is in gets a directory of its own.
func (c *compiler) cgroupMounts(m specs.Mount) {
	flags, _ := mountOptions(m.Options)
	groups := c.in.cgroups
	if len(groups) == 0 {
		return
	}
	if groups[0].name != "" {
		c.Call("mount "+m.Destination, unix.SYS_MOUNT, c.String("tmpfs"), c.String(m.Destination), c.String("tmpfs"),
			program.Imm(flags&^unix.MS_RDONLY), c.String("mode=755,size=4k"))
	}
	for _, g := range groups {
		at := path.Join(m.Destination, g.name)
		if g.name != "" {
			c.Call("make "+at, unix.SYS_MKDIRAT, program.Imm(atFDCWD), c.String(at), program.Imm(0o755))
		}
		c.Call("mount "+at, unix.SYS_MOVE_MOUNT, program.Slot(g.slot), c.String(""), program.Imm(atFDCWD), c.String(at),
			program.Imm(unix.MOVE_MOUNT_F_EMPTY_PATH))
	}
	if groups[0].name != "" && flags&unix.MS_RDONLY != 0 {
		c.Call("make "+m.Destination+" read-only", unix.SYS_MOUNT_SETATTR, program.Imm(atFDCWD), c.String(m.Destination), program.Imm(0),
			c.mountAttr(unix.MOUNT_ATTR_RDONLY, program.Imm(0)), program.Imm(mountAttrSize))
	}
}

// maskPaths hides files behind the container's own /dev/null and directories behind empty ones. What this kernel does not have is left out.
// What is a directory is asked first: a mount that does not fit costs the kernel as much as one that is taken away.
func (c *compiler) maskPaths() {
	none := [3]syscall.Errno{syscall.ENOENT, syscall.ENOTDIR}
	for _, p := range c.in.spec.Linux.MaskedPaths {
		dir := c.openat("look at "+p, p, unix.O_PATH|unix.O_DIRECTORY)
		dir.Ignore, dir.SkipOnError = none, 2
		c.Call("mask "+p, unix.SYS_MOUNT, c.String("tmpfs"), c.String(p), c.String("tmpfs"),
			program.Imm(unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), c.String("size=4k,mode=755"))
		c.Call("mask "+p, program.NRJump, program.Imm(c.Len()+2))
		c.Call("mask "+p, unix.SYS_MOUNT, c.String("/dev/null"), c.String(p), program.Imm(0), program.Imm(unix.MS_BIND), program.Imm(0)).Ignore = none
	}
	for _, p := range c.in.spec.Linux.ReadonlyPaths {
		bind := c.Call("make "+p+" read-only", unix.SYS_MOUNT, c.String(p), c.String(p), program.Imm(0), program.Imm(unix.MS_BIND|unix.MS_REC), program.Imm(0))
		bind.Ignore = [3]syscall.Errno{syscall.ENOENT}
		bind.SkipOnError = 1
		c.Call("make "+p+" read-only", unix.SYS_MOUNT, program.Imm(0), c.String(p), program.Imm(0),
			program.Imm(unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), program.Imm(0))
	}
}
