package native

import (
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/keeper/program"
)

// ownDirs are the image's VOLUMEs that are left to it: nothing of the kernel's or of the pod is mounted there or above. What a pod mounts above stays
// as it is, where others put an empty directory over a part of it that is lost with the container.
func ownDirs(volumes []string, system []specs.Mount, mounts []runtime.Mount) []string {
	var taken []string
	for _, m := range system {
		taken = append(taken, m.Destination)
	}
	for _, m := range mounts {
		taken = append(taken, path.Clean(m.Path))
	}
	return slices.DeleteFunc(slices.Clone(volumes), func(v string) bool {
		return slices.ContainsFunc(taken, func(t string) bool { return strings.HasPrefix(v+"/", t+"/") })
	})
}

// keepOwnDirs makes these directories where the image has only named them. In a root file system that is about to be read-only each becomes a mount
// of its own, which stays writable: the same files, in the container's writable layer. What lies deeper comes first, while no such mount is in the way.
func (c *compiler) keepOwnDirs() {
	for _, dir := range slices.Backward(slices.Sorted(slices.Values(c.in.ownDirs))) {
		name := "find volume " + dir + " of the image"
		c.open(name, dir, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_XDEV, false)
		if !c.in.spec.Root.Readonly {
			continue
		}
		c.Call(name, unix.SYS_OPEN_TREE, program.Reg(regTarget), c.String(""),
			program.Imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)).SaveTo = 1 + regTree
		c.Call("keep volume "+dir+" of the image writable", unix.SYS_MOVE_MOUNT, program.Reg(regTree), c.String(""), program.Reg(regTarget), c.String(""),
			program.Imm(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
	}
}
