package proxy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The bytes of version 2 of the PROXY protocol.
const (
	signature                = "\r\n\r\n\x00\r\nQUIT\n"
	version2, local, proxied = 0x20, 0x00, 0x01
	tcp4, tcp6               = 0x11, 0x21
)

// proxyHeader is what comes before the first byte of a connection in the PROXY protocol (haproxy.org/download/3.0/doc/proxy-protocol.txt): who has
// connected to which address. Both are of one family. Version 1 is a line of text, 2 is binary.
func proxyHeader(version int, client, to netip.AddrPort) []byte {
	six := client.Addr().Is6()
	if version == 1 {
		family := "TCP4"
		if six {
			family = "TCP6"
		}
		return fmt.Appendf(nil, "PROXY %s %s %s %d %d\r\n", family, client.Addr().WithZone(""), to.Addr().WithZone(""), client.Port(), to.Port())
	}
	family, size := byte(tcp4), uint16(2*4+2*2)
	if six {
		family, size = tcp6, 2*16+2*2
	}
	h := binary.BigEndian.AppendUint16(append([]byte(signature), version2|proxied, family), size)
	h = append(append(h, client.Addr().AsSlice()...), to.Addr().AsSlice()...)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(h, client.Port()), to.Port())
}
