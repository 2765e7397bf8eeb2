package conntrack

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"berth/runtime/network/internal/socket"
)

// described is how the kernel tells of a flow.
func described() []byte {
	tuple := func(from, to string, source, destination uint16) []byte {
		ip := append(attr(ipSource, netip.MustParseAddr(from).AsSlice()), attr(ipDestination, netip.MustParseAddr(to).AsSlice())...)
		proto := append(attr(protoNumber, []byte{unix.IPPROTO_TCP}), attr(protoSource, binary.BigEndian.AppendUint16(nil, source))...)
		proto = append(proto, attr(protoDestination, binary.BigEndian.AppendUint16(nil, destination))...)
		return append(attr(tupleIP|unix.NLA_F_NESTED, ip), attr(tupleProto|unix.NLA_F_NESTED, proto)...)
	}
	return bytes.Join([][]byte{
		attr(attrOrig|unix.NLA_F_NESTED, tuple("10.0.0.1", "10.1.0.1", 40000, 80)),
		attr(attrReply|unix.NLA_F_NESTED, tuple("10.0.0.2", "10.0.0.1", 8080, 40000)),
		attr(attrStatus, binary.BigEndian.AppendUint32(nil, seenReply)),
		attr(attrID, []byte{1, 2, 3, 4}),
	}, nil)
}

func TestFlowOf(t *testing.T) {
	b := described()
	f, err := flowOf(b)
	if err != nil {
		t.Fatal(err)
	}
	from, to, answers := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.1.0.1:80"), netip.MustParseAddrPort("10.0.0.2:8080")
	if f.Protocol != unix.IPPROTO_TCP || f.From != from || f.To != to || f.Answers != answers || !f.Answered {
		t.Errorf("got %+v", f)
	}
	var key []byte
	_ = socket.Attributes(b, func(kind uint16, whole, _ []byte) {
		if kind == attrReply || kind == attrID {
			key = append(key, whole...)
		}
	})
	if !bytes.Equal(f.key(), key) {
		t.Errorf("got % x, want % x", f.key(), key)
	}
}

// Whatever comes is read to its end or refused.
func TestMalformed(t *testing.T) {
	b := described()
	for i := range b {
		_, _ = flowOf(b[:i])
		for _, v := range []byte{0, 1, 3, 255} {
			c := bytes.Clone(b)
			c[i] = v
			f, _ := flowOf(c)
			_ = f.key()
		}
	}
	if _, err := flowOf([]byte{200, 0, 1, 0}); err == nil {
		t.Error("an attribute that is longer than all is accepted")
	}
}
