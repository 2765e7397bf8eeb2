package proxy

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"berth/runtime"
	"berth/runtime/proxy/sockets"
)

// A session ends when nothing has gone by for some time, later when it was more than a question and its answer, and its descriptor and its place
// go with it. The client's next datagram begins another. There are never more than there is room for, and no more than a port may have: then
// another one's ends.
func TestIdleSessions(t *testing.T) {
	echo, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			if string(buf[:n]) != "say nothing" {
				_, _ = echo.WriteTo(buf[:n], from)
			}
		}
	}()
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.LocalAddr().String()
	free.Close()
	socket, err := sockets.New(nil, nil).Open(t.Context(), "udp4", netip.MustParseAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	load := newLoad()
	load.most = 2
	port, err := newUDP(socket, load, idleness{question: 500 * time.Millisecond, stream: time.Second, longer: 50 * time.Millisecond}) // a busy machine may stop for a while
	if err != nil {
		t.Fatal(err)
	}
	defer port.close(context.Background(), false)
	err = port.update(&runtime.PublishedPort{Protocol: runtime.UDP, Backends: []netip.AddrPort{netip.MustParseAddrPort(echo.LocalAddr().String())}})
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	client := func() net.Conn {
		t.Helper()
		c, err := net.Dial("udp4", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	say := func(c net.Conn, text string, want bool) {
		t.Helper()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		wait := 5 * time.Second
		if !want {
			wait = 20 * time.Millisecond
		}
		_ = c.SetReadDeadline(time.Now().Add(wait))
		buf := make([]byte, 100)
		if n, err := c.Read(buf); want != (err == nil) || want && string(buf[:n]) != text {
			t.Fatalf("%q was answered by %q, %v", text, buf[:n], err)
		}
	}
	none := func() time.Time { // when the last one has ended
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); load.count() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d sessions live on", load.count())
			}
		}
		return time.Now()
	}
	one, two, three := client(), client(), client()
	say(one, "a", true)
	say(two, "say nothing", false) // takes longer than a question
	say(three, "c", false)         // there is no room
	if load.count() > 2 {
		t.Errorf("%d sessions where two have room", load.count())
	}
	none()
	say(one, "d", true)
	time.Sleep(port.idle.longer) // the age of a session, not a wait for anything
	say(one, "e", true)
	answered := time.Now()
	if rest := none().Sub(answered); rest < port.idle.stream {
		t.Errorf("a stream ended %v after its last datagram", rest)
	}
	port.most, load.most = 1, 8
	for range 3 {
		say(one, "f", true)
		say(three, "g", true)
		port.mu.Lock()
		if n := len(port.sessions); n != port.most {
			t.Errorf("%d sessions where a port may have %d", n, port.most)
		}
		port.mu.Unlock()
	}
	none()
	one.Close()
	two.Close()
	three.Close()
	if now := descriptors(t); now > before {
		t.Errorf("%d descriptors were open before and %d are", before, now)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
