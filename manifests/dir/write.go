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
	"slices"
	"strings"
	"syscall"
	"time"

	"berth/manifests"
)

var _ manifests.Writer = (*Source)(nil)

// rewrite is a request to the loop, which owns what is known of the files.
type rewrite struct {
	file   string
	change func([]byte) ([]byte, error)
	done   chan error
}

// Rewrite implements manifests.Writer. It waits until Run takes it.
func (s *Source) Rewrite(ctx context.Context, file string, change func([]byte) ([]byte, error)) error {
	r := rewrite{file: file, change: change, done: make(chan error, 1)}
	select {
	case s.rewrites <- r:
	case <-ctx.Done():
		return fmt.Errorf("cannot write %s: %w", file, context.Cause(ctx))
	}
	return <-r.done
}

// rewrite changes a file and tells of it without waiting for anything: the change has been asked for, and is whole.
func (l *loop) rewrite(r rewrite) {
	at, data, err := l.open(r.file)
	if err != nil {
		r.done <- fmt.Errorf("cannot write %s: %w", r.file, err)
		return
	}
	now, err := r.changed(data)
	switch {
	case err != nil:
		r.done <- err
		return
	case bytes.Equal(now, data) && (now == nil) == (data == nil):
	case now == nil:
		err = removeFile(at, data)
	default:
		l.sweep(filepath.Dir(at))
		err = replaceFile(l.src.path, at, data, now, holdsSecret(r.file, now))
	}
	if err != nil {
		r.done <- fmt.Errorf("cannot write %s: %w", r.file, err)
		return
	}
	l.settled(r.file, at, now)
	r.done <- nil
}

// changed asks for the new content. Whatever goes wrong there concerns one request, and not the loop that all files depend on.
func (r *rewrite) changed(data []byte) (now []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot change %s: %v", r.file, p)
		}
	}()
	return r.change(data)
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

// settled takes over what has been written, and tells of it at once.
func (l *loop) settled(name, at string, data []byte) {
	if data == nil {
		delete(l.files, name)
		l.current, l.changed = nil, true
	} else {
		f := l.files[name]
		if f == nil {
			f = &file{}
			l.files[name] = f
		}
		if info, err := os.Stat(at); err == nil {
			f.stamp = stampOf(info)
		}
		f.hash, f.loaded = sha256.Sum256(data), true
		f.trial, f.due, f.goneSince, f.busySince = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		l.takeOver(f, manifests.Decode(name, data))
	}
	delete(l.pending, name)
	l.changed, l.publishAt, l.heldSince = false, time.Time{}, time.Time{}
	l.last = l.src.clock.Now()
	l.emit(l.snapshot())
}

// replaceFile puts a new content in the place of the old one (nil: no file) by a rename. The new file is on the disk before it has the name: a
// crash leaves one or the other, whole.
func replaceFile(root, at string, old, now []byte, secret bool) error {
	dir := filepath.Dir(at)
	owner, err := ownerOf(root, at)
	if err != nil {
		return plainWriteError(err)
	}
	if err := makeFolder(dir, owner); err != nil {
		return plainWriteError(err)
	}
	mode := fs.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	if info, err := os.Stat(at); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(dir, temporary) // not after the file: its name may be as long as names can be
	if err != nil {
		return plainWriteError(err)
	}
	defer os.Remove(f.Name()) // fails once it has its name
	_, err = f.Write(now)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = owner.give(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return plainWriteError(err)
	}
	if err := unchanged(at, old); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), at); err != nil {
		return plainWriteError(err)
	}
	syncFolder(dir)
	return nil
}

// holdsSecret tells whether a file states Secrets: a new one is for its owner alone.
func holdsSecret(name string, data []byte) bool {
	return slices.ContainsFunc(manifests.Decode(name, data).Objects, func(o manifests.Object) bool { return o.Key.Kind == "Secret" })
}

func removeFile(at string, old []byte) error {
	if err := unchanged(at, old); err != nil {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return plainWriteError(err)
	}
	syncFolder(filepath.Dir(at))
	return nil
}

// unchanged looks once more, right before the deed.
func unchanged(at string, old []byte) error {
	data, st := readFile(at)
	switch {
	case errors.Is(st.err, fs.ErrNotExist) && old == nil:
		return nil
	case st.err != nil, st.busy, old == nil, !bytes.Equal(data, old):
		return manifests.ErrConflict
	}
	return nil
}

// owner is whom a file belongs to.
type owner struct{ uid, gid int }

// ownerOf is the owner of a file, or of the directory where there is none yet: who may edit one shall be able to edit the other.
func ownerOf(root, at string) (owner, error) {
	info, err := os.Stat(at)
	if err != nil {
		info, err = os.Stat(root)
	}
	if err != nil {
		return owner{}, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return owner{int(st.Uid), int(st.Gid)}, nil
	}
	return owner{os.Geteuid(), os.Getegid()}, nil
}

func (o owner) give(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == o.uid && int(st.Gid) == o.gid {
		return nil
	}
	return f.Chown(o.uid, o.gid)
}

func makeFolder(dir string, o owner) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	syncFolder(filepath.Dir(dir))
	if o.uid == os.Geteuid() {
		return nil
	}
	return os.Chown(dir, o.uid, o.gid)
}

// syncFolder makes a new name outlive a power cut. What cannot be synced is written nevertheless.
func syncFolder(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		_ = f.Close()
	}
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
