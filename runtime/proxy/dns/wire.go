package dns

import (
	"encoding/binary"
	"errors"
	"strings"
)

// Types, classes and codes of RFC 1035 and its successors; only those that are treated apart.
const (
	typeA, typeNS, typeCNAME, typeSOA, typePTR, typeHINFO, typeMX, typeTXT uint16 = 1, 2, 5, 6, 12, 13, 15, 16
	typeAAAA, typeSRV, typeDNAME, typeOPT, typeIXFR, typeANY               uint16 = 28, 33, 39, 41, 251, 255

	classIN uint16 = 1

	success, formatError, serverFailure, nameError, notImplemented, refused, badVersion = 0, 1, 2, 3, 4, 5, 16
)

// Sizes of messages. Without EDNS a client takes 512 bytes by UDP. We take and send no more than 1232: what fits every path in one packet
// (the DNS flag day of 2020).
const (
	headerSize = 12
	plainSize  = 512
	udpSize    = 1232
	tcpSize    = 65535
	optSize    = 11
)

// Flags in the third and fourth byte of a message.
const (
	flagResponse, flagAuthoritative, flagTruncated, flagRecursionDesired = 1 << 7, 1 << 2, 1 << 1, 1
	flagRecursionAvailable, flagCheckingDisabled                         = 1 << 7, 1 << 4
	opcodeMask, rcodeMask                                                = 0x78, 0x0f
)

// Sections of records, as where their counts stand in the header.
const (
	answers    = 6
	authority  = 8
	additional = 10
)

var errMessage = errors.New("not a DNS message")

// question is what a client asks, and what its answer has to respect.
type question struct {
	id    uint16
	flags [2]byte
	// raw is the question as it came: its name as the client spells it, type and class.
	raw []byte
	// name is in lower case and, as everywhere in this package, as on the wire: a length before each label, and the root's 0.
	name         string
	qtype, class uint16
	// edns is whether the client knows it, size what it takes by UDP, dnssec whether it wants signatures.
	edns, dnssec bool
	size         int
	// extended are the bits of the answer's code that only EDNS can carry.
	extended byte
}

// parse reads a client's packet. With ok false nothing is answered: it is too short, or an answer itself. A code other than success is what
// the answer says, and the question may be missing.
func parse(msg []byte) (q question, code int, ok bool) {
	if len(msg) < headerSize || msg[2]&flagResponse != 0 {
		return q, 0, false
	}
	q = question{id: binary.BigEndian.Uint16(msg), flags: [2]byte{msg[2], msg[3]}, size: plainSize}
	if msg[2]&opcodeMask != 0 {
		return q, notImplemented, true
	}
	if binary.BigEndian.Uint16(msg[4:]) != 1 {
		return q, formatError, true
	}
	end, plain, err := skipName(msg, headerSize)
	if err != nil || !plain || end+4 > len(msg) {
		return q, formatError, true
	}
	q.raw, q.name = msg[headerSize:end+4], lower(msg[headerSize:end])
	q.qtype, q.class = binary.BigEndian.Uint16(msg[end:]), binary.BigEndian.Uint16(msg[end+2:])
	code = success
	err = records(msg, func(r record) {
		if r.typ != typeOPT || r.section != additional {
			return
		}
		switch {
		case q.edns || msg[r.start] != 0: // a second one, one with a name
			code = formatError
		case msg[r.ttl+1] != 0:
			code, q.extended = badVersion, badVersion>>4
		}
		q.edns, q.size, q.dnssec = true, int(r.class), msg[r.ttl+2]&0x80 != 0
	})
	if err != nil {
		code = formatError
	}
	return q, code, true
}

// record is where the parts of a resource record are in its message.
type record struct {
	section         int
	typ, class      uint16
	start, ttl, end int // ttl is followed by two bytes of length and the data
}

func (r record) data(msg []byte) []byte { return msg[r.ttl+6 : r.end] }

// records calls visit for each record of a message, in order, and says whether the message is whole.
func records(msg []byte, visit func(record)) error {
	if len(msg) < headerSize {
		return errMessage
	}
	at := headerSize
	for range binary.BigEndian.Uint16(msg[4:]) {
		end, _, err := skipName(msg, at)
		if err != nil || end+4 > len(msg) {
			return errMessage
		}
		at = end + 4
	}
	for section := answers; section <= additional; section += 2 {
		for range binary.BigEndian.Uint16(msg[section:]) {
			name, _, err := skipName(msg, at)
			if err != nil || name+10 > len(msg) {
				return errMessage
			}
			r := record{section: section, start: at, ttl: name + 4, typ: binary.BigEndian.Uint16(msg[name:]), class: binary.BigEndian.Uint16(msg[name+2:])}
			r.end = name + 10 + int(binary.BigEndian.Uint16(msg[name+8:]))
			if r.end > len(msg) {
				return errMessage
			}
			visit(r)
			at = r.end
		}
	}
	return nil
}

// skipName gives where a name ends; plain when no part of it is elsewhere in the message.
func skipName(msg []byte, at int) (end int, plain bool, err error) {
	for start := at; at < len(msg); {
		n := int(msg[at])
		switch {
		case n == 0:
			return at + 1, true, nil
		case n >= 0xc0:
			if at+2 > len(msg) {
				return 0, false, errMessage
			}
			return at + 2, false, nil
		case n >= 0x40 || at+1+n-start >= 255:
			return 0, false, errMessage
		}
		at += 1 + n
	}
	return 0, false, errMessage
}

// expand appends the name at an offset, whole.
func expand(out, msg []byte, at int) ([]byte, error) {
	for start, jumps := len(out), 0; at < len(msg); {
		n := int(msg[at])
		switch {
		case n == 0:
			return append(out, 0), nil
		case n >= 0xc0:
			// A name has at most 127 labels; whoever jumps more often goes in a circle.
			if jumps++; at+2 > len(msg) || jumps > 127 {
				return nil, errMessage
			}
			at = int(binary.BigEndian.Uint16(msg[at:]) & 0x3fff)
		case n >= 0x40 || at+1+n > len(msg) || len(out)-start+1+n >= 255:
			return nil, errMessage
		default:
			out = append(out, msg[at:at+1+n]...)
			at += 1 + n
		}
	}
	return nil, errMessage
}

// begin starts the answer to a question in buf.
func (q *question) begin(buf []byte) []byte {
	buf = append(buf[:0], byte(q.id>>8), byte(q.id), flagResponse|q.flags[0]&(opcodeMask|flagRecursionDesired), flagRecursionAvailable|q.flags[1]&flagCheckingDisabled,
		0, 0, 0, 0, 0, 0, 0, 0)
	if q.raw != nil {
		buf[5] = 1
		buf = append(buf, q.raw...)
	}
	return buf
}

// finish makes msg the answer to this very client: its number, its spelling of the name, its limits. The names that point to the question's
// are spelled alike.
func (q *question) finish(msg []byte, limit int) []byte {
	binary.BigEndian.PutUint16(msg, q.id)
	msg[2] = msg[2]&^flagRecursionDesired | q.flags[0]&flagRecursionDesired
	msg[3] = msg[3]&rcodeMask | flagRecursionAvailable | q.flags[1]&flagCheckingDisabled
	copy(msg[headerSize:], q.raw)
	if !q.edns {
		return fit(msg, limit)
	}
	msg = fit(msg, limit-optSize)
	flags := byte(0)
	if q.dnssec {
		flags = 0x80
	}
	msg = append(msg, 0, byte(typeOPT>>8), byte(typeOPT), byte(udpSize>>8), byte(udpSize&0xff), q.extended, 0, flags, 0, 0, 0)
	count(msg, additional, 1)
	return msg
}

// limit is how long an answer by UDP may be.
func (q *question) limit() int { return min(max(q.size, plainSize), udpSize) }

// fit cuts a message: additional records go unsaid; when that is not enough as many others stay as fit, and the client is told to ask by TCP.
// Old musl takes what it got.
func fit(msg []byte, limit int) []byte {
	if len(msg) <= limit {
		return msg
	}
	end, truncated, kept := headerSize, byte(0), map[int]uint16{}
	if name, _, err := skipName(msg, headerSize); err == nil && msg[5] == 1 {
		end = name + 4
	}
	_ = records(msg, func(r record) {
		switch {
		case r.end <= limit && r.start == end && (r.section != additional || truncated == 0):
			kept[r.section]++
			end = r.end
		case r.section != additional:
			truncated = flagTruncated
		}
	})
	for _, section := range []int{answers, authority, additional} {
		binary.BigEndian.PutUint16(msg[section:], kept[section])
	}
	msg[2] |= truncated
	return msg[:end]
}

// add appends a record of class IN and counts it. Its owner is a whole name, or a pointer to one.
func add(msg []byte, section int, owner []byte, typ uint16, ttl uint32, data ...[]byte) []byte {
	msg = append(msg, owner...)
	msg = binary.BigEndian.AppendUint16(msg, typ)
	msg = binary.BigEndian.AppendUint16(msg, classIN)
	msg = binary.BigEndian.AppendUint32(msg, ttl)
	at := len(msg)
	msg = append(msg, 0, 0)
	for _, d := range data {
		msg = append(msg, d...)
	}
	binary.BigEndian.PutUint16(msg[at:], uint16(len(msg)-at-2))
	count(msg, section, 1)
	return msg
}

// at is a pointer to the name at an offset of the message.
func at(offset int) []byte { return []byte{0xc0 | byte(offset>>8), byte(offset)} }

func count(msg []byte, section int, n uint16) {
	binary.BigEndian.PutUint16(msg[section:], binary.BigEndian.Uint16(msg[section:])+n)
}

func setCode(msg []byte, code int) []byte {
	msg[3] = msg[3]&^rcodeMask | byte(code)
	return msg
}

// lower is a name with its ASCII letters in lower case. No length of a label is a letter's code: they end at 63, before 'A'.
func lower(name []byte) string {
	out := make([]byte, len(name))
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return string(out)
}

// wire is a name of labels with dots between them; a dot at its end changes nothing. Empty when it cannot be a name.
func wire(name string) string {
	var out []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return ""
		}
		out = append(append(out, byte(len(label))), label...)
	}
	if len(out) > 254 {
		return ""
	}
	return lower(append(out, 0))
}

// parent is a name without its first label; the root has none.
func parent(name string) string { return name[1+int(name[0]):] }
