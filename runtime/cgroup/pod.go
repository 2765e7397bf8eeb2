package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"berth/runtime"
)

// defaultPidsLimit is the greatest number of tasks in a pod that does not say: enough for any server, too few for a fork bomb to hurt.
const defaultPidsLimit = 4096

// CreatePod makes the group of a pod with a limit on its tasks; 0 means 4096. It is idempotent, and runs Ensure when that was not done.
func (t *Tree) CreatePod(uid string, pidsLimit int64) error {
	if err := checkNames(uid, "x"); err != nil {
		return err
	}
	err := t.createPod(uid, pidsLimit)
	if errors.Is(err, os.ErrNotExist) {
		if err := t.Ensure(); err != nil {
			return err
		}
		err = t.createPod(uid, pidsLimit)
	}
	return err
}

func (t *Tree) createPod(uid string, pidsLimit int64) error {
	dir := t.podDir(t.h.tracking(), uid)
	if err := mkdir(dir); err != nil {
		return err
	}
	if t.h.v2 != "" {
		t.handDown(dir)
	}
	pids, _ := t.place("pids")
	if pids == "" {
		return nil
	}
	dir = t.podDir(pids, uid)
	if err := mkdir(dir); err != nil {
		return err
	}
	if pidsLimit <= 0 {
		pidsLimit = defaultPidsLimit
	}
	return write(dir, "pids.max", strconv.FormatInt(pidsLimit, 10))
}

// CreateContainer makes a fresh group with these limits, in a pod that CreatePod has made. What an earlier attempt left is replaced when
// nothing lives in it, and an error when something does.
func (t *Tree) CreateContainer(uid, name string, res runtime.Resources, privileged bool) (_ *Group, err error) {
	if err := checkNames(uid, name); err != nil {
		return nil, err
	}
	var made []string
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot make the cgroup of container %q: %w", name, err)
			for _, dir := range made {
				_ = removeTree(dir)
			}
		}
	}()
	for _, mount := range t.mountsFor(res, privileged) {
		dir := t.containerDir(mount, uid, name)
		if slices.Contains(made, dir) {
			continue // two controllers in one hierarchy
		}
		if err := fresh(dir); err != nil {
			return nil, err
		}
		made = append(made, dir)
	}
	if err := t.limit(uid, name, res); err != nil {
		return nil, err
	}
	g := t.Group(uid, name)
	if !privileged {
		return g, t.restrictDevices(g.Dir())
	}
	return g, nil
}

// mountsFor are the hierarchies in which a container with these limits has a group of its own; the tracking one is the first.
func (t *Tree) mountsFor(res runtime.Resources, privileged bool) []string {
	mounts := []string{t.h.tracking()}
	if m := t.h.v1["cpu"]; m != "" && hasCPU(res) {
		mounts = append(mounts, m)
	}
	if m := t.h.v1["memory"]; m != "" && res.MemoryLimit > 0 {
		mounts = append(mounts, m)
	}
	if m := t.h.v1["devices"]; m != "" && privileged {
		mounts = append(mounts, m)
	}
	return mounts
}

// fresh makes a container's directory, and removes an old one first.
func fresh(dir string) error {
	err := os.Mkdir(dir, 0o755)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := mkdir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o755)
	case errors.Is(err, os.ErrExist):
		if err := removeTree(dir); err != nil {
			return fmt.Errorf("processes of an earlier attempt live: %w", err)
		}
		err = os.Mkdir(dir, 0o755)
	}
	return err
}

// Group names a container's group; it does no I/O, and the group need not exist.
func (t *Tree) Group(uid, name string) *Group { return &Group{t, uid, name} }

// List returns the container names of every pod that has a group in any hierarchy, sorted.
func (t *Tree) List() (map[string][]string, error) {
	pods := map[string][]string{}
	for _, mount := range t.h.all() {
		uids, err := subgroups(t.podDir(mount, ""))
		if err != nil {
			return nil, err
		}
		for _, uid := range uids {
			dirs, err := subgroups(t.podDir(mount, uid))
			if err != nil {
				return nil, err
			}
			names := pods[uid]
			for _, dir := range dirs {
				names = append(names, containerName(dir))
			}
			slices.Sort(names)
			pods[uid] = slices.Compact(names)
		}
	}
	return pods, nil
}

// KillPod ends every process in the pod with SIGKILL. It does not wait. A pod that does not exist is not an error.
func (t *Tree) KillPod(uid string) error {
	if err := checkNames(uid, "x"); err != nil {
		return err
	}
	return kill(t.podDir(t.h.tracking(), uid))
}

// RemovePod removes the pod's groups and all below it, waiting for processes that are ending. It kills nothing. What does not exist is not an error.
func (t *Tree) RemovePod(ctx context.Context, uid string) error {
	if err := checkNames(uid, "x"); err != nil {
		return err
	}
	for _, mount := range t.h.all() {
		if err := removeWaiting(ctx, t.podDir(mount, uid)); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes every group of the instance, waiting for processes that are ending (the keeper among them). It kills nothing.
func (t *Tree) Remove(ctx context.Context) error {
	for _, mount := range t.h.all() {
		if err := removeWaiting(ctx, filepath.Join(mount, t.rootName())); err != nil {
			return err
		}
	}
	return t.removeShown(ctx)
}

// Kill ends every process of the instance, whatever it is.
func (t *Tree) Kill() error { return kill(filepath.Join(t.h.tracking(), t.rootName())) }

// subgroups are the names of the groups directly below dir; none when dir does not exist.
func subgroups(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list groups: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
