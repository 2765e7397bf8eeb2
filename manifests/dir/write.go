package dir

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"berth/manifests"
)

var _ manifests.Writer = (*Source)(nil)

// rewrite is a request to the loop, which owns what is known of the files.
type rewrite struct {
	files  []string
	change func(file string, data []byte) ([]byte, error)
	done   chan error
}

// Rewrite implements manifests.Writer. It waits until Run takes it.
func (s *Source) Rewrite(ctx context.Context, file string, change func([]byte) ([]byte, error)) error {
	return s.RewriteAll(ctx, []string{file}, func(_ string, data []byte) ([]byte, error) { return change(data) })
}

// RewriteAll implements manifests.Writer. It waits until Run takes it.
func (s *Source) RewriteAll(ctx context.Context, files []string, change func(string, []byte) ([]byte, error)) error {
	r := rewrite{files: files, change: change, done: make(chan error, 1)}
	select {
	case s.rewrites <- r:
	case <-ctx.Done():
		return fmt.Errorf("cannot write %s: %w", strings.Join(files, ", "), context.Cause(ctx))
	}
	return <-r.done
}

// rewrite changes files and tells of it without waiting for anything: the change has been asked for, and is whole.
func (l *loop) rewrite(r rewrite) error {
	var deeds []*deed
	defer func() {
		for _, d := range deeds {
			d.drop()
		}
	}()
	var errs []error
	for _, name := range r.files {
		d, err := l.prepare(r, name)
		if err != nil {
			errs = append(errs, err)
		}
		if d != nil {
			deeds = append(deeds, d)
		}
	}
	for _, d := range deeds {
		if err := unchanged(d.at, d.old); err != nil { // once more, right before the deed
			errs = append(errs, fmt.Errorf("cannot write %s: %w", d.name, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, d := range deeds {
		if err := d.do(); err != nil {
			errs = append(errs, fmt.Errorf("cannot write %s: %w", d.name, plainWriteError(err)))
			continue
		}
		l.takeIn(d)
	}
	if len(deeds) > len(errs) {
		l.changed, l.publishAt, l.heldSince = false, time.Time{}, time.Time{}
		l.last = l.src.clock.Now()
		l.emit(l.snapshot())
	}
	return errors.Join(errs...)
}

// prepare does everything that can fail for a reason; nil when the file says already what it shall say.
func (l *loop) prepare(r rewrite, name string) (*deed, error) {
	at, data, err := l.open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", name, err)
	}
	now, err := r.changed(name, data)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(now, data) && (now == nil) == (data == nil) {
		return nil, nil //nolint:nilnil // nothing to do
	}
	l.sweep(filepath.Dir(at))
	d := &deed{name: name, at: at, old: data, now: now}
	if err := d.stage(l.src.path); err != nil {
		d.drop()
		return nil, fmt.Errorf("cannot write %s: %w", name, plainWriteError(err))
	}
	return d, nil
}

// changed asks for the new content. Whatever goes wrong there concerns one request, and not the loop that all files depend on.
func (r *rewrite) changed(file string, data []byte) (now []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot change %s: %v", file, p)
		}
	}()
	return r.change(file, data)
}

// A new content has a name of this form until it takes the place of the old one. A crash leaves it behind, and whoever writes there next
// removes what is older than abandoned.
const (
	temporary = ".berth-*.tmp"
	abandoned = time.Hour
)

func (l *loop) sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, temporary)) // the pattern is well-formed, unless the directory's name spoils it
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && l.src.clock.Now().Sub(info.ModTime()) > abandoned {
			_ = os.Remove(path)
		}
	}
}

// open reads a file that is to be written, where its links lead.
func (l *loop) open(name string) (at string, data []byte, err error) {
	if l.tree.fault != nil {
		return "", nil, errors.New(l.tree.fault.Text)
	}
	if !filepath.IsLocal(name) || !isManifest(filepath.Base(name)) {
		return "", nil, fmt.Errorf("%w: it is no place for a manifest", manifests.ErrReadOnly)
	}
	at = resolve(filepath.Join(l.tree.root, filepath.FromSlash(name)))
	if rel, err := filepath.Rel(l.tree.real, at); err != nil || !filepath.IsLocal(rel) {
		return "", nil, fmt.Errorf("%w: it is a link that leaves the directory", manifests.ErrReadOnly)
	}
	if info, err := os.Lstat(at); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return "", nil, fmt.Errorf("%w: it is a link that leads nowhere", manifests.ErrReadOnly)
	}
	data, st := readFile(at)
	switch {
	case errors.Is(st.err, fs.ErrNotExist):
		return at, nil, nil
	case st.err != nil:
		return "", nil, st.err
	case st.busy:
		return "", nil, manifests.ErrConflict
	}
	if data == nil {
		data = []byte{}
	}
	return at, data, nil
}

// resolve is where a path leads: links are followed as far as there is anything.
func resolve(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	return filepath.Join(resolve(dir), filepath.Base(path))
}

// takeIn takes over what has been written.
func (l *loop) takeIn(d *deed) {
	delete(l.pending, d.name)
	if d.now == nil {
		delete(l.files, d.name)
		l.current = nil
		return
	}
	f := l.files[d.name]
	if f == nil {
		f = &file{}
		l.files[d.name] = f
	}
	if info, err := os.Stat(d.at); err == nil {
		f.stamp = stampOf(info)
	}
	f.hash, f.loaded = sha256.Sum256(d.now), true
	f.trial, f.due, f.goneSince, f.busySince = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	l.takeOver(f, manifests.Decode(d.name, d.now))
}

// plainWriteError tells apart what is not allowed, and takes temporary names out.
func plainWriteError(err error) error {
	why := err
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		why = pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		why = le.Err
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: %s", manifests.ErrReadOnly, strings.ToLower(why.Error()))
	}
	return why
}
