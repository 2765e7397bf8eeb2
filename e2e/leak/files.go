package leak

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// takeFiles counts everything below dir, FIFOs by themselves.
func takeFiles(dir string, s Snapshot) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // never there, or gone while looking
		case err != nil:
			return fmt.Errorf("cannot count files: %w", err)
		case d.Type()&fs.ModeNamedPipe != 0:
			s[FIFO][p] = ""
		default:
			s[File][p] = d.Type().String()
		}
		return nil
	})
}

// takeCgroups counts the directories of every mounted hierarchy.
func takeCgroups(s Snapshot) error {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("cannot list mounts: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup" && f[2] != "cgroup2" {
			continue
		}
		walkDirs(f[1], s)
	}
	return nil
}

func walkDirs(dir string, s Snapshot) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // it has just been removed
	}
	s[Cgroup][dir] = ""
	for _, e := range entries {
		if e.IsDir() {
			walkDirs(filepath.Join(dir, e.Name()), s)
		}
	}
}
