package native

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/keeper/program"
)

// compileSandbox lays out what is done once inside a pod's new namespaces: the name, the loopback interface, the sysctls.
func compileSandbox(cfg runtime.SandboxConfig, hostname string) *program.Builder {
	c := &compiler{}
	c.sandbox(cfg, hostname)
	if !cfg.HostNetwork {
		c.loopback()
	}
	return &c.Builder
}

func (c *compiler) sandbox(cfg runtime.SandboxConfig, hostname string) {
	if !cfg.HostNetwork {
		c.Call("set the host name", unix.SYS_SETHOSTNAME, c.String(hostname), program.Imm(len(hostname)))
	}
	values := sysctls(cfg)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		c.openat("open sysctl "+name, "/proc/sys/"+strings.ReplaceAll(name, ".", "/"), unix.O_WRONLY).SaveTo = 1 + regScratch
		c.Call("set sysctl "+name, unix.SYS_WRITE, program.Reg(regScratch), c.String(values[name]), program.Imm(len(values[name])))
	}
}

// ifreqSize is the size of struct ifreq.
const ifreqSize = 40

// loopback brings lo up. Its addresses come with it.
func (c *compiler) loopback() {
	// struct ifreq: the name in 16 bytes, then the flags.
	ifreq := make([]byte, ifreqSize)
	copy(ifreq, "lo")
	const flags = unix.IFF_UP | unix.IFF_RUNNING
	ifreq[unix.IFNAMSIZ], ifreq[unix.IFNAMSIZ+1] = flags&0xff, flags>>8
	c.Call("open a socket", unix.SYS_SOCKET, program.Imm(unix.AF_INET), program.Imm(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), program.Imm(0)).SaveTo = 1 + regScratch
	c.Call("bring lo up", unix.SYS_IOCTL, program.Reg(regScratch), program.Imm(unix.SIOCSIFFLAGS), c.Bytes(ifreq))
}

// sysctls are berth's own settings of a pod's network, and what the pod asks for.
func sysctls(cfg runtime.SandboxConfig) map[string]string {
	values := map[string]string{}
	if !cfg.HostNetwork {
		// Ping without CAP_NET_RAW, and ports below 1024 for everybody: in a network of one's own neither is a privilege.
		groups := "0 2147483647"
		if cfg.UserNamespace {
			groups = fmt.Sprintf("0 %d", idRangeSize-1)
		}
		values["net.ipv4.ping_group_range"] = groups
		values["net.ipv4.ip_unprivileged_port_start"] = "0"
	}
	maps.Copy(values, cfg.Sysctls)
	return values
}

// checkSysctls refuses settings that are not the pod's own: of namespaces it shares with the machine, or of the whole machine.
func checkSysctls(cfg runtime.SandboxConfig) error {
	for name, value := range cfg.Sysctls {
		if strings.ContainsAny(value, "\n\x00") {
			return fmt.Errorf("cannot set sysctl %s: the value has more than one line", name)
		}
		own := false
		switch {
		case strings.HasPrefix(name, "net."):
			own = !cfg.HostNetwork
		case strings.HasPrefix(name, "kernel.shm"), strings.HasPrefix(name, "kernel.msg"), name == "kernel.sem", strings.HasPrefix(name, "fs.mqueue."):
			own = !cfg.HostIPC
		}
		if !own || !validSysctl(name) {
			return fmt.Errorf("cannot set sysctl %q: it is not one of the pod's own namespaces: %w", name, runtime.ErrNotSupported)
		}
	}
	return nil
}

// validSysctl keeps names to what becomes a path below /proc/sys and nothing else.
func validSysctl(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || strings.ContainsFunc(part, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
		}) {
			return false
		}
	}
	return true
}
