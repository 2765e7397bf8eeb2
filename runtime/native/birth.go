package native

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"berth/runtime"
	"berth/runtime/keeper/client"
)

// A sandbox costs a process of its own: a clone, a switch to it and back, an end, and two more words with the keeper. So a pod's network, ipc
// and uts namespaces come with its first container, whose process is born in them; the keeper holds them from then on, and the network is
// attached while that process makes its mounts. Until then a sandbox is a promise: an address, a group and files.

// birth is the sandbox's part of the program of a container that brings the namespaces along.
type birth struct {
	config   runtime.SandboxConfig
	hostname string
	// from and to are the steps of that part.
	from, to int
}

// comesWithContainer tells whether the namespaces of a pod can come with its first container. User namespaces must be there before their
// mappings are, and a shared pid namespace has a first process of its own.
func comesWithContainer(cfg runtime.SandboxConfig) bool {
	return sandboxFlags(cfg) != 0 && !cfg.UserNamespace && (!cfg.SharePID || cfg.HostPID)
}

// promises tells whether making the sandbox is a promise and nothing else: it asks nothing of the keeper that is to be undone.
func (r *Runtime) promises(p *pod, cfg runtime.SandboxConfig, rec sandboxRecord) bool {
	inMemory := cfg.ShareMemory || slices.ContainsFunc(cfg.Volumes, func(v runtime.Volume) bool { return v.EmptyDir != nil && v.EmptyDir.Memory })
	return comesWithContainer(cfg) && !p.careful && rec.Attempt == 0 && !inMemory
}

// lived tells whether a container has run in the sandbox as it is now.
func (p *pod) lived() bool {
	return slices.ContainsFunc(p.containers, func(c *container) bool { return c.PID != 0 && !c.StartedAt.Before(p.CreatedAt) })
}

// bear sees to it that a sandbox without namespaces gets them: from this start or, where that cannot be, before it.
func (r *Runtime) bear(ctx context.Context, p *pod, s *start) error {
	if s.c.Config.TTY || r.client().Info().Version < client.VersionNamespaces {
		rec := s.sandbox
		if err := r.makeNamespaces(ctx, p, s.sandbox.Config, &rec); err != nil {
			return r.stillborn(p, errors.Join(err, r.dropNamespaces(context.WithoutCancel(ctx), p)))
		}
		return nil
	}
	s.in.birth = &birth{config: s.sandbox.Config, hostname: s.in.spec.Hostname}
	s.in.joinIPC, s.in.joinNet, s.in.joinUTS = false, false, false
	return nil
}

// failed tells whether it was the sandbox's part that made a start fail.
func (b *birth) failed(err error) bool {
	if b == nil {
		return false
	}
	var attach *client.AttachError
	var step *client.StepError
	return errors.As(err, &attach) || errors.Is(err, client.ErrExists) || errors.As(err, &step) && step.Step >= b.from && step.Step < b.to
}

// stillborn gives up a sandbox whose namespaces could not be made. The next one makes them by themselves: then it is the sandbox that fails,
// and no container.
func (r *Runtime) stillborn(p *pod, cause error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.alive, p.born, p.careful = false, false, true
	return fmt.Errorf("%w: cannot make its namespaces: %w", runtime.ErrSandboxGone, cause)
}
