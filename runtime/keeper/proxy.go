package keeper

import (
	"os"
	"strconv"
	"syscall"
	"time"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// proxies are the processes that carry traffic, and duplicates of the sockets that they listen on: a socket lives as long as one of its
// descriptors, so a proxy that dies takes its open connections along but no port. The keeper starts another one, which finds its sockets here.
//
//	start ──▶ next ──▶ serving ──▶ leaving ──▶ gone
//	             │        │ its successor asks it to let go, and it says that it does; the successor serves from then on
//	             └ none serves: at once
//
// All of it is guarded by the keeper's lock.
type proxies struct {
	wanted  bool
	serving *proxy   // the one that has the sockets; restarted when it ends
	next    *proxy   // of a newer build, about to take over; nil for none
	leaving []*proxy // they finish what they have begun
	held    map[string]int
	short   int  // lives in a row, for the pause before another start
	pause   bool // another start is waiting for its time
}

// proxy is one such process.
type proxy struct {
	*process
	build string    // as it has told; "" before
	born  time.Time // zero for one of an earlier keeper
}

// A proxy that has not lived even this long, so many times in a row, is not started again at once: it would only burn a core.
const (
	shortLife   = 2 * time.Second
	shortLives  = 5
	firstPause  = 2 * time.Second
	longestWait = 30 * time.Second
)

// died says how long to wait before another start when one has lived this long.
func (p *proxies) died(lived time.Duration) time.Duration {
	if lived >= shortLife {
		p.short = 0
		return 0
	}
	if p.short++; p.short < shortLives {
		return 0
	}
	return min(firstPause<<min(p.short-shortLives, 10), longestWait)
}

// all are the living ones, the one that serves first.
func (p *proxies) all() []*proxy {
	var all []*proxy
	for _, one := range append([]*proxy{p.serving, p.next}, p.leaving...) {
		if one != nil {
			all = append(all, one)
		}
	}
	return all
}

// end kills them all; no other is started.
func (p *proxies) end() {
	p.wanted = false
	for _, one := range p.all() {
		one.kill()
	}
}

// find returns the proxy of this number, or nil.
func (p *proxies) find(pid int) *proxy {
	for _, one := range p.all() {
		if one.pid == pid {
			return one
		}
	}
	return nil
}

// remove forgets one that has ended, and tells whether there is none to serve now.
func (p *proxies) remove(one *proxy) (alone bool) {
	for i, l := range p.leaving {
		if l == one {
			p.leaving = append(p.leaving[:i], p.leaving[i+1:]...)
			break
		}
	}
	if p.next == one {
		p.next = nil
	}
	if p.serving == one {
		p.serving, p.next = p.next, nil
	}
	return p.serving == nil
}

// proxy answers who wants a proxy to be there.
func (r *request) proxy() {
	k := r.k
	k.mu.Lock()
	k.proxies.wanted = true
	start := k.proxies.serving == nil && !k.proxies.pause
	k.mu.Unlock()
	if start {
		if fail := k.startProxy(); fail != nil {
			r.fail(fail)
			return
		}
	}
	var m wire.ProxyState
	k.mu.Lock()
	if p := k.proxies.serving; p != nil {
		m.PID, m.Build = p.pid, p.build
	}
	m.Sockets = len(k.proxies.held)
	k.mu.Unlock()
	r.reply(&m, -1)
}

// startProxy starts one when none serves, or when the one that does is of another build.
func (k *keeper) startProxy() *wire.Failure {
	k.starting.Lock()
	defer k.starting.Unlock()
	k.mu.Lock()
	p := k.proxies.serving
	needless := !k.proxies.wanted || k.proxies.next != nil || p != nil && (p.build == "" || p.build == k.build)
	k.mu.Unlock()
	if needless {
		return nil
	}
	var b program.Builder
	b.Call("start a session", syscall.SYS_SETSID)
	argv := []string{k.args.argv0, "proxy", "--run-dir", k.runDir}
	env := []string{"GODEBUG=disablethp=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	b.Call("execve", syscall.SYS_EXECVE, b.String("/proc/self/exe"), b.Strings(argv), b.Strings(env))
	prog, err := program.Parse(b.Encode())
	if err != nil {
		return errnoFailure("lay out the proxy's first steps", err)
	}
	s := k.borrow(nil)
	defer k.giveBack(s)
	made, fail := k.spawn(s, &birth{pidns: -1, opening: k.opening, program: prog, executes: true, timeout: defaultTimeout})
	if fail != nil {
		return fail
	}
	k.mu.Lock()
	one := &proxy{process: made.process, born: time.Now()}
	if k.proxies.serving == nil {
		k.proxies.serving = one
	} else {
		k.proxies.next = one
	}
	k.recordProxies()
	k.mu.Unlock()
	k.restartWhenEnded(one)
	return nil
}

func (k *keeper) restartWhenEnded(one *proxy) { one.whenEnded(func() { go k.proxyEnded(one) }) }

func (k *keeper) proxyEnded(one *proxy) {
	k.upgrading.RLock() // the next binary sees that there is none, and starts it
	defer k.upgrading.RUnlock()
	one.release()
	k.mu.Lock()
	alone := k.proxies.remove(one)
	k.recordProxies()
	if !alone || !k.proxies.wanted || k.proxies.pause {
		k.mu.Unlock()
		return
	}
	pause := k.proxies.died(time.Since(one.born))
	k.proxies.pause = pause > 0
	k.mu.Unlock()
	if pause == 0 {
		k.mustStartProxy()
		return
	}
	complain("the proxy has ended at once "+itoa(shortLives)+" times or more; the next start is in "+itoa(int(pause/time.Second))+" s", nil)
	time.AfterFunc(pause, func() {
		k.upgrading.RLock()
		defer k.upgrading.RUnlock()
		k.mu.Lock()
		k.proxies.pause = false
		k.mu.Unlock()
		k.mustStartProxy()
	})
}

// mustStartProxy is startProxy while nobody waits for an answer. Trying again is left to the next who asks for a proxy.
func (k *keeper) mustStartProxy() {
	if fail := k.startProxy(); fail != nil {
		complain("cannot start the proxy: "+fail.Text, syscall.Errno(fail.Errno))
	}
}

// recordProxies writes down who lives, for the keeper after a killed one. Without the file it would find them when they turn to it.
func (k *keeper) recordProxies() {
	var p []byte
	for _, one := range k.proxies.all() {
		p = strconv.AppendInt(p, int64(one.pid), 10)
		p = append(p, ' ')
		p = strconv.AppendUint(p, one.ticks, 10)
		p = append(p, '\n')
	}
	path := k.runDir + "/" + wire.ProxiesName
	err := os.WriteFile(path+".tmp", p, 0o600)
	if err == nil {
		err = syscall.Rename(path+".tmp", path)
	}
	if err != nil {
		complain("cannot record the proxy", err)
	}
}

// resumeProxies takes over those of the keeper before: its children after an upgrade, strangers after its death. What is missing is started.
func (k *keeper) resumeProxies() {
	for _, one := range k.proxies.all() { // an upgrade's
		k.restartWhenEnded(one)
	}
	if !k.proxies.wanted {
		k.adoptProxies()
	}
	go func() {
		k.upgrading.RLock()
		defer k.upgrading.RUnlock()
		k.mustStartProxy()
	}()
}

// adoptProxies finds those of a keeper that was killed.
func (k *keeper) adoptProxies() {
	p, err := os.ReadFile(k.runDir + "/" + wire.ProxiesName)
	if err != nil || len(p) == 0 {
		return // none has been wanted
	}
	k.proxies.wanted = true
	var field [2]uint64
	at := 0
	for _, b := range p {
		switch {
		case b >= '0' && b <= '9':
			field[at] = field[at]*10 + uint64(b-'0')
		case b == ' ' && at == 0:
			at = 1
		default:
			if found, err := findProcess(int(field[0]), field[1]); err == nil {
				k.adoptProxy(found)
			}
			field, at = [2]uint64{}, 0
		}
	}
}

// adoptProxy watches a proxy that is not a child. The keeper's lock is held, or nobody else is there yet.
func (k *keeper) adoptProxy(p *process) *proxy {
	if err := k.watchForeignEnd(p, true); err != nil {
		complain("cannot wait for the proxy", err)
	}
	one := &proxy{process: p}
	if k.proxies.serving == nil {
		k.proxies.serving = one
	} else {
		k.proxies.leaving = append(k.proxies.leaving, one)
	}
	k.restartWhenEnded(one)
	return one
}

type savedProxies struct {
	Wanted                 bool
	Serving, Next, Leaving []savedProxy
	Held                   []savedSocket
}

type savedProxy struct {
	Process savedProcess
	Build   string
}

type savedSocket struct {
	Name string
	FD   int
}

func (s *savedProxies) descriptors(f func(fd int)) {
	for _, list := range [][]savedProxy{s.Serving, s.Next, s.Leaving} {
		for i := range list {
			f(list[i].Process.PIDFD)
		}
	}
	for _, h := range s.Held {
		f(h.FD)
	}
}

func (k *keeper) saveProxies() savedProxies {
	save := func(list ...*proxy) (saved []savedProxy) {
		for _, p := range list {
			if p != nil {
				saved = append(saved, savedProxy{k.save(p.process), p.build})
			}
		}
		return saved
	}
	p := &k.proxies
	s := savedProxies{Wanted: p.wanted, Serving: save(p.serving), Next: save(p.next), Leaving: save(p.leaving...)}
	for name, fd := range p.held {
		s.Held = append(s.Held, savedSocket{name, fd})
	}
	return s
}

func (k *keeper) restoreProxies(s *savedProxies) {
	restore := func(list []savedProxy) (all []*proxy) {
		for i := range list {
			all = append(all, &proxy{process: k.resume(list[i].Process), build: list[i].Build})
		}
		return append(all, nil) // at least one, for who wants the first
	}
	p := &k.proxies
	p.wanted, p.serving, p.next = s.Wanted, restore(s.Serving)[0], restore(s.Next)[0]
	p.leaving = restore(s.Leaving)
	p.leaving = p.leaving[:len(p.leaving)-1]
	for _, h := range s.Held {
		k.proxies.hold(h.Name, h.FD)
	}
}
