package proxy

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// Whoever opens as many connections to a port as he can takes no other port from anybody, nor its connections from those who have some; and a port that is full
// can be closed, and is there again for the next who asks when connections have ended.
func TestAFloodedPortTakesNoOther(t *testing.T) {
	behind := served(t, echo)
	const most = 60
	load := newLoad()
	load.most = most
	type open struct {
		port *tcpPort
		at   string
	}
	var ports []open
	for range 4 {
		port, at := relayedUnder(t, load, behind)
		ports = append(ports, open{port, at})
	}
	hello := func(c net.Conn) bool {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, err := c.Write([]byte("hello"))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 5))
		}
		return err == nil
	}
	dial := func(at string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	count := func(s *share) int {
		load.mu.Lock()
		defer load.mu.Unlock()
		return s.open
	}
	before := dial(ports[1].at)
	if !hello(before) {
		t.Fatal("before the flood: no answer")
	}
	var flood []net.Conn
	for range 2 * most { // the kernel takes them all: what the port has no room for waits there
		flood = append(flood, dial(ports[0].at))
	}
	full := func(port *tcpPort) bool {
		load.mu.Lock()
		defer load.mu.Unlock()
		return port.load.isFull() && load.waiting > 0
	}
	settle := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	settle("the flooded port is full", func() bool { return full(ports[0].port) })
	if got := count(ports[0].port.load); got > most/2+1 {
		t.Errorf("the flooded port has %d of %d", got, most)
	}
	if !hello(before) || !hello(flood[0]) {
		t.Error("connections that were open are not carried any more")
	}
	for range 2 * most {
		dial(ports[2].at)
	}
	settle("another one is full", func() bool { return full(ports[2].port) })
	for range 5 {
		if !hello(dial(ports[1].at)) || !hello(dial(ports[3].at)) {
			t.Fatal("two ports are flooded, and others do not answer")
		}
	}
	had := count(ports[0].port.load)
	closed := make(chan struct{})
	go func() { ports[2].port.close(context.Background(), false); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("a full port cannot be closed")
	}
	for _, c := range flood[:had] {
		_ = c.Close()
	}
	if !hello(flood[had]) {
		t.Error("who waited is not served when others have gone")
	}
	for _, i := range []int{0, 1, 3} {
		ports[i].port.close(context.Background(), false)
	}
}

func TestMostConnections(t *testing.T) {
	for name, tt := range map[string]struct {
		files, memory uint64
		want          int
	}{
		"a large machine":           {1 << 20, 24 << 30, 349354},
		"a small machine":           {1 << 20, 1 << 30, 16384},
		"few descriptors":           {16384, 24 << 30, 5290},
		"fewer than there are kept": {100, 24 << 30, leastConnections},
		"no memory to speak of":     {1 << 20, 1 << 20, leastConnections},
	} {
		if got := mostConnections(tt.files, tt.memory); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
