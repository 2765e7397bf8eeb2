package stream

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// What Python's client, JavaScript's and fabric8 ask for: the ports in the request, and two channels for each.
func TestPortForwardOverChannels(t *testing.T) {
	l := echoServer(t)
	w := newWorld()
	dialled := make(chan net.Conn, 9)
	w.dial = func(port uint16) (net.Conn, error) {
		if port != 80 {
			return nil, fmt.Errorf("connection refused")
		}
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			dialled <- conn
		}
		return conn, err
	}
	ws := dialWS(t, w.start(t)+"/portforward?ports=80&ports=81", protocolV4)
	got := map[byte]string{}
	until := func(id byte, want string) {
		t.Helper()
		for got[id] != want {
			_, p, err := ws.ReadMessage()
			if err != nil {
				t.Fatalf("channel %d says %q, then %v; want %q", id, got[id], err, want)
			}
			got[p[0]] += string(p[1:])
			if !strings.HasPrefix(want, got[id]) {
				t.Fatalf("channel %d says %q, want %q", id, got[id], want)
			}
		}
	}
	until(3, "\x51\x00error forwarding port 81 to pod p: connection refused")
	send(t, ws, 0, "hello")
	until(0, "\x50\x00hello")
	send(t, ws, 2, "to nobody")
	send(t, ws, 9, "to no channel")
	send(t, ws, 0, " again")
	until(0, "\x50\x00hello again")
	_ = (<-dialled).(*net.TCPConn).CloseWrite() // the echo ends, and says goodbye
	until(0, "\x50\x00hello again bye")
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("the last connection has ended: %v", err)
	}
	if got[1] != "\x50\x00" || got[2] != "\x51\x00" {
		t.Errorf("channels 1 and 2 say %q and %q", got[1], got[2])
	}
}

// A client that leaves ends its connections.
func TestPortForwardOverChannelsEnds(t *testing.T) {
	near, far := net.Pipe()
	w := newWorld()
	w.dial = func(uint16) (net.Conn, error) { return near, nil }
	ws := dialWS(t, w.start(t)+"/portforward?ports=80", protocolV4)
	send(t, ws, 0, "x")
	one := make([]byte, 1)
	if _, err := far.Read(one); err != nil || one[0] != 'x' {
		t.Fatalf("%q, %v", one, err)
	}
	_ = ws.Close()
	if _, err := far.Read(one); err == nil {
		t.Error("the connection has not ended")
	}
}

func TestPortsOfARequest(t *testing.T) {
	for name, query := range map[string]string{"none": "", "not a number": "?ports=http", "zero": "?ports=0", "too large": "?ports=70000", "too many": "?ports=1" + strings.Repeat(",1", maxPorts)} {
		t.Run(name, func(t *testing.T) {
			d := websocket.Dialer{Subprotocols: []string{protocolV4}}
			conn, resp, err := d.Dial("ws"+strings.TrimPrefix(newWorld().start(t), "http")+"/portforward"+query, nil)
			if err == nil {
				_ = conn.Close()
			}
			if !errors.Is(err, websocket.ErrBadHandshake) || resp.StatusCode != 400 {
				t.Errorf("%v, %+v; want 400", err, resp)
			}
			if resp != nil {
				_ = resp.Body.Close()
			}
		})
	}
}
