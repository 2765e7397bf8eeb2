package dns

import (
	"encoding/binary"
	"time"
)

// Bounds of the cache: entries and bytes of one, so some MB at most; and how long an answer counts whatever it says of itself. A "no" that
// was just put right should not be believed for long, and a failure only keeps a flood from the servers (RFC 9520).
const (
	maxEntries                       = 4096
	maxEntrySize                     = 2048
	maxPositive, maxNegative, failed = 5 * time.Minute, 30 * time.Second, time.Second
)

// cache has answers of others. There are no timers: an entry that is over goes when it is met, or when room is needed.
type cache map[key]entry

type entry struct {
	msg          []byte
	since, until time.Time
}

// get is a copy of an answer with the times to live it has now, nil for none.
func (c cache) get(k key, now time.Time) []byte {
	e, ok := c[k]
	if !ok {
		return nil
	}
	if !now.Before(e.until) {
		delete(c, k)
		return nil
	}
	age, msg := uint32(now.Sub(e.since)/time.Second), append([]byte(nil), e.msg...)
	_ = records(msg, func(r record) {
		left := binary.BigEndian.Uint32(msg[r.ttl:])
		binary.BigEndian.PutUint32(msg[r.ttl:], left-min(age, left))
	})
	return msg
}

// put remembers an answer for as long as it counts. When there is no room an entry of chance goes.
func (c cache) put(k key, msg []byte, now time.Time) {
	life := lifetime(msg)
	if life <= 0 || len(msg) > maxEntrySize {
		return
	}
	for old := range c {
		if len(c) < maxEntries {
			break
		}
		delete(c, old)
	}
	c[k] = entry{msg: msg, since: now, until: now.Add(life)}
}

// lifetime is how long an answer counts: the least of its times to live, for a "no" those of the SOA record that comes with it (RFC 2308).
// A "no" without one counts only now.
func lifetime(msg []byte) time.Duration {
	if len(msg) < headerSize || msg[2]&flagTruncated != 0 {
		return 0
	}
	if code := int(msg[3] & rcodeMask); code != success && code != nameError {
		return failed
	}
	least, found, most := uint32(1<<31), false, maxPositive
	_ = records(msg, func(r record) {
		left := binary.BigEndian.Uint32(msg[r.ttl:])
		switch {
		case r.section == answers:
		case r.section == authority && r.typ == typeSOA && r.end-r.ttl >= 6+22:
			left, most = min(left, binary.BigEndian.Uint32(msg[r.end-4:])), maxNegative
		default:
			return
		}
		if left >= 1<<31 {
			left = 0
		}
		least, found = min(least, left), true
	})
	if !found {
		return 0
	}
	return min(time.Duration(least)*time.Second, most)
}
