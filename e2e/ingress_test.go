package e2e

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// authority signs certificates, and is trusted by who asks.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{cert: &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// pem is the authority's own certificate.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// pair is a certificate for a name and its key, PEM.
func (a *authority) pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, signer.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// secret is a Secret with a certificate for a name.
func (a *authority) secret(t *testing.T, secret, name string) string {
	t.Helper()
	cert, key := a.pair(t, name)
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n",
		secret, base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
}

// client is one that believes the authority.
func (a *authority) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return clientOf(roots)
}

// clientOf asks this machine, whatever name it asks for, by a new connection each time.
func clientOf(roots *x509.CertPool) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
		},
	}}
}

func said(c *http.Client, url string) string {
	r, err := c.Get(url)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return fmt.Sprintf("%s %d %s", r.Proto, r.StatusCode, strings.TrimSpace(string(body)))
}

const ingressText = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: sites}
spec:
  ingressClassName: nginx
  tls: [{hosts: [b.test], secretName: b-tls}]
  rules:
  - host: a.test
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}
      - {path: /echo, pathType: Prefix, backend: {service: {name: b, port: {name: http}}}}
  - host: b.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: b, port: {name: http}}}}]}
`

func serviceOf(app string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %[1]s}\nspec: {selector: {app: %[1]s}, ports: [{name: http, port: 80, targetPort: 8080}]}\n", app)
}

// Two hosts, a path, a certificate of a Secret, HTTP/2 and an upgraded connection: an Ingress that was written for another controller.
func TestIngress(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	ca := newAuthority(t)
	for _, app := range []string{"a", "b"} {
		b.Write(app+".yaml", deployment(app, 1, run("web", "8080", "site-"+app)).String()+"---\n"+serviceOf(app))
	}
	b.Write("tls.yaml", ca.secret(t, "b-tls", "b.test"))
	b.Write("ingress.yaml", ingressText)
	up := b.Up()
	b.UntilReady("a-", 1)
	b.UntilReady("b-", 1)
	until := func(url, want string) {
		t.Helper()
		b.Until(url+" to answer", func() error {
			if got := said(ca.client(), url); !strings.HasPrefix(got, want) {
				return fmt.Errorf("it says %q, not %q", got, want)
			}
			return nil
		})
	}
	until("http://a.test/", "HTTP/1.1 200 site-a")
	until("http://a.test/echo?y", "HTTP/1.1 200 a.test /echo?y http a.test 127.0.0.1")
	until("https://b.test/", "HTTP/2.0 200 site-b")
	until("https://b.test/echo", "HTTP/2.0 200 b.test /echo https b.test 127.0.0.1")
	until("http://c.test/", "HTTP/1.1 404 Not Found")
	if got := said(ca.client(), "https://a.test/"); !strings.Contains(got, "certificate") {
		t.Errorf("a host without a certificate: %s", got)
	}

	// An upgraded connection outlives the controller, the rule and the pods' next generation but not its own pod.
	conn, err := net.Dial("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * harness.Patience))
	fmt.Fprintf(conn, "GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols { //nolint:bodyclose // an upgrade has none
		t.Fatalf("no upgrade: %v, %v", r, err)
	}
	echoes := func(line string) {
		t.Helper()
		fmt.Fprint(conn, line)
		if got, err := in.ReadString('\n'); got != line {
			t.Errorf("sent %q, got %q, %v", line, got, err)
		}
	}
	echoes("one\n")
	b.Delete("ingress.yaml")
	b.Until("the port to be closed", func() error {
		c, err := net.Dial("tcp", "127.0.0.1:80")
		if err == nil {
			c.Close()
			return fmt.Errorf("it accepts")
		}
		return nil
	})
	echoes("two\n")
	b.Write("ingress.yaml", ingressText)
	until("http://a.test/", "HTTP/1.1 200 site-a")
	up.Kill()
	echoes("three\n")
	if got := said(ca.client(), "https://b.test/"); !strings.HasPrefix(got, "HTTP/2.0 200 site-b") {
		t.Errorf("without a controller: %s", got)
	}
	b.Up()

	// A Secret with another certificate is shown without a restart of anything.
	other := newAuthority(t)
	b.Write("tls.yaml", other.secret(t, "b-tls", "b.test"))
	b.Until("the new certificate", func() error {
		if got := said(other.client(), "https://b.test/"); !strings.HasPrefix(got, "HTTP/2.0 200 site-b") {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	b.Write("a.yaml", deployment("a", 0, run("web", "8080", "site-a")).String()+"---\n"+serviceOf("a"))
	until("http://a.test/", "HTTP/1.1 503 Service Unavailable")
}

// While the pods behind an Ingress are replaced, scaled and the controller is killed, no request fails.
func TestIngressLosesNothing(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	version := func(n, replicas int) {
		b.Write("web.yaml", deployment("web", replicas, run("drain", "8080", fmt.Sprint("v", n))+", readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}").String()+"---\n"+serviceOf("web"))
	}
	version(1, 3)
	b.Write("ingress.yaml", "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {defaultBackend: {service: {name: web, port: {number: 80}}}}\n")
	up := b.Up()
	b.UntilReady("web-", 3)
	untilFetched(b, "http://127.0.0.1/", "v1")
	results := steadily(t, "127.0.0.1:80", 100, func() {
		for n, replicas := range []int{3, 5, 2} {
			version(n+2, replicas)
			untilFetched(b, "http://127.0.0.1/", fmt.Sprintf("v%d", n+2))
			b.UntilReady("web-", replicas)
			if n == 1 {
				up.Kill()
				up = b.Up()
			}
		}
	})
	for _, r := range results {
		if !r.Valid() {
			t.Errorf("too slow to say anything: %s", r)
		}
	}
}
