package leak

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// takeSockets counts what listens: TCP and UDP of both families, and unix sockets.
func takeSockets(s Snapshot, own bool) error {
	mine := map[string]bool{}
	if !own {
		mine = ownSockets()
	}
	for proto, listening := range map[string]string{"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"} {
		data, err := os.ReadFile("/proc/self/net/" + proto)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 here
		}
		if err != nil {
			return fmt.Errorf("cannot list sockets: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == listening && !mine[f[9]] {
				s[Socket][proto+" "+f[1]+" inode "+f[9]] = ""
			}
		}
	}
	data, err := os.ReadFile("/proc/self/net/unix")
	if err != nil {
		return fmt.Errorf("cannot list unix sockets: %w", err)
	}
	const acceptConn = "00010000"
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 7 && f[3] == acceptConn && !mine[f[6]] {
			s[Socket]["unix "+f[7]+" inode "+f[6]] = ""
		}
	}
	return nil
}

// ownSockets are the inodes of the calling process's sockets.
func ownSockets() map[string]bool {
	out := map[string]bool{}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		target, err := os.Readlink(l)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok && err == nil {
			out[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return out
}
