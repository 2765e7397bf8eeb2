package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

// who answers each connection, and each datagram, with its own name and the address that it sees as the client's.
func who(port string) {
	host, _ := os.Hostname()
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fail(err)
	}
	packets, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		fail(err)
	}
	fmt.Println("ready")
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				continue
			}
			_, _ = packets.WriteTo([]byte(seen(host, from)+" "+string(buf[:n])), from) // lost, as datagrams are
		}
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer conn.Close()
			_, _ = fmt.Fprintln(conn, seen(host, conn.RemoteAddr())) // the client has gone
			_ = conn.(*net.TCPConn).CloseWrite()                     //nolint:forcetypeassert // "tcp"
			_, _ = io.Copy(io.Discard, conn)                         // what is closed with bytes unread is reset, and the answer lost
		}()
	}
}

func seen(host string, from net.Addr) string {
	addr, _, _ := net.SplitHostPort(from.String())
	return host + " " + net.ParseIP(addr).String()
}
