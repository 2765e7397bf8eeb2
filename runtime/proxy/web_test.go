package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"berth/runtime"
	"berth/runtime/proxy/table"
)

// asked is an HTTP request on a connection of its own.
func asked(url string) string {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := c.Get(url)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return fmt.Sprintf("%d %s", answer.StatusCode, strings.TrimSpace(string(body)))
}

func (w *world) ingress(t *runtime.Ingress, ports ...runtime.PublishedPort) table.Answer {
	w.Helper()
	if err := table.Write(w.dir, &table.Table{Traffic: runtime.Traffic{Ingress: t, Ports: ports}}); err != nil {
		w.Fatal(err)
	}
	if _, err := w.k.Proxy(w.ctx()); err != nil {
		w.Fatal(err)
	}
	return w.ask(table.Reload)
}

func TestIngress(t *testing.T) {
	w := newWorld(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	}))
	defer page.Close()
	plain, secure := freePort(t), freePort(t)
	rules := &runtime.Ingress{HTTP: plain, HTTPS: secure, Rules: []runtime.IngressRule{
		{Path: "/", Owner: "Ingress/default/web", Backends: []netip.AddrPort{netip.MustParseAddrPort(page.Listener.Addr().String())}},
	}}
	if a := w.ingress(rules); len(a.Problems) > 0 {
		t.Fatal(a.Problems)
	}
	answers := func(when string) {
		t.Helper()
		for url, want := range map[string]string{fmt.Sprintf("http://127.0.0.1:%d/", plain): "200 http", fmt.Sprintf("https://[::1]:%d/", secure): "200 https"} {
			if got := asked(url); got != want {
				t.Errorf("%s: %s: %s", when, url, got)
			}
		}
	}
	answers("first")
	pid := w.ask(table.Status).PID
	w.kill(pid)
	answers("killed") // a connection waits in the socket that the keeper holds
	if again := w.ask(table.Status).PID; again == pid {
		t.Error("it was not killed")
	}

	taken, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	rules.HTTP = netip.MustParseAddrPort(taken.Addr().String()).Port()
	a := w.ingress(rules)
	if len(a.Problems) != 1 || a.Problems[0].Reason != "PortInUse" || a.Problems[0].Owner != "Ingress/default/web" {
		t.Errorf("got %v", a.Problems)
	}
	if got := asked(fmt.Sprintf("http://127.0.0.1:%d/", plain)); !strings.Contains(got, syscall.ECONNREFUSED.Error()) {
		t.Errorf("a port that is not wanted any more: %s", got)
	}
	if a := w.ingress(nil); len(a.Problems) > 0 {
		t.Error(a.Problems)
	}
	if got := asked(fmt.Sprintf("https://127.0.0.1:%d/", secure)); !strings.Contains(got, syscall.ECONNREFUSED.Error()) {
		t.Errorf("after the last Ingress: %s", got)
	}
}
