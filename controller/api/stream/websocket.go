package stream

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/runtime"
)

// A message of the channel protocol begins with the number of its channel:
//
//	client ──► 0 standard input      4 {"Width":80,"Height":24}     255 n: channel n has ended (v5)
//	client ◄── 1 standard output     2 standard error               3 how it ended: a Status
const (
	channelStdin byte = iota
	channelStdout
	channelStderr
	channelStatus
	channelSize
	channelClose byte = 255
)

// The protocols, the best first.
const (
	protocolV5 = "v5.channel.k8s.io"
	protocolV4 = "v4.channel.k8s.io"
)

// Judgements about time. Sockets know the real time only.
const (
	// aliveEvery is how often a client hears of us while its input is not taken, and so its pings are not read. kubectl waits a minute.
	aliveEvery = 5 * time.Second
	// lingerTime is how long a client may take to read what is on its way. Closing at once would lose it if more input was coming.
	lingerTime = 5 * time.Second
	// controlTime is how long a control message may take to be sent.
	controlTime = 10 * time.Second
)

// channels is a WebSocket that carries the streams of a command.
type channels struct {
	conn  *websocket.Conn
	in    *io.PipeReader // the program's end of input
	input *io.PipeWriter
	sizes *sizes
	// gone is called when the client has left; done is closed then.
	gone func()
	done chan struct{}

	mu sync.Mutex // one writer at a time
}

// openWebSocket takes a connection over. nil means that the client has been told why not.
func openWebSocket(ctx context.Context, w http.ResponseWriter, r *http.Request, c command, gone func()) (*session, error) {
	conn, err := upgrade(w, r, protocolV5, protocolV4)
	if conn == nil {
		return nil, err
	}
	breakOff(ctx, conn.NetConn())
	in, input := io.Pipe()
	k := &channels{conn: conn, in: in, input: input, sizes: newSizes(), gone: gone, done: make(chan struct{})}
	s := &session{finish: k.finish}
	if c.stdin {
		s.stdin = in
	} else {
		_ = in.Close() // what comes all the same is thrown away
	}
	if c.stdout {
		s.stdout = channel{k, channelStdout}
	}
	if c.stderr {
		s.stderr = channel{k, channelStderr}
	}
	if c.tty {
		s.sizes = k.sizes.c
	}
	_ = k.write(channelStdout, nil) // tells that it is open; the next write finds what is wrong
	go k.read()                     //nolint:contextcheck // it ends with the connection
	return s, nil
}

// upgrade makes a WebSocket of a request. Without one the client has been told why.
func upgrade(w http.ResponseWriter, r *http.Request, protocols ...string) (*websocket.Conn, error) {
	var refused error
	u := websocket.Upgrader{
		Subprotocols: protocols, ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10,
		Error: func(_ http.ResponseWriter, _ *http.Request, code int, reason error) {
			refused = refusal(code, reason.Error())
		},
	}
	for _, offered := range websocket.Subprotocols(r) {
		for _, p := range protocols {
			if offered == p {
				conn, err := u.Upgrade(w, r, nil)
				if refused != nil || err != nil {
					return nil, refused
				}
				return conn, nil
			}
		}
	}
	return nil, badRequest("none of the protocols %q is spoken here; these are: %q", websocket.Subprotocols(r), protocols)
}

// channel is one direction of a stream.
type channel struct {
	k  *channels
	id byte
}

func (c channel) Write(p []byte) (int, error) {
	if err := c.k.write(c.id, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (k *channels) write(id byte, p []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, err := k.conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	_, err = w.Write([]byte{id})
	if err == nil {
		_, err = w.Write(p)
	}
	return errors.Join(err, w.Close())
}

// read takes what the client sends until it leaves.
func (k *channels) read() {
	defer close(k.done)
	defer k.gone()
	defer k.sizes.close()
	for {
		_, r, err := k.conn.NextReader()
		if err != nil {
			_ = k.input.CloseWithError(io.EOF) // as if the client had closed it: the program is ended anyway
			return
		}
		var id [1]byte
		if _, err := io.ReadFull(r, id[:]); err != nil {
			continue // an empty message
		}
		switch id[0] {
		case channelStdin:
			k.feed(r)
		case channelSize:
			var size runtime.Size
			if json.NewDecoder(io.LimitReader(r, 1<<10)).Decode(&size) == nil {
				k.sizes.put(size)
			}
		case channelClose:
			if _, err := io.ReadFull(r, id[:]); err == nil && id[0] == channelStdin {
				_ = k.input.Close() // never fails
			}
		}
	}
}

// feed hands a message to the program. While that takes nothing, nothing of the client is read, so it is told from time to time that the
// connection lives; which also finds out when the client does not.
func (k *channels) feed(r io.Reader) {
	ctx, fed := context.WithCancel(context.Background()) //nolint:forbidigo // ends with this function
	defer fed()
	alive := time.AfterFunc(aliveEvery, func() { k.alive(ctx) })
	defer alive.Stop()
	_, _ = io.Copy(k.input, r) // the program wants no more: what is left of the message is skipped by the next read
}

func (k *channels) alive(ctx context.Context) {
	t := time.NewTicker(aliveEvery) //nolint:forbidigo // a connection of the real world, whose tests have a client of the real world
	defer t.Stop()
	for {
		if err := k.conn.WriteControl(websocket.PongMessage, nil, deadline(controlTime)); err != nil {
			k.gone()
			_ = k.input.CloseWithError(io.EOF) // lets go of the reader
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// finish says how it ended and closes, and waits for the client to have read it.
func (k *channels) finish(s *metav1.Status) {
	_ = k.in.Close() // what still comes is thrown away
	if data, err := json.Marshal(s); err == nil {
		_ = k.write(channelStatus, data) // the client went away: nobody to tell
	}
	_ = k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), deadline(controlTime))
	_ = k.conn.SetReadDeadline(deadline(lingerTime))
	<-k.done
	_ = k.conn.Close()
}

// breakOff closes a connection some time after ctx has ended: what is on its way may arrive, and nobody waits for ever for a client that
// reads nothing.
func breakOff(ctx context.Context, conn net.Conn) {
	context.AfterFunc(ctx, func() { time.AfterFunc(lingerTime, func() { _ = conn.Close() }) })
}

func deadline(d time.Duration) time.Time {
	return time.Now().Add(d) //nolint:forbidigo // the poller knows the real time only
}

// sizes hands terminal sizes on, of which only the last counts.
type sizes struct{ c chan runtime.Size }

func newSizes() *sizes { return &sizes{make(chan runtime.Size, 1)} }

// put replaces a size that has not been taken. One writer at a time.
func (s *sizes) put(size runtime.Size) {
	select {
	case <-s.c:
	default:
	}
	s.c <- size
}

func (s *sizes) close() { close(s.c) }
