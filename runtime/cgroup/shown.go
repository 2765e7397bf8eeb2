package cgroup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// ensureShown makes the one group that all containers share in each hierarchy which is only shown to them. A machine where that fails does without.
func (t *Tree) ensureShown() {
	for controller, mount := range t.h.shown {
		root := filepath.Join(mount, t.rootName())
		for _, dir := range []string{root, filepath.Join(root, "pods")} {
			if mkdir(dir) != nil || controller == "cpuset" && allowAll(dir) != nil {
				_ = os.Remove(dir) // nothing could be in it
				break
			}
		}
	}
}

// allowAll gives a group of cpuset what the one above has: a new one has no processors, and takes nobody in.
func allowAll(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return fmt.Errorf("cannot read a group: %w", err)
		}
		if err := write(dir, file, string(value)); err != nil {
			return err
		}
	}
	return nil
}

// shownDirs are these groups, as far as they are there, in the order of the controllers' names.
func (t *Tree) shownDirs() []string {
	var dirs []string
	for _, controller := range looked {
		mount := t.h.shown[controller]
		dir := filepath.Join(mount, t.rootName(), "pods")
		if mount != "" && !slices.Contains(dirs, dir) && isDir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (t *Tree) removeShown(ctx context.Context) error {
	for _, mount := range t.h.shown {
		if err := removeWaiting(ctx, filepath.Join(mount, t.rootName())); err != nil {
			return err
		}
	}
	return nil
}
