package ingress

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

// backend answers with its name and what it got.
func backend(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	return backendOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", name, r.Host, r.RequestURI, body)
	}))
}

func backendOf(t *testing.T, h http.Handler) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// nobody is an address that refuses.
func nobody(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func serve(t *testing.T, s *Server, secure bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := s.HTTP(secure)
	var running sync.WaitGroup
	running.Go(func() {
		if secure {
			_ = server.ServeTLS(l, "", "")
		} else {
			_ = server.Serve(l)
		}
	})
	t.Cleanup(func() { server.Close(); running.Wait() })
	return l.Addr().String()
}

func apply(t *testing.T, s *Server, rules ...runtime.IngressRule) {
	t.Helper()
	if problems := s.Apply(runtime.Traffic{Ingress: &runtime.Ingress{HTTP: 80, HTTPS: 443, Rules: rules}}); len(problems) > 0 {
		t.Fatal(problems)
	}
}

func rule(host, path string, backends ...netip.AddrPort) runtime.IngressRule {
	return runtime.IngressRule{Host: host, Path: path, Backends: backends}
}

// get is the code and body of an answer.
func get(t *testing.T, at, host, path string, change ...func(*http.Request)) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque, req.Host = path, host // as it stands
	for _, c := range change {
		c(req)
	}
	answer, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s%s", answer.StatusCode, body, answer.Header.Get("Location")))
}

func TestWhereRequestsGo(t *testing.T) {
	a, b, c, d := backend(t, "a"), backend(t, "b"), backend(t, "c"), backend(t, "d")
	s := New()
	at := serve(t, s, false)
	if got := get(t, at, "a.test", "/"); got != "404 Not Found" {
		t.Errorf("before the first table: %s", got)
	}
	exact := rule("a.test", "/exact", b)
	exact.Exact = true
	secure := rule("safe.test", "/", a)
	secure.RedirectToHTTPS = true
	apply(t, s, exact, rule("a.test", "/deep/er", c), rule("a.test", "/deep/", b), rule("a.test", "/", a), rule("*.wild.test", "/", c), secure, rule("none.test", "/", nobody(t)),
		rule("empty.test", "/"), rule("", "/any", d))
	for name, tt := range map[string]struct{ host, path, want string }{
		"its host":                 {"a.test", "/", "200 a a.test /"},
		"in capitals, with a port": {"A.test.:8080", "/x?y=%2f", "200 a A.test.:8080 /x?y=%2f"},
		"another host":             {"b.test", "/", "404 Not Found"},
		"a path for every host":    {"b.test", "/any/thing", "200 d b.test /any/thing"},
		"of elements":              {"b.test", "/anything", "404 Not Found"},
		"exact":                    {"a.test", "/exact", "200 b a.test /exact"},
		"not exact":                {"a.test", "/exact/", "200 a a.test /exact/"},
		"a slash at the end":       {"a.test", "/deep", "200 b a.test /deep"},
		"the longer one":           {"a.test", "/deep/er/x", "200 c a.test /deep/er/x"},
		"around a rule":            {"a.test", "/x/../deep/er", "200 c a.test /x/../deep/er"},
		"around it in code":        {"a.test", "/x/%2e%2e/deep/%65r", "200 c a.test /x/%2e%2e/deep/%65r"},
		"one label":                {"x.wild.test", "/", "200 c x.wild.test /"},
		"not two":                  {"x.y.wild.test", "/", "404 Not Found"},
		"nor none":                 {"wild.test", "/", "404 Not Found"},
		"elsewhere":                {"safe.test:80", "/x?y", "308 Permanent Redirect\nhttps://safe.test/x?y"},
		"who does not answer":      {"none.test", "/", "502 Bad Gateway"},
		"without backends":         {"empty.test", "/", "503 Service Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, get(t, at, tt.host, tt.path)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestWhatBackendsAreTold(t *testing.T) {
	got := make(chan http.Header, 1)
	b := backendOf(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.Header.Del("Accept-Encoding"); got <- r.Header })) // the test's client adds it
	s := New()
	apply(t, s, rule("", "/", b))
	at := serve(t, s, false)
	get(t, at, "a.test:8080", "/", func(r *http.Request) {
		r.Header = http.Header{
			"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"bank.test"}, "X-Forwarded-Port": {"443"}, "X-Real-Ip": {"192.0.2.1"},
			"Forwarded": {"for=192.0.2.1"}, "Connection": {"X-Secret, X-Forwarded-For, close"}, "X-Secret": {"x"}, "Keep-Alive": {"x"}, "Te": {"x"}, "Proxy-Authorization": {"x"},
			"Authorization": {"y"}, "User-Agent": {"z"},
		}
	})
	want := http.Header{"Authorization": {"y"}, "User-Agent": {"z"}, "X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"a.test:8080"}, "X-Real-Ip": {"127.0.0.1"}}
	_, port, _ := net.SplitHostPort(at)
	want["X-Forwarded-Port"] = []string{port}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestBackendsTakeTurns, and one that refuses costs nobody a request, a body included.
func TestBackendsTakeTurns(t *testing.T) {
	a, b := backend(t, "a"), backend(t, "b")
	s := New()
	at := serve(t, s, false)
	seen := map[string]int{}
	for range 30 {
		apply(t, s, rule("", "/", nobody(t), a, b)) // a new table each time
		seen[get(t, at, "x.test", "/", func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(strings.NewReader("body")), 4
		})]++
	}
	if seen["200 a x.test / body"] < 8 || seen["200 b x.test / body"] < 8 || len(seen) != 2 {
		t.Errorf("got %v", seen)
	}
}

// TestWhatWasSentIsNotSentAgain: a backend that hangs up in the middle may have done the work.
func TestWhatWasSentIsNotSentAgain(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	hangUp := backendOf(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		panic(http.ErrAbortHandler)
	}))
	s := New()
	apply(t, s, rule("", "/", hangUp, hangUp))
	got := get(t, serve(t, s, false), "x.test", "/", func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(strings.NewReader("b")), 1
	})
	mu.Lock()
	defer mu.Unlock()
	if got != "502 Bad Gateway" || asked != 1 {
		t.Errorf("got %s after %d requests", got, asked)
	}
}

// TestUpgrade: a connection that was upgraded carries bytes both ways, also after its rule is gone.
func TestUpgrade(t *testing.T) {
	b := backendOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, line)
		}
	}))
	s := New()
	apply(t, s, rule("", "/", b))
	conn, err := net.Dial("tcp", serve(t, s, false))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil) //nolint:bodyclose // the connection is what is closed
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", answer, err)
	}
	for _, line := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(conn, line)
		if got, err := r.ReadString('\n'); got != line {
			t.Errorf("got %q, %v", got, err)
		}
		apply(t, s)
	}
}

// TestARequestUnderWayGoesOn when the table changes, and when the server stops taking others.
func TestARequestUnderWayGoesOn(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	b := backendOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-end
		_, _ = io.WriteString(w, "done")
	}))
	s := New()
	apply(t, s, rule("", "/", b))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := s.HTTP(false)
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	running.Go(func() {
		if got := get(t, l.Addr().String(), "x.test", "/"); got != "200 done" {
			t.Errorf("got %s", got)
		}
	})
	<-begun
	apply(t, s)
	running.Go(func() { _ = server.Shutdown(t.Context()) })
	for { // until nobody new is taken
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		conn.Close()
	}
	close(end)
	running.Wait()
}

func TestWhoSendsItsHeadSlowlyIsHungUpOn(t *testing.T) {
	s := New()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := s.HTTP(false)
	if server.ReadHeaderTimeout != headerPatience {
		t.Error("a head may take for ever")
	}
	server.ReadHeaderTimeout = 50 * time.Millisecond // the real one is too long for a test
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("not hung up: %v", err)
	}
}

func TestAHeadIsBounded(t *testing.T) {
	s := New()
	apply(t, s, rule("", "/", backend(t, "a")))
	if got := get(t, serve(t, s, false), "x.test", "/", func(r *http.Request) { r.Header.Set("X", strings.Repeat("x", 2*maxHeader)) }); !strings.HasPrefix(got, "431") {
		t.Errorf("got %s", got)
	}
}

// pair is a certificate for names, signed by itself, PEM.
func pair(t *testing.T, names ...string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

func TestCertificates(t *testing.T) {
	s := New()
	at := serve(t, s, true)
	var list []runtime.Certificate
	for owner, names := range map[string][]string{"a": {"a.test"}, "wild": {"*.wild.test"}, "old": {"other.test"}} {
		cert, key := pair(t, names...)
		list = append(list, runtime.Certificate{Owner: owner, Cert: cert, Key: key})
		if owner == "old" {
			list[len(list)-1].Hosts = []string{"stated.test"}
		}
	}
	list = append(list, runtime.Certificate{Owner: "Ingress/default/bad", Cert: []byte("x"), Hosts: []string{"bad.test"}})
	problems := s.Apply(runtime.Traffic{Ingress: &runtime.Ingress{HTTPS: 443, Certificates: list, Rules: []runtime.IngressRule{rule("", "/", backend(t, "b"))}}})
	if len(problems) != 1 || problems[0].Owner != "Ingress/default/bad" || problems[0].Reason != "InvalidCertificate" {
		t.Errorf("got %v", problems)
	}
	for name, want := range map[string]string{
		"a.test": "[a.test]", "A.TEST": "[a.test]", "x.wild.test": "[*.wild.test]", "x.y.wild.test": "[] no certificate for this name", "other.test": "[] no certificate for this name",
		"stated.test": "[other.test]", "bad.test": "[] no certificate for this name", "": "[] no certificate for this name",
	} {
		conn, err := tls.Dial("tcp", at, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		leaf := conn.ConnectionState().PeerCertificates[0]
		if got := strings.TrimSpace(fmt.Sprint(leaf.DNSNames) + " " + leaf.Subject.CommonName); got != want || conn.ConnectionState().NegotiatedProtocol != "h2" {
			t.Errorf("%s: got %s, want %s, by %q", name, got, want, conn.ConnectionState().NegotiatedProtocol)
		}
		conn.Close()
	}
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("https://" + at + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.ProtoMajor != 2 || !strings.HasPrefix(string(body), "b ") {
		t.Errorf("got HTTP/%d, %s", answer.ProtoMajor, body)
	}
}
