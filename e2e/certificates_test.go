package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// pebble is Let's Encrypt's small authority, which looks at ports 80 and 443 as the large one does.
type pebble struct {
	t      *testing.T
	server *authority // of its own HTTPS
	cmd    *exec.Cmd
	port   int
	log    harness.Buffer
	// Directory is its address; it issues certificates that this root has signed.
	Directory string
	root      *x509.Certificate
}

// startPebble starts one whose certificates count for so long. The server's certificate is signed by an authority that the machine trusts.
func startPebble(t *testing.T, server *authority, port int, life time.Duration) *pebble {
	t.Helper()
	p := &pebble{t: t, server: server, port: port, Directory: fmt.Sprintf("https://ca.test:%d/dir", port)}
	dir := t.TempDir()
	cert, key := server.pair(t, "ca.test")
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := fmt.Sprintf(`{"pebble": {"listenAddress": "127.0.0.1:%d", "managementListenAddress": "127.0.0.1:%d", "certificate": %q, "privateKey": %q,
		"httpPort": 80, "tlsPort": 443, "keyAlgorithm": "ecdsa", "profiles": {"default": {"description": "-", "validityPeriod": %d}}}}`,
		port, port+1, write("cert.pem", cert), write("key.pem", key), int(life.Seconds()))
	binary, err := harness.Pebble()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(binary, "-config", write("config.json", []byte(config)))
	p.cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	for end := time.Now().Add(harness.Patience); p.root == nil; {
		if p.root, err = p.askRoot(); err != nil && time.Now().After(end) {
			t.Fatalf("pebble does not serve: %v", err)
		}
	}
	return p
}

func (p *pebble) askRoot() (*x509.Certificate, error) {
	answer, err := p.server.client().Get(fmt.Sprintf("https://ca.test:%d/roots/0", p.port+1))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it sends no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// Stop ends it. What it said is shown when the test has failed.
func (p *pebble) Stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	if p.t.Failed() {
		p.t.Logf("pebble said:\n%s", p.log.String())
	}
}

// trusts is a client that believes these authorities only.
func trusts(list ...*pebble) *http.Client {
	roots := x509.NewCertPool()
	for _, p := range list {
		roots.AddCert(p.root)
	}
	return clientOf(roots)
}

// serial is the number of the certificate that is shown for a.test, whoever has signed it.
func serial(t *testing.T) string {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", "127.0.0.1:443", &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// trustOnly makes programs that are started from now on trust an authority.
func trustOnly(t *testing.T, a *authority) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, a.pem(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
}

func certified(name, hosts string) string {
	rules := ""
	for h := range strings.SplitSeq(hosts, ", ") {
		rules += fmt.Sprintf("  - host: %s\n    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}\n", h)
	}
	return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: %[1]s\n  annotations: {cert-manager.io/cluster-issuer: letsencrypt, berth.dev/redirect-to-https: \"true\"}\n"+
		"spec:\n  tls: [{hosts: [%[2]s], secretName: %[1]s-tls}]\n  rules:\n%[3]s", name, hosts, rules)
}

// steadyTLS asks for a page the whole time, by new connections and by one that is kept, and counts what fails.
type steadyTLS struct {
	stop   chan struct{}
	group  sync.WaitGroup
	mu     sync.Mutex
	asked  int
	failed []string
}

func startSteadyTLS(t *testing.T, host string, c *http.Client) *steadyTLS {
	t.Helper()
	s := &steadyTLS{stop: make(chan struct{})}
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	kept, err := tls.Dial("tcp", "127.0.0.1:443", &tls.Config{ServerName: host, RootCAs: transport.TLSClientConfig.RootCAs})
	if err != nil {
		t.Fatal(err)
	}
	each := func(f func() string) {
		s.group.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-s.stop:
					return
				case <-tick.C:
				}
				fault := f()
				s.mu.Lock()
				if s.asked++; fault != "" {
					s.failed = append(s.failed, fault)
				}
				s.mu.Unlock()
			}
		})
	}
	each(func() string {
		if got := said(c, "https://"+host+"/"); !strings.HasPrefix(got, "HTTP/2.0 200 site-a") {
			return got
		}
		return ""
	})
	each(func() string {
		fmt.Fprintf(kept, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		buf := make([]byte, 4096)
		n, err := kept.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200 OK") {
			return fmt.Sprintf("by the connection that is kept: %q, %v", buf[:n], err)
		}
		return ""
	})
	t.Cleanup(func() { kept.Close() })
	return s
}

func (s *steadyTLS) end(t *testing.T) {
	t.Helper()
	close(s.stop)
	s.group.Wait()
	if len(s.failed) > 0 || s.asked < 20 {
		t.Errorf("%d of %d requests failed: %s", len(s.failed), s.asked, strings.Join(s.failed[:min(3, len(s.failed))], "\n"))
	}
	t.Logf("%d requests, %d failed", s.asked, len(s.failed))
}

// An Ingress gets its certificate from an authority, has it renewed under load, keeps it over kill -9 and down, and goes on showing it when the
// authority is gone.
func TestCertificateFromAnAuthority(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	nameServer(t, map[string][4]byte{"ca.test.": {127, 0, 0, 1}, "a.test.": {127, 0, 0, 1}, "b.test.": {127, 0, 0, 1}})
	server := newAuthority(t)
	trustOnly(t, server)
	short, long := startPebble(t, server, 14000, 24*time.Second), startPebble(t, server, 15000, time.Hour)
	b.Write("a.yaml", deployment("a", 1, run("web", "8080", "site-a")).String()+"---\n"+serviceOf("a"))
	b.Write("ingress.yaml", certified("web", "a.test"))

	// Without a word nobody is asked.
	up := b.Up()
	b.UntilReady("a-", 1)
	b.Until("the reason to be told", func() error {
		if got := b.CLI("why", "ingress/web").Stdout; !strings.Contains(got, "--acme-email") {
			return errors.New(got)
		}
		return nil
	})
	up.Kill()
	if strings.Contains(short.log.String(), "newAccount") {
		t.Error("somebody has asked")
	}

	up = b.Up("--acme-directory", short.Directory, "--acme-email", "me@a.test")
	until := func(c *http.Client, url, want string) {
		t.Helper()
		b.Until(url+" to answer", func() error {
			if got := said(c, url); !strings.HasPrefix(got, want) {
				return fmt.Errorf("it says %q, not %q", got, want)
			}
			return nil
		})
	}
	until(trusts(short), "https://a.test/", "HTTP/2.0 200 site-a")
	if got := b.MustKubectl("get", "secret", "web-tls", "-o", "jsonpath={.type}"); got != "kubernetes.io/tls" {
		t.Errorf("the secret is of type %q", got)
	}
	if got := b.MustKubectl("describe", "ingress", "web"); !strings.Contains(got, "CertificateIssued") || !strings.Contains(got, "web-tls terminates a.test") {
		t.Errorf("described: %s", got)
	}

	// Renewed after two thirds of its life, while people look.
	first := serial(t)
	load := startSteadyTLS(t, "a.test", trusts(short))
	b.Until("another certificate", func() error {
		if serial(t) == first {
			return errors.New("it is still the first")
		}
		return nil
	})
	load.end(t)

	// Another authority replaces it; after that nothing orders again.
	up.Kill()
	up = b.Up("--acme-directory", long.Directory)
	until(trusts(long), "https://a.test/", "HTTP/2.0 200 site-a")
	second := serial(t)
	same := func(when string) {
		t.Helper()
		until(trusts(long), "https://a.test/", "HTTP/2.0 200 site-a")
		if got := serial(t); got != second {
			t.Errorf("%s another certificate is shown: %s, not %s", when, got, second)
		}
	}
	up.Kill()
	same("while nobody thinks")
	b.Up("--acme-directory", long.Directory)
	b.UntilReady("a-", 1)
	same("after kill -9")

	// The authority is gone, and a new host cannot have a certificate: the old one goes on being shown, and everybody hears why.
	long.Stop()
	b.Write("ingress.yaml", certified("web", "a.test, b.test"))
	b.Until("the failure to be told", func() error {
		if got := b.MustKubectl("describe", "ingress", "web"); !strings.Contains(got, "CertificateFailed") || !strings.Contains(got, "connection refused") {
			return errors.New(got)
		}
		return nil
	})
	same("without the authority")
	if got := b.CLI("why", "ingress/web").Stdout; !strings.Contains(got, "is not replaced by another: ca.test:15000 was asked once in vain for a.test, b.test") {
		t.Errorf("why: %s", got)
	}
	b.Must("down")
	b.Write("ingress.yaml", certified("web", "a.test"))
	b.Up("--acme-directory", long.Directory)
	same("after down")
	for _, path := range []string{"acme", "acme/default.web-tls.json"} {
		if st, err := os.Stat(filepath.Join(b.State, path)); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, st, err)
		}
	}
}

// Where port 80 is somebody else's, the authority looks by TLS; and what it finds out is told in its words.
func TestCertificateByTLS(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	nameServer(t, map[string][4]byte{"ca.test.": {127, 0, 0, 1}, "a.test.": {127, 0, 0, 1}})
	server := newAuthority(t)
	trustOnly(t, server)
	ca := startPebble(t, server, 14000, time.Hour)
	b.Write("a.yaml", deployment("a", 1, run("web", "8080", "site-a")).String()+"---\n"+serviceOf("a"))
	b.Write("other.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {type: LoadBalancer, selector: {app: a}, ports: [{port: 80, targetPort: 8080}]}\n")
	b.Write("ingress.yaml", certified("web", "a.test"))
	b.Write("unknown.yaml", certified("unknown", "nowhere.test"))
	b.Up("--acme-directory", ca.Directory)
	b.Until("the page", func() error {
		if got := said(trusts(ca), "https://a.test/"); !strings.HasPrefix(got, "HTTP/2.0 200 site-a") {
			return errors.New(got)
		}
		return nil
	})
	b.Until("what the authority said", func() error {
		if got := b.CLI("why", "ingress/unknown").Stdout; !strings.Contains(got, "ca.test:14000 was asked once in vain for nowhere.test: nowhere.test: ") {
			return errors.New(got)
		}
		return nil
	})
}
