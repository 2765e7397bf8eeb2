package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	goruntime "runtime"
	"sync"
	"testing"
	"time"
)

// Of 10,000 connections, which end in all the ways that there are, nothing stays: no descriptor, no goroutine, no place. What pipes are kept is bounded.
func TestNothingStaysOfConnections(t *testing.T) {
	much := bytes.Repeat([]byte("x"), 4*bufferSize)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				switch i % 4 {
				case 0: // reset, when the client has sent anything
				case 1:
					_, _ = io.Copy(io.Discard, c)
				case 2:
					_, _ = c.Write(much)
				case 3:
					_, _ = io.Copy(c, c)
				}
			}()
		}
	}()
	port, at := relayed(t, l.Addr().String())
	defer port.close(context.Background(), false)
	files, routines := descriptors(t), goruntime.NumGoroutine()
	const connections, together = 10_000, 200
	var all sync.WaitGroup
	for i := range together {
		all.Go(func() {
			for n := range connections / together {
				c, err := net.Dial("tcp4", at)
				if err != nil {
					t.Error(err)
					return
				}
				switch (i + n) % 3 {
				case 0: // gone before anything
				case 1:
					_, _ = c.Write(much)
					_ = c.(*net.TCPConn).SetLinger(0)
				case 2:
					_, _ = c.Write(much[:10])
					_ = c.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, c)
				}
				_ = c.Close()
			}
		})
	}
	all.Wait()
	settled := func() bool {
		return port.load.load.count() == 0 && goruntime.NumGoroutine() <= routines && descriptors(t) <= files+2*pipesKept
	}
	for deadline := time.Now().Add(20 * time.Second); !settled(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, %d goroutines instead of %d, %d descriptors instead of %d", port.load.load.count(), goruntime.NumGoroutine(), routines, descriptors(t), files)
		}
	}
}
