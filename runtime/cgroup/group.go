package cgroup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Group is one container's group.
type Group struct {
	tree      *Tree
	uid, name string
}

// Dir is the directory to open for CLONE_INTO_CGROUP; "" on a machine without a v2 tree.
func (g *Group) Dir() string {
	if g.tree.h.v2 == "" {
		return ""
	}
	return g.tree.containerDir(g.tree.h.v2, g.uid, g.name)
}

// TaskFiles are the v1 files into which a new single-threaded process of the container writes "0" (itself) before it opens anything else.
func (g *Group) TaskFiles() []string {
	var files []string
	seen := map[string]bool{}
	for _, controller := range []string{"cpu", "memory", "pids", "freezer", "devices"} {
		mount := g.tree.h.v1[controller]
		if mount == "" || seen[mount] {
			continue
		}
		seen[mount] = true
		files = append(files, filepath.Join(g.nearest(controller, mount), "tasks"))
	}
	for _, dir := range g.tree.shownDirs() {
		files = append(files, filepath.Join(dir, "tasks"))
	}
	return files
}

// nearest is the directory a process of the container belongs to in a v1 hierarchy.
func (g *Group) nearest(controller, mount string) string {
	own := g.tree.containerDir(mount, g.uid, g.name)
	if isDir(own) {
		return own
	}
	root := filepath.Join(mount, g.tree.rootName())
	if controller == "devices" {
		return filepath.Join(root, "restricted")
	}
	if pod := filepath.Dir(own); isDir(pod) {
		return pod
	}
	return filepath.Join(root, "pods")
}

// Kill ends every process of the group with SIGKILL. It does not wait. A group that does not exist is not an error.
func (g *Group) Kill() error { return kill(g.tracked()) }

// Pids are the processes of the group and of groups below it. A group that does not exist has none.
func (g *Group) Pids() ([]int, error) { return pids(g.tracked()) }

// Populated says whether a process lives in the group. A group that does not exist is not populated.
func (g *Group) Populated() (bool, error) {
	if g.tree.h.v2 != "" {
		n, err := readCount(filepath.Join(g.tracked(), "cgroup.events"), "populated")
		return n != 0, err
	}
	found, err := pids(g.tracked())
	return len(found) > 0, err
}

// OOMKills counts the processes that the kernel has killed in the group for want of memory.
func (g *Group) OOMKills() (uint64, error) {
	mount, v2 := g.tree.place("memory")
	if mount == "" {
		return 0, nil
	}
	file := "memory.oom_control"
	if v2 {
		file = "memory.events"
	}
	return readCount(filepath.Join(g.tree.containerDir(mount, g.uid, g.name), file), "oom_kill")
}

// Remove removes the group from every hierarchy, waiting for processes that are ending until ctx is done. It kills nothing.
func (g *Group) Remove(ctx context.Context) error {
	for _, mount := range g.tree.h.all() {
		if err := removeWaiting(ctx, g.tree.containerDir(mount, g.uid, g.name)); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) tracked() string {
	return g.tree.containerDir(g.tree.h.tracking(), g.uid, g.name)
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// readCount reads one "key value" line; 0 when the file or the line is not there.
func readCount(path, key string) (uint64, error) {
	text, err := os.ReadFile(path)
	if isGone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read a group: %w", err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if k, value, ok := strings.Cut(line, " "); ok && k == key {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, nil
}
