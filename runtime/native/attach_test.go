package native

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"berth/runtime"
)

// run starts a container that waits for a line before it does anything.
func (m *machine) run(t *testing.T, change func(*runtime.ContainerConfig), text string) {
	t.Helper()
	m.sandbox(t, runtime.SandboxConfig{})
	cfg := script(text)
	change(&cfg)
	if _, err := m.StartContainer(t.Context(), "pod", cfg); err != nil {
		t.Fatal(err)
	}
}

func TestAttach(t *testing.T) {
	tests := map[string]struct {
		change         func(*runtime.ContainerConfig)
		script, in     string
		out, errOutput string
	}{
		"input that ends": {
			func(c *runtime.ContainerConfig) { c.Stdin, c.StdinOnce = true, true },
			"cat; echo over; echo wrong >&2", "a\x00b\nno newline", "a\x00b\nno newlineover\n", "wrong\n",
		},
		"as another user": {
			func(c *runtime.ContainerConfig) { c.Stdin, c.StdinOnce, c.Security.User = true, true, new(int64(1000)) },
			"cat; cat /dev/stdin; echo over", "mine\n", "mine\nover\n", "",
		},
		"input that stays": {
			func(c *runtime.ContainerConfig) { c.Stdin = true },
			"read x; echo got $x; read y; echo never", "one\n", "", "", // ended below
		},
		"terminal": {
			func(c *runtime.ContainerConfig) { c.Stdin, c.TTY = true, true },
			"stty -echo; while [ \"$(stty size)\" != '33 77' ]; do usleep 1000; done; printf 'prompt> '; read x; echo got $x", "text\r", "prompt> got text\r\n", "",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.run(t, tc.change, tc.script)
			var out, errOut bytes.Buffer
			sizes := make(chan runtime.Size, 1)
			sizes <- runtime.Size{Width: 77, Height: 33}
			in, typed := io.Pipe()
			go func() {
				_, _ = io.WriteString(typed, tc.in)
				if tc.out != "" {
					_ = typed.Close()
				}
			}()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.out == "" { // it waits for more, until the client leaves; then another comes
				saw, show := io.Pipe()
				go func() {
					_, _ = io.ReadFull(saw, make([]byte, len("got one\n")))
					cancel()
				}()
				err := m.Attach(ctx, "pod", "main", runtime.AttachConfig{Stdin: in, Stdout: show})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Attach = %v", err)
				}
				err = m.Attach(t.Context(), "pod", "main", runtime.AttachConfig{Stdin: strings.NewReader("two\n"), Stdout: &out})
				if err != nil || out.String() != "never\n" {
					t.Errorf("Attach again = %v, %q", err, out.String())
				}
				return
			}
			err := m.Attach(ctx, "pod", "main", runtime.AttachConfig{Stdin: in, Stdout: &out, Stderr: &errOut, Resize: sizes})
			if err != nil || !strings.HasSuffix(out.String(), tc.out) || errOut.String() != tc.errOutput {
				t.Errorf("Attach = %v, output %q and %q", err, out.String(), errOut.String())
			}
			m.awaitEnd(t, "main", 0)
			if err := m.Attach(ctx, "pod", "main", runtime.AttachConfig{Stdout: &out}); !errors.Is(err, runtime.ErrNotFound) {
				t.Errorf("Attach to what has ended = %v", err)
			}
		})
	}
}

// What listens on the loopback address of a pod is reached, and nothing of the machine's.
func TestForward(t *testing.T) {
	m := newMachine(t)
	m.run(t, func(*runtime.ContainerConfig) {}, "echo from the pod >/tmp/x; exec httpd -f -p 127.0.0.1:8080 -h /tmp")
	var got []byte
	err := errors.New("not tried")
	for end := time.Now().Add(deadline); err != nil && time.Now().Before(end); {
		conn, derr := m.Forward(t.Context(), "pod", "tcp", 8080)
		if err = derr; derr != nil {
			continue
		}
		_, _ = io.WriteString(conn, "GET /x HTTP/1.0\r\n\r\n")
		half, ok := conn.(interface{ CloseWrite() error })
		if !ok {
			t.Fatal("no half-close")
		}
		_ = half.CloseWrite()
		got, err = io.ReadAll(conn)
		_ = conn.Close()
	}
	if err != nil || !strings.HasSuffix(string(got), "\nfrom the pod\n") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := m.Forward(t.Context(), "none", "tcp", 8080); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("of no pod: %v", err)
	}
}
