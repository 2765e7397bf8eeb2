package native

import (
	"fmt"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// hierarchy is a cgroup file system of the machine.
type hierarchy struct {
	mountpoint string
	v2         bool
}

// name is the directory's name below /sys/fs/cgroup.
func (h hierarchy) name() string { return path.Base(h.mountpoint) }

// groupTree is a container's group in one hierarchy, to be shown inside the container.
type groupTree struct {
	name string // of the directory below /sys/fs/cgroup; "" for /sys/fs/cgroup itself
	dir  string // on the machine
	slot int
}

// readHierarchies finds the machine's cgroup file systems.
func readHierarchies() ([]hierarchy, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("cannot find cgroup file systems: %w", err)
	}
	list := make([]hierarchy, 0, len(mounts))
	for _, m := range mounts {
		list = append(list, hierarchy{mountpoint: m.Mountpoint, v2: m.FSType == "cgroup2"})
	}
	return list, nil
}

// groupTrees are the groups of a container that is born in v2dir and writes itself to taskFiles. Where there is v2 alone its group is
// all of /sys/fs/cgroup; else every hierarchy has its directory there.
func groupTrees(all []hierarchy, taskFiles []string, v2dir string) []groupTree {
	if len(taskFiles) == 0 {
		if v2dir == "" {
			return nil
		}
		return []groupTree{{dir: v2dir}}
	}
	var list []groupTree
	for _, h := range all {
		for _, file := range taskFiles {
			if !h.v2 && strings.HasPrefix(file, h.mountpoint+"/") {
				list = append(list, groupTree{name: h.name(), dir: path.Dir(file)})
			}
		}
		if h.v2 && strings.HasPrefix(v2dir, h.mountpoint+"/") {
			list = append(list, groupTree{name: h.name(), dir: v2dir})
		}
	}
	return list
}
