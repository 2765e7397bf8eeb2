package proxy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"berth/runtime"
	"berth/runtime/proxy/table"
)

// from is a connection from an address of this machine that has sent something.
func from(t *testing.T, addr, to, first string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}).Dial("tcp", to)
	if err != nil { // who may not is reset, and may hear of it here already
		c, _ = net.Pipe()
		c.Close()
		return c
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	for _, part := range strings.SplitAfter(first, " ") { // as slowly as a network may
		_, _ = io.WriteString(c, part) // or here, or when it reads
	}
	return c
}

func TestForwarders(t *testing.T) {
	w := newWorld(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("X-Real-Ip")) }))
	defer page.Close()
	b := w.backend("b")
	plain, secure, port, told := freePort(t), freePort(t), freePort(t), freePort(t)
	some, header := published(port, b), published(told, b)
	some.Sources = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	header.ProxyProtocol = 1
	traffic := runtime.Traffic{
		Forwarders: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, Ports: []runtime.PublishedPort{some, header},
		Ingress: &runtime.Ingress{HTTP: plain, HTTPS: secure, Rules: []runtime.IngressRule{{Path: "/", Owner: "Ingress/default/web", Backends: []netip.AddrPort{netip.MustParseAddrPort(page.Listener.Addr().String())}}}},
	}
	if err := table.Write(w.dir, &table.Table{Traffic: traffic}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.k.Proxy(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if a := w.ask(table.Reload); len(a.Problems) > 0 {
		t.Fatal(a.Problems)
	}
	const sent = "PROXY TCP4 203.0.113.7 198.18.0.1 4660 80\r\n"
	line := func(addr string, port uint16, first string) string {
		got, err := bufio.NewReader(from(t, addr, fmt.Sprintf("127.0.0.1:%d", port), first+"hello\n")).ReadString('\n')
		if err != nil {
			return "closed"
		}
		return strings.TrimSpace(got)
	}
	request := func(c net.Conn) string {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || answer.StatusCode == http.StatusBadRequest { // of which not everything may come before the end
			return "closed"
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return fmt.Sprint(answer.StatusCode, " ", strings.TrimSpace(string(body)))
	}
	overTLS := func(addr, first string) string {
		return request(tls.Client(from(t, addr, fmt.Sprintf("127.0.0.1:%d", secure), first), &tls.Config{InsecureSkipVerify: true}))
	}
	for name, tt := range map[string]struct{ got, want string }{
		"a client that may":                    {line("127.0.0.2", port, sent), "b hello"},
		"a client that may not":                {line("127.0.0.2", port, strings.Replace(sent, "203.0.113.7", "198.51.100.7", 1)), "closed"},
		"itself, which may not":                {line("127.0.0.2", port, "PROXY UNKNOWN\r\n"), "closed"},
		"no header":                            {line("127.0.0.2", port, ""), "closed"},
		"somebody else, who may not":           {line("127.0.0.3", port, sent), "closed"},
		"told to the pod":                      {line("127.0.0.2", told, sent), "b " + strings.TrimSpace(sent)},
		"Ingress":                              {request(from(t, "127.0.0.2", fmt.Sprintf("127.0.0.1:%d", plain), sent)), "200 203.0.113.7"},
		"Ingress, itself":                      {request(from(t, "127.0.0.2", fmt.Sprintf("127.0.0.1:%d", plain), "PROXY UNKNOWN\r\n")), "200 127.0.0.2"},
		"Ingress, no header":                   {request(from(t, "127.0.0.2", fmt.Sprintf("127.0.0.1:%d", plain), "")), "closed"},
		"Ingress, somebody else":               {request(from(t, "127.0.0.3", fmt.Sprintf("127.0.0.1:%d", plain), "")), "200 127.0.0.3"},
		"Ingress, somebody else with a header": {request(from(t, "127.0.0.3", fmt.Sprintf("127.0.0.1:%d", plain), sent)), "closed"},
		"by TLS":                               {overTLS("127.0.0.2", sent), "200 203.0.113.7"},
		"by TLS, no header":                    {overTLS("127.0.0.2", ""), "closed"},
		"by TLS, somebody else":                {overTLS("127.0.0.3", ""), "200 127.0.0.3"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", name, tt.got, tt.want)
		}
	}
}
