package native

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"berth/runtime"
)

// pod is what the runtime knows of one pod. The fields are guarded by Runtime.mu; op is held by whoever acts on the pod.
type pod struct {
	op sync.Mutex

	sandboxRecord
	uid string
	// alive means that the keeper holds the sandbox's namespaces, or that they are still to come with its first container.
	alive bool
	// born means that the keeper holds them.
	born bool
	// careful means that they are to be made before the first container: a start that was to bring them along has failed.
	careful bool
	// removing makes ends of containers go unrecorded: the records are about to go themselves.
	removing   bool
	containers []*container
}

// container is one attempt of a container.
type container struct {
	containerRecord
	// done is closed when its first process is gone.
	done chan struct{}
	once sync.Once
	// orphan means that the keeper holds it and no record does.
	orphan bool
}

func newPod(uid string) *pod { return &pod{uid: uid} }

func newContainer() *container { return &container{done: make(chan struct{})} }

func (c *container) end() { c.once.Do(func() { close(c.done) }) }

// at is the attempt's name in the file system.
func (c *container) at() string { return attemptName(c.Config.Name, c.Config.Attempt) }

// keeperID is the attempt's name in the keeper.
func (c *container) keeperID(uid string) string {
	return uid + "/" + c.Config.Name + "/" + strconv.FormatUint(uint64(c.Config.Attempt), 10)
}

// parseKeeperID splits what keeperID has put together.
func parseKeeperID(id string) (uid, name string, attempt uint32, ok bool) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 {
		return "", "", 0, false
	}
	name, attempt, ok = parseAttemptName(parts[1] + "." + parts[2])
	return parts[0], name, attempt, ok
}

func (p *pod) add(c *container) {
	p.containers = append(p.containers, c)
	slices.SortFunc(p.containers, func(a, b *container) int {
		return cmp.Or(cmp.Compare(a.Config.Name, b.Config.Name), cmp.Compare(a.Config.Attempt, b.Config.Attempt))
	})
}

func (p *pod) drop(c *container) {
	p.containers = slices.DeleteFunc(p.containers, func(o *container) bool { return o == c })
}

func (p *pod) find(name string, attempt uint32) *container {
	for _, c := range p.containers {
		if c.Config.Name == name && c.Config.Attempt == attempt {
			return c
		}
	}
	return nil
}

// newest is the last attempt of a container, or nil.
func (p *pod) newest(name string) *container {
	for _, c := range slices.Backward(p.containers) {
		if c.Config.Name == name {
			return c
		}
	}
	return nil
}

func (p *pod) running() []*container {
	var list []*container
	for _, c := range p.containers {
		if c.State == runtime.Running {
			list = append(list, c)
		}
	}
	return list
}

func (p *pod) status() runtime.PodStatus {
	st := runtime.PodStatus{
		UID: p.uid, Namespace: p.Config.Namespace, Name: p.Config.Name, Object: p.Config.Object,
		Sandbox: p.sandboxStatus(),
	}
	for _, c := range p.containers {
		st.Containers = append(st.Containers, c.status())
	}
	return st
}

func (p *pod) sandboxStatus() runtime.SandboxStatus {
	st := runtime.SandboxStatus{Ready: p.Ready && p.alive, Attempt: p.Attempt, IP: p.IP, Address6: p.Address6, CreatedAt: p.CreatedAt, Files: fileHashes(p.Config)}
	if p.Stopped { // the address may be another pod's by now
		st.IP, st.FormerIP = "", p.IP
		st.Address6, st.FormerAddress6 = netip.Addr{}, p.Address6
	}
	return st
}

func (c *container) status() runtime.ContainerStatus {
	pid := c.PID
	if c.State != runtime.Running {
		pid = 0
	}
	return runtime.ContainerStatus{
		Name: c.Config.Name, Attempt: c.Config.Attempt, Backoff: c.Config.Backoff, SpecHash: c.Config.SpecHash,
		State: c.State, PID: pid, Image: c.Config.Image, ImageID: c.ImageID,
		StartedAt: c.StartedAt, FinishedAt: c.FinishedAt, ExitCode: c.ExitCode, Signal: c.Signal,
		Reason: c.Reason, Message: c.Message, LogPath: c.LogPath,
	}
}
