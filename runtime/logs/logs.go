// Package logs reads the logs of containers that the keeper writes, across rotation and while they grow.
//
// A log is PATH with its older files PATH.1 (the one before) to PATH.N. An entry is `TIME STREAM TAG TEXT`; tag P means that the text goes on
// in the next entry of the same stream. The text is the container's and may hold anything but a newline, so time, stream and tag are only
// ever taken from the front of an entry: whatever a container writes, it writes behind them.
package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// Options choose what is read. The zero value is everything there is, text only.
type Options struct {
	// Tail is the number of last lines (of Stream) to begin with; nil for all.
	Tail *int
	// Since leaves out what is older.
	Since time.Time
	// Timestamps puts the time and a space before each line.
	Timestamps bool
	// Stream is "stdout" or "stderr"; "" for both.
	Stream string
	// LimitBytes ends the output after so many bytes; 0 for no limit.
	LimitBytes int64
	// Ended tells Follow that the container has ended: what is in the log then is all. nil means that it never ends.
	Ended <-chan struct{}
	// Idle is called when everything there is so far has been written; nil for nobody.
	Idle func()
}

// errLimit ends a read whose limit of bytes is reached.
var errLimit = errors.New("limit reached")

// Read writes what the log has now, and nothing of the files that follow, so it ends however fast the log grows; it ends with ctx, too, which is
// no error. It is an error when there is no log; fs.ErrNotExist then.
func Read(ctx context.Context, path string, opts Options, w io.Writer) error {
	return follow(ctx, path, opts, w, nil)
}

// Follow writes what the log has and what comes, until ctx or the container ends, or the limit is reached; each of these is no error. The
// log need not exist yet, its directory must. It waits for events of the file system and never polls. It refuses a log that is not a
// regular file.
func Follow(ctx context.Context, path string, opts Options, w io.Writer) error {
	var k Watcher
	defer func() { _ = k.Close() }() // an inotify descriptor: nothing can be lost
	return k.Follow(ctx, path, opts, w)
}

// follow reads once when there is no watch.
func follow(ctx context.Context, path string, opts Options, w io.Writer, watch *watch) error {
	p := &printer{w: w, opts: opts, left: opts.LimitBytes, inLine: map[string]bool{}}
	f, err := begin(ctx, path, p)
	defer f.close()
	if watch == nil && err == nil && f.f != nil {
		err = f.read(ctx, p)
	}
	for last := false; err == nil && watch != nil; {
		if err = f.drain(ctx, p); err != nil || last {
			break
		}
		if opts.Idle != nil {
			opts.Idle()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-opts.Ended:
			last = true
		case <-watch.woke:
		}
	}
	switch {
	case errors.Is(err, errLimit), err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("cannot read log %q: %w", path, err)
	case watch == nil && f.f == nil:
		return fmt.Errorf("cannot read log %q: %w", path, fs.ErrNotExist)
	}
	return nil
}

// printer chooses entries and writes them.
type printer struct {
	w      io.Writer
	opts   Options
	left   int64
	inLine map[string]bool // streams in the middle of a line: the next entry gets no time
	buf    []byte
}

// print writes one entry; errLimit when nothing more may be written.
func (p *printer) print(line []byte) error {
	e, err := parseEntry(line)
	if err != nil || p.opts.Stream != "" && string(e.stream) != p.opts.Stream || e.time.Before(p.opts.Since) {
		return nil //nolint:nilerr // a torn entry says nothing
	}
	p.buf = p.buf[:0]
	if p.opts.Timestamps && !p.inLine[string(e.stream)] {
		p.buf = append(append(p.buf, e.rawTime...), ' ')
	}
	p.inLine[string(e.stream)] = e.partial
	p.buf = append(p.buf, e.text...)
	if !e.partial {
		p.buf = append(p.buf, '\n')
	}
	if p.opts.LimitBytes > 0 && int64(len(p.buf)) >= p.left {
		if _, err := p.w.Write(p.buf[:p.left]); err != nil {
			return err
		}
		return errLimit
	}
	p.left -= int64(len(p.buf))
	_, err = p.w.Write(p.buf)
	return err
}

// entry is one line of a log.
type entry struct {
	time    time.Time
	rawTime []byte
	stream  []byte
	partial bool
	text    []byte
}

var errMalformed = errors.New("malformed log entry")

// parseEntry splits one line of a log, without its newline.
func parseEntry(line []byte) (entry, error) {
	var e entry
	var ok bool
	if e.rawTime, line, ok = bytes.Cut(line, []byte{' '}); !ok {
		return e, errMalformed
	}
	var err error
	if e.time, err = time.Parse(time.RFC3339Nano, string(e.rawTime)); err != nil {
		return e, errMalformed
	}
	if e.stream, line, ok = bytes.Cut(line, []byte{' '}); !ok || string(e.stream) != "stdout" && string(e.stream) != "stderr" {
		return e, errMalformed
	}
	tag, text, ok := bytes.Cut(line, []byte{' '})
	if !ok || string(tag) != "F" && string(tag) != "P" {
		return e, errMalformed
	}
	e.partial, e.text = tag[0] == 'P', text
	return e, nil
}
