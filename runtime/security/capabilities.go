package security

import (
	"fmt"
	"strings"
	"sync"

	"github.com/moby/sys/capability"

	"berth/runtime"
)

// defaultCapabilities is what a container has when its manifest says nothing: enough to install files, change user and listen on any port, and for the
// servers that lock themselves up in an empty directory (sshd, haproxy, postfix): a root that was reached by pivot_root is not left by chroot.
const defaultCapabilities uint64 = 1<<capability.CAP_CHOWN |
	1<<capability.CAP_DAC_OVERRIDE |
	1<<capability.CAP_FSETID |
	1<<capability.CAP_FOWNER |
	1<<capability.CAP_SETGID |
	1<<capability.CAP_SETUID |
	1<<capability.CAP_SETPCAP |
	1<<capability.CAP_NET_BIND_SERVICE |
	1<<capability.CAP_SYS_CHROOT |
	1<<capability.CAP_KILL

// Capabilities returns the set of a container as a bit mask. Names are known in any case, with and without CAP_.
//
// ALL is every capability berth itself can give; privileged is ALL. With ALL among the dropped ones only what is added by name is left; what
// is both added and dropped by name is dropped. A name that berth cannot give is an error.
func Capabilities(s runtime.Security) (uint64, error) {
	available, err := ownCapabilities()
	if err != nil {
		return 0, fmt.Errorf("cannot read berth's own capabilities: %w", err)
	}
	return capabilities(s, available)
}

func capabilities(s runtime.Security, available uint64) (uint64, error) {
	add, addAll, err := capabilityMask(s.AddCapabilities)
	if err != nil {
		return 0, fmt.Errorf("cannot add a capability: %w", err)
	}
	drop, dropAll, err := capabilityMask(s.DropCapabilities)
	if err != nil {
		return 0, fmt.Errorf("cannot drop a capability: %w", err)
	}
	if s.Privileged {
		return available, nil
	}
	if missing := add &^ drop &^ available; missing != 0 {
		return 0, fmt.Errorf("cannot add capability %s: berth itself does not have it: %w",
			strings.Join(capabilityNames(missing), ", "), runtime.ErrNotSupported)
	}
	set := defaultCapabilities & available
	if addAll {
		set = available
	}
	if dropAll {
		set = 0
	}
	return (set | add) &^ drop, nil
}

// capabilityMask reads names; all says that ALL is one of them.
func capabilityMask(names []string) (mask uint64, all bool, err error) {
	for _, name := range names {
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if short == "ALL" {
			all = true
			continue
		}
		known := false
		for _, c := range capability.ListKnown() {
			if strings.ToUpper(c.String()) == short {
				mask |= 1 << c
				known = true
			}
		}
		if !known {
			return 0, false, fmt.Errorf("%q is not the name of a capability", name)
		}
	}
	return mask, all, nil
}

// capabilityNames are the names in a mask, with CAP_, as profiles and people write them.
func capabilityNames(mask uint64) []string {
	var names []string
	for _, c := range capability.ListKnown() {
		if mask&(1<<c) != 0 {
			names = append(names, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	return names
}

// ownCapabilities are those the kernel has and berth can hand on.
var ownCapabilities = sync.OnceValues(func() (uint64, error) {
	own, err := capability.NewPid2(0)
	if err != nil {
		return 0, err
	}
	if err := own.Load(); err != nil {
		return 0, err
	}
	supported, err := capability.ListSupported()
	if err != nil {
		return 0, err
	}
	var mask uint64
	for _, c := range supported {
		if own.Get(capability.PERMITTED, c) && own.Get(capability.BOUNDING, c) {
			mask |= 1 << c
		}
	}
	return mask, nil
})
