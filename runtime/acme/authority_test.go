package acme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority is a small stand-in: it takes every signature, and looks at a challenge by what the test has shown. Pebble is in e2e.
type authority struct {
	*httptest.Server
	key  *ecdsa.PrivateKey
	root *x509.Certificate

	mu      sync.Mutex
	sees    func(challenge string) bool // KIND HOST
	offers  []string
	refuses func(w http.ResponseWriter, path string) bool // answers by itself
	slow    bool
	hosts   []string
	state   map[string]string // of authorizations, by host
	cert    []byte
	asked   int
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{
		key: key, sees: func(string) bool { return true }, offers: []string{"dns-01", "http-01", "tls-alpn-01"}, state: map[string]string{},
		root: &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true},
	}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *authority) problem(w http.ResponseWriter, code int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:%s","detail":%q}`, kind, detail)
}

// ServeHTTP implements http.Handler.
func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	w.Header().Set("Replay-Nonce", fmt.Sprint(a.asked))
	body, _ := io.ReadAll(r.Body)
	var signed struct{ Payload string }
	_ = json.Unmarshal(body, &signed)
	payload, _ := base64.RawURLEncoding.DecodeString(signed.Payload)
	if a.refuses != nil && a.refuses(w, r.URL.Path) {
		return
	}
	what, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	say := func(code int, v map[string]any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch what {
	case "directory":
		say(200, map[string]any{"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/new", "meta": map[string]any{"termsOfService": a.URL + "/terms"}})
	case "nonce":
	case "account":
		w.Header().Set("Location", a.URL+"/account/1")
		if !strings.Contains(string(payload), `"termsOfServiceAgreed":true`) {
			a.problem(w, 400, "userActionRequired", "agree first")
			return
		}
		say(201, map[string]any{"status": "valid"})
	case "new":
		var in struct{ Identifiers []struct{ Value string } }
		_ = json.Unmarshal(payload, &in)
		a.hosts, a.state, a.cert = nil, map[string]string{}, nil
		for _, id := range in.Identifiers {
			a.hosts, a.state[id.Value] = append(a.hosts, id.Value), "pending"
		}
		w.Header().Set("Location", a.URL+"/order")
		say(201, a.order())
	case "order":
		say(200, a.order())
	case "authz":
		if strings.Contains(string(payload), "deactivated") {
			a.state[name] = "deactivated"
		}
		say(200, a.authorization(name))
	case "challenge":
		kind, host, _ := strings.Cut(name, "/")
		if a.state[host] = "invalid"; a.sees(kind + " " + host) {
			a.state[host] = "valid"
		}
		say(200, map[string]any{"type": kind, "url": a.URL + r.URL.Path, "status": "processing"})
	case "finalize":
		var in struct{ CSR string }
		_ = json.Unmarshal(payload, &in)
		a.issue(in.CSR)
		answer := a.order()
		if a.slow { // as pebble: it is not done yet, and does not say where the order is
			answer["status"] = "processing"
		} else {
			w.Header().Set("Location", a.URL+"/order")
		}
		say(200, answer)
	case "cert":
		_, _ = w.Write(a.cert)
	}
}

func (a *authority) order() map[string]any {
	out := map[string]any{"status": "ready", "finalize": a.URL + "/finalize"}
	var authz []string
	for _, h := range a.hosts {
		authz = append(authz, a.URL+"/authz/"+h)
		switch a.state[h] {
		case "invalid":
			out["status"] = "invalid"
		case "pending":
			out["status"] = "pending"
		}
	}
	out["authorizations"] = authz
	if a.cert != nil {
		out["status"], out["certificate"] = "valid", a.URL+"/cert"
	}
	return out
}

func (a *authority) authorization(host string) map[string]any {
	var list []any
	for _, kind := range a.offers {
		c := map[string]any{"type": kind, "url": a.URL + "/challenge/" + kind + "/" + host, "token": "token-" + host, "status": "pending"}
		if a.state[host] == "invalid" {
			c["error"] = map[string]any{"type": "urn:ietf:params:acme:error:unauthorized", "detail": "Invalid response:\n404"}
		}
		list = append(list, c)
	}
	return map[string]any{"status": a.state[host], "identifier": map[string]any{"type": "dns", "value": host}, "challenges": list}
}

func (a *authority) issue(encoded string) {
	der, _ := base64.RawURLEncoding.DecodeString(encoded)
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		panic(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: request.DNSNames, NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(1_800_000_000, 0)}
	out, err := x509.CreateCertificate(rand.Reader, leaf, a.root, request.PublicKey, a.key)
	if err != nil {
		panic(err)
	}
	a.cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: out})
}
