package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

// OpenHostPath checks a path of the machine as its type demands, makes it when the type says so, and opens it. The check is made on the
// descriptor that is returned. Paths inside one of the directories in closed (berth's own state) are refused, by whatever name.
func OpenHostPath(hp runtime.HostPath, closed []string) (*sys.FD, error) {
	fd, err := openHostPath(hp, closed)
	if err != nil {
		return nil, fmt.Errorf("cannot use hostPath %q: %w", hp.Path, err)
	}
	return fd, nil
}

func openHostPath(hp runtime.HostPath, closed []string) (*sys.FD, error) {
	want, ok := hostPathTypes[hp.Type]
	if !ok {
		return nil, fmt.Errorf("type %q is not known", hp.Type)
	}
	if !filepath.IsAbs(hp.Path) {
		return nil, errors.New("it is not absolute")
	}
	fd, err := sys.OpenPath(hp.Path)
	if errors.Is(err, fs.ErrNotExist) && want.create != nil {
		if err := refuseClosed(missingPath(hp.Path), closed); err != nil {
			return nil, err
		}
		if err := want.create(hp.Path); err != nil {
			return nil, err
		}
		fd, err = sys.OpenPath(hp.Path)
	}
	if err != nil {
		return nil, err
	}
	if err := check(fd, want, closed); err != nil {
		_ = fd.Close()
		return nil, err
	}
	return fd, nil
}

func check(fd *sys.FD, want hostPathType, closed []string) error {
	path, err := fd.Path()
	if err != nil {
		return err
	}
	if err := refuseClosed(path, closed); err != nil {
		return err
	}
	st, err := fd.Stat()
	if err != nil {
		return err
	}
	if want.format != 0 && st.Mode&unix.S_IFMT != want.format {
		return fmt.Errorf("it is not a %s", want.noun)
	}
	return nil
}

// refuseClosed compares whole components: /var/lib/berth-data is not inside /var/lib/berth.
func refuseClosed(path string, closed []string) error {
	for _, dir := range closed {
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			dir = resolved
		}
		if path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			return fmt.Errorf("it is inside %s, which is berth's own", dir)
		}
	}
	return nil
}

// missingPath resolves the part of path that exists.
func missingPath(path string) string {
	path = filepath.Clean(path)
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	if path == "/" {
		return path
	}
	return filepath.Join(missingPath(filepath.Dir(path)), filepath.Base(path))
}

type hostPathType struct {
	noun   string
	format uint32 // file type bits; 0 for any
	create func(path string) error
}

// hostPathTypes are the values of Kubernetes' HostPathType. Without a type a missing path becomes a directory, as under a cluster's runtimes.
var hostPathTypes = map[string]hostPathType{
	"":                  {create: makeDir},
	"DirectoryOrCreate": {"directory", unix.S_IFDIR, makeDir},
	"Directory":         {"directory", unix.S_IFDIR, nil},
	"FileOrCreate":      {"file", unix.S_IFREG, makeFile},
	"File":              {"file", unix.S_IFREG, nil},
	"Socket":            {"socket", unix.S_IFSOCK, nil},
	"CharDevice":        {"character device", unix.S_IFCHR, nil},
	"BlockDevice":       {"block device", unix.S_IFBLK, nil},
}

func makeDir(path string) error { return os.MkdirAll(path, 0o755) }

func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
