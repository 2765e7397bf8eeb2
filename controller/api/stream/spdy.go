package stream

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moby/spdystream"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/runtime"
)

// Names of SPDY streams and of what they are negotiated by.
const (
	spdyVersion     = "SPDY/3.1"
	headerProtocol  = "X-Stream-Protocol-Version"
	headerAccepted  = "X-Accepted-Stream-Protocol-Versions"
	headerType      = "Streamtype" // as http.Header spells it
	typeError       = "error"
	typeStdin       = "stdin"
	typeStdout      = "stdout"
	typeStderr      = "stderr"
	typeResize      = "resize"
	protocolV3      = "v3.channel.k8s.io"
	protocolV2      = "v2.channel.k8s.io"
	streamsTime     = 30 * time.Second // for a client to open its streams: what Kubernetes allows
	pingEvery       = 10 * time.Second // finds out that a client has gone while its input is not taken
	maxPings        = 64               // that wait for an answer
	maxEarlyStreams = 16               // that wait to be looked at
)

// openSPDY takes a connection over and waits for the client's streams.
func openSPDY(ctx context.Context, w http.ResponseWriter, r *http.Request, c command, gone func()) (*session, error) {
	protocol, err := negotiate(w, r, protocolV4, protocolV3, protocolV2)
	if err != nil {
		return nil, err
	}
	raw, err := upgradeSPDY(w, r, protocol)
	if err != nil {
		return nil, err
	}
	breakOff(ctx, raw)
	arrived := make(chan *spdystream.Stream, maxEarlyStreams)
	conn, err := serveSPDY(ctx, raw, gone, func(s *spdystream.Stream) {
		select {
		case arrived <- s:
		default:
			_ = s.Reset() // nobody asks for that many
		}
	})
	if err != nil {
		_ = raw.Close()
		return nil, nil //nolint:nilerr,nilnil // the request has been answered already: nobody to tell
	}
	streams, err := await(ctx, arrived, c.streams(protocol))
	if err != nil {
		_ = raw.Close()
		return nil, nil //nolint:nilerr,nilnil // as above
	}
	k := &spdySession{raw: raw, conn: conn, streams: streams, structured: protocol == protocolV4}
	return k.session(c), nil
}

// streams are the names of the streams that a client opens.
func (c *command) streams(protocol string) []string {
	list := []string{typeError}
	for name, wanted := range map[string]bool{
		typeStdin: c.stdin, typeStdout: c.stdout, typeStderr: c.stderr, typeResize: c.tty && protocol != protocolV2,
	} {
		if wanted {
			list = append(list, name)
		}
	}
	return list
}

// negotiate chooses the first protocol of the client's that is spoken here.
func negotiate(w http.ResponseWriter, r *http.Request, spoken ...string) (string, error) {
	var offered []string
	for _, line := range r.Header.Values(headerProtocol) {
		for p := range strings.SplitSeq(line, ",") {
			offered = append(offered, strings.TrimSpace(p))
		}
	}
	for _, p := range offered {
		if slices.Contains(spoken, p) {
			return p, nil
		}
	}
	for _, p := range spoken {
		w.Header().Add(headerAccepted, p)
	}
	return "", refusal(http.StatusForbidden, fmt.Sprintf("none of the protocols %q is spoken here; these are: %q", offered, spoken))
}

// upgradeSPDY takes the connection of a request over.
func upgradeSPDY(w http.ResponseWriter, r *http.Request, protocol string) (net.Conn, error) {
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", spdyVersion) {
		return nil, badRequest("Upgrade request required")
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, refusal(http.StatusInternalServerError, "cannot take the connection over: it has to be HTTP/1.1")
	}
	_ = conn.SetDeadline(time.Time{}) // not every connection has one
	answer := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + spdyVersion + "\r\n" + headerProtocol + ": " + protocol + "\r\n\r\n"
	if _, err := io.WriteString(conn, answer); err != nil {
		_ = conn.Close()
	}
	return &bufferedConn{conn, buffered.Reader}, nil // whoever reads finds out when it is closed
}

// hasToken tells whether a header lists a word.
func hasToken(h http.Header, name, word string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), word) {
				return true
			}
		}
	}
	return false
}

// bufferedConn begins with what the HTTP server has read ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// serveSPDY accepts streams until the client leaves or ctx ends; then gone is called.
func serveSPDY(ctx context.Context, raw net.Conn, gone func(), accept func(*spdystream.Stream)) (*spdystream.Connection, error) {
	conn, err := spdystream.NewConnection(raw, true)
	if err != nil {
		return nil, fmt.Errorf("cannot speak SPDY: %w", err)
	}
	go conn.Serve(func(s *spdystream.Stream) {
		if s.SendReply(http.Header{}, false) == nil {
			accept(s)
		}
	})
	go func() {
		defer gone()
		t := time.NewTicker(pingEvery) //nolint:forbidigo // a connection of the real world, whose tests have a client of the real world
		defer t.Stop()
		waiting := make(chan struct{}, maxPings)
		for {
			select {
			case <-ctx.Done():
				return
			case <-conn.CloseChan():
				return
			case <-t.C:
			}
			select {
			case waiting <- struct{}{}:
				go func() {
					if _, err := conn.Ping(); err != nil {
						gone()
					}
					<-waiting
				}()
			default: // it has not answered any: it is only slow
			}
		}
	}()
	return conn, nil
}

// await collects the streams of these types.
func await(ctx context.Context, arrived <-chan *spdystream.Stream, types []string) (map[string]*spdystream.Stream, error) {
	expired := time.NewTimer(streamsTime) //nolint:forbidigo // a connection of the real world, whose tests have a client of the real world
	defer expired.Stop()
	got := map[string]*spdystream.Stream{}
	for len(got) < len(types) {
		select {
		case s := <-arrived:
			t := s.Headers().Get(headerType)
			if !slices.Contains(types, t) || got[t] != nil {
				_ = s.Reset() // an error of the connection shows soon enough
				continue
			}
			got[t] = s
		case <-expired.C:
			return nil, errors.New("cannot begin: the client has not opened its streams")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return got, nil
}

// spdySession is a session over SPDY.
type spdySession struct {
	raw     net.Conn
	conn    *spdystream.Connection
	streams map[string]*spdystream.Stream
	// structured: the outcome is told as a Status (version 4), before only as text.
	structured bool
}

func (k *spdySession) session(c command) *session {
	s := &session{finish: k.finish}
	if c.stdin {
		s.stdin = k.streams[typeStdin]
	}
	if c.stdout {
		s.stdout = k.streams[typeStdout]
	}
	if c.stderr {
		s.stderr = k.streams[typeStderr]
	}
	if r := k.streams[typeResize]; r != nil {
		out := newSizes()
		s.sizes = out.c
		go func() {
			defer out.close()
			for d := json.NewDecoder(r); ; {
				var size runtime.Size
				if d.Decode(&size) != nil {
					return
				}
				out.put(size)
			}
		}()
	}
	return s
}

// finish says how it ended after everything else, and waits for the client to have read it. Nobody is to be told of errors: the client has
// gone then.
func (k *spdySession) finish(s *metav1.Status) {
	if in := k.streams[typeStdin]; in != nil {
		go func() { _, _ = io.Copy(io.Discard, in) }() // what still comes must not stop what goes
	}
	for _, name := range []string{typeStdout, typeStderr} {
		if out := k.streams[name]; out != nil {
			_ = out.Close()
		}
	}
	text := []byte(s.Message)
	if k.structured {
		text, _ = json.Marshal(s) // a Status always can
	}
	status := k.streams[typeError]
	if len(text) > 0 {
		_, _ = status.Write(text)
	}
	_ = status.Close()
	t := time.NewTimer(lingerTime) //nolint:forbidigo // a connection of the real world, whose tests have a client of the real world
	defer t.Stop()
	select {
	case <-k.conn.CloseChan():
	case <-t.C:
	}
	_ = k.raw.Close()
}
