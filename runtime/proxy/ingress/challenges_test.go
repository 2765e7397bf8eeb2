package ingress

import (
	"crypto/tls"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

// What an authority asks for comes before any rule, is told of the stated host only, and ends with the table.
func TestChallenges(t *testing.T) {
	s := New()
	redirected := rule("a.test", "/", backend(t, "a"))
	redirected.RedirectToHTTPS = true
	cert, key := pair(t, "a.test")
	of := func(list ...runtime.Challenge) {
		t.Helper()
		if problems := s.Apply(runtime.Traffic{Ingress: &runtime.Ingress{HTTP: 80, HTTPS: 443, Rules: []runtime.IngressRule{redirected}, Challenges: list}}); len(problems) > 0 {
			t.Fatal(problems)
		}
	}
	of(runtime.Challenge{Host: "a.test", Path: "/.well-known/acme-challenge/x", Answer: "x.y"},
		runtime.Challenge{Host: "a.test", Cert: cert, Key: key}, runtime.Challenge{Host: "b.test", Cert: []byte("none")})
	plain, secure := serve(t, s, false), serve(t, s, true)
	shown := func(name string, protocols ...string) string {
		conn, err := tls.Dial("tcp", secure, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
		if err != nil {
			return "refused"
		}
		defer conn.Close()
		state := conn.ConnectionState()
		return fmt.Sprint(state.NegotiatedProtocol, " ", state.PeerCertificates[0].DNSNames)
	}
	check := func(want map[string]string) {
		t.Helper()
		got := map[string]string{
			"asked for":            get(t, plain, "A.test:80", "/.well-known/acme-challenge/x"),
			"another token":        get(t, plain, "a.test", "/.well-known/acme-challenge/y"),
			"another host":         get(t, plain, "b.test", "/.well-known/acme-challenge/x"),
			"by TLS":               shown("a.test", "acme-tls/1"),
			"of a host without":    shown("b.test", "acme-tls/1"),
			"to who speaks more":   shown("a.test", "acme-tls/1", "h2"),
			"to who speaks none":   shown("a.test"),
			"to who speaks HTTP/2": shown("a.test", "h2"),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	want := map[string]string{
		"asked for": "200 x.y", "another token": "308 Permanent Redirect\nhttps://a.test/.well-known/acme-challenge/y", "another host": "404 Not Found",
		"by TLS": "acme-tls/1 [a.test]", "of a host without": "refused", "to who speaks more": "h2 []", "to who speaks none": " []", "to who speaks HTTP/2": "h2 []",
	}
	check(want)
	of()
	want["asked for"], want["by TLS"] = "308 Permanent Redirect\nhttps://A.test/.well-known/acme-challenge/x", "refused"
	check(want)
}
