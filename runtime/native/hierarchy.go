package native

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// hierarchy is a cgroup file system of the machine, to be shown inside containers.
type hierarchy struct {
	mountpoint, fstype string
	// options select the hierarchy when it is mounted again: "memory", "name=systemd".
	options string
}

func (h hierarchy) v2() bool { return h.fstype == "cgroup2" }

// name is the directory's name below /sys/fs/cgroup.
func (h hierarchy) name() string { return path.Base(h.mountpoint) }

// readHierarchies finds the machine's cgroup file systems.
func readHierarchies() ([]hierarchy, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("cannot find cgroup file systems: %w", err)
	}
	var list []hierarchy
	for _, m := range mounts {
		if m.Root != "/" && !strings.HasPrefix(m.Root, "/") {
			continue
		}
		list = append(list, hierarchy{mountpoint: m.Mountpoint, fstype: m.FSType, options: selectors(m)})
	}
	return list, nil
}

// selectors are the words of a v1 mount's options that name the hierarchy: its controllers, or its name.
func selectors(m *mountinfo.Info) string {
	if m.FSType == "cgroup2" {
		return ""
	}
	generic := []string{"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "nosuid", "nodev", "noexec", "relatime"}
	var words []string
	for _, o := range strings.Split(m.VFSOptions, ",") {
		if slices.Contains(generic, o) || strings.HasPrefix(o, "release_agent=") {
			continue
		}
		words = append(words, o)
	}
	return strings.Join(words, ",")
}

// joined are the hierarchies in which a container with these task files has a group of its own.
func joined(all []hierarchy, taskFiles []string, v2dir string) []hierarchy {
	var list []hierarchy
	for _, h := range all {
		inside := func(file string) bool { return strings.HasPrefix(file, h.mountpoint+"/") }
		if slices.ContainsFunc(taskFiles, inside) || v2dir != "" && inside(v2dir) {
			list = append(list, h)
		}
	}
	return list
}
