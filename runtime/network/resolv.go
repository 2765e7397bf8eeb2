package network

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"berth/runtime"
)

// The files that say where names are resolved. When the first one only names systemd-resolved's own server on a loopback address, the second
// has the servers behind it.
const (
	resolvConf         = "/etc/resolv.conf"
	resolvConfUpstream = "/run/systemd/resolve/resolv.conf"
)

// ResolvConf is the machine's resolver configuration as a pod can use it: without servers on loopback and link-local addresses, and, as most pods
// have no IPv6, without IPv6 servers where there are others. It is read anew at each call; nothing is configured when nothing can be read.
func ResolvConf() runtime.DNS { return resolvConfFrom(resolvConf, resolvConfUpstream) }

func resolvConfFrom(path, upstream string) runtime.DNS {
	dns, _ := readResolvConf(path)
	if len(dns.Servers) == 0 {
		if behind, err := readResolvConf(upstream); err == nil && len(behind.Servers) > 0 {
			return behind
		}
	}
	return dns
}

func readResolvConf(path string) (runtime.DNS, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return runtime.DNS{}, err
	}
	var dns runtime.DNS
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if usable(fields[1]) && !slices.Contains(dns.Servers, fields[1]) {
				dns.Servers = append(dns.Servers, fields[1])
			}
		case "search", "domain":
			dns.Searches = slices.DeleteFunc(fields[1:], func(s string) bool { return s == "." })
		case "options":
			dns.Options = append(dns.Options, fields[1:]...)
		}
	}
	if four := slices.DeleteFunc(slices.Clone(dns.Servers), func(s string) bool { return strings.Contains(s, ":") }); len(four) > 0 {
		dns.Servers = four
	}
	return dns, nil
}

func usable(server string) bool {
	addr, err := netip.ParseAddr(server)
	return err == nil && !addr.Unmap().IsLoopback() && !addr.IsUnspecified() && (!addr.Is6() || !addr.IsLinkLocalUnicast())
}
