package keeper

import (
	"syscall"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// sandbox is a set of namespaces, held as descriptors.
type sandbox struct {
	id    string
	flags uintptr
	ready bool           // guarded by the keeper's lock
	ns    [len(nsOf)]int // -1 where it has none of its own
	first *process       // keeps the pid namespace; nil without
}

// nsOf are the namespaces of a sandbox, in the order of their slots.
var nsOf = [...]struct {
	flag uintptr
	name string
}{{cloneNewUser, "user"}, {cloneNewNet, "net"}, {cloneNewIPC, "ipc"}, {cloneNewUTS, "uts"}, {cloneNewPID, "pid"}}

// bornFlags are the namespaces that a sandbox can get from its first container.
const bornFlags = cloneNewNet | cloneNewIPC | cloneNewUTS

const sandboxFlags = cloneNewUser | cloneNewNet | cloneNewIPC | cloneNewUTS | cloneNewPID

const (
	netIndex = 1
	pidIndex = 4
)

func newSandbox(id string, flags uintptr) *sandbox {
	b := &sandbox{id: id, flags: flags}
	for i := range b.ns {
		b.ns[i] = -1
	}
	return b
}

// fill puts the namespaces into their slots and returns the pid namespace to be born in, or -1. A nil sandbox has none.
func (b *sandbox) fill(t *program.Table) int {
	if b == nil {
		return -1
	}
	for i, fd := range b.ns {
		t[program.SlotUserNS+i] = int32(fd)
	}
	return b.ns[pidIndex]
}

// open opens the namespaces of a living process.
func (b *sandbox) open(pid int) error {
	for i, ns := range nsOf {
		if b.flags&ns.flag == 0 {
			continue
		}
		fd, err := open("/proc/"+itoa(pid)+"/ns/"+ns.name, syscall.O_RDONLY, 0)
		if err != nil {
			return err
		}
		b.ns[i] = fd
	}
	return nil
}

// close lets the namespaces go.
func (b *sandbox) close() {
	for i := range b.ns {
		closeFD(&b.ns[i])
	}
	if b.first != nil {
		b.first.kill()
		b.first.whenEnded(b.first.release)
	}
}

func (r *request) sandbox() {
	var m wire.Sandbox
	wire.Decode(r.packet, &m)
	box, fail := r.k.makeSandbox(r, &m)
	if fail != nil {
		r.fail(fail)
		return
	}
	var made wire.SandboxMade
	if box.first != nil {
		made = wire.SandboxMade{PID: box.first.pid, Ticks: box.first.ticks}
	}
	net, _ := r.k.copyNetNS(m.ID)
	defer closeFD(&net)
	r.reply(&made, net)
}

func (k *keeper) makeSandbox(r *request, m *wire.Sandbox) (_ *sandbox, fail *wire.Failure) {
	prog, files, fail := r.program(&m.Program)
	switch flags := uintptr(m.Flags); {
	case fail != nil:
		return nil, fail
	case !validID(m.ID):
		return nil, invalid("id " + quote(m.ID) + " is not one")
	case flags&^sandboxFlags != 0:
		return nil, invalid("a sandbox has no such namespaces")
	case flags&cloneNewPID != 0 != m.KeepAlive:
		return nil, invalid("a pid namespace and KeepAlive go together")
	}
	box := newSandbox(m.ID, uintptr(m.Flags))
	k.mu.Lock()
	if k.sandboxes[m.ID] != nil {
		k.mu.Unlock()
		return nil, &wire.Failure{Code: wire.CodeExists, Text: "sandbox " + m.ID}
	}
	k.sandboxes[m.ID] = box
	k.mu.Unlock()
	if m.Flags != 0 || prog.Len() > 0 {
		fail = k.fillSandbox(box, m, prog, files)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if fail != nil {
		delete(k.sandboxes, m.ID)
		box.close()
		return nil, fail
	}
	box.ready = true
	return box, nil
}

func (k *keeper) fillSandbox(box *sandbox, m *wire.Sandbox, prog program.Program, files []int) *wire.Failure {
	b := &birth{flags: box.flags, cgroup: m.CgroupDir, pidns: -1, opening: k.gated, program: prog, timeout: timeout(m.Timeout)}
	if m.KeepAlive {
		var err error
		if b.closing, b.endNames, err = keepAliveSteps(k.runDir, m.ID); err != nil {
			return errnoFailure("lay out a sandbox's last steps", err)
		}
	}
	b.cloned = func(p *process, _ *int) *wire.Failure {
		if box.flags&cloneNewUser != 0 {
			for file, text := range map[string]string{"/uid_map": m.UIDMap, "/gid_map": m.GIDMap} {
				if err := writeFile("/proc/"+itoa(p.pid)+file, text); err != nil {
					return errnoFailure("write "+file[1:], err)
				}
			}
		}
		if err := box.open(p.pid); err != nil {
			return errnoFailure("open the namespaces", err)
		}
		return nil
	}
	s := k.borrow(files)
	defer k.giveBack(s)
	s.slots[slotPause] = int32(k.pause)
	made, fail := k.spawn(s, b)
	switch {
	case fail != nil:
		return fail
	case m.KeepAlive:
		box.first = made.process
	default:
		made.whenEnded(made.release)
	}
	return nil
}

// copyNetNS duplicates the network namespace of a sandbox; -1 and false when there is none.
func (k *keeper) copyNetNS(id string) (int, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	box := k.sandboxes[id]
	if box == nil || !box.ready || box.ns[netIndex] < 0 {
		return -1, false
	}
	fd, err := dup(box.ns[netIndex])
	return fd, err == nil
}

func (r *request) sandboxFD() {
	var m wire.ID
	wire.Decode(r.packet, &m)
	fd, ok := r.k.copyNetNS(m.ID)
	if !ok {
		r.fail(&wire.Failure{Code: wire.CodeNotFound, Text: "network namespace of sandbox " + m.ID})
		return
	}
	defer syscall.Close(fd)
	r.reply(nil, fd)
}

func (r *request) forgetSandbox() {
	var m wire.ID
	wire.Decode(r.packet, &m)
	k := r.k
	k.mu.Lock()
	box := k.sandboxes[m.ID]
	found := box != nil
	if found {
		if !box.ready { // being made for a controller that may be gone
			k.mu.Unlock()
			r.fail(&wire.Failure{Code: wire.CodeBusy, Text: "sandbox " + m.ID})
			return
		}
		for _, c := range k.containers {
			if c.sandbox == m.ID && c.process == nil { // being made from it right now
				k.mu.Unlock()
				r.fail(&wire.Failure{Code: wire.CodeBusy, Text: "sandbox " + m.ID})
				return
			}
		}
		delete(k.sandboxes, m.ID)
		box.close()
	}
	k.mu.Unlock()
	if !found {
		r.fail(&wire.Failure{Code: wire.CodeNotFound, Text: "sandbox " + m.ID})
		return
	}
	r.reply(nil, -1)
}
