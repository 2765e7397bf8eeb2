package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"berth/runtime"
)

// Usage is what the group has used of processors so far, and the memory it uses: without what the kernel can drop when it needs room. Where the
// kernel does not account for the group, its processes are asked; then the time of those that have ended is missing. A group that does not exist uses nothing.
func (g *Group) Usage() (runtime.Usage, error) {
	var u runtime.Usage
	dir := g.tracked()
	found, err := pids(dir)
	if err != nil {
		return u, fmt.Errorf("cannot see what %s uses: %w", g.name, err)
	}
	for _, pid := range found {
		cpu, memory := process(pid)
		u.CPU += cpu
		u.Memory += memory
	}
	if g.tree.h.v2 == "" {
		return u, nil
	}
	if n, err := readCount(filepath.Join(dir, "cpu.stat"), "usage_usec"); err == nil && n > 0 {
		u.CPU = time.Duration(n) * time.Microsecond
	}
	text, err := os.ReadFile(filepath.Join(dir, "memory.current"))
	if errors.Is(err, fs.ErrNotExist) { // another hierarchy has the controller
		return u, nil
	}
	if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
		idle, _ := readCount(filepath.Join(dir, "memory.stat"), "inactive_file") // 0 where it cannot be read
		u.Memory = max(n-int64(idle), 0)
	}
	return u, nil
}

// tick is the unit of /proc/PID/stat, the same on every Linux.
const tick = 10 * time.Millisecond

// process is what one process has used and uses; nothing for one that has ended.
func process(pid int) (cpu time.Duration, memory int64) {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		// The name in parentheses may hold anything; utime and stime are the 14th and 15th field.
		if f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])); len(f) > 12 {
			user, _ := strconv.ParseInt(f[11], 10, 64)
			system, _ := strconv.ParseInt(f[12], 10, 64)
			cpu = time.Duration(user+system) * tick
		}
	}
	if statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)); err == nil {
		if f := strings.Fields(string(statm)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			memory = pages * int64(os.Getpagesize())
		}
	}
	return cpu, memory
}
