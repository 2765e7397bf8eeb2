package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// answer listens at each place (PROTOCOL/PORT) and answers everybody with who they are.
func answer(places []string) {
	for _, place := range places {
		network, port, _ := strings.Cut(place, "/")
		if network == "tcp" {
			l, err := net.Listen(network, ":"+port)
			must(err)
			go func() {
				for {
					conn, err := l.Accept()
					must(err)
					fmt.Fprint(conn, conn.RemoteAddr())
					conn.Close()
				}
			}()
			continue
		}
		conn, err := net.ListenPacket(network, ":"+port)
		must(err)
		go func() {
			for {
				_, from, err := conn.ReadFrom(make([]byte, 16))
				must(err)
				_, _ = conn.WriteTo([]byte(from.String()), from)
			}
		}()
	}
	fmt.Println("answering")
	wait()
}

// reach asks at all places (PROTOCOL/ADDRESS:PORT) at once, and prints for each whether an answer came within some milliseconds: it is that, or
// "silent", or "refused".
func reach(patience time.Duration, places []string) {
	lines := make([]chan string, len(places))
	for i, place := range places {
		lines[i] = make(chan string, 1)
		go func() { lines[i] <- ask(place, patience) }()
	}
	for i, place := range places {
		fmt.Println(place, <-lines[i])
	}
}

func ask(place string, patience time.Duration) string {
	network, address, _ := strings.Cut(place, "/")
	deadline := time.Now().Add(patience)
	buf := make([]byte, 64)
	for {
		conn, err := net.DialTimeout(network, address, time.Until(deadline))
		if err != nil {
			return quiet(err)
		}
		// A datagram may be lost where the machine has no time.
		again := deadline
		if network == "udp" {
			_, _ = conn.Write([]byte("?"))
			if soon := time.Now().Add(patience / 4); soon.Before(again) {
				again = soon
			}
		}
		_ = conn.SetReadDeadline(again)
		n, err := conn.Read(buf)
		conn.Close()
		if n > 0 {
			return string(buf[:n])
		}
		if !time.Now().Before(deadline) || network == "tcp" {
			return quiet(err)
		}
	}
}

func quiet(err error) string {
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		return "silent"
	}
	return "refused"
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
