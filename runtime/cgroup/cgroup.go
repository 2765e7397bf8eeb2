// Package cgroup keeps berth's groups in the machine's cgroup trees: one root group per instance, below it the keeper and one group per pod
// and container.
//
//	berth-ID/                  the instance
//	  keeper/                  the keeper, which moves itself there
//	  restricted/              v1 devices hierarchy only: every container that is not privileged
//	  pods/UID/                a pod; the limit on its tasks
//	    CONTAINER/             a container; limits on cpu and memory
//
// On a pure v2 machine that is all. On v1 the same names exist in each hierarchy, but only where they hold a limit, because every directory
// costs time at every start: a container without cpu limits is in the nearest group above it in the cpu hierarchy, and so on; all containers
// of a pod share its group in pids. Where a v2 tree is mounted beside v1 (hybrid), each container has a group in it too, without controllers,
// for cgroup.kill and cgroup.events; without one the v1 freezer (else pids, else memory) takes that part. What is lost on v1: a container
// without a memory limit that the kernel kills when the whole machine is out of memory is not told apart from one killed by a signal. In cpuset and
// cpuacct, which limit nothing, all containers share berth-ID/pods: they are there for programs that look for them.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"berth/runtime/internal/sys"
)

// Tree is the groups of one instance of berth, over all hierarchies that the machine has. It is safe for concurrent use.
type Tree struct {
	id string
	h  hierarchies
	// deviceProgram loads the v2 device rules once per process.
	deviceProgram func() (*sys.FD, error)

	mu       sync.Mutex
	warnings []string
	// v2Controllers are those of cpu, memory and pids that the v2 tree has and that could be handed down so far.
	v2Controllers []string
}

var validID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Open finds the machine's hierarchies (pure v2, v1, or both). It changes nothing.
func Open(id string) (*Tree, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("cannot use %q as the name of a group", id)
	}
	h, err := readHierarchies()
	if err != nil {
		return nil, err
	}
	t := &Tree{id: id, h: h, deviceProgram: sync.OnceValues(loadDeviceProgram)}
	if h.v2 != "" {
		available := controllersOf(h.v2)
		for _, c := range []string{"cpu", "memory", "pids"} {
			if h.v1[c] == "" && slices.Contains(available, c) {
				t.v2Controllers = append(t.v2Controllers, c)
			}
		}
	}
	for c, consequence := range consequences {
		if h.v1[c] == "" && !slices.Contains(t.v2Controllers, c) {
			t.warn(fmt.Sprintf("the cgroup controller %q is not available on this machine: %s", c, consequence))
		}
	}
	slices.Sort(t.warnings)
	return t, nil
}

// consequences say what a missing controller means to the user.
var consequences = map[string]string{
	"cpu":    "cpu requests and limits are not enforced",
	"memory": "memory limits are not enforced and OOMKilled is not reported",
	"pids":   "the number of processes in a pod is not limited",
}

// Ensure makes the instance's own groups and hands the controllers down to them. It is idempotent; the keeper's files exist after it.
func (t *Tree) Ensure() error {
	if t.h.v2 != "" {
		t.handDown(t.h.v2)
	}
	for _, mount := range t.h.all() {
		root := filepath.Join(mount, t.rootName())
		if err := mkdir(root); err != nil {
			return err
		}
		if mount == t.h.v2 {
			t.handDown(root)
		}
		for _, name := range []string{"keeper", "pods"} {
			if err := mkdir(filepath.Join(root, name)); err != nil {
				return err
			}
		}
		if mount == t.h.v2 {
			t.handDown(filepath.Join(root, "pods"))
		}
	}
	t.ensureShown()
	return t.ensureRestricted()
}

// handDown enables the controllers for the groups below dir. What cannot be enabled becomes a warning and is not used any more.
func (t *Tree) handDown(dir string) {
	missing := t.controllers()
	if len(missing) == 0 {
		return
	}
	if text, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control")); err == nil {
		missing = slices.DeleteFunc(missing, func(c string) bool { return slices.Contains(strings.Fields(string(text)), c) })
	}
	if len(missing) == 0 || write(dir, "cgroup.subtree_control", "+"+strings.Join(missing, " +")) == nil {
		return
	}
	for _, c := range missing {
		if err := write(dir, "cgroup.subtree_control", "+"+c); err != nil {
			t.warn(fmt.Sprintf("the cgroup controller %q cannot be enabled in %s (%v): %s", c, dir, errors.Unwrap(err), consequences[c]))
			t.mu.Lock()
			t.v2Controllers = slices.DeleteFunc(slices.Clone(t.v2Controllers), func(have string) bool { return have == c })
			t.mu.Unlock()
		}
	}
}

// controllers are the v2 controllers in use.
func (t *Tree) controllers() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.v2Controllers)
}

// KeeperFiles are the files into which the keeper writes its own process id (never 0 or 1), once at start. Ensure must have run.
func (t *Tree) KeeperFiles() []string {
	var files []string
	for _, mount := range t.h.all() {
		files = append(files, filepath.Join(mount, t.rootName(), "keeper", "cgroup.procs"))
	}
	return files
}

// Warnings say what this machine cannot enforce and what follows from it.
func (t *Tree) Warnings() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.warnings)
}

func (t *Tree) warn(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.warnings, text) {
		t.warnings = append(t.warnings, text)
	}
}

func (t *Tree) rootName() string { return "berth-" + t.id }

// podDir is a pod's directory in one hierarchy; containerDir one of its containers'.
func (t *Tree) podDir(mount, uid string) string {
	return filepath.Join(mount, t.rootName(), "pods", uid)
}

func (t *Tree) containerDir(mount, uid, name string) string {
	return filepath.Join(t.podDir(mount, uid), dirName(name))
}

// dirName is the directory of a container. Of all names a container can have only "tasks" is also a file of a v1 group.
func dirName(container string) string {
	if container == "tasks" {
		return "tasks_"
	}
	return container
}

func containerName(dir string) string { return strings.TrimSuffix(dir, "_") }

// place is the mount point of the hierarchy that has a controller, "" when none has. v2 says which language its files speak.
func (t *Tree) place(controller string) (mount string, v2 bool) {
	if m := t.h.v1[controller]; m != "" {
		return m, false
	}
	if slices.Contains(t.controllers(), controller) {
		return t.h.v2, true
	}
	return "", false
}

func checkNames(uid, name string) error {
	if !validID.MatchString(strings.TrimSuffix(uid, "-")) || len(uid) > 64 {
		return fmt.Errorf("cannot use %q as a pod's uid", uid)
	}
	if !validID.MatchString(name) {
		return fmt.Errorf("cannot use %q as a container's name", name)
	}
	return nil
}
