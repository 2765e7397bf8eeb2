package keeper

import (
	"syscall"
	"time"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// request is one packet of a client, served in a goroutine of its own.
type request struct {
	k      *keeper
	conn   *conn
	kind   wire.Kind
	id     uint64
	packet []byte
	files  []int // closed at the end
}

func (r *request) serve() { //nolint:funlen // one case per message
	r.k.upgrading.RLock()
	defer r.k.upgrading.RUnlock()
	defer func() { closeAll(r.files) }()
	r.conn.mu.Lock()
	greeted := r.conn.greeted
	r.conn.mu.Unlock()
	if !greeted && r.kind != wire.HelloKind {
		r.fail(invalid("the first packet must be a hello"))
		return
	}
	switch r.kind {
	case wire.HelloKind:
		r.hello()
	case wire.SubscribeKind:
		r.conn.mu.Lock()
		r.conn.subscribed = true
		r.conn.mu.Unlock()
		r.reply(nil, -1)
	case wire.SandboxKind:
		r.sandbox()
	case wire.SandboxFDKind:
		r.sandboxFD()
	case wire.ForgetSandboxKind:
		r.forgetSandbox()
	case wire.StartKind:
		r.start()
	case wire.ExecKind:
		r.exec()
	case wire.SignalKind:
		r.signal()
	case wire.PTYKind:
		r.pty()
	case wire.AttachKind:
		r.attach()
	case wire.CloseInputKind:
		r.closeInput()
	case wire.InputKind:
		r.input()
	case wire.ForgetKind:
		r.forget()
	case wire.ListKind:
		r.list()
	case wire.AdoptKind:
		r.adopt()
	case wire.MountKind, wire.UnmountKind:
		r.mount()
	case wire.JoinKind:
		r.join()
	case wire.ProxyKind:
		r.proxy()
	case wire.ServeKind:
		r.serveProxy()
	case wire.HoldKind:
		r.hold()
	case wire.DropKind:
		r.drop()
	case wire.ServingKind:
		r.serving()
	case wire.UpgradeKind:
		go r.upgrade(r.take(&r.files)) // takes the lock for writing
	case wire.ShutdownKind:
		r.shutdown()
	default:
		r.fail(invalid("unknown kind of request"))
	}
}

// take moves the descriptors out of the request.
func (r *request) take(files *[]int) []int {
	f := *files
	*files = nil
	return f
}

func (r *request) reply(m any, file int) { r.conn.send(r.kind|wire.Reply, r.id, m, file, 0) }

func (r *request) fail(f *wire.Failure) { r.conn.send(wire.FailureKind, r.id, f, -1, 0) }

// answer replies with an empty message, or with the failure when there is one.
func (r *request) answer(f *wire.Failure) {
	if f != nil {
		r.fail(f)
		return
	}
	r.reply(nil, -1)
}

func (r *request) hello() {
	var m wire.Hello
	wire.Decode(r.packet, &m)
	if m.Version < wire.MinVersion {
		r.fail(invalid("this keeper does not speak version " + itoa(m.Version) + " any more"))
		return
	}
	r.conn.mu.Lock()
	r.conn.greeted = true
	r.conn.mu.Unlock()
	r.reply(&wire.Hello{Version: min(m.Version, wire.Version), PID: syscall.Getpid(), Build: r.k.build, StartedAt: r.k.started.UnixNano()}, -1)
}

// program is the program of a request, and the descriptors of its first slots.
func (r *request) program(m *wire.Program) (program.Program, []int, *wire.Failure) {
	files := m.Files
	if m.Large {
		files++
	}
	if files != len(r.files) || m.Files > wire.MaxFiles {
		return program.Program{}, nil, invalid("the number of descriptors is wrong")
	}
	p := m.Inline
	if m.Large {
		var err error
		if p, err = readAll(r.files[m.Files]); err != nil {
			return program.Program{}, nil, errnoFailure("read the program", err)
		}
	}
	if len(p) == 0 {
		return program.Program{}, r.files, nil
	}
	prog, err := program.Parse(p)
	if err != nil {
		return prog, nil, invalid(err.Error())
	}
	return prog, r.files[:m.Files], nil
}

// readAll reads a memfd.
func readAll(fd int) ([]byte, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Size > 32<<20 {
		return nil, syscall.EFBIG
	}
	p := make([]byte, st.Size)
	for n := 0; n < len(p); {
		m, err := syscall.Pread(fd, p[n:], int64(n))
		if err != nil {
			return nil, err
		}
		if m == 0 {
			return p[:n], nil
		}
		n += m
	}
	return p, nil
}

// borrow takes a spawner and gives it the slots of a request.
func (k *keeper) borrow(files []int) *spawner {
	s := <-k.spawner
	s.slots.Clear()
	for i, fd := range files {
		s.slots[i] = int32(fd)
	}
	return s
}

func (k *keeper) giveBack(s *spawner) { k.spawner <- s }

func timeout(ns int64) time.Duration {
	if ns <= 0 {
		return defaultTimeout
	}
	return time.Duration(ns)
}

// validID: ids become words of exit records and of the command line of sandboxes.
func validID(id string) bool {
	if id == "" || len(id) > 200 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return false
		}
	}
	return true
}
