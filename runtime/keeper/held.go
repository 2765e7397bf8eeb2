package keeper

import (
	"syscall"

	"berth/runtime/keeper/wire"
)

// heldStep is the number of descriptors in one packet, as many as a client makes room for.
const heldStep = 16

// hold keeps a descriptor under a name, in the place of the one that had it.
func (p *proxies) hold(name string, fd int) {
	if p.held == nil {
		p.held = map[string]int{}
	}
	if old, ok := p.held[name]; ok {
		syscall.Close(old)
	}
	p.held[name] = fd
}

// serveProxy gives a proxy the sockets it shall go on with. One that nobody waits for is told to let go.
func (r *request) serveProxy() {
	var m wire.Serve
	wire.Decode(r.packet, &m)
	k := r.k
	pid, err := r.conn.peer()
	if err != nil {
		r.fail(errnoFailure("identify the proxy", err))
		return
	}
	k.mu.Lock()
	one := k.proxies.find(pid)
	if one == nil { // of a keeper that was killed before it could write it down
		if p, err := findProcess(pid, startTicks(pid)); err == nil {
			one = k.adoptProxy(p)
			k.proxies.wanted = true
			k.recordProxies()
		}
	}
	p := &k.proxies
	if one != nil {
		one.build = m.Build
	}
	if m.Leaving && one != nil && one == p.serving { // its successor has asked it to
		p.serving, p.next, p.leaving = p.next, nil, append(p.leaving, one)
		k.recordProxies()
	}
	if one == nil || one != p.serving && one != p.next {
		k.mu.Unlock()
		r.fail(&wire.Failure{Code: wire.CodeBusy, Text: "another proxy"})
		k.mustStartProxy() // the successor may have died
		return
	}
	var names []string
	var files []int
	for name, fd := range p.held {
		if fd, err := dup(fd); err == nil {
			names, files = append(names, name), append(files, fd)
		}
	}
	k.mu.Unlock()
	defer closeAll(files)
	kind := r.kind | wire.Reply
	for at := 0; at < len(names)-heldStep; at += heldStep {
		r.conn.sendFiles(kind, r.id, &wire.Held{More: true, Names: names[at : at+heldStep]}, 0, files[at:at+heldStep]...)
	}
	at := max(0, (len(names)-1)/heldStep*heldStep)
	r.conn.sendFiles(kind, r.id, &wire.Held{Names: names[at:]}, 0, files[at:]...)
}

// serving is a proxy's word that it accepts connections.
func (r *request) serving() {
	k := r.k
	pid, err := r.conn.peer()
	if err != nil {
		r.fail(errnoFailure("identify the proxy", err))
		return
	}
	k.mu.Lock()
	p := &k.proxies
	another := p.serving != nil && p.serving.pid == pid && p.serving.build != k.build
	k.mu.Unlock()
	r.reply(nil, -1)
	if another { // it is of the binary before an upgrade
		k.mustStartProxy()
	}
}

// hold keeps a duplicate of a socket of the proxy's. That of one that has been replaced is not wanted: the name may be another's by now.
func (r *request) hold() {
	var m wire.ID
	wire.Decode(r.packet, &m)
	if len(r.files) != 1 || !validID(m.ID) {
		r.fail(invalid("a socket needs a name"))
		return
	}
	r.answer(r.asProxy(func(p *proxies) { p.hold(m.ID, r.take(&r.files)[0]) }))
}

func (r *request) drop() {
	var m wire.ID
	wire.Decode(r.packet, &m)
	r.answer(r.asProxy(func(p *proxies) {
		if fd, ok := p.held[m.ID]; ok {
			syscall.Close(fd)
			delete(p.held, m.ID)
		}
	}))
}

// asProxy does what only the proxies that count may ask for.
func (r *request) asProxy(f func(*proxies)) *wire.Failure {
	pid, err := r.conn.peer()
	if err != nil {
		return errnoFailure("identify the proxy", err)
	}
	r.k.mu.Lock()
	defer r.k.mu.Unlock()
	p := &r.k.proxies
	if one := p.find(pid); one == nil || one != p.serving && one != p.next {
		return &wire.Failure{Code: wire.CodeBusy, Text: "another proxy"}
	}
	f(p)
	return nil
}

// peer is the process at the other end.
func (c *conn) peer() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, syscall.EPIPE
	}
	cred, err := syscall.GetsockoptUcred(c.fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}
