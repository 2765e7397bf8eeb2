package native

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keptLogs is how many attempts' logs stay: the newest, and the one before for `logs --previous`.
const keptLogs = 2

// pruneLogs removes the logs of attempts so old that nobody can ask for them.
func (r *Runtime) pruneLogs(p *pod, c *container) error {
	dir := r.dirs.podLogs(p.Config.Namespace, p.Config.Name, p.uid) + "/" + c.Config.Name
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	attempts := map[uint64][]string{}
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.ParseUint(number, 10, 32); err == nil {
			attempts[n] = append(attempts[n], e.Name())
		}
	}
	numbers := make([]uint64, 0, len(attempts))
	for n := range attempts {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers[:max(0, len(numbers)-keptLogs)] {
		for _, name := range attempts[n] {
			if err := os.Remove(dir + "/" + name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// keptPodLogs is how many removed pods' logs stay, the youngest: enough to look at what a rollout has replaced, and no growth for ever.
const keptPodLogs = 64

// pruneEvery is how many pods are removed between two looks at all logs: when hundreds go at once a look for each would take longer than
// the rest of its removal. So many more logs may stay.
const pruneEvery = 16

// pruneOldLogs removes the logs of pods that are long gone.
func (r *Runtime) pruneOldLogs() error {
	if r.erased.Add(1)%pruneEvery != 1 {
		return nil
	}
	entries, err := os.ReadDir(r.dirs.logs())
	if err != nil {
		return err
	}
	r.mu.Lock()
	alive := len(r.pods)
	r.mu.Unlock()
	if len(entries) <= alive+keptPodLogs {
		return nil
	}
	type old struct {
		name string
		at   time.Time
	}
	var gone []old
	for _, e := range entries {
		uid := e.Name()[strings.LastIndexByte(e.Name(), '_')+1:]
		if info, err := e.Info(); err == nil && r.pod(uid) == nil {
			gone = append(gone, old{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(gone, func(a, b old) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(a.name, b.name)) })
	var errs []error
	for _, o := range gone[min(len(gone), keptPodLogs):] {
		errs = append(errs, removeTree(filepath.Join(r.dirs.logs(), o.name)))
	}
	return errors.Join(errs...)
}
