package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
)

// Neighbour is who has an address behind an interface. It is never asked for it, and what others tell of it is not believed.
type Neighbour struct {
	Link    int // index
	Address netip.Addr
	MAC     net.HardwareAddr
}

// AddNeighbour makes it known, whatever was known of the address.
func (s *Socket) AddNeighbour(n Neighbour) error {
	return s.do(newMessage("tell the bridge who has "+n.Address.String(), unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, permanent(n.Link, n.Address)...).
		bytes(unix.NDA_DST, n.Address.AsSlice()).bytes(unix.NDA_LLADDR, n.MAC))
}

// DeleteNeighbour forgets it. One that is not known is not an error.
func (s *Socket) DeleteNeighbour(n Neighbour) error {
	err := s.do(newMessage("forget who has "+n.Address.String(), unix.RTM_DELNEIGH, 0, permanent(n.Link, n.Address)...).bytes(unix.NDA_DST, n.Address.AsSlice()))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (v Veth) neighbour6() Neighbour {
	return Neighbour{Link: v.Bridge, Address: v.Address6, MAC: v.MAC}
}

// permanent is a struct ndmsg.
func permanent(index int, addr netip.Addr) []byte {
	fixed := binary.NativeEndian.AppendUint32([]byte{familyOf(addr), 0, 0, 0}, uint32(index))
	return append(binary.NativeEndian.AppendUint16(fixed, unix.NUD_PERMANENT), 0, 0)
}

func familyOf(addr netip.Addr) byte {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// address6 gives the pod's end its address: without asking whether somebody else has it, and without a route to itself.
func (v Veth) address6(index int) *message {
	const flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	fixed := binary.NativeEndian.AppendUint32([]byte{unix.AF_INET6, 128, unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE}, uint32(index))
	return newMessage("give eth0 its address of IPv6", unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fixed...).
		bytes(unix.IFA_LOCAL, v.Address6.AsSlice()).uint32(unix.IFA_FLAGS, flags)
}

// awaitUsable waits until the kernel takes what is sent to the address for its own: a worker does that in its own time, also where nobody has to be asked for
// the address, and the flags of the address do not tell.
func (s *Socket) awaitUsable(addr netip.Addr) error {
	for pause := 50 * time.Microsecond; ; pause *= 2 {
		get := newMessage("look at the address of eth0", unix.RTM_GETROUTE, 0, unix.AF_INET6, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0).bytes(unix.RTA_DST, addr.AsSlice())
		if err := s.do(get); err != nil {
			return err
		}
		if get.local {
			return nil
		}
		if pause > time.Second {
			return fmt.Errorf("cannot use address %s: the kernel does not take it for its own", addr)
		}
		<-time.NewTimer(pause).C
	}
}

// openInside opens a socket in the pod's namespace. A pod with IPv6 has all it needs of it, and so takes no advice of routers.
func (v Veth) openInside(netns *os.File) (*Socket, error) {
	if !v.Address6.IsValid() {
		return OpenIn(netns)
	}
	return openIn(netns, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+podLink+"/accept_ra", []byte("0"), 0o644); err != nil {
			return fmt.Errorf("cannot make eth0 deaf to routers: %w", err)
		}
		return nil
	})
}

// openIn opens a socket in another namespace, and does something else there first.
func openIn(netns *os.File, first func() error) (s *Socket, err error) {
	err = sys.Away(func() error {
		if err := sys.EnterNetNS(netns); err != nil {
			return err
		}
		if err := first(); err != nil {
			return err
		}
		s, err = Open()
		return err
	})
	return s, err
}
