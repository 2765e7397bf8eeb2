package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/runtime/logs"
)

const day = "2026-11-21T10:00:0"

func line(second int, stream, tag, text string) string {
	return fmt.Sprintf("%s%d.000000000Z %s %s %s\n", day, second, stream, tag, text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path+".2", line(1, "stdout", "F", "oldest"))
	write(t, path+".1", line(2, "stderr", "F", "older")+line(3, "stdout", "P", "one ")+line(3, "stderr", "F", "between")+line(3, "stdout", "F", "line"))
	write(t, path, line(4, "stdout", "F", "")+line(5, "stdout", "F", "2026-11-21T10:00:00Z stderr F forged")+"torn\n"+
		line(6, "stdout", "F", "nul \x00 and \r")+day+"7.000000000Z stdout F unfinis")
	tests := map[string]struct {
		opts logs.Options
		want string
	}{
		"all":        {logs.Options{}, "oldest\nolder\none between\nline\n\n2026-11-21T10:00:00Z stderr F forged\nnul \x00 and \r\n"},
		"stdout":     {logs.Options{Stream: "stdout"}, "oldest\none line\n\n2026-11-21T10:00:00Z stderr F forged\nnul \x00 and \r\n"},
		"stderr":     {logs.Options{Stream: "stderr"}, "older\nbetween\n"},
		"since":      {logs.Options{Since: time.Date(2026, 11, 21, 10, 0, 5, 0, time.UTC)}, "2026-11-21T10:00:00Z stderr F forged\nnul \x00 and \r\n"},
		"no tail":    {logs.Options{Tail: new(0)}, ""},
		"tail":       {logs.Options{Tail: new(2)}, "2026-11-21T10:00:00Z stderr F forged\nnul \x00 and \r\n"},
		"tail far":   {logs.Options{Tail: new(100)}, "oldest\nolder\none between\nline\n\n2026-11-21T10:00:00Z stderr F forged\nnul \x00 and \r\n"},
		"tail long":  {logs.Options{Tail: new(4), Stream: "stdout"}, "one line\n\n2026-11-21T10:00:00Z stderr F forged\nnul \x00 and \r\n"},
		"tail err":   {logs.Options{Tail: new(1), Stream: "stderr"}, "between\n"},
		"limit":      {logs.Options{LimitBytes: 10}, "oldest\nold"},
		"limit all":  {logs.Options{LimitBytes: 13}, "oldest\nolder\n"},
		"timestamps": {logs.Options{Timestamps: true, Stream: "stdout", Tail: new(4)}, day + "3.000000000Z one line\n" + day + "4.000000000Z \n" + day + "5.000000000Z 2026-11-21T10:00:00Z stderr F forged\n" + day + "6.000000000Z nul \x00 and \r\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := logs.Read(t.Context(), path, tt.opts, &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestTailOfLargeLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var b strings.Builder
	for i := range 5000 {
		b.WriteString(line(1, "stdout", "F", fmt.Sprintf("%d %s", i, strings.Repeat("x", i%300))))
	}
	write(t, path, b.String())
	for _, n := range []int{1, 10, 150, 151, 152, 1000, 4999, 5000, 5001} {
		var got bytes.Buffer
		if err := logs.Read(t.Context(), path, logs.Options{Tail: &n}, &got); err != nil {
			t.Fatal(err)
		}
		first := max(5000-n, 0)
		if lines := strings.Count(got.String(), "\n"); lines != 5000-first || !strings.HasPrefix(got.String(), fmt.Sprintf("%d ", first)) {
			t.Errorf("tail %d: %d lines from %.20q", n, lines, got.String())
		}
	}
}

func TestRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	make := map[string]func(string) error{
		"fifo":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"symlink":   func(p string) error { return os.Symlink("/etc/passwd", p) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
	}
	for name, f := range make {
		path := filepath.Join(dir, name)
		if err := f(path); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := logs.Read(t.Context(), path, logs.Options{}, &got); err == nil || got.Len() > 0 {
			t.Errorf("%s was read: %q, %v", name, got.String(), err)
		}
	}
	if err := logs.Read(t.Context(), filepath.Join(dir, "none"), logs.Options{}, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
}

func TestFollowAcrossRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r, w := io.Pipe()
	ended := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- logs.Follow(t.Context(), path, logs.Options{Ended: ended}, w)
		w.Close()
	}()
	read := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	write(t, path, line(1, "stdout", "F", "a")+day)
	read("a\n")
	write(t, path, "2.000000000Z stdout F b\n")
	read("b\n")
	want := ""
	for i := range 20 {
		write(t, path, line(3, "stdout", "F", fmt.Sprint("before ", i)))
		for n := 3; n > 0; n-- {
			from := path
			if n > 1 {
				from += fmt.Sprint(".", n-1)
			}
			if err := os.Rename(from, fmt.Sprint(path, ".", n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		write(t, path, line(4, "stdout", "F", fmt.Sprint("after ", i)))
		want = fmt.Sprintf("before %d\nafter %d\n", i, i)
		read(want)
	}
	write(t, path, line(5, "stdout", "F", "end"))
	close(ended)
	rest, _ := io.ReadAll(r)
	if err := <-done; err != nil || string(rest) != "end\n" {
		t.Errorf("rest %q, %v", rest, err)
	}
}

// rotator is a reader slower than the log grows: after each entry that it gets, the log is rotated and has another.
type rotator struct {
	t      *testing.T
	path   string
	writes int
	then   func()
}

func (r *rotator) Write(p []byte) (int, error) {
	if r.writes++; r.writes > 10 {
		r.t.Fatal("it reads on and on")
	}
	if err := os.Rename(r.path, r.path+".1"); err != nil {
		r.t.Fatal(err)
	}
	write(r.t, r.path, line(2, "stdout", "F", "more"))
	r.then()
	return len(p), nil
}

func TestReadEndsThoughTheLogGrows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, line(1, "stdout", "F", "first"))
	r := &rotator{t, path, 0, func() {}}
	if err := logs.Read(t.Context(), path, logs.Options{}, r); err != nil || r.writes != 1 {
		t.Errorf("%v after %d entries, want what was there: 1", err, r.writes)
	}
}

// Whoever reads a log that comes faster than it can be read may stop.
func TestReadingEndsWithContext(t *testing.T) {
	for name, read := range map[string]func(context.Context, string, logs.Options, io.Writer) error{"Read": logs.Read, "Follow": logs.Follow} {
		path := filepath.Join(t.TempDir(), "log")
		write(t, path+".1", line(1, "stdout", "F", "first"))
		write(t, path, line(1, "stdout", "F", "second"))
		ctx, cancel := context.WithCancel(t.Context())
		r := &rotator{t, path, 0, cancel}
		if err := read(ctx, path, logs.Options{}, r); err != nil || r.writes != 1 {
			t.Errorf("%s: %v after %d entries, want 1", name, err, r.writes)
		}
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- logs.Follow(ctx, path, logs.Options{}, io.Discard) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Hundreds follow over one descriptor, and each gets every line.
func TestManyFollowers(t *testing.T) {
	const n, lines = 300, 50
	before := descriptors(t)
	var k logs.Watcher
	dir, ended := t.TempDir(), make(chan struct{})
	var got [n]bytes.Buffer
	var idle, done sync.WaitGroup
	idle.Add(n)
	for i := range n {
		var once sync.Once
		done.Go(func() {
			path := filepath.Join(dir, fmt.Sprint(i%3))
			err := k.Follow(t.Context(), path, logs.Options{Ended: ended, Idle: func() { once.Do(idle.Done) }}, &got[i])
			if err != nil {
				t.Error(err)
			}
		})
	}
	idle.Wait()
	if open := descriptors(t) - before; open > 8 {
		t.Errorf("%d descriptors for %d followers", open, n)
	}
	want := [3]string{}
	for l := range lines {
		for f := range want {
			write(t, filepath.Join(dir, fmt.Sprint(f)), line(1, "stdout", "F", fmt.Sprint(f, " line ", l)))
			want[f] += fmt.Sprintln(f, "line", l)
		}
	}
	close(ended)
	done.Wait()
	for i := range got {
		if got[i].String() != want[i%3] {
			t.Fatalf("follower %d got %q", i, got[i].String())
		}
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
