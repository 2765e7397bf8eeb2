package native

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/runtime"
)

// netnsDir is where ip-netns(8) looks for the names of network namespaces. What stands there for a pod is a symbolic link to one of its processes:
// no mount, which would keep the namespace alive.
const netnsDir = "/run/netns"

// longestName is the longest name of a file (NAME_MAX).
const longestName = 255

// netnsName is the name of a pod's network, "" when it has none of its own or nobody asked for names.
func (r *Runtime) netnsName(p *pod) string {
	if r.opts.NetNSPrefix == "" || p.Config.HostNetwork {
		return ""
	}
	name := r.opts.NetNSPrefix + "-" + p.Config.Namespace + "-" + p.Config.Name
	if len(name) > longestName {
		name = r.opts.NetNSPrefix + "-" + p.uid
	}
	return name
}

// nameNetNS lets the name of a pod's network lead to a process that runs in it; without one there is no name. It is a convenience: what goes
// wrong is reported. p.op is held.
func (r *Runtime) nameNetNS(p *pod) {
	r.mu.Lock()
	name, pid := r.netnsName(p), 0
	for _, c := range p.containers {
		if c.State == runtime.Running && !p.removing {
			pid = c.PID
			break
		}
	}
	r.mu.Unlock()
	if name == "" {
		return
	}
	path := filepath.Join(netnsDir, name)
	if pid == 0 {
		r.reportUnlessGone(os.Remove(path))
		_ = os.Remove(netnsDir) // only when it is empty: then nobody needs it
		return
	}
	target := "/proc/" + strconv.Itoa(pid) + "/ns/net"
	if now, err := os.Readlink(path); err == nil && now == target {
		return
	}
	r.reportUnlessGone(os.Remove(path))
	err := os.Symlink(target, path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(netnsDir, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			err = os.Symlink(target, path)
		}
	}
	r.reportUnlessGone(err)
}

// sweepNetNSNames takes away the names of this instance's pods that are no more: all but those of keep.
func (r *Runtime) sweepNetNSNames(keep map[string]bool) {
	if r.opts.NetNSPrefix == "" {
		return
	}
	entries, err := os.ReadDir(netnsDir)
	r.reportUnlessGone(err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), r.opts.NetNSPrefix+"-") && e.Type()&fs.ModeSymlink != 0 && !keep[e.Name()] {
			r.reportUnlessGone(os.Remove(filepath.Join(netnsDir, e.Name())))
		}
	}
	_ = os.Remove(netnsDir) // only when it is empty
}

// nameAllNetNS brings the names up to date with what was adopted.
func (r *Runtime) nameAllNetNS() {
	keep := map[string]bool{}
	for _, p := range r.pods {
		r.nameNetNS(p)
		keep[r.netnsName(p)] = true
	}
	r.sweepNetNSNames(keep)
}

func (r *Runtime) reportUnlessGone(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.opts.Report(err)
	}
}
