package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// lookup prints what Go's own resolver finds, one line a name: IPv4 addresses, or "none"; for "ip6:NAME" those of IPv6; for "_PORT._PROTOCOL.NAME" ports and
// hosts; for an address its names.
func lookup(names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r := &net.Resolver{PreferGo: true}
	for _, name := range names {
		var out []string
		switch {
		case strings.HasPrefix(name, "_"):
			_, list, _ := r.LookupSRV(ctx, "", "", name)
			for _, s := range list {
				out = append(out, fmt.Sprintf("%s:%d", s.Target, s.Port))
			}
		case net.ParseIP(name) != nil:
			out, _ = r.LookupAddr(ctx, name)
		default:
			family := "ip4"
			if rest, six := strings.CutPrefix(name, "ip6:"); six {
				family, name = "ip6", rest
			}
			list, _ := r.LookupIP(ctx, family, name)
			for _, a := range list {
				out = append(out, a.String())
			}
		}
		if len(out) == 0 {
			out = []string{"none"}
		}
		fmt.Println(strings.Join(out, " "))
	}
}
