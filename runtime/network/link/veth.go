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

	"berth/runtime"
)

const (
	// podLink is the pod's end.
	podLink = "eth0"
	// vethInfoPeer is VETH_INFO_PEER, skipStats RTEXT_FILTER_SKIP_STATS.
	vethInfoPeer, skipStats = 1, 8
	// addrGenNone keeps the kernel from giving an interface an IPv6 address of its own making (IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE).
	inet6AddrGenMode, addrGenNone = 8, 1
)

// Veth is a pair of interfaces: one on the bridge, one in a pod.
type Veth struct {
	// Name is the end on the machine.
	Name string
	// Bridge is the index of the bridge.
	Bridge int
	MTU    int
	// MAC and Address are the pod's, GatewayMAC is the bridge's. The pod has no neighbour but Gateway: what it sends to others of its network
	// goes through the machine, and so does the answer. Else what was sent to a Service's address would be answered from a pod's.
	MAC, GatewayMAC  net.HardwareAddr
	Address, Gateway netip.Addr
	// Near are ranges of IPv4 that are on this machine: what goes there is sent under runtime.NearCongestion, whatever the pod uses else.
	Near []netip.Prefix
	// IPv6 says that the kernel has it: then it is kept quiet on both ends.
	IPv6 bool
	// Address6, Gateway6 and Near6 are of IPv6; without Address6 the pod has none. The machine knows the pod's MAC as the pod knows the machine's.
	Address6, Gateway6 netip.Addr
	Near6              []netip.Prefix
}

// Attach makes the pair, with one end in the bridge of this socket's namespace and the other as eth0 in netns, up, with address and default
// route. When it fails nothing is left.
func (s *Socket) Attach(netns *os.File, v Veth) (err error) {
	create := v.create(int(netns.Fd()))
	err = s.do(create)
	if errors.Is(err, unix.EEXIST) {
		// The pair of a pod that had this address before, whose namespace has not died yet.
		if err := s.Delete(v.Name); err != nil {
			return err
		}
		err = s.do(v.create(int(netns.Fd())))
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.Delete(v.Name)
		}
	}()
	if err := s.do(v.quiet(v.Name, v.join(), v.hairpin())...); err != nil {
		return err
	}
	if v.Address6.IsValid() {
		defer func() {
			if err != nil {
				_ = s.DeleteNeighbour(v.neighbour6())
			}
		}()
		if err := s.AddNeighbour(v.neighbour6()); err != nil {
			return err
		}
	}
	return s.furnish(netns, v)
}

// Join puts the machine's end of a pair that is there on another bridge than before. Of v only Name, Bridge, MAC and Address6 count.
func (s *Socket) Join(v Veth) error {
	if err := s.do(v.join(), v.hairpin()); err != nil || !v.Address6.IsValid() {
		return err
	}
	return s.AddNeighbour(v.neighbour6())
}

// furnish brings the pod's end up, with address and routes, and waits until all of it works.
func (s *Socket) furnish(netns *os.File, v Veth) error {
	inside, err := v.openInside(netns)
	if err != nil {
		return err
	}
	defer func() { _ = inside.Close() }()
	index, err := inside.up(v)
	if err != nil {
		return err
	}
	requests := []*message{v.address(index), v.route(index, v.Gateway, netip.Prefix{}), v.gateway(index, v.Gateway)}
	for _, near := range v.Near {
		requests = append(requests, v.route(index, v.Gateway, near))
	}
	if v.Address6.IsValid() {
		requests = append(requests, v.address6(index), v.route(index, v.Gateway6, netip.Prefix{}), v.gateway(index, v.Gateway6))
		for _, near := range v.Near6 {
			requests = append(requests, v.route(index, v.Gateway6, near))
		}
	}
	if err := inside.do(requests...); err != nil {
		return err
	}
	if err := s.awaitRunning(v.Name); err != nil || !v.Address6.IsValid() {
		return err
	}
	return inside.awaitUsable(v.Address6)
}

// awaitRunning waits until the kernel has noticed that the other end is up: a worker of its own tells the bridge, which throws away until then what the pod
// sends, its first question for a name for instance. Kernels since 6.8 do it when they are asked.
func (s *Socket) awaitRunning(name string) error {
	for pause := 100 * time.Microsecond; ; pause *= 2 {
		get := newMessage("look at interface "+name, unix.RTM_GETLINK, 0, linkInfo(0, 0)...).text(unix.IFLA_IFNAME, name).uint32(unix.IFLA_EXT_MASK, skipStats)
		if err := s.do(get); err != nil {
			return err
		}
		if get.flags&unix.IFF_RUNNING != 0 {
			return nil
		}
		if pause > time.Second {
			return fmt.Errorf("cannot use interface %s: its other end is up, and it is not", name)
		}
		<-time.NewTimer(pause).C
	}
}

// Delete removes an interface. One that is not there is not an error. It takes some 16 ms: the kernel waits for every processor.
func (s *Socket) Delete(name string) error {
	err := s.do(newMessage("remove interface "+name, unix.RTM_DELLINK, 0, linkInfo(0, 0)...).text(unix.IFLA_IFNAME, name))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func (v Veth) create(netns int) *message {
	m := newMessage("make interface "+v.Name, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, linkInfo(0, 0)...)
	common := func(name string) {
		m.text(unix.IFLA_IFNAME, name)
		m.uint32(unix.IFLA_MTU, uint32(v.MTU))
		// One queue each: the default is one per processor, which costs memory and time and gains nothing here.
		m.uint32(unix.IFLA_NUM_TX_QUEUES, 1)
		m.uint32(unix.IFLA_NUM_RX_QUEUES, 1)
	}
	common(v.Name)
	return m.nest(unix.IFLA_LINKINFO, nil, func() {
		m.text(unix.IFLA_INFO_KIND, "veth")
		m.nest(unix.IFLA_INFO_DATA, nil, func() {
			m.nest(vethInfoPeer, linkInfo(0, 0), func() {
				common(podLink)
				m.bytes(unix.IFLA_ADDRESS, v.MAC)
				m.uint32(unix.IFLA_NET_NS_FD, uint32(netns))
			})
		})
	})
}

func (v Veth) join() *message {
	return newMessage("put interface "+v.Name+" on the bridge", unix.RTM_SETLINK, 0, linkInfo(unix.IFF_UP, unix.IFF_UP)...).
		text(unix.IFLA_IFNAME, v.Name).uint32(unix.IFLA_MASTER, uint32(v.Bridge))
}

// hairpin lets the port send a frame back where it came from: where the kernel applies its IP rules in bridges (bridge-nf-call-iptables), a
// connection of a pod to itself by way of a Service never leaves the bridge.
func (v Veth) hairpin() *message {
	m := newMessage("set up bridge port "+v.Name, unix.RTM_NEWLINK, 0, linkInfo(0, 0)...).text(unix.IFLA_IFNAME, v.Name)
	return m.nest(unix.IFLA_LINKINFO, nil, func() {
		m.text(unix.IFLA_INFO_SLAVE_KIND, "bridge")
		m.nest(unix.IFLA_INFO_SLAVE_DATA, nil, func() { m.bytes(unix.IFLA_BRPORT_MODE, []byte{1}) })
	})
}

// up brings the pod's end up and returns its index: in a fresh namespace the kernel may have taken the first few for tunnels of its own.
func (s *Socket) up(v Veth) (int, error) {
	up := newMessage("bring up eth0", unix.RTM_SETLINK, 0, linkInfo(unix.IFF_UP, unix.IFF_UP)...).text(unix.IFLA_IFNAME, podLink)
	get := newMessage("find eth0", unix.RTM_GETLINK, 0, linkInfo(0, 0)...).text(unix.IFLA_IFNAME, podLink).uint32(unix.IFLA_EXT_MASK, skipStats)
	err := s.do(v.quiet(podLink, up, get)...)
	return get.index, err
}

// quiet puts before the other requests one that asks for no IPv6 address on an interface that is still down: without one the kernel neither
// solicits routers nor believes their advertisements.
func (v Veth) quiet(name string, then ...*message) []*message {
	if !v.IPv6 {
		return then
	}
	m := newMessage("keep IPv6 quiet on "+name, unix.RTM_SETLINK, 0, linkInfo(0, 0)...).text(unix.IFLA_IFNAME, name)
	m.nest(unix.IFLA_AF_SPEC, nil, func() {
		m.nest(unix.AF_INET6, nil, func() { m.bytes(inet6AddrGenMode, []byte{addrGenNone}) })
	})
	return append([]*message{m}, then...)
}

func (v Veth) address(index int) *message {
	fixed := binary.NativeEndian.AppendUint32([]byte{unix.AF_INET, 32, 0, unix.RT_SCOPE_UNIVERSE}, uint32(index))
	ip := v.Address.AsSlice()
	return newMessage("give eth0 its address", unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fixed...).
		bytes(unix.IFA_LOCAL, ip).bytes(unix.IFA_ADDRESS, ip)
}

// route leads to the gateway: all, with the zero value, or what is near.
func (v Veth) route(index int, gateway netip.Addr, near netip.Prefix) *message {
	fixed := []byte{familyOf(gateway), 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST}
	fixed = binary.NativeEndian.AppendUint32(fixed, unix.RTNH_F_ONLINK) // the gateway is behind eth0, though no range says so
	if near.IsValid() {
		fixed[1] = byte(near.Bits())
	}
	m := newMessage("set the route to the gateway", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fixed...).
		bytes(unix.RTA_GATEWAY, gateway.AsSlice()).uint32(unix.RTA_OIF, uint32(index))
	if near.IsValid() {
		m.bytes(unix.RTA_DST, near.Addr().AsSlice())
		m.nest(unix.RTA_METRICS, nil, func() { m.text(unix.RTAX_CC_ALGO, runtime.NearCongestion) })
	}
	return m
}

// gateway tells the pod the gateway's MAC, which never changes: it need not ask, and an answer that is lost while the bridge gets its first
// port would cost it a second.
func (v Veth) gateway(index int, addr netip.Addr) *message {
	return newMessage("tell eth0 its gateway", unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, permanent(index, addr)...).
		bytes(unix.NDA_DST, addr.AsSlice()).bytes(unix.NDA_LLADDR, v.GatewayMAC)
}
