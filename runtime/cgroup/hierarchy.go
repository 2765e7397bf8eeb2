package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"berth/runtime"

	"berth/runtime/internal/sys"
)

// hierarchies is where the machine's cgroup trees are mounted.
type hierarchies struct {
	v2 string            // the v2 tree, "" when there is none
	v1 map[string]string // controller, or "name=…", to mount point
	// shown are v1 hierarchies that limit nothing here and are shown to containers all the same: controller to mount point.
	shown map[string]string
}

// wanted are the v1 hierarchies berth has a use for. freezer only stands in for a missing v2 tree; name=systemd is how a v1 systemd finds the
// processes of a service it stops, so the keeper must leave the service there.
var wanted = []string{"cpu", "memory", "pids", "devices", "freezer", "name=systemd"}

// looked are the v1 hierarchies in which berth has no use for a group, but programs look for: a JVM that does not find all of cpu, cpuacct, cpuset and
// memory takes the machine's memory for its own, and is killed at the container's limit.
var looked = []string{"cpuacct", "cpuset"}

func readHierarchies() (hierarchies, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2", false
	})
	if err != nil {
		return hierarchies{}, fmt.Errorf("cannot read the mount table: %w", err)
	}
	h := chooseHierarchies(mounts)
	if h.tracking() == "" {
		return h, fmt.Errorf("cannot find a cgroup tree (neither cgroup2 nor the v1 freezer, pids or memory hierarchy is mounted): %w", runtime.ErrNotSupported)
	}
	return h, nil
}

// chooseHierarchies takes, of several mounts of one hierarchy, the one that shows its root and has the shortest path.
func chooseHierarchies(mounts []*mountinfo.Info) hierarchies {
	mounts = slices.Clone(mounts)
	slices.SortStableFunc(mounts, func(a, b *mountinfo.Info) int {
		if rootA, rootB := a.Root == "/", b.Root == "/"; rootA != rootB {
			if rootA {
				return -1
			}
			return 1
		}
		return len(a.Mountpoint) - len(b.Mountpoint)
	})
	h := hierarchies{v1: map[string]string{}, shown: map[string]string{}}
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			if h.v2 == "" {
				h.v2 = m.Mountpoint
			}
			continue
		}
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if slices.Contains(wanted, option) && h.v1[option] == "" {
				h.v1[option] = m.Mountpoint
			}
			if slices.Contains(looked, option) && h.shown[option] == "" {
				h.shown[option] = m.Mountpoint
			}
		}
	}
	if h.v2 != "" {
		delete(h.v1, "freezer")
	}
	maps.DeleteFunc(h.shown, func(_, mount string) bool { return slices.Contains(slices.Collect(maps.Values(h.v1)), mount) })
	return h
}

// tracking is the hierarchy in which every container has a group, so that its processes can be found: the v2 tree where there is one.
func (h hierarchies) tracking() string {
	if h.v2 != "" {
		return h.v2
	}
	for _, c := range []string{"freezer", "pids", "memory"} {
		if h.v1[c] != "" {
			return h.v1[c]
		}
	}
	return ""
}

// all are the mount points, the tracking one first, the rest sorted.
func (h hierarchies) all() []string {
	var mounts []string
	for _, m := range h.v1 {
		mounts = append(mounts, m)
	}
	slices.Sort(mounts)
	return append([]string{h.tracking()}, slices.DeleteFunc(slices.Compact(mounts), func(m string) bool { return m == h.tracking() })...)
}

// controllersOf are the names in a v2 group's cgroup.controllers.
func controllersOf(dir string) []string {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// write sets one file of a group.
func write(dir, file, value string) error {
	if err := sys.Put(filepath.Join(dir, file), 0, 0, []byte(value)); err != nil {
		return fmt.Errorf("cannot set %s to %q: %w", file, value, err)
	}
	return nil
}

// mkdir makes a group; one that exists is not an error.
func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot make group: %w", err)
	}
	return nil
}
