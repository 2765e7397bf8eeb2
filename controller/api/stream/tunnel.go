package stream

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// tunnel is a WebSocket as a connection: its binary messages, one after the other, are the bytes.
type tunnel struct {
	*websocket.Conn
	message io.Reader // that is being read

	mu   sync.Mutex // one writer at a time
	once sync.Once
}

func (t *tunnel) Read(p []byte) (int, error) {
	for {
		if t.message == nil {
			kind, r, err := t.NextReader()
			if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				return 0, io.EOF
			}
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("cannot read from a tunnel: not a binary message")
			}
			t.message = r
		}
		n, err := t.message.Read(p)
		if errors.Is(err, io.EOF) {
			t.message = nil
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (t *tunnel) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close says goodbye and closes.
func (t *tunnel) Close() (err error) {
	t.once.Do(func() {
		_ = t.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), deadline(time.Second))
		err = t.Conn.Close()
	})
	return err
}

func (t *tunnel) SetDeadline(at time.Time) error {
	return errors.Join(t.SetReadDeadline(at), t.SetWriteDeadline(at))
}
