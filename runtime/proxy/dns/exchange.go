package dns

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// patience is how long an answer is waited for: less than the five seconds after which resolvers ask again.
	patience = 4500 * time.Millisecond
	// overtake is when the next server is asked too, the first one's answer still counting. It doubles.
	overtake = 400 * time.Millisecond
	// slowFor is how long a server that did not answer is asked last.
	slowFor = 30 * time.Second
	// maxTries are the questions sent for one name.
	maxTries = 6
)

// try is how one server was asked.
type try struct {
	server netip.AddrPort
	msg    []byte // nil for no answer
}

// settled is whether an answer is worth no second opinion.
func (t try) settled() bool {
	return t.msg != nil && (t.msg[3]&rcodeMask == success || t.msg[3]&rcodeMask == nameError)
}

// exchange asks one server after the other until one knows, and gives the best that was said; nil for nothing.
func (u *upstream) exchange(ctx context.Context, servers []netip.AddrPort, k key) []byte {
	if len(servers) == 0 {
		return nil
	}
	servers = u.order(servers, time.Now())
	tries := min(max(2*len(servers), 3), maxTries)
	ctx, cancel := context.WithTimeout(ctx, patience)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	results, open := make(chan try, tries), map[netip.AddrPort]bool{}
	next, wait := time.NewTimer(0), overtake
	defer next.Stop()
	var best []byte
	for started, ended := 0, 0; ended < tries; {
		select {
		case <-ctx.Done():
			for s := range open {
				u.noteSlow(s, true)
			}
			return best
		case <-next.C:
			if started == tries {
				continue
			}
			server := servers[started%len(servers)]
			open[server] = true
			running.Go(func() { results <- try{server, ask(ctx, server, k)} })
			started++
			next.Reset(wait)
			wait *= 2
		case r := <-results:
			ended++
			delete(open, r.server)
			u.noteSlow(r.server, r.msg == nil)
			if r.settled() {
				for s := range open { // overtaken
					u.noteSlow(s, true)
				}
				return r.msg
			}
			if r.msg != nil {
				best = r.msg
			}
			next.Reset(0)
		}
	}
	return best
}

// ask asks one server, by UDP from a port of chance and by TCP where that is not enough. The answer is in our form; nil for none.
func ask(ctx context.Context, server netip.AddrPort, k key) []byte {
	msg := askUDP(ctx, server, k, true)
	if msg != nil && (msg[3]&rcodeMask == formatError || msg[3]&rcodeMask == notImplemented) {
		msg = askUDP(ctx, server, k, false) // older than EDNS
	}
	if msg != nil && msg[2]&flagTruncated != 0 {
		if whole := askTCP(ctx, server, k); whole != nil {
			msg = whole
		}
	}
	return msg
}

// dial opens a connection that ends with ctx. Being connected, it hears nobody but its server.
func dial(ctx context.Context, network string, server netip.AddrPort) (net.Conn, func(), error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() { stop(); conn.Close() }, nil
}

func askUDP(ctx context.Context, server netip.AddrPort, k key, edns bool) []byte {
	conn, end, err := dial(ctx, "udp", server)
	if err != nil {
		return nil
	}
	defer end()
	packet := k.packet(edns)
	if _, err := conn.Write(packet); err != nil {
		return nil
	}
	buf := make([]byte, tcpSize)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil
		}
		// What does not answer this question is somebody's guess: the real answer may still come.
		if msg := accept(packet, buf[:n], k); msg != nil {
			return msg
		}
	}
}

func askTCP(ctx context.Context, server netip.AddrPort, k key) []byte {
	conn, end, err := dial(ctx, "tcp", server)
	if err != nil {
		return nil
	}
	defer end()
	packet := k.packet(true)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
		return nil
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil
	}
	return accept(packet, buf, k)
}

// packet is a new question with a number of chance.
func (k key) packet(edns bool) []byte {
	cd, do := byte(0), byte(0)
	if k.cd {
		cd = flagCheckingDisabled
	}
	if k.dnssec {
		do = 0x80
	}
	id := rand.Uint32()
	out := append([]byte{byte(id >> 8), byte(id), flagRecursionDesired, cd, 0, 1, 0, 0, 0, 0, 0, 0}, k.name...)
	out = append(out, byte(k.qtype>>8), byte(k.qtype), 0, byte(classIN))
	if edns {
		out = append(out, 0, byte(typeOPT>>8), byte(typeOPT), byte(udpSize>>8), byte(udpSize&0xff), 0, 0, do, 0, 0, 0)
		count(out, additional, 1)
	}
	return out
}

// failure is the answer when nobody gave one.
func (k key) failure() []byte {
	out := append([]byte{0, 0, flagResponse, serverFailure, 0, 1, 0, 0, 0, 0, 0, 0}, k.name...)
	return append(out, byte(k.qtype>>8), byte(k.qtype), 0, byte(classIN))
}

// accept is what a server said, in our form: a copy without the additional section, which was for us alone; nil when it is not the answer to
// the packet.
func accept(packet, msg []byte, k key) []byte {
	question := headerSize + len(k.name) + 4
	if len(msg) < headerSize || msg[0] != packet[0] || msg[1] != packet[1] || msg[2]&flagResponse == 0 || msg[2]&opcodeMask != 0 {
		return nil
	}
	code := msg[3] & rcodeMask
	if msg[4] == 0 && msg[5] == 0 && code != success && code != nameError {
		// Some who do not understand a question do not repeat it.
		return setCode(k.failure(), int(code))
	}
	if msg[4] != 0 || msg[5] != 1 || len(msg) < question || lower(msg[headerSize:question-4]) != k.name || string(msg[question-4:question]) != string(packet[question-4:question]) {
		return nil
	}
	end := question
	if records(msg, func(r record) {
		if r.section != additional {
			end = r.end
		}
	}) != nil {
		if msg[2]&flagTruncated == 0 {
			return nil
		}
		// Cut in the middle of a record: only good for asking again.
		end = question
		for i := answers; i < headerSize; i++ {
			msg[i] = 0
		}
	}
	out := append([]byte(nil), msg[:end]...)
	out[2] = flagResponse | out[2]&flagTruncated
	out[3] = code
	out[additional], out[additional+1] = 0, 0
	return out
}
