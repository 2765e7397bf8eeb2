package keeper

import (
	"os"
	"syscall"

	"berth/runtime/keeper/wire"
)

// listStep is the number of elements in one packet: with ids of the greatest length they still fit.
const listStep = 32

func (r *request) list() {
	m := r.k.snapshot()
	for len(m.Containers)+len(m.Sandboxes) > listStep {
		part := wire.List{More: true}
		n := min(listStep, len(m.Containers))
		part.Containers, m.Containers = m.Containers[:n], m.Containers[n:]
		if n < listStep {
			s := min(listStep-n, len(m.Sandboxes))
			part.Sandboxes, m.Sandboxes = m.Sandboxes[:s], m.Sandboxes[s:]
		}
		r.reply(&part, -1)
	}
	r.reply(&m, -1)
}

func (k *keeper) snapshot() wire.List {
	var m wire.List
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.containers {
		if c.process == nil {
			continue
		}
		e := wire.Container{ID: c.id, Sandbox: c.sandbox, PID: c.process.pid, Ticks: c.process.ticks, StartedAt: c.startedAt.UnixNano(), Ended: c.ended, Exit: c.exit}
		if c.output != nil && c.output.file != nil {
			e.Dropped = c.output.file.dropped.Load()
		}
		m.Containers = append(m.Containers, e)
	}
	for _, b := range k.sandboxes {
		if !b.ready {
			continue
		}
		s := wire.SandboxState{ID: b.id, Flags: uint64(b.flags)}
		if b.first != nil {
			s.PID, s.Ticks = b.first.pid, b.first.ticks
		}
		m.Sandboxes = append(m.Sandboxes, s)
	}
	return m
}

func (r *request) mount() {
	var m wire.Mount
	wire.Decode(r.packet, &m)
	if !below(r.k.runDir, m.Path) {
		r.fail(invalid("mount point " + quote(m.Path) + " is not below the run directory"))
		return
	}
	if r.kind == wire.UnmountKind {
		err := syscall.Unmount(m.Path, syscall.MNT_DETACH|0x8 /* UMOUNT_NOFOLLOW */)
		if err != nil && err != syscall.EINVAL && err != syscall.ENOENT {
			r.fail(errnoFailure("unmount "+m.Path, err))
			return
		}
		r.reply(nil, -1)
		return
	}
	if err := syscall.Mkdir(m.Path, 0o700); err != nil && err != syscall.EEXIST {
		r.fail(errnoFailure("make directory "+m.Path, err))
		return
	}
	if err := syscall.Mount("tmpfs", m.Path, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, m.Options); err != nil {
		r.fail(errnoFailure("mount a tmpfs at "+m.Path, err))
		return
	}
	r.reply(nil, -1)
}

func (r *request) join() {
	var m wire.Join
	wire.Decode(r.packet, &m)
	for _, f := range m.Files {
		if err := joinCgroup(f); err != nil {
			r.fail(errnoFailure("write to "+f, err))
			return
		}
	}
	r.reply(nil, -1)
}

// shutdown ends the keeper. With force what runs is killed, recorded and told first.
func (r *request) shutdown() {
	var m wire.Shutdown
	wire.Decode(r.packet, &m)
	k := r.k
	for {
		k.mu.Lock()
		var running []*container
		making := false
		for _, c := range k.containers {
			if c.process == nil {
				making = true
			} else if !c.ended {
				running = append(running, c)
			}
		}
		if (len(running) > 0 || making) && !m.Force {
			k.mu.Unlock()
			r.fail(&wire.Failure{Code: wire.CodeBusy, Text: "keeper: containers"})
			return
		}
		if len(running) == 0 {
			break // with the lock: nothing new begins
		}
		k.mu.Unlock()
		for _, c := range running {
			c.process.kill()
		}
		for _, c := range running {
			<-c.process.done
			k.loop.call(func() { k.finish(c) })
		}
	}
	for _, b := range k.sandboxes {
		b.close()
	}
	k.proxies.end()
	_ = syscall.Unlink(k.runDir + "/" + wire.ProxiesName)
	_ = syscall.Unlink(k.runDir + "/" + wire.SocketName)
	r.reply(nil, -1)
	os.Exit(0)
}
