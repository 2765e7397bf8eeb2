package native

import (
	"errors"
	"net"
	"testing"

	"berth/runtime"
)

func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	add := func(r *Runtime, uid string, rec sandboxRecord) {
		p := &pod{uid: uid}
		p.sandboxRecord = rec
		r.pods[uid] = p
	}
	r := &Runtime{pods: map[string]*pod{}}
	add(r, "host", sandboxRecord{Config: runtime.SandboxConfig{HostNetwork: true}})
	add(r, "own", sandboxRecord{IP: "127.0.0.1"})
	add(r, "none", sandboxRecord{})
	tests := map[string]struct {
		uid, addr string
		want      error // nil for a connection
	}{
		"its own address":                     {"own", ":" + port, nil},
		"a pod in the machine's network":      {"host", ":" + port, nil},
		"another host":                        {"none", "127.0.0.1:" + port, nil},
		"no pod":                              {"other", ":" + port, runtime.ErrNotFound},
		"no pod, another host":                {"other", "127.0.0.1:" + port, runtime.ErrNotFound},
		"a pod with nothing but its loopback": {"none", ":" + port, runtime.ErrNotSupported},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := r.Dial(t.Context(), tt.uid, "tcp", tt.addr)
			if !errors.Is(err, tt.want) || (c != nil) != (tt.want == nil) {
				t.Fatalf("Dial = %v, %v, want %v", c, err, tt.want)
			}
			if c != nil {
				_ = c.Close()
			}
		})
	}
	if _, err := r.Dial(t.Context(), "own", "tcp", port); err == nil {
		t.Error("Dial without a host succeeded")
	}
}
