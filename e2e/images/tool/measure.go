package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// What the first byte of a connection asks a sink for.
const (
	askDiscard = 'd' // read to the end, then tell how much it was
	askEcho    = 'e' // send each byte back
)

// sink is the other end of measure.
func sink(port string) {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	for {
		conn, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer conn.Close()
			var ask [1]byte
			if _, err := io.ReadFull(conn, ask[:]); err != nil {
				return
			}
			if ask[0] == askEcho {
				_, _ = io.Copy(conn, conn)
				return
			}
			// What is measured is the way, not this program: one copy out of the kernel, nothing else.
			n := int64(0)
			buf := make([]byte, 256<<10)
			for {
				k, err := conn.Read(buf)
				n += int64(k)
				if err != nil {
					break
				}
			}
			_ = binary.Write(conn, binary.BigEndian, n)
		}()
	}
}

// measured is what measure prints: bytes a second of one connection and of several at once, the median and the 99th percentile of a byte's way
// there and back, and the median of a connection made and used once.
type measured struct {
	BytesPerSecond    float64 `json:"bytesPerSecond"`
	BytesPerSecondAll float64 `json:"bytesPerSecondOfFour"`
	RoundTripUS       float64 `json:"roundTripMicroseconds"`
	RoundTripP99US    float64 `json:"roundTripMicrosecondsP99"`
	ConnectUS         float64 `json:"connectMicroseconds"`
}

// streams is how many connections send at once.
const streams = 4

// measure sends to a sink for some time, over one connection and over several, then asks it bytes and makes connections.
func measure(addr string, d time.Duration) {
	m := measured{BytesPerSecond: throughput(addr, d)}
	var all [streams]float64
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { all[i] = throughput(addr, d) })
	}
	group.Wait()
	for _, n := range all {
		m.BytesPerSecondAll += n
	}
	conn := dial(addr, askEcho)
	times := timed(2000, func() { exchange(conn) })
	m.RoundTripUS, m.RoundTripP99US = times[len(times)/2], times[len(times)*99/100]
	conn.Close()
	times = timed(300, func() {
		c := dial(addr, askEcho)
		exchange(c)
		c.Close()
	})
	m.ConnectUS = times[len(times)/2]
	if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
		os.Exit(1)
	}
}

func throughput(addr string, d time.Duration) float64 {
	conn := dial(addr, askDiscard)
	defer conn.Close()
	buf := make([]byte, 256<<10)
	began := time.Now()
	for time.Since(began) < d {
		if _, err := conn.Write(buf); err != nil {
			fail(err)
		}
	}
	if err := conn.CloseWrite(); err != nil {
		fail(err)
	}
	var n int64
	if err := binary.Read(conn, binary.BigEndian, &n); err != nil {
		fail(err)
	}
	return float64(n) / time.Since(began).Seconds()
}

func dial(addr string, ask byte) *net.TCPConn {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err == nil {
		_, err = conn.Write([]byte{ask})
	}
	if err != nil {
		fail(err)
	}
	return conn.(*net.TCPConn) //nolint:forcetypeassert // "tcp"
}

func exchange(conn net.Conn) {
	b := []byte{'x'}
	if _, err := conn.Write(b); err != nil {
		fail(err)
	}
	if _, err := io.ReadFull(conn, b); err != nil {
		fail(err)
	}
}

// timed is how many microseconds each of n calls took, sorted.
func timed(n int, f func()) []float64 {
	us := make([]float64, n)
	for i := range us {
		t := time.Now()
		f()
		us[i] = float64(time.Since(t).Nanoseconds()) / 1e3
	}
	slices.Sort(us)
	return us
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
