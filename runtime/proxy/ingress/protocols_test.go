package ingress

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

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

// started is a backend of its own kind, and where it is.
func started(t *testing.T, start func(*httptest.Server), h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.Protocols = &http.Protocols{}
	start(server)
	t.Cleanup(server.Close)
	return netip.MustParseAddrPort(server.Listener.Addr().String())
}

// talk answers each part of a body before the next is sent, as a call of gRPC may; its last word is a trailer.
func talk(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex()
	w.Header().Set("Trailer", "Grpc-Status")
	w.Header().Set("X-Proto", fmt.Sprintf("%s %t", r.Proto, r.TLS != nil))
	w.WriteHeader(http.StatusOK)
	_ = c.Flush()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		_, _ = io.WriteString(w, "heard "+lines.Text()+"\n")
		_ = c.Flush()
	}
	w.Header().Set("Grpc-Status", "0")
}

// TestTalk: what a client and a backend say to each other, in turns within one request, whatever either speaks.
func TestTalk(t *testing.T) {
	rules := map[string]runtime.IngressRule{
		"HTTP/1.1 false": rule("http.test", "/", started(t, func(s *httptest.Server) { s.Config.Protocols.SetHTTP1(true); s.Start() }, talk)),
		"HTTP/2.0 false": rule("h2c.test", "/", started(t, func(s *httptest.Server) { s.Config.Protocols.SetUnencryptedHTTP2(true); s.Start() }, talk)),
		"HTTP/2.0 true": rule("https.test", "/", started(t, func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetHTTP2(true)
			s.StartTLS()
		}, talk)),
		"HTTP/1.1 true": rule("old.test", "/", started(t, func(s *httptest.Server) { s.Config.Protocols.SetHTTP1(true); s.StartTLS() }, talk)),
	}
	s := New()
	var table []runtime.IngressRule
	for speaks, r := range rules {
		switch {
		case strings.HasSuffix(speaks, "true"):
			r.Protocol = runtime.BackendHTTPS
		case strings.HasPrefix(speaks, "HTTP/2"):
			r.Protocol = runtime.BackendH2C
		}
		table = append(table, r)
	}
	apply(t, s, table...)
	clients := map[string]*http.Transport{"HTTP/1.1": {Protocols: &http.Protocols{}}, "HTTP/2.0": {Protocols: &http.Protocols{}}, "HTTP/2.0 by TLS": {Protocols: &http.Protocols{}}}
	clients["HTTP/1.1"].Protocols.SetHTTP1(true)
	clients["HTTP/2.0"].Protocols.SetUnencryptedHTTP2(true)
	clients["HTTP/2.0 by TLS"].Protocols.SetHTTP2(true)
	clients["HTTP/2.0 by TLS"].TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	plain, secure := serve(t, s, false), serve(t, s, true)
	for name, client := range clients {
		t.Cleanup(client.CloseIdleConnections)
		at := "http://" + plain
		if strings.HasSuffix(name, "TLS") {
			at = "https://" + secure
		}
		for speaks, r := range rules {
			t.Run(name+" to "+speaks, func(t *testing.T) {
				if diff := cmp.Diff(speaks+" heard one heard two 0", talked(t, client, at, r.Host)); diff != "" {
					t.Errorf("-want +got\n%s", diff)
				}
			})
		}
	}
}

// talked is what was answered to two lines, the second of which is sent when the first is answered.
func talked(t *testing.T, client *http.Transport, at, host string) string {
	t.Helper()
	read, write := io.Pipe()
	defer time.AfterFunc(10*time.Second, func() { _ = write.CloseWithError(io.ErrUnexpectedEOF) }).Stop()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at+"/talk", read)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	answer, err := client.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	out := []string{answer.Header.Get("X-Proto")}
	lines := bufio.NewScanner(answer.Body)
	for _, word := range []string{"one", "two"} {
		_, _ = io.WriteString(write, word+"\n")
		lines.Scan()
		out = append(out, lines.Text())
	}
	_ = write.Close()
	if lines.Scan() || lines.Err() != nil {
		out = append(out, fmt.Sprint(lines.Text(), lines.Err()))
	}
	return strings.Join(append(out, answer.Trailer.Get("Grpc-Status")), " ")
}

// TestAnAddressIsLeftAsItIs: what a client wrote behind the host is the backend's to read.
func TestAnAddressIsLeftAsItIs(t *testing.T) {
	got := make(chan string, 1)
	b := backendOf(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.RequestURI }))
	s := New()
	apply(t, s, rule("", "/", b))
	at := serve(t, s, false)
	for _, uri := range []string{
		"/", "/?", "//a//b/", "/a%2Fb%2fc", "/x/./y/../z", "/a;b=1,c/@:$&'()*+=!~", "/?p=x.git;a=summary", "/?q=100%&r=%zz&s=%41", "/?a=b?c/d&&=", "/%C3%BC", "/a%2F|b{}",
	} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET "+uri+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		answer, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			t.Fatalf("%s: %s, %v", uri, answer, err)
		}
		if diff := cmp.Diff(uri, <-got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
}

// TestABodyThatCannotBeRead is the client's fault, and not the backend's.
func TestABodyThatCannotBeRead(t *testing.T) {
	s := New()
	apply(t, s, rule("", "/", backend(t, "a")))
	conn, err := net.Dial("tcp", serve(t, s, false))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s", answer.Status)
	}
}
