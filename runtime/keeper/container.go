package keeper

import (
	"syscall"
	"time"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// container is one attempt of a container: the process, its output and what is known of its end.
type container struct {
	id, sandbox string
	exitPath    string
	log         wire.Log
	startedAt   time.Time

	// Guarded by the keeper's lock.
	process *process // nil while it is being made
	ended   bool     // the exit has been recorded and told
	exit    wire.Exit
	pty     int // master of its terminal; -1 for none
	input   int // keeps its standard input from ending; -1 for none

	output *output // used on the loop only
}

func (r *request) start() {
	var m wire.Start
	wire.Decode(r.packet, &m)
	started, fail := r.k.startContainer(r, &m)
	if fail != nil {
		r.fail(fail)
		return
	}
	r.reply(&started.reply, -1)
	// Only now may its end be told: an answer never comes after the event.
	r.k.finishWhenEnded(started.c)
}

// finishWhenEnded lives as long as the container, so it holds nothing else: no request, no program.
func (k *keeper) finishWhenEnded(c *container) {
	c.process.whenEnded(func() { k.loop.post(func() { k.finish(c) }) })
}

type startedContainer struct {
	c     *container
	reply wire.Started
}

func (k *keeper) startContainer(r *request, m *wire.Start) (_ startedContainer, fail *wire.Failure) { //nolint:funlen // one step after the other, each with its undo
	prog, files, fail := r.program(&m.Program)
	if fail != nil {
		return startedContainer{}, fail
	}
	if fail := k.checkStart(m, prog); fail != nil {
		return startedContainer{}, fail
	}
	c := &container{id: m.ID, sandbox: m.Sandbox, exitPath: m.ExitPath, log: m.Log, pty: -1, input: -1}
	box, fail := k.reserve(c, uintptr(m.Namespaces))
	if fail != nil {
		return startedContainer{}, fail
	}
	defer func() {
		if fail != nil {
			k.unreserve(c, box, m.Namespaces != 0)
		}
	}()
	out, ends, fail := k.openOutput(c)
	defer func() {
		for _, e := range ends {
			syscall.Close(e.fd)
		}
	}()
	if fail != nil {
		return startedContainer{}, fail
	}
	c.output = out
	if m.Input {
		in, fail := c.openInput()
		if fail != nil {
			return startedContainer{}, fail
		}
		ends = append(ends, in)
	}
	s := k.borrow(files)
	defer k.giveBack(s)
	for _, e := range ends {
		s.slots[e.slot] = int32(e.fd)
	}
	pidns := box.fill(&s.slots)
	if m.Target != "" {
		beside, fail := k.pidnsOf(m.Target)
		if fail != nil {
			return startedContainer{}, fail
		}
		defer syscall.Close(beside)
		pidns = beside
	}
	b := &birth{
		flags: uintptr(m.Flags | m.Namespaces), cgroup: m.CgroupDir, pidns: pidns, opening: k.opening, program: prog, executes: true,
		tty: m.TTY, timeout: timeout(m.Timeout),
	}
	if m.Namespaces != 0 {
		b.cloned = func(p *process, gate *int) *wire.Failure { return r.born(box, m, p, gate) }
	}
	made, fail := k.spawn(s, b)
	if fail != nil {
		return startedContainer{}, fail
	}
	now := time.Now()
	k.mu.Lock()
	c.process, c.startedAt, c.pty = made.process, now, made.pty
	if box != nil {
		box.ready = true
	}
	k.mu.Unlock()
	if made.pty >= 0 {
		k.loop.call(func() { out.addPTY(made.pty) })
	}
	return startedContainer{c, wire.Started{PID: made.pid, Ticks: made.ticks, At: now.UnixNano()}}, nil
}

// pidnsOf opens the pid namespace of a running container.
func (k *keeper) pidnsOf(id string) (int, *wire.Failure) {
	gone := &wire.Failure{Code: wire.CodeNotFound, Text: "process of container " + id}
	c := k.find(id)
	if c == nil {
		return -1, gone
	}
	pidfd, pidns, err := c.process.target()
	if err != nil {
		return -1, gone
	}
	syscall.Close(pidfd)
	return pidns, nil
}

func (k *keeper) checkStart(m *wire.Start, prog program.Program) *wire.Failure {
	switch {
	case !validID(m.ID):
		return invalid("id " + quote(m.ID) + " is not one")
	case prog.Len() == 0:
		return invalid("a container needs a program")
	case m.ExitPath != "" && !below(k.runDir, m.ExitPath):
		return invalid("exit file " + quote(m.ExitPath) + " is not below the run directory")
	case m.TTY && (m.Log.Stdout != "" || m.Log.Stderr != ""):
		return invalid("a container with a terminal has no FIFOs")
	case m.TTY && m.Input:
		return invalid("a container with a terminal has no other standard input")
	case m.Log.Stdin != "":
		return invalid("a FIFO as standard input is of earlier versions: end berth and start it anew")
	case m.Namespaces != 0 && !validID(m.Sandbox):
		return invalid("id " + quote(m.Sandbox) + " is not one")
	case uintptr(m.Namespaces)&^bornFlags != 0:
		return invalid("a container cannot bring such namespaces along")
	case m.Target != "" && uintptr(m.Flags|m.Namespaces)&cloneNewPID != 0:
		return invalid("a container cannot have a pid namespace of its own and another's")
	case m.Attach && (m.TTY || uintptr(m.Namespaces)&cloneNewNet == 0):
		return invalid("there is no network to attach, or the gate is the terminal's")
	}
	for _, p := range []string{m.Log.Stdout, m.Log.Stderr} {
		if p != "" && !below(k.runDir, p) {
			return invalid("FIFO " + quote(p) + " is not below the run directory")
		}
	}
	return nil
}

// reserve takes the id, and the sandbox that the container goes into or, with namespaces of its own, makes.
func (k *keeper) reserve(c *container, namespaces uintptr) (*sandbox, *wire.Failure) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.containers[c.id] != nil {
		return nil, &wire.Failure{Code: wire.CodeExists, Text: "container " + c.id}
	}
	box := k.sandboxes[c.sandbox]
	switch {
	case namespaces != 0 && box != nil:
		return nil, &wire.Failure{Code: wire.CodeExists, Text: "sandbox " + c.sandbox}
	case namespaces != 0:
		box = newSandbox(c.sandbox, namespaces)
		k.sandboxes[c.sandbox] = box
	case c.sandbox != "" && (box == nil || !box.ready):
		return nil, &wire.Failure{Code: wire.CodeNotFound, Text: "sandbox " + c.sandbox}
	}
	k.containers[c.id] = c
	return box, nil
}

// unreserve undoes reserve, and what a start that failed has opened since. A sandbox that came with the container has nobody else in it, and
// ends with it.
func (k *keeper) unreserve(c *container, box *sandbox, boxToo bool) {
	k.loop.call(func() { c.output.close() })
	k.mu.Lock()
	closeFD(&c.input)
	delete(k.containers, c.id)
	if boxToo {
		delete(k.sandboxes, c.sandbox)
		box.close()
	}
	k.mu.Unlock()
	removeFIFOs(&c.log)
}

// born takes the namespaces of a container that brings them along. With Attach the client gets the gate: the child goes on when the network
// is attached, and ends when the client does.
func (r *request) born(box *sandbox, m *wire.Start, p *process, gate *int) *wire.Failure {
	if err := box.open(p.pid); err != nil {
		return errnoFailure("open the namespaces", err)
	}
	if m.Attach {
		r.conn.sendFiles(wire.BornKind, r.id, nil, 0, box.ns[netIndex], *gate)
		closeFD(gate)
	}
	return nil
}

// finish follows the end of a container's process: the rest of its output, the record, the event. Loop only.
func (k *keeper) finish(c *container) {
	if c.ended {
		return
	}
	c.output.drain()
	e := c.process.exit(c.id)
	if err := writeExit(c.exitPath, e); err != nil {
		complain("cannot record the exit of "+c.id, err)
	}
	k.mu.Lock()
	c.ended, c.exit = true, e
	closeFD(&c.input)
	conns := make([]*conn, 0, len(k.conns))
	for conn := range k.conns {
		conns = append(conns, conn)
	}
	k.mu.Unlock()
	c.process.release()
	for _, conn := range conns {
		conn.mu.Lock()
		wants := conn.subscribed
		conn.mu.Unlock()
		if wants {
			conn.send(wire.ExitEventKind, 0, &e, -1, syscall.MSG_DONTWAIT)
		}
	}
	c.output.endTaps() // who is attached sees the end after who looks after the container
}

// writeExit leaves the record of an exit in a file, whole or not at all.
func writeExit(path string, e wire.Exit) error {
	if path == "" {
		return nil
	}
	tmp := path + ".tmp"
	fd, err := open(tmp, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	record := wire.AppendExit(nil, e)
	n, err := syscall.Write(fd, record)
	syscall.Close(fd)
	if err == nil && n != len(record) {
		err = syscall.ENOSPC
	}
	if err != nil {
		_ = syscall.Unlink(tmp) // the next record truncates it
		return err
	}
	return syscall.Rename(tmp, path)
}

// find is a container that has been made; nil when there is none of this id.
func (k *keeper) find(id string) *container {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.containers[id]
	if c == nil || c.process == nil {
		return nil
	}
	return c
}

func (r *request) signal() {
	var m wire.Signal
	wire.Decode(r.packet, &m)
	var p *process
	if m.Exec != 0 {
		r.conn.mu.Lock()
		p = r.conn.execs[m.Exec]
		r.conn.mu.Unlock()
	} else if c := r.k.find(m.ID); c != nil {
		p = c.process
	} else {
		r.fail(&wire.Failure{Code: wire.CodeNotFound, Text: "container " + m.ID})
		return
	}
	if p == nil {
		r.reply(nil, -1) // the process of an exec that has ended
		return
	}
	if m.Exec != 0 && m.Signal == uint32(syscall.SIGKILL) {
		p.killAll()
	} else if err := p.signal(m.Signal); err != nil {
		r.fail(errnoFailure("signal the process", err))
		return
	}
	r.reply(nil, -1)
}

// pty gives a copy of the master of a container's terminal, for writing and resizing.
func (r *request) pty() {
	r.handOut("terminal", func(c *container) int { return c.pty })
}

// handOut replies with a copy of a container's descriptor, which is read with the keeper's lock.
func (r *request) handOut(what string, of func(*container) int) {
	var m wire.ID
	wire.Decode(r.packet, &m)
	var (
		own = -1
		fd  int
		err error
	)
	if c := r.k.find(m.ID); c != nil {
		r.k.mu.Lock()
		if own = of(c); own >= 0 {
			fd, err = dup(own)
		}
		r.k.mu.Unlock()
	}
	switch {
	case own < 0:
		r.fail(&wire.Failure{Code: wire.CodeNotFound, Text: what + " of container " + m.ID})
	case err != nil:
		r.fail(errnoFailure("copy the "+what, err))
	default:
		r.reply(nil, fd)
		syscall.Close(fd)
	}
}

func (r *request) forget() {
	var m wire.ID
	wire.Decode(r.packet, &m)
	k := r.k
	k.mu.Lock()
	c := k.containers[m.ID]
	ended := c != nil && c.ended
	if ended {
		delete(k.containers, m.ID)
		closeFD(&c.pty)
	}
	k.mu.Unlock()
	switch {
	case c == nil:
		r.fail(&wire.Failure{Code: wire.CodeNotFound, Text: "container " + m.ID})
	case !ended:
		r.fail(&wire.Failure{Code: wire.CodeBusy, Text: "container " + m.ID})
	default:
		k.loop.call(func() { c.output.close() })
		removeFIFOs(&c.log)
		r.reply(nil, -1)
	}
}

func removeFIFOs(l *wire.Log) {
	for _, p := range []string{l.Stdout, l.Stderr, l.Stdin} {
		if p != "" {
			_ = syscall.Unlink(p) // gone already, or removed with its directory
		}
	}
}
