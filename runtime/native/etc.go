package native

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"berth/runtime"
	"berth/runtime/internal/sys"
	"berth/runtime/network"
)

func parseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return addr, fmt.Errorf("cannot use recorded address: %w", err)
	}
	return addr, nil
}

// etcFiles are the files of a pod that are bound into each of its containers.
func etcFiles() []string { return []string{"hosts", "hostname", "resolv.conf"} }

// writeEtc writes the pod's hosts, hostname and resolv.conf.
func (r *Runtime) writeEtc(cfg runtime.SandboxConfig, rec sandboxRecord) error {
	dir := r.dirs.etc(cfg.UID)
	if err := makeDirs(r.dirs.statePod(cfg.UID), dir); err != nil {
		return err
	}
	hostname, err := r.hostname(cfg)
	if err != nil {
		return err
	}
	resolver, err := resolvConf(cfg)
	if err != nil {
		return err
	}
	hosts := hostsFile(rec.addresses(), hostname, cfg.FQDN, cfg.Hosts)
	if cfg.HostNetwork {
		machine, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		hosts = string(machine) + aliasLines(cfg.Hosts)
	}
	for name, content := range map[string]string{"hosts": hosts, "hostname": hostname + "\n", "resolv.conf": resolver} {
		path := filepath.Join(dir, name)
		if err := sys.PutNew(path, 0o644, []byte(content)); err != nil {
			return fmt.Errorf("cannot write %s: %w", name, err)
		}
		if rec.IDBase != 0 {
			if err := os.Lchown(path, int(rec.IDBase), int(rec.IDBase)); err != nil {
				return fmt.Errorf("cannot write %s: %w", name, err)
			}
		}
	}
	return nil
}

// hostsFile is the content of /etc/hosts in a pod with its own network.
func hostsFile(addresses []string, hostname, fqdn string, aliases []runtime.HostAlias) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	if fqdn != "" {
		hostname, _, _ = strings.Cut(hostname, ".") // it may be the full name itself
		hostname = fqdn + "\t" + hostname
	}
	for _, ip := range addresses {
		b.WriteString(ip + "\t" + hostname + "\n")
	}
	b.WriteString(aliasLines(aliases))
	return b.String()
}

func aliasLines(aliases []runtime.HostAlias) string {
	var b strings.Builder
	for _, a := range aliases {
		b.WriteString(a.IP + "\t" + strings.Join(a.Hostnames, "\t") + "\n")
	}
	return b.String()
}

// resolvConf is the content of /etc/resolv.conf. What the pod does not state is the machine's.
func resolvConf(cfg runtime.SandboxConfig) (string, error) {
	dns := cfg.DNS
	if len(dns.Servers) == 0 && len(dns.Searches) == 0 && len(dns.Options) == 0 {
		if cfg.HostNetwork {
			data, err := os.ReadFile("/etc/resolv.conf")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
			return string(data), nil
		}
		dns = network.ResolvConf()
	}
	var b strings.Builder
	if len(dns.Searches) > 0 {
		b.WriteString("search " + strings.Join(dns.Searches, " ") + "\n")
	}
	for _, s := range dns.Servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(dns.Options) > 0 {
		b.WriteString("options " + strings.Join(dns.Options, " ") + "\n")
	}
	text := b.String()
	for _, words := range [][]string{dns.Servers, dns.Searches, dns.Options} {
		if slices.ContainsFunc(words, func(w string) bool { return strings.ContainsAny(w, "\n\r\x00") }) {
			return "", fmt.Errorf("cannot write resolv.conf: a value has more than one line")
		}
	}
	return text, nil
}
