package volume

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is used is what du says.
func TestUsed(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(name string, size int) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600))
	}
	must(t, os.WriteFile(filepath.Join(outside, "large"), make([]byte, 1<<20), 0o600))
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b", "c"), 0o700))
	write("a/b/c/file", 100_000)
	write("a/twice", 300_000)
	must(t, os.Link(filepath.Join(dir, "a/twice"), filepath.Join(dir, "twice")))
	must(t, os.Link(filepath.Join(dir, "a/twice"), filepath.Join(dir, "a/b/thrice")))
	must(t, os.Symlink(outside, filepath.Join(dir, "link")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	write("sparse", 0)
	must(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<30))
	for i := range 3000 { // more than one reading of a directory, and a few rests
		write("a/b/"+strconv.Itoa(i), i%2)
	}
	out, err := exec.Command("du", "--block-size=1", "--summarize", dir).Output()
	must(t, err)
	want, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	must(t, err)
	got, err := Used(t.Context(), dir)
	must(t, err)
	if diff := want - got; diff < 0 || diff > 2 { // a file with three names is counted in thirds
		t.Errorf("Used = %d, du says %d", got, want)
	}
	if n, err := Used(t.Context(), filepath.Join(dir, "link")); err != nil || n > 4096 {
		t.Errorf("a link uses %d, %v", n, err)
	}
	if n, err := Used(t.Context(), filepath.Join(dir, "none", "there")); err != nil || n != 0 {
		t.Errorf("nothing uses %d, %v", n, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := Used(ended, dir); err == nil {
		t.Error("it goes on after its end")
	}
}

// A tree that changes under the walk is measured without an error, and never left.
func TestUsedWhileItChanges(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "large"), make([]byte, 64<<20), 0o600))
	ctx, stop := context.WithCancel(t.Context())
	changed := make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			name := filepath.Join(dir, strconv.Itoa(i%50))
			if err := os.RemoveAll(name); err != nil {
				changed <- err
				return
			}
			if i%2 == 0 {
				_ = os.MkdirAll(filepath.Join(name, "x"), 0o700)
			} else {
				_ = os.Symlink(outside, name)
			}
		}
		changed <- nil
	}()
	for range 300 {
		if n, err := Used(t.Context(), dir); err != nil || n > 16<<20 {
			t.Fatalf("Used = %d, %v", n, err)
		}
	}
	stop()
	must(t, <-changed)
}

func BenchmarkUsed(b *testing.B) {
	dir := b.TempDir()
	for i := range 100_000 {
		sub := filepath.Join(dir, strconv.Itoa(i/200))
		if i%200 == 0 {
			if err := os.Mkdir(sub, 0o700); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(sub, strconv.Itoa(i)), []byte("x"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	b.ResetTimer()
	for b.Loop() {
		if _, err := Used(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
	}
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	cpu := func(u unix.Rusage) int64 { return u.Utime.Nano() + u.Stime.Nano() }
	b.ReportMetric(float64(cpu(after)-cpu(before))/float64(b.N)/1e6, "cpu-ms/op")
}
