package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/wire"
	"berth/runtime/rootsocket"
)

// Client is a connection to a keeper. It is safe for concurrent use.
type Client struct {
	runDir string
	conn   *net.UnixConn
	info   Info
	done   chan struct{}

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*call
	execs   map[uint64]*Process
	handle  func(Exit)
	gone    bool
}

// call is a request that waits for its answer.
type call struct {
	kind    wire.Kind
	replies chan reply      // one, but for List
	born    chan []*os.File // the namespace and the gate of a Start with Attach; nil for all others
}

type reply struct {
	packet []byte
	file   *os.File
	more   []*os.File // of the sockets for a proxy; nil for all others
	err    error
}

// Dial connects to the keeper that serves runDir; ErrNoKeeper when there is none.
func Dial(ctx context.Context, runDir string) (*Client, error) {
	conn, err := dialSocket(runDir)
	if err != nil {
		return nil, err
	}
	c := &Client{runDir: runDir, conn: conn, done: make(chan struct{}), waiting: map[uint64]*call{}, execs: map[uint64]*Process{}}
	go c.read()
	var hello wire.Hello
	file, err := c.do(ctx, wire.HelloKind, &wire.Hello{Version: wire.Version}, nil, &hello)
	closeFile(file)
	if err == nil && hello.Version < wire.MinVersion {
		err = fmt.Errorf("cannot speak version %d of the keeper's protocol", hello.Version)
	}
	if err != nil {
		_ = c.Close() // the error before says more
		return nil, err
	}
	c.info = Info{Version: hello.Version, PID: hello.PID, Build: hello.Build, StartedAt: time.Unix(0, hello.StartedAt)}
	return c, nil
}

func dialSocket(runDir string) (conn *net.UnixConn, err error) {
	err = rootsocket.Short(filepath.Join(runDir, wire.SocketName), func(short string) (err error) {
		conn, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: short})
		return err
	})
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNoKeeper
	}
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the keeper: %w", err)
	}
	return conn, nil
}

// Info is what the keeper said when the connection was made.
func (c *Client) Info() Info { return c.info }

// Done is closed when the connection is gone: closed, or the keeper died.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection. Processes of Exec that still run are killed.
func (c *Client) Close() error { return c.conn.Close() }

// do sends a request and waits for the answer. files go along; the file of the answer, if any, is the caller's to close.
func (c *Client) do(ctx context.Context, kind wire.Kind, m any, files []int, answer any) (*os.File, error) {
	id, w, err := c.begin(kind, nil)
	if err != nil {
		return nil, err
	}
	defer c.forget(id)
	if err := c.send(kind, id, m, files); err != nil {
		return nil, err
	}
	return c.await(ctx, w, answer)
}

// begin registers a request; p, when given, receives the end of the process it makes.
func (c *Client) begin(kind wire.Kind, p *Process) (uint64, *call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0, nil, ErrKeeperGone
	}
	c.last++
	w := &call{kind: kind, replies: make(chan reply, 1)}
	if kind == wire.ListKind || kind == wire.ServeKind {
		w.replies = make(chan reply, 1024) // of 32 elements, or 16 sockets, each
	}
	if kind == wire.StartKind {
		w.born = make(chan []*os.File, 1)
	}
	c.waiting[c.last] = w
	if p != nil {
		p.id = c.last
		c.execs[c.last] = p
	}
	return c.last, w, nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *Client) send(kind wire.Kind, id uint64, m any, files []int) error {
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	p := wire.Encode(kind, id, m)
	if len(p) > wire.MaxPacket {
		return fmt.Errorf("cannot ask the keeper: request of %d bytes is too long", len(p))
	}
	if _, _, err := c.conn.WriteMsgUnix(p, oob, nil); err != nil {
		return fmt.Errorf("%w: %v", ErrKeeperGone, err)
	}
	return nil
}

func (c *Client) await(ctx context.Context, w *call, answer any) (*os.File, error) {
	select {
	case r := <-w.replies:
		if r.err == nil && answer != nil {
			wire.Decode(r.packet, answer)
		}
		return r.file, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		select {
		case r := <-w.replies: // it came just before the end
			if r.err == nil && answer != nil {
				wire.Decode(r.packet, answer)
			}
			return r.file, r.err
		default:
			return nil, ErrKeeperGone
		}
	}
}

// read takes packets until the connection ends.
func (c *Client) read() {
	buf := make([]byte, wire.MaxPacket+1)
	oob := make([]byte, unix.CmsgSpace(4*16)) // wire: at most 16 descriptors come with a packet
	for {
		n, oobn, _, _, err := c.conn.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			break
		}
		files := received(oob[:oobn])
		kind, id, ok := wire.Header(buf[:n])
		if !ok {
			closeFiles(files)
			break
		}
		c.dispatch(kind, id, append([]byte(nil), buf[:n]...), files)
	}
	_ = c.conn.Close() // ErrClosed: by Close
	c.mu.Lock()
	c.gone = true
	execs := c.execs
	c.execs = nil
	c.mu.Unlock()
	close(c.done)
	for _, p := range execs {
		close(p.done)
	}
}

// received are the descriptors that came with a packet.
func received(oob []byte) []*os.File {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "from-keeper"))
		}
	}
	return files
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}

func (c *Client) dispatch(kind wire.Kind, id uint64, packet []byte, files []*os.File) {
	switch kind {
	case wire.ExitEventKind:
		c.mu.Lock()
		handle := c.handle
		c.mu.Unlock()
		if handle != nil {
			handle(decodeExit(packet))
		}
		closeFiles(files)
		return
	case wire.ExecExitKind:
		c.execEnded(packet)
		closeFiles(files)
		return
	case wire.BornKind:
		c.born(id, files)
		return
	default: // an answer
	}
	c.mu.Lock()
	w := c.waiting[id]
	c.mu.Unlock()
	if w == nil { // nobody waits any more
		closeFiles(files)
		return
	}
	w.answer(kind, packet, files)
}

// answer hands an answer to who waits for it.
func (w *call) answer(kind wire.Kind, packet []byte, files []*os.File) {
	r := reply{packet: packet}
	if len(files) > 0 {
		r.file, r.more = files[0], files[1:]
		if kind != wire.ServeKind|wire.Reply {
			closeFiles(r.more)
		}
	}
	switch {
	case kind == wire.FailureKind:
		r.err = failure(packet)
	case kind != w.kind|wire.Reply:
		r.err = errors.New("cannot understand the keeper's answer")
	}
	select {
	case w.replies <- r:
	default:
		closeFiles(files)
	}
}

func decodeExit(packet []byte) Exit {
	var m wire.Exit
	wire.Decode(packet, &m)
	return exitOf(&m)
}

func exitOf(m *wire.Exit) Exit {
	return Exit{ID: m.ID, PID: m.PID, ExitStatus: ExitStatus{Known: m.Known, Status: syscall.WaitStatus(m.Status), At: time.Unix(0, m.At)}}
}

// failure makes an error of the keeper's word.
func failure(packet []byte) error {
	var m wire.Failure
	wire.Decode(packet, &m)
	switch m.Code {
	case wire.CodeNotFound:
		return fmt.Errorf("%s: %w", m.Text, ErrNotFound)
	case wire.CodeExists:
		return fmt.Errorf("%s: %w", m.Text, ErrExists)
	case wire.CodeBusy:
		return fmt.Errorf("%s: %w", m.Text, ErrBusy)
	case wire.CodeStep:
		return &StepError{Step: int(m.Step) - 1, Name: m.Text, Errno: syscall.Errno(m.Errno), Signal: syscall.Signal(m.Signal), TimedOut: m.TimedOut}
	case wire.CodeErrno:
		if m.Errno != 0 {
			return fmt.Errorf("cannot %s: %w", m.Text, syscall.Errno(m.Errno))
		}
		return fmt.Errorf("cannot %s", m.Text)
	}
	return fmt.Errorf("cannot ask the keeper: %s", m.Text)
}
