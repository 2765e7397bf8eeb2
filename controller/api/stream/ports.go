package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

// The older protocol of portforward, which clients other than kubectl speak (Python's, JavaScript's, fabric8): the request names the ports, and each is one
// connection, in the order of the request, on two channels of the WebSocket:
//
//	client ◄─► 2i    data     client ◄── 2i+1  what went wrong
//
// The first message of each channel is the number of its port, the lower byte first.
const maxPorts = 127 // the number of a channel is a byte, and 255 is not one

// portsOf reads the ports that a request names.
func portsOf(r *http.Request) ([]uint16, error) {
	var ports []uint16
	for text := range strings.SplitSeq(strings.Join(r.URL.Query()["ports"], ","), ",") {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return nil, badRequest("query parameter \"ports\" has to name the ports: %q", text)
		}
		ports = append(ports, uint16(port))
	}
	if len(ports) > maxPorts {
		return nil, badRequest("no more than %d ports at a time", maxPorts)
	}
	return ports, nil
}

// speaksChannels tells whether a request means the older protocol.
func speaksChannels(r *http.Request) bool {
	if !websocket.IsWebSocketUpgrade(r) {
		return false
	}
	older := false
	for _, p := range websocket.Subprotocols(r) {
		if p == protocolTunnel {
			return false
		}
		older = older || p == protocolV4
	}
	return older
}

// connectPorts connects a client to the ports that it names, until all connections have ended or the client leaves.
func (f *forwarding) connectPorts(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	ports, err := portsOf(r)
	if err != nil {
		return err
	}
	conn, err := upgrade(w, r, protocolV4)
	if conn == nil {
		return err
	}
	ctx, gone := context.WithCancel(ctx)
	t := &tunnel{Conn: conn}
	defer context.AfterFunc(ctx, func() { _ = t.Close() })() // ends the reader and who writes
	out := &channels{conn: conn}
	inputs := make([]*io.PipeWriter, len(ports))
	for i, port := range ports {
		in, input := io.Pipe()
		inputs[i] = input
		f.under.Go(func() { f.connectPort(ctx, in, channel{out, byte(2 * i)}, channel{out, byte(2*i + 1)}, port) })
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer gone()
		deal(conn, inputs)
	})
	f.under.Wait()
	_ = t.Close()
	reading.Wait()
	return nil
}

// deal hands what the client sends to the connections, until it leaves.
func deal(conn *websocket.Conn, inputs []*io.PipeWriter) {
	defer func() {
		for _, input := range inputs {
			_ = input.Close() // never fails
		}
	}()
	for {
		_, r, err := conn.NextReader()
		if err != nil {
			return
		}
		var id [1]byte
		if _, err := io.ReadFull(r, id[:]); err == nil && id[0]%2 == 0 && int(id[0]/2) < len(inputs) {
			_, _ = io.Copy(inputs[id[0]/2], r) // a connection that has ended wants no more: the rest is skipped
		}
	}
}

// connectPort carries one connection until the pod ends it or the client has left: the protocol cannot say that one direction has ended.
func (f *forwarding) connectPort(ctx context.Context, in *io.PipeReader, data, fault io.Writer, port uint16) {
	defer func() { _ = in.Close() }()
	head := binary.LittleEndian.AppendUint16(nil, port)
	_, err := data.Write(head)
	if err == nil {
		_, err = fault.Write(head)
	}
	if err != nil {
		return // the client has left
	}
	dialing, cancel := context.WithTimeout(ctx, dialTime)
	conn, err := f.dial(dialing, port)
	cancel()
	if err == nil {
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		var sending sync.WaitGroup
		sending.Go(func() { _, _ = io.Copy(conn, in) }) // when it breaks, the other direction tells
		_, err = io.Copy(data, conn)
		_, _ = conn.Close(), in.Close()
		sending.Wait()
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		_, _ = fmt.Fprintf(fault, "error forwarding port %d to pod %s: %v", port, f.name, err)
	}
}
