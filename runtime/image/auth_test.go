package image

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"berth/runtime"
)

// seen are the secrets that arrived somewhere.
type seen struct {
	mu   sync.Mutex
	what []string
}

func (s *seen) note(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := r.Header.Get("Authorization"); a != "" {
		s.what = append(s.what, r.Method+" "+r.URL.Path+" "+a)
	}
	if r.Method == http.MethodPost {
		_ = r.ParseForm()
		s.what = append(s.what, "POST "+r.PostForm.Encode())
	}
}

func (s *seen) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.what...)
}

// basicAuth lets in one user.
func basicAuth(user, password string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == user && p == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestPullWithLogin(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "shop/app:1", testImage(t, testLayer(t, "v=1")))
	reg.intercept(basicAuth("ann", "right"))
	entry := func(key, password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, base64.StdEncoding.EncodeToString([]byte("ann:"+password)))
	}
	tests := map[string]struct {
		given []runtime.Credential
		files map[string]string
		env   map[string]string
		ok    bool
	}{
		"none":                     {nil, nil, nil, false},
		"given":                    {[]runtime.Credential{{Registry: reg.host(), Username: "ann", Password: "right"}}, nil, nil, true},
		"given as a URL":           {[]runtime.Credential{{Registry: "http://" + reg.host() + "/v1/", Username: "ann", Password: "right"}}, nil, nil, true},
		"given, the second":        {[]runtime.Credential{{Registry: reg.host(), Username: "ann", Password: "wrong"}, {Registry: reg.host(), Username: "ann", Password: "right"}}, nil, nil, true},
		"given, wrong":             {[]runtime.Credential{{Registry: reg.host(), Username: "ann", Password: "wrong"}}, nil, nil, false},
		"given for another host":   {[]runtime.Credential{{Registry: "ghcr.io", Username: "ann", Password: "right"}}, nil, nil, false},
		"docker's file":            {nil, map[string]string{".docker/config.json": entry(reg.host(), "right")}, nil, true},
		"docker's file, elsewhere": {nil, map[string]string{"cfg/config.json": entry(reg.host(), "right")}, map[string]string{"DOCKER_CONFIG": "cfg"}, true},
		"podman's file":            {nil, map[string]string{"run/containers/auth.json": entry(reg.host(), "right")}, map[string]string{"XDG_RUNTIME_DIR": "run"}, true},
		"named file":               {nil, map[string]string{"my.json": entry(reg.host(), "right")}, map[string]string{"REGISTRY_AUTH_FILE": "my.json"}, true},
		"for the repository":       {nil, map[string]string{".docker/config.json": entry(reg.host()+"/shop", "right")}, nil, true},
		"for another repository":   {nil, map[string]string{".docker/config.json": entry(reg.host()+"/sho", "right")}, nil, false},
		"docker's wrong, podman's right": {
			nil,
			map[string]string{".docker/config.json": entry(reg.host(), "wrong"), "run/containers/auth.json": entry(reg.host(), "right")},
			map[string]string{"XDG_RUNTIME_DIR": "run"},
			true,
		},
		"registries file": {nil, map[string]string{"registries.yaml": fmt.Sprintf("configs:\n  %q:\n    auth: {username: ann, password: right}\n", reg.host())}, nil, true},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			s := testStore(t, func(o *Options) {
				for name, content := range tt.files {
					path := filepath.Join(o.Home, name)
					must(t, os.MkdirAll(filepath.Dir(path), 0o700))
					must(t, os.WriteFile(path, []byte(content), 0o600))
				}
				o.Registries = filepath.Join(o.Home, "registries.yaml")
				home := o.Home
				o.Getenv = func(name string) string {
					if v := tt.env[name]; v != "" {
						return filepath.Join(home, v)
					}
					return ""
				}
			})
			_, err := s.Pull(t.Context(), ref, runtime.PullOptions{Credentials: tt.given})
			if tt.ok {
				must(t, err)
			} else if !errors.Is(err, runtime.ErrUnauthorized) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "wrong") {
				t.Errorf("the message shows a password: %v", err)
			}
		})
	}
}

func TestPullWithBrokenAuthFile(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
	s := testStore(t, func(o *Options) {
		must(t, os.MkdirAll(filepath.Join(o.Home, ".docker"), 0o700))
		must(t, os.WriteFile(filepath.Join(o.Home, ".docker", "config.json"), []byte("{"), 0o600))
	})
	// It matters only to an image that needs a login.
	_, err := s.Pull(t.Context(), ref, runtime.PullOptions{})
	must(t, err)
	reg.intercept(basicAuth("ann", "right"))
	if _, err := s.Pull(t.Context(), ref, runtime.PullOptions{}); !errors.Is(err, runtime.ErrUnauthorized) || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("got %v, want the file that cannot be read", err)
	}
}

// bearer makes a registry that wants tokens of a server.
func bearer(realm string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer good-token" || r.URL.Path == "/token" {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test",scope="repository:app:pull"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestPullWithToken(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
	var scopes []string
	needToken := bearer(reg.URL + "/token")
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/token" {
			return needToken(w, r)
		}
		scopes = append(scopes, r.URL.Query().Get("scope"))
		if _, p, ok := r.BasicAuth(); !ok || p != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		fmt.Fprint(w, `{"token":"good-token"}`)
		return true
	})
	s := testStore(t)
	if _, err := s.Pull(t.Context(), ref, runtime.PullOptions{}); !errors.Is(err, runtime.ErrUnauthorized) {
		t.Errorf("without a login: %v", err)
	}
	_, err := s.Pull(t.Context(), ref, runtime.PullOptions{Credentials: []runtime.Credential{{Registry: reg.host(), Username: "ann", Password: "right"}}})
	must(t, err)
	checkImage(t, s, ref, "v", "1")
	for _, scope := range scopes {
		if scope != "repository:app:pull" {
			t.Errorf("a token was asked for the scope %q", scope)
		}
	}
}

// evilHost is a host that is not of the registry's domain: the same machine under another name.
func evilHost(server *httptest.Server) string {
	return strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1)
}

// TestPullKeepsSecrets lets a registry try to send the client's credentials somewhere else.
func TestPullKeepsSecrets(t *testing.T) {
	var evil seen
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		evil.note(r)
		if strings.HasSuffix(r.URL.Path, "/token") {
			fmt.Fprint(w, `{"token":"good-token"}`)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	elsewhere := "http://" + evilHost(server)
	redirect := func(part string) func(http.ResponseWriter, *http.Request) bool {
		login := basicAuth("ann", "right")
		return func(w http.ResponseWriter, r *http.Request) bool {
			if login(w, r) {
				return true
			}
			if !strings.Contains(r.URL.Path, part) || r.Method != http.MethodGet {
				return false
			}
			http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
	}
	tests := map[string]func(http.ResponseWriter, *http.Request) bool{
		"realm elsewhere":       bearer(elsewhere + "/token"),
		"manifest redirected":   redirect("/manifests/"),
		"blob redirected":       redirect("/blobs/"),
		"first page redirected": redirect("/v2/"),
		"realm redirected": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				http.Redirect(w, r, elsewhere+"/token", http.StatusTemporaryRedirect)
				return true
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		},
	}
	for what, middle := range tests {
		t.Run(what, func(t *testing.T) {
			reg := newRegistry(t)
			ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
			reg.intercept(middle)
			s := testStore(t)
			_, err := s.Pull(t.Context(), ref, runtime.PullOptions{Credentials: []runtime.Credential{{Registry: reg.host(), Username: "ann", Password: "right"}}})
			if err == nil {
				t.Error("the pull succeeded")
			}
			for _, secret := range evil.list() {
				if !strings.Contains(secret, "Bearer ") {
					t.Errorf("the other host was told %q", secret)
				}
			}
			if err != nil && strings.Contains(err.Error(), "right") {
				t.Errorf("the message shows the password: %v", err)
			}
			checkEmpty(t, s)
		})
	}
}

func TestGuard(t *testing.T) {
	request := func(method, url, auth string) *http.Request {
		r := httptest.NewRequest(method, url, nil)
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		return r
	}
	public := endpoint{host: "registry.example.com"}
	listed := endpoint{host: "registry.example.com", plain: true}
	tests := map[string]struct {
		at  endpoint
		req *http.Request
		ok  bool
	}{
		"https":                           {public, request("GET", "https://registry.example.com/v2/", "Basic x"), true},
		"http":                            {public, request("GET", "http://registry.example.com/v2/", ""), false},
		"http, listed":                    {listed, request("GET", "http://registry.example.com/v2/", "Basic x"), true},
		"http to another host":            {listed, request("GET", "http://cdn.test/x", ""), false},
		"token server of the same domain": {public, request("GET", "https://auth.example.com/token", "Basic x"), true},
		"token server elsewhere":          {public, request("GET", "https://example.org/token", "Basic x"), false},
		"look-alike":                      {public, request("GET", "https://registry.example.com.evil.test/", "Basic x"), false},
		"the same suffix only":            {endpoint{host: "a.co.uk"}, request("GET", "https://b.co.uk/", "Basic x"), false},
		"refresh token elsewhere":         {public, request("POST", "https://example.org/token", ""), false},
		"blob elsewhere, no secret":       {public, request("GET", "https://cdn.test/blob", ""), true},
		"file":                            {public, request("GET", "file:///etc/passwd", ""), false},
		"hub's token server":              {endpoint{host: dockerHubHost}, request("GET", "https://auth.docker.io/token", "Basic x"), true},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			err := newGuard(tt.at, nil, 0).check(tt.req)
			if (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
			if err != nil && !errors.Is(err, errRefused) {
				t.Errorf("%v is not a refusal", err)
			}
		})
	}
}

func TestGuardDial(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	for host, ok := range map[string]bool{"registry.example.com": false, address: true, "localhost:5000": true} {
		conn, err := newGuard(endpoint{host: host}, nil, 0).dial(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != ok {
			t.Errorf("registry %s leads to %s: %v", host, address, err)
		}
	}
}

func TestMatchesRegistry(t *testing.T) {
	for _, tt := range []struct {
		stored, host, repository string
		want                     bool
	}{
		{"https://index.docker.io/v1/", dockerHubHost, "library/nginx", true},
		{"docker.io", dockerHubHost, "library/nginx", true},
		{"ghcr.io", "ghcr.io", "a/b", true},
		{"ghcr.io", "evilghcr.io", "a/b", false},
		{"ghcr.io/a", "ghcr.io", "a/b", true},
		{"ghcr.io/a", "ghcr.io", "ab", false},
		{"*.azurecr.io", "shop.azurecr.io", "a", true},
		{"*.azurecr.io", "a.shop.azurecr.io", "a", false},
		{"*", "ghcr.io", "a", false},
		{"ghcr.io:443", "ghcr.io", "a", false},
		{"", "ghcr.io", "a", false},
	} {
		if got := matchesRegistry(tt.stored, tt.host, tt.repository); got != tt.want {
			t.Errorf("%q for %s/%s: %t", tt.stored, tt.host, tt.repository, got)
		}
	}
}
