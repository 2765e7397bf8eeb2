package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"berth/e2e/harness"
)

// kube speaks to the API of a berth as any program might, not only kubectl.
type kube struct {
	server    string
	authority *x509.CertPool
	client    *http.Client
}

func newKube(t *testing.T, b *harness.Berth) *kube {
	t.Helper()
	s, err := harness.ReadKubeconfig(filepath.Join(b.Run, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	k := &kube{server: s.URL, authority: s.TLS.RootCAs}
	k.client = k.with(s.TLS)
	return k
}

func (k *kube) with(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: harness.Patience}
}

// What is refused is refused clearly, and before anything is read of it.
func TestKubeAccess(t *testing.T) {
	b := harness.New(t)
	b.Write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: planted-secret}\n")
	up := b.Up()
	k := newKube(t, b)
	ask := func(method, path string, change func(*http.Request), body io.Reader) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, k.server+path, body)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(r)
		}
		resp, err := k.client.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(data)
	}
	pods := "/api/v1/namespaces/default/pods"
	tests := map[string]struct {
		method, path string
		change       func(*http.Request)
		body         io.Reader
		code         int
		want         string
	}{
		"a name that leads here":  {"GET", pods, func(r *http.Request) { r.Host = "evil.example:80" }, nil, 403, "has no other name"},
		"its own name":            {"GET", pods, func(r *http.Request) { r.Host = "localhost:1" }, nil, 200, "PodList"},
		"a web page":              {"GET", pods, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, nil, 403, "web pages"},
		"its own origin":          {"GET", pods, func(r *http.Request) { r.Header.Set("Origin", k.server) }, nil, 200, "PodList"},
		"its own origin, http":    {"GET", pods, func(r *http.Request) { r.Header.Set("Origin", "http"+strings.TrimPrefix(k.server, "https")) }, nil, 200, "PodList"},
		"another port's page":     {"GET", pods, func(r *http.Request) { r.Header.Set("Origin", "https://127.0.0.1:1") }, nil, 403, "web pages"},
		"another's name":          {"GET", pods, func(r *http.Request) { r.Header.Set("Impersonate-User", "ann") }, nil, 403, "impersonated"},
		"a form of a web page":    {"POST", pods, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, strings.NewReader("{}"), 415, "unknown format"},
		"up":                      {"GET", "/api/v1/namespaces/a/%2e%2e/b/pods", nil, nil, 400, "invalid part"},
		"a huge body":             {"POST", pods, json9, bytes.NewReader(make([]byte, 4<<20)), 413, "limit is"},
		"deep JSON":               {"POST", pods, json9, strings.NewReader(strings.Repeat(`{"a":`, 100_000)), 400, "BadRequest"},
		"exec by GET, no pod":     {"GET", pods + "/none/exec?command=sh", nil, nil, 404, "not found"},
		"exec by POST, no pod":    {"POST", pods + "/none/exec?command=sh", nil, nil, 404, "not found"},
		"profiles":                {"GET", "/debug/pprof/", nil, nil, 404, "NotFound"},
		"another media type":      {"GET", pods, func(r *http.Request) { r.Header.Set("Accept", "image/png") }, nil, 406, "NotAcceptable"},
		"a method nobody knows":   {"BREW", pods, nil, nil, 405, "MethodNotAllowed"},
		"a namespace in the path": {"GET", "/api/v1/namespaces/default/nodes", nil, nil, 404, "NotFound"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if code, text := ask(tc.method, tc.path, tc.change, tc.body); code != tc.code || !strings.Contains(text, tc.want) {
				t.Errorf("%s %s: %d %.300s, want %d and %q", tc.method, tc.path, code, text, tc.code, tc.want)
			}
		})
	}
	t.Run("without a certificate", func(t *testing.T) {
		if answer, err := k.with(&tls.Config{RootCAs: k.authority}).Get(k.server + pods); err == nil {
			_ = answer.Body.Close()
			t.Error("answered")
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		if answer, err := k.with(&tls.Config{RootCAs: k.authority, MaxVersion: tls.VersionTLS12}).Get(k.server + pods); err == nil {
			_ = answer.Body.Close()
			t.Error("answered")
		}
	})
	t.Run("another user", func(t *testing.T) { otherUser(t, b) })
	t.Run("what listens", func(t *testing.T) { onlyLoopback(t, up.PID(), strings.TrimPrefix(k.server, "https://127.0.0.1:")) })
	t.Run("audit", func(t *testing.T) {
		if out := b.MustKubectl("get", "secret", "s", "-o", "jsonpath={.data.k}"); out == "" {
			t.Error("no secret")
		}
		up.UntilLine("verb=get resource=secrets object=default/s")
		if strings.Contains(up.Output(), "planted-secret") {
			t.Error("the log has the secret")
		}
	})
}

func json9(r *http.Request) { r.Header.Set("Content-Type", "application/json") }

// otherUser tries the socket and the files of the run directory as nobody.
func otherUser(t *testing.T, b *harness.Berth) {
	t.Helper()
	for _, name := range []string{"kubeconfig", "kube.pem", "kube.sock"} {
		st, err := os.Stat(filepath.Join(b.Run, name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want mode 0600", name, st, err)
		}
		cmd := exec.Command("cat", filepath.Join(b.Run, name))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "ermission denied") {
			t.Errorf("nobody reads %s: %v %s", name, err, out)
		}
	}
}

// onlyLoopback looks at the TCP ports that a process listens on.
func onlyLoopback(t *testing.T, pid int, port string) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 4 || f[3] != "0A" { // TCP_LISTEN
			continue
		}
		addr, hex, _ := strings.Cut(f[1], ":")
		n, _ := strconv.ParseUint(hex, 16, 16)
		if strconv.FormatUint(n, 10) == port {
			found = append(found, addr)
		}
	}
	if len(found) != 1 || found[0] != "0100007F" {
		t.Errorf("port %s listens on %v, want 127.0.0.1 alone", port, found)
	}
}
