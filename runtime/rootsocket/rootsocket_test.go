package rootsocket_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"berth/runtime/rootsocket"
)

// A path may be longer than a socket's address. Only its owner may connect, and the next one takes its place.
func TestLongPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(path, "socket")
	if _, err := rootsocket.Dial(t.Context(), path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nobody listens: %v", err)
	}
	for i := range 2 {
		l, err := rootsocket.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := (rootsocket.Only{Listener: l}).Accept(); err == nil {
				_, _ = io.WriteString(c, strconv.Itoa(i))
				_ = c.Close()
			}
		}()
		c, err := rootsocket.Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != strconv.Itoa(i) {
			t.Errorf("listener %d: %q, %v", i, got, err)
		}
		_ = c.Close()
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}

// Sockets that are opened at the same time leave the process's umask alone: what containers are made of would be closed to their users.
func TestListeningLeavesTheUmaskAlone(t *testing.T) {
	before := syscall.Umask(0o022)
	defer syscall.Umask(before)
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			l, err := rootsocket.Listen(filepath.Join(dir, strconv.Itoa(i)))
			if err != nil {
				t.Error(err)
				return
			}
			_ = l.Close()
			if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)+".file"), nil, 0o644); err != nil {
				t.Error(err)
			}
			if st, err := os.Stat(filepath.Join(dir, strconv.Itoa(i)+".file")); err != nil || st.Mode().Perm() != 0o644 {
				t.Errorf("a file made meanwhile has mode %v, %v", st.Mode(), err)
			}
		})
	}
	group.Wait()
	if mask := syscall.Umask(0o022); mask != 0o022 {
		t.Errorf("the umask is %#o afterwards", mask)
	}
}
