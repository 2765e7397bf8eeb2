package image

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // the only way to silence a server of the standard library
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"berth/runtime"
)

func writeRegistries(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registries.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestEndpoints(t *testing.T) {
	r, err := ReadRegistries(writeRegistries(t, `
mirrors:
  docker.io:
    endpoint: ["https://hub.test/v2/proxy", "http://plain.test:5000"]
    rewrite: {"^library/(.*)": "hub/$1"}
  ghcr.io:
    endpoint: ["https://ghcr.io"]
  "*":
    endpoint: ["any.test"]
configs:
  hub.test:
    auth: {username: u, password: p}
`))
	must(t, err)
	tests := map[string][]endpoint{
		"nginx": {
			{"hub.test", false, "proxy/hub/nginx", "docker.io"},
			{"plain.test:5000", true, "hub/nginx", "docker.io"},
			{"registry-1.docker.io", false, "library/nginx", ""},
		},
		"index.docker.io/a/b:1": {{"hub.test", false, "proxy/a/b", "docker.io"}, {"plain.test:5000", true, "a/b", "docker.io"}, {"registry-1.docker.io", false, "a/b", ""}},
		"quay.io/a/b":           {{"any.test", false, "a/b", "quay.io"}, {"quay.io", false, "a/b", ""}},
		"ghcr.io/a":             {{"ghcr.io", false, "a", ""}},
		"localhost:5000/a":      {{"any.test", false, "a", "localhost:5000"}, {"localhost:5000", true, "a", ""}},
	}
	for in, want := range tests {
		ref, err := ParseReference(in)
		must(t, err)
		if diff := cmp.Diff(want, r.endpoints(ref), cmp.AllowUnexported(endpoint{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

func TestReadRegistriesFaults(t *testing.T) {
	for text, want := range map[string]string{
		"mirrors: [1]":                                          "cannot unmarshal",
		"mirror: {}":                                            "mirror not found",
		"mirrors: {a: {endpoint: ['ftp://x']}}":                 "only http and https",
		"mirrors: {a: {endpoint: ['https://']}}":                "no host",
		"mirrors: {a: {endpoint: ['https://u:p@x']}}":           "credentials belong below configs",
		"mirrors: {a: {endpoint: ['https://x/y']}}":             "must start with /v2",
		"mirrors: {a: {rewrite: {'(': ''}}}":                    "rewrite",
		"configs: {a: {tls: {ca_file: /does/not/exist}}}":       "no such file",
		"configs: {a: {tls: {cert_file: /does/not/exist.pem}}}": "no such file",
	} {
		if _, err := ReadRegistries(writeRegistries(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, path := range []string{"", filepath.Join(t.TempDir(), "none"), writeRegistries(t, "")} {
		if _, err := ReadRegistries(path); err != nil {
			t.Error(err)
		}
	}
}

// TestPullFromMirror pulls images of several registries, none of which can be reached, from one mirror.
func TestPullFromMirror(t *testing.T) {
	reg := newRegistry(t)
	for _, repo := range []string{"library/nginx:latest", "library/redis:7", "a/b:1"} {
		reg.push(t, repo, testImage(t, testLayer(t, "from="+repo)))
	}
	var namespaces []string
	reg.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			namespaces = append(namespaces, r.URL.Query().Get("ns"))
		}
		return false
	})
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	s := testStore(t, func(o *Options) {
		o.Registries = writeRegistries(t, fmt.Sprintf("mirrors: {'*': {endpoint: [%q, %q]}}", dead.URL, reg.URL))
	})
	for _, ref := range []string{"nginx", "redis:7", "registry.invalid/a/b:1", "nginx"} {
		_, err := s.Pull(t.Context(), ref, runtime.PullOptions{})
		must(t, err)
	}
	checkImage(t, s, "nginx", "from", "library/nginx:latest")
	checkImage(t, s, "registry.invalid/a/b:1", "from", "a/b:1")
	if diff := cmp.Diff([]string{"docker.io", "docker.io", "registry.invalid", "docker.io"}, namespaces); diff != "" {
		t.Errorf("the mirror was asked for (-want +got):\n%s", diff)
	}
	// A mirror that has it not is not the last word, and both are named when the registry cannot be asked.
	_, err := s.Pull(t.Context(), "registry.invalid/none:1", runtime.PullOptions{})
	if err == nil || !strings.Contains(err.Error(), reg.host()) || !strings.Contains(err.Error(), "registry.invalid") {
		t.Errorf("got %v", err)
	}
}

// TestMirrorGetsNoForeignLogin: what was given for a registry is not told to its mirror.
func TestMirrorGetsNoForeignLogin(t *testing.T) {
	reg := newRegistry(t)
	reg.push(t, "library/nginx:latest", testImage(t, testLayer(t, "v=1")))
	var told seen
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		told.note(r)
		return basicAuth("mirror", "own")(w, r)
	})
	s := testStore(t, func(o *Options) {
		o.Registries = writeRegistries(t, fmt.Sprintf("mirrors: {docker.io: {endpoint: [%q]}}\nconfigs: {%q: {auth: {username: mirror, password: own}}}", reg.URL, reg.host()))
	})
	_, err := s.Pull(t.Context(), "nginx", runtime.PullOptions{Credentials: []runtime.Credential{{Registry: "docker.io", Username: "ann", Password: "hub"}}})
	must(t, err)
	for _, what := range told.list() {
		if !strings.Contains(what, "Basic bWlycm9yOm93bg==") {
			t.Errorf("the mirror was told %q", what)
		}
	}
}

func TestPullTLS(t *testing.T) {
	server := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	u, err := url.Parse(server.URL)
	must(t, err)
	// Under a name for which no plain http is tried.
	host := u.Host
	ref, err := name.ParseReference(host + "/app:1")
	must(t, err)
	must(t, remote.Write(ref, testImage(t, testLayer(t, "v=1")), remote.WithTransport(server.Client().Transport)))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))

	for tls, ok := range map[string]bool{"{}": false, "{ca_file: " + ca + "}": true, "{insecure_skip_verify: true}": true} {
		s := testStore(t, func(o *Options) {
			o.Registries = writeRegistries(t, fmt.Sprintf("configs: {%q: {tls: %s}}", host, tls))
		})
		_, err := s.Pull(t.Context(), host+"/app:1", runtime.PullOptions{})
		if (err == nil) != ok {
			t.Errorf("tls %s: %v", tls, err)
		}
		if !ok && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("tls %s: %v does not name the certificate", tls, err)
		}
	}
}

func TestPlainHTTPIsRefused(t *testing.T) {
	s := testStore(t)
	// A private address that is not listed: only https may be spoken. Nothing listens on this documentation address.
	err := newGuard(endpoint{host: "192.0.2.1:5000"}, nil, 0).check(httptest.NewRequest(http.MethodGet, "http://192.0.2.1:5000/v2/", nil))
	if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "registries file") {
		t.Errorf("got %v", err)
	}
	checkEmpty(t, s)
}

func TestParseReference(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"nginx":                         "docker.io/library/nginx:latest",
		"nginx:1.25":                    "docker.io/library/nginx:1.25",
		"a/b":                           "docker.io/a/b:latest",
		"docker.io/nginx":               "docker.io/library/nginx:latest",
		"index.docker.io/library/nginx": "docker.io/library/nginx:latest",
		"localhost/a":                   "localhost/a:latest",
		"localhost:5000/a/b:c":          "localhost:5000/a/b:c",
		"ghcr.io/a/b@" + digest:         "ghcr.io/a/b@" + digest,
		"nginx:1@" + digest:             "docker.io/library/nginx@" + digest,
		"[::1]:5000/a":                  "[::1]:5000/a:latest",
		"r.test/a__b/c-d/e.f:V_1.x":     "r.test/a__b/c-d/e.f:V_1.x",
		digest:                          digest,
	} {
		r, err := ParseReference(in)
		if err != nil || r.String() != want {
			t.Errorf("%q: %q %v, want %q", in, r.String(), err, want)
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r {
			t.Errorf("%q is read as %+v the second time: %v", in, again, err)
		}
	}
	for _, in := range []string{
		"", ":", "/", "a/", "/a", "a//b", "a/../b", "A", "a:", "a:" + strings.Repeat("t", 129), "a@sha256:abc", "a@", "a@" + digest + "@" + digest,
		"a@sha512:" + strings.Repeat("a", 128), "a b", "a\n", "http://a/b", "a:-x", "r.test:99999999/a", strings.Repeat("a", 10_000), "-a", "a/.b", "a:b:c", "ü", "a\x00",
	} {
		if r, err := ParseReference(in); !errors.Is(err, ErrInvalid) || len(err.Error()) > 600 {
			t.Errorf("%.40q: %+v %v", in, r, err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"nginx", "a/b:c", "localhost:5000/x@sha256:" + strings.Repeat("0", 64), "a/../b", "[::1]/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := ParseReference(in)
		if err != nil {
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r {
			t.Errorf("%q: %+v becomes %+v, %v", in, r, again, err)
		}
		if strings.Contains(r.Repository, "..") || strings.ContainsAny(r.Repository, "?#%\\ ") {
			t.Errorf("%q: repository %q", in, r.Repository)
		}
	})
}
