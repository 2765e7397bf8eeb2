package cli

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"text/tabwriter"

	"berth/controller"
)

// published shows the ports of the machine that lead to pods.
func (t table) published(s *controller.Status) {
	if len(s.Published) > 0 {
		fmt.Fprintln(t.w)
		tw := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "PORT\tPUBLISHES\tPODS")
		for i := range s.Published {
			p := &s.Published[i]
			pods := strconv.Itoa(len(p.Backends))
			if strings.HasPrefix(p.Object, "Ingress (") {
				pods = "-"
			}
			port := strconv.Itoa(int(p.Port))
			if p.Address != "" {
				port = net.JoinHostPort(p.Address, port)
			}
			fmt.Fprintf(tw, "%s/%s\t%s\t%s\n", port, p.Protocol, safe(p.Object), pods)
		}
		_ = tw.Flush() // a terminal that is gone
	}
}
