// Package cgroup keeps berth's groups in the machine's cgroup trees: one root group per instance, below it the keeper and one group per pod
// and container.
package cgroup

import (
	"context"

	"berth/runtime"
)

// Tree is the groups of one instance of berth, over all hierarchies that the machine has. It is safe for concurrent use.
type Tree struct {
	id string
}

// Group is one container's group.
type Group struct {
	tree      *Tree
	uid, name string
}

// Open finds the machine's hierarchies (pure v2, v1, or both). It changes nothing.
func Open(id string) (*Tree, error) { return &Tree{id: id}, nil }

// Ensure makes the instance's own groups and hands the controllers down to them. It is idempotent; CreatePod needs it to have run once.
func (t *Tree) Ensure() error { return runtime.ErrNotSupported }

// KeeperFiles are the files into which the keeper writes its own process id (never 0 or 1), once at start. Ensure must have run.
func (t *Tree) KeeperFiles() []string { return nil }

// CreatePod makes the group of a pod with a limit on its tasks; 0 means 4096. It is idempotent.
func (t *Tree) CreatePod(uid string, pidsLimit int64) error { return runtime.ErrNotSupported }

// CreateContainer makes a fresh group with these limits. What an earlier attempt left is replaced when it is empty, and an error when it is not.
func (t *Tree) CreateContainer(uid, name string, res runtime.Resources, privileged bool) (*Group, error) {
	return nil, runtime.ErrNotSupported
}

// Group names an existing container's group; it does no I/O.
func (t *Tree) Group(uid, name string) *Group { return &Group{t, uid, name} }

// List returns the container names of every pod that has a group in any hierarchy, sorted.
func (t *Tree) List() (map[string][]string, error) { return nil, runtime.ErrNotSupported }

// KillPod ends every process in the pod with SIGKILL. It does not wait. A pod that does not exist is not an error.
func (t *Tree) KillPod(uid string) error { return runtime.ErrNotSupported }

// RemovePod removes the pod's groups and all below it, waiting for processes that are ending. It kills nothing. What does not exist is not an error.
func (t *Tree) RemovePod(ctx context.Context, uid string) error { return runtime.ErrNotSupported }

// Remove removes every group of the instance, waiting for processes that are ending (the keeper among them). It kills nothing.
func (t *Tree) Remove(ctx context.Context) error { return runtime.ErrNotSupported }

// Warnings say what this machine cannot enforce and what follows from it.
func (t *Tree) Warnings() []string { return nil }

// Dir is the directory to open for CLONE_INTO_CGROUP; "" on a machine without a v2 tree.
func (g *Group) Dir() string { return "" }

// TaskFiles are the v1 files into which a new single-threaded process of the container writes "0" (itself) before it opens anything else.
func (g *Group) TaskFiles() []string { return nil }

// Kill ends every process of the group with SIGKILL. It does not wait. A group that does not exist is not an error.
func (g *Group) Kill() error { return runtime.ErrNotSupported }

// Pids are the processes of the group and of groups below it.
func (g *Group) Pids() ([]int, error) { return nil, runtime.ErrNotSupported }

// Populated says whether a process lives in the group. A group that does not exist is not populated.
func (g *Group) Populated() (bool, error) { return false, runtime.ErrNotSupported }

// OOMKills counts the processes that the kernel has killed in the group for want of memory.
func (g *Group) OOMKills() (uint64, error) { return 0, runtime.ErrNotSupported }

// Remove removes the group from every hierarchy, waiting for processes that are ending until ctx is done. It kills nothing.
func (g *Group) Remove(ctx context.Context) error { return runtime.ErrNotSupported }
