package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
)

func TestRoute(t *testing.T) {
	tests := map[string]struct{ method, path, want string }{
		"list":                       {"GET", "/api/v1/pods", "list pods"},
		"list in a namespace":        {"GET", "/api/v1/namespaces/shop/pods", "list pods shop/"},
		"get":                        {"GET", "/api/v1/namespaces/shop/pods/web", "get pods shop/web"},
		"watch":                      {"GET", "/apis/apps/v1/deployments?watch=true", "watch deployments"},
		"watch is 1":                 {"GET", "/apis/apps/v1/deployments?watch=1", "watch deployments"},
		"no watch":                   {"GET", "/apis/apps/v1/deployments?watch=0", "list deployments"},
		"a subresource":              {"PATCH", "/apis/apps/v1/namespaces/a/deployments/b/scale", "patch deployments a/b scale"},
		"a namespace":                {"GET", "/api/v1/namespaces/shop", "get namespaces /shop"},
		"a namespace's status":       {"PUT", "/api/v1/namespaces/shop/status", "update namespaces /shop status"},
		"create":                     {"POST", "/api/v1/namespaces/shop/configmaps", "create configmaps shop/"},
		"delete many":                {"DELETE", "/api/v1/namespaces/shop/configmaps", "deletecollection configmaps shop/"},
		"exec by GET":                {"GET", "/api/v1/namespaces/a/pods/b/exec", "connect pods a/b exec"},
		"exec by POST":               {"POST", "/api/v1/namespaces/a/pods/b/exec", "connect pods a/b exec"},
		"logs":                       {"GET", "/api/v1/namespaces/a/pods/b/log", "get pods a/b log"},
		"a name with a slash":        {"GET", "/api/v1/namespaces/a/pods/b%2Fexec", "BadRequest"},
		"up":                         {"GET", "/api/v1/namespaces/a/../b/pods", "BadRequest"},
		"up, encoded":                {"GET", "/api/v1/namespaces/a/%2e%2e/b/pods", "BadRequest"},
		"two slashes":                {"GET", "/api/v1//pods", "BadRequest"},
		"no such resource":           {"GET", "/api/v1/cats", "NotFound"},
		"no such version":            {"GET", "/apis/apps/v2/deployments", "NotFound"},
		"no such subresource":        {"GET", "/api/v1/namespaces/a/pods/b/cats", "NotFound"},
		"namespaced in cluster":      {"GET", "/api/v1/namespaces/a/nodes/b", "NotFound"},
		"too long":                   {"GET", "/api/v1/namespaces/a/pods/b/log/c", "NotFound"},
		"name without its namespace": {"GET", "/api/v1/pods/b", "NotFound"},
	}
	g := newRegistry()
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			hr := httptest.NewRequest(tc.method, tc.path, nil)
			got := ""
			parts, err := pathSegments(hr.URL)
			if err == nil {
				var r *Request
				if r, err = g.route(hr, parts); err == nil {
					got = r.Verb + " " + r.Resource.Name
					if r.Namespace != "" || r.Name != "" {
						got += " " + r.Namespace + "/" + r.Name
					}
					got = strings.TrimSpace(got + " " + r.Subresource)
				}
			}
			if err != nil {
				got = string(StatusOf(err).Reason)
			}
			if got != tc.want {
				t.Errorf("%s %s is %q, want %q", tc.method, tc.path, got, tc.want)
			}
		})
	}
}

// fixture is a server with a few objects.
func fixture(t *testing.T, objects ...store.Object) *Server {
	t.Helper()
	st, err := store.Open(store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Store: st})
	for _, obj := range objects {
		if err := st.Create(reconcile.KeyOf(obj), obj, nil); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"name": name}},
		Data:       map[string]string{"a": "b"},
	}
}

// ask is one request and its answer as JSON.
func ask(t *testing.T, s *Server, method, path string, header ...string) (int, map[string]any) {
	t.Helper()
	hr := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(header); i += 2 {
		hr.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, hr)
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%s %s: %v in %q", method, path, err, w.Body)
	}
	return w.Code, out
}

func TestHandlersAreFoundByVerbResourceAndSubresource(t *testing.T) {
	s := fixture(t, configMap("a"))
	var got []string
	for _, h := range [][3]string{{"create", "*", ""}, {"create", "configmaps", ""}, {"connect", "pods", "exec"}} {
		s.Handle(h[0], h[1], h[2], func(w http.ResponseWriter, r *Request) error {
			got = append(got, strings.Join(h[:], " ")+" for "+r.Resource.Name)
			return s.Respond(w, r, http.StatusOK, metav1.Status{})
		})
	}
	ask(t, s, "POST", "/api/v1/namespaces/shop/configmaps")
	ask(t, s, "POST", "/api/v1/namespaces/shop/secrets")
	ask(t, s, "GET", "/api/v1/namespaces/shop/pods/p/exec")
	want := []string{"create configmaps  for configmaps", "create *  for secrets", "connect pods exec for pods"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("handlers (-want +got):\n%s", diff)
	}
	if code, status := ask(t, s, "POST", "/api/v1/nodes"); code != http.StatusMethodNotAllowed || status["reason"] != "MethodNotAllowed" {
		t.Errorf("creating a node: %d %v", code, status)
	}
}

// httpClient keeps no connections.
func httpClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func quantity(t *testing.T, text string) int64 {
	t.Helper()
	q, err := resource.ParseQuantity(text)
	if err != nil {
		t.Fatal(err)
	}
	return q.MilliValue()
}

func TestHealth(t *testing.T) {
	s := fixture(t)
	for path, want := range map[string]string{
		"/livez": "ok", "/readyz/ping": "ok", "/readyz?verbose": "[+]ping ok\nreadyz check passed\n", "/livez?verbose=true": "[+]ping ok\nlivez check passed\n",
		"/healthz/etcd": "", "/livez/ping/pong": "",
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if want == "" && w.Code != http.StatusNotFound || want != "" && (w.Code != http.StatusOK || w.Body.String() != want) {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}
