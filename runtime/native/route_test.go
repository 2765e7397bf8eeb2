package native

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
	"berth/runtime/keeper/client"
	"berth/runtime/keeper/wire"
)

// directed is what the kernel would be told.
type directed struct{ services []runtime.Service }

// SetServices implements Services.
func (d *directed) SetServices(_ context.Context, services []runtime.Service, _ netip.AddrPort) error {
	d.services = services
	return nil
}

// oldKeeper answers as one of a version does: it says so, and knows nothing else of what a proxy needs.
func oldKeeper(t *testing.T, runDir string, version int) {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: filepath.Join(runDir, wire.SocketName)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			kind, id, _ := wire.Header(buf[:n])
			answer := wire.Encode(wire.FailureKind, id, &wire.Failure{Code: wire.CodeInvalid, Text: "no such request"})
			if kind == wire.HelloKind {
				answer = wire.Encode(kind+wire.Reply, id, &wire.Hello{Version: version, PID: 1})
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}()
}

// Under a keeper of a berth that had no proxy yet, everybody who wants a port is told what to do; what the kernel does goes on, and the table waits for the
// proxy to come.
func TestKeeperTooOld(t *testing.T) {
	dir := t.TempDir()
	oldKeeper(t, dir, client.VersionProxy-1)
	k, err := client.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Close() }()
	kernel := &directed{}
	r := &Runtime{keeper: k, dirs: layout{run: dir}, opts: Options{Services: kernel}}
	traffic := runtime.Traffic{
		Services: []runtime.Service{{Namespace: "default", Name: "web"}},
		Ports:    []runtime.PublishedPort{{Protocol: runtime.TCP, Port: 80, Owner: "Service/default/web"}, {Protocol: runtime.TCP, Port: 81, Owner: "Service/default/web"}},
		Ingress:  &runtime.Ingress{HTTP: 8080, Rules: []runtime.IngressRule{{Owner: "Ingress/default/site"}}},
	}
	status, err := r.Route(t.Context(), traffic)
	if err != nil {
		t.Fatal(err)
	}
	const message = "published ports, names and Ingress begin to work when the keeper is upgraded in place, by `berth up` of this version; the keeper is of an older berth"
	want := []runtime.RouteProblem{
		{Owner: "Ingress/default/site", Reason: "KeeperTooOld", Message: message},
		{Owner: "Service/default/web", Reason: "KeeperTooOld", Message: message},
	}
	if d := cmp.Diff(want, status.Problems); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
	if d := cmp.Diff(traffic.Services, kernel.services); d != "" {
		t.Errorf("what the kernel is told (-want +got):\n%s", d)
	}
}
