package logs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// errNotRegular means that something else than a log is at the log's place.
var errNotRegular = errors.New("not a regular file")

// file reads the current file of a log and goes over to its successor after a rotation.
type file struct {
	path string
	f    *os.File // nil while there is none
	rest []byte   // of a line whose end has not been written
	buf  []byte
}

// open opens a regular file; nothing is waited for and no link is followed, whatever is there.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// begin prints the older files of a log, as far as they are wanted, and returns the current one where reading goes on.
func begin(ctx context.Context, path string, p *printer) (*file, error) {
	cur := &file{path: path, buf: make([]byte, 64<<10)}
	files, err := generations(path)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return cur, err
	}
	start, offset := 0, int64(0)
	if p.opts.Tail != nil {
		if start, offset, err = tailStart(files, *p.opts.Tail, p.opts.Stream); err != nil {
			return cur, err
		}
	}
	for i := start; i < len(files); i++ {
		if _, err := files[i].Seek(offset, io.SeekStart); err != nil {
			return cur, err
		}
		offset = 0
		cur.f, cur.rest = files[i], nil
		files[i] = nil
		if i == len(files)-1 {
			break
		}
		err := cur.read(ctx, p)
		cur.f.Close()
		cur.f = nil
		if err != nil {
			return cur, err
		}
	}
	return cur, nil
}

// generations opens the files of a log, oldest first. When one was rotated meanwhile a file may be met twice: the second is left out.
func generations(path string) ([]*os.File, error) {
	var files []*os.File
	for i := 0; ; i++ {
		name := path
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		f, err := open(name)
		if errors.Is(err, fs.ErrNotExist) && i == 0 {
			continue // just rotated, or not yet written
		}
		if errors.Is(err, fs.ErrNotExist) {
			return files, nil
		}
		if err != nil {
			return files, err
		}
		if len(files) > 0 && same(f, files[0]) {
			f.Close()
			continue
		}
		files = append([]*os.File{f}, files...)
	}
}

func same(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// drain prints what has been written, going over to the next file when the current one has been rotated away.
func (f *file) drain(ctx context.Context, p *printer) error {
	for {
		if f.f != nil {
			if err := f.read(ctx, p); err != nil {
				return err
			}
		}
		next, err := f.successor()
		if err != nil || next == nil {
			return err
		}
		if f.f != nil {
			// Its last entries may have come between the read and the rotation; after the rotation none can.
			if err := f.read(ctx, p); err != nil {
				next.Close()
				return err
			}
			f.f.Close()
		}
		f.f, f.rest = next, nil
	}
}

// successor is the file that followed the one being read; nil when that one is still the current. More than one rotation may have happened.
func (f *file) successor() (*os.File, error) {
	files, err := generations(f.path)
	keep := -1
	for i := range files {
		switch {
		case f.f == nil:
			keep = 0
		case same(files[i], f.f):
			keep = i + 1
		}
	}
	if keep < 0 && len(files) > 0 {
		keep = 0 // ours is gone already: what is left begins here
	}
	var next *os.File
	for i, g := range files {
		if i == keep && err == nil {
			next = g
		} else {
			g.Close()
		}
	}
	return next, err
}

// read prints all whole lines up to the end of the file, or of ctx.
func (f *file) read(ctx context.Context, p *printer) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.f.Read(f.buf)
		data := f.buf[:n]
		for len(data) > 0 {
			line, after, whole := bytes.Cut(data, []byte{'\n'})
			if !whole {
				f.rest = append(f.rest, data...)
				break
			}
			if len(f.rest) > 0 {
				line = append(f.rest, line...)
				f.rest = nil
			}
			if err := p.print(line); err != nil {
				return err
			}
			data = after
		}
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *file) close() {
	if f.f != nil {
		f.f.Close()
	}
}
