package isolate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// young is how long a run may take from making its cgroups to being in them.
const young = time.Minute

// sweep removes the cgroups of runs that were killed with all their processes, the outermost included: nobody was left to do it. Those of a run that lives have
// processes in every hierarchy.
func sweep(now time.Time) error {
	var errs []error
	for _, h := range hierarchies() {
		dirs, err := filepath.Glob(filepath.Join(h, groupPrefix+"*"))
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if st, err := os.Stat(dir); err == nil && now.Sub(st.ModTime()) > young && empty(dir) {
				errs = append(errs, removeTree(dir))
			}
		}
	}
	return errors.Join(errs...)
}

// empty tells whether no process is in a cgroup or below. What cannot be read counts as one.
func empty(dir string) bool {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err == nil && strings.TrimSpace(string(procs)) != "" {
			err = errPopulated
		}
		return err
	})
	return err == nil
}

var errPopulated = errors.New("populated")
