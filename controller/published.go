package controller

import (
	"fmt"
	"net/netip"

	"berth/runtime"
)

// Published is a port of the machine that leads to pods, or to the Ingresses.
type Published struct {
	Protocol string `json:"protocol"`
	// Address is empty for all addresses of the machine.
	Address string `json:"address,omitempty"`
	Port    uint16 `json:"port"`
	// Object is what it is for.
	Object string `json:"object"`
	// Backends are who takes new connections: with none they are refused.
	Backends []string `json:"backends"`
}

// published are the ports of the table that holds.
func (c *Controller) published() []Published {
	c.traffic.mu.Lock()
	t := c.traffic.applied
	c.traffic.mu.Unlock()
	list := []Published{}
	for i := range t.Ports {
		p := &t.Ports[i]
		row := Published{Protocol: string(p.Protocol), Port: p.Port, Object: p.Owner, Backends: texts(p.Backends)}
		if p.Address.IsValid() {
			row.Address = p.Address.String()
		}
		list = append(list, row)
	}
	if in := t.Ingress; in != nil {
		for _, port := range []uint16{in.HTTP, in.HTTPS} {
			if port != 0 {
				list = append(list, Published{Protocol: string(runtime.TCP), Port: port, Object: fmt.Sprintf("Ingress (%d rules)", len(in.Rules)), Backends: []string{}})
			}
		}
	}
	return list
}

func texts(addrs []netip.AddrPort) []string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}
