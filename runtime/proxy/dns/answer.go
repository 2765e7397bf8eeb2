package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// maxChain is how many names may be other words for the next, one after the other.
const maxChain = 8

// asker gives what the machine's servers say: a whole message that the caller may change, nil when they say nothing. It is false when it would have to wait.
type asker func(key) ([]byte, bool)

// resolve answers a question. It is false when asking others would have to wait.
func (z *zone) resolve(q *question, buf []byte, ask asker) ([]byte, bool) {
	msg := q.begin(buf)
	switch {
	case q.class != classIN, q.qtype == typeOPT, typeIXFR <= q.qtype && q.qtype < typeANY: // zones are not handed out
		return setCode(msg, refused), true
	}
	owner, name := headerSize, q.name
	for range maxChain {
		n, below, ours := z.find(name)
		switch {
		case !ours && name == q.name:
			theirs, ok := ask(q.key(name))
			if theirs == nil {
				theirs = setCode(msg, serverFailure)
			}
			return theirs, ok
		case !ours:
			theirs, ok := ask(q.key(name))
			return follow(msg, owner, theirs), ok
		case !z.known:
			return setCode(msg, serverFailure), true
		}
		msg[2] |= flagAuthoritative
		if n == nil {
			return z.nothing(setCode(msg, nameError), owner, below), true
		}
		if n.alias == "" || q.qtype == typeCNAME {
			before := len(msg)
			if msg = z.records(msg, owner, n, q.qtype); len(msg) == before {
				msg = z.nothing(msg, owner, below)
			}
			return msg, true
		}
		msg = add(msg, answers, at(owner), typeCNAME, ttl, []byte(n.alias))
		owner, name = len(msg)-len(n.alias), n.alias
	}
	return setCode(q.begin(buf), serverFailure), true
}

// records appends what a name has of a type.
func (z *zone) records(msg []byte, owner int, n *node, qtype uint16) []byte {
	name := at(owner)
	switch qtype {
	case typeA:
		for _, a := range shuffled(n.addrs) {
			msg = add(msg, answers, name, typeA, ttl, a.AsSlice())
		}
	case typeAAAA:
		for _, a := range shuffled(n.addrs6) {
			msg = add(msg, answers, name, typeAAAA, ttl, a.AsSlice())
		}
	case typeSRV:
		msg = z.services(msg, name, shuffled(n.srv))
	case typeCNAME:
		if n.alias != "" {
			msg = add(msg, answers, name, typeCNAME, ttl, []byte(n.alias))
		}
	case typePTR:
		for _, p := range n.ptr {
			msg = add(msg, answers, name, typePTR, ttl, []byte(p))
		}
	case typeTXT:
		if n.text != "" {
			msg = add(msg, answers, name, typeTXT, ttl, []byte{byte(len(n.text))}, []byte(n.text))
		}
	case typeNS:
		if n.ns != "" {
			msg = add(msg, answers, name, typeNS, ttl, []byte(n.ns))
		}
	case typeSOA:
		if n.apex {
			msg = add(msg, answers, name, typeSOA, ttl, z.soa())
		}
	case typeANY: // RFC 8482: not everything there is, which only helps those who flood others
		msg = add(msg, answers, name, typeHINFO, ttl, []byte("\x07RFC8482\x00"))
	}
	return msg
}

// services appends SRV records, and the addresses of their targets.
func (z *zone) services(msg, owner []byte, list []service) []byte {
	if len(list) == 0 {
		return msg
	}
	weight := max(100/len(list), 1)
	var targets []string
	for _, s := range list {
		var fixed [6]byte // priority, weight, port
		binary.BigEndian.PutUint16(fixed[2:], uint16(weight))
		binary.BigEndian.PutUint16(fixed[4:], s.port)
		msg = add(msg, answers, owner, typeSRV, ttl, fixed[:], []byte(s.target))
		targets = insert(targets, s.target)
	}
	for _, t := range targets {
		if n := z.names[t]; n != nil {
			for _, a := range n.addrs {
				msg = add(msg, additional, []byte(t), typeA, ttl, a.AsSlice())
			}
			for _, a := range n.addrs6 {
				msg = add(msg, additional, []byte(t), typeAAAA, ttl, a.AsSlice())
			}
		}
	}
	return msg
}

// nothing says for how long there is nothing: the name's zone begins some bytes into the name.
func (z *zone) nothing(msg []byte, owner, below int) []byte {
	return add(msg, authority, at(owner+below), typeSOA, ttl, z.soa())
}

// soa is the data of the zone's SOA record. Its last number is how long a "no" counts.
func (z *zone) soa() []byte {
	out := append([]byte("\x02ns\x03dns"+z.domain), "\x0ahostmaster"+z.domain...)
	for _, v := range []uint32{z.serial, 7200, 1800, 86400, ttl} {
		out = binary.BigEndian.AppendUint32(out, v)
	}
	return out
}

// follow appends to an alias what others say of its target.
func follow(msg []byte, owner int, theirs []byte) []byte {
	if theirs == nil {
		return setCode(msg, serverFailure)
	}
	msg = setCode(msg, int(theirs[3]&rcodeMask))
	msg[2] = msg[2]&^flagAuthoritative | theirs[2]&flagTruncated
	err := records(theirs, func(r record) {
		if r.section != answers || r.class != classIN {
			return
		}
		name, err := expand(nil, theirs, r.start)
		if err != nil {
			return
		}
		data, err := plainData(theirs, r)
		if err != nil {
			return
		}
		// The target's own records point to where its name stands already.
		if target := msg[owner:]; len(target) >= len(name) && lower(target[:len(name)]) == lower(name) {
			name = at(owner)
		}
		msg = add(msg, answers, name, r.typ, binary.BigEndian.Uint32(theirs[r.ttl:]), data)
	})
	if err != nil {
		return setCode(msg, serverFailure)
	}
	return msg
}

// plainData is the data of a record with the names in it whole, as it means the same in another message. Types that RFC 3597 does not list
// have no shortened names.
func plainData(msg []byte, r record) ([]byte, error) {
	data, before, names := r.data(msg), 0, 0
	switch r.typ {
	case typeCNAME, typeNS, typePTR, typeDNAME:
		names = 1
	case typeSOA:
		names = 2
	case typeMX:
		before, names = 2, 1
	case typeSRV:
		before, names = 6, 1
	}
	if names == 0 {
		return data, nil
	}
	if len(data) < before {
		return nil, errMessage
	}
	out, at := slices.Clone(data[:before]), r.ttl+6+before
	for range names {
		end, _, err := skipName(msg, at)
		if err != nil || end > r.end {
			return nil, errMessage
		}
		if out, err = expand(out, msg, at); err != nil {
			return nil, err
		}
		at = end
	}
	return append(out, msg[at:r.end]...), nil
}

// shuffled is a list in an order of chance: clients take the first.
func shuffled[T netip.Addr | service](list []T) []T {
	if len(list) < 2 {
		return list
	}
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
