package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// wires lead to one server, whatever is dialled.
type wires struct {
	to string

	mu     sync.Mutex
	dialed []string
}

func (l *wires) Dial(ctx context.Context, uid, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialed = append(l.dialed, uid+" "+addr)
	if addr == ":9" {
		return nil, errors.New("dial tcp 10.42.0.2:9: connect: connection refused")
	}
	return (&net.Dialer{}).DialContext(ctx, network, l.to)
}

func (l *wires) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.dialed) == 0 {
		return ""
	}
	return l.dialed[len(l.dialed)-1]
}

func servedPod(name, ip string, hostNetwork bool) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name)},
		Spec: corev1.PodSpec{HostNetwork: hostNetwork, Containers: []corev1.Container{
			{Name: "side"}, {Name: "main", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}, {Name: "old", ContainerPort: 9}}},
		}},
		Status: corev1.PodStatus{PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

// endpoint is an address behind the port "http" of the Service web, said to be that of the pod "a" of a namespace.
func endpoint(ip, namespace string, ready bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: "a"},
	}
}

func proxyFixture(t *testing.T, backend *httptest.Server, endpoints ...discoveryv1.Endpoint) (*wires, *Server) {
	t.Helper()
	s := fixture(t,
		servedPod("a", "10.42.0.2", false), servedPod("host", "192.0.2.1", true), servedPod("new", "", false), servedPod("odd", "127.0.0.1", true),
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			Ports:      []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}}, Endpoints: endpoints,
		})
	l := &wires{to: strings.TrimPrefix(strings.TrimPrefix(backend.URL, "https://"), "http://")}
	s.HandleProxies(l)
	return l, s
}

// backend tells what it is asked, and upgrades when it is asked to.
func backend() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if websocket.IsWebSocketUpgrade(r) {
			conn, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil)
			if err != nil {
				return
			}
			kind, text, _ := conn.ReadMessage()
			_ = conn.WriteMessage(kind, append([]byte("echo "), text...))
			_ = conn.Close()
			return
		}
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %d %s", r.Method, r.RequestURI, len(body), r.Header.Get("Authorization")+r.Header.Get("X-Forwarded-Uri"))
	})
}

// A request goes to the pod that it names and to no other, and what the pod says of itself leads back the same way.
func TestProxy(t *testing.T) {
	const pods, services = "/api/v1/namespaces/shop/pods/", "/api/v1/namespaces/shop/services/"
	own := endpoint("10.42.0.2", "shop", true)
	tests := map[string]struct {
		method, path string
		endpoints    []discoveryv1.Endpoint
		code         int
		want, dialed string
	}{
		"a pod":                    {path: pods + "a:8080/proxy/x/y?z=1;2", code: 418, want: "GET /x/y?z=1;2 0 " + pods + "a:8080/proxy/x/y", dialed: "uid-of-a :8080"},
		"its first port":           {path: pods + "a/proxy/", code: 418, want: "GET / 0", dialed: "uid-of-a :8080"},
		"its port by name":         {path: pods + "a:old/proxy/", code: 503, want: "error trying to reach service: dial tcp 10.42.0.2:9: connect: connection refused", dialed: "uid-of-a :9"},
		"an encoded path":          {path: pods + "a/proxy/x%2Fy/%2e%2e//", code: 418, want: "GET /x%2Fy/%2e%2e// 0", dialed: "uid-of-a :8080"},
		"up":                       {path: pods + "a/proxy/../../../secrets", code: 418, want: "GET /../../../secrets 0", dialed: "uid-of-a :8080"},
		"no path":                  {path: pods + "a/proxy?x=y", code: 301, want: pods + "a/proxy/?x=y"},
		"a write":                  {method: "PUT", path: pods + "a/proxy", code: 418, want: "PUT / 4000000", dialed: "uid-of-a :8080"},
		"a deletion":               {method: "DELETE", path: pods + "a/proxy/x", code: 418, want: "DELETE /x 0", dialed: "uid-of-a :8080"},
		"a method nobody knows":    {method: "BREW", path: pods + "a/proxy/x", code: 405},
		"sent elsewhere":           {path: pods + "a/proxy/?to=/login", code: 302, want: pods + "a/proxy/login", dialed: "uid-of-a :8080"},
		"sent by its address":      {path: pods + "a/proxy/?to=http://10.42.0.2:8080/login", code: 302, want: pods + "a/proxy/login", dialed: "uid-of-a :8080"},
		"sent to somebody else":    {path: pods + "a/proxy/?to=https://example.org/", code: 302, want: "https://example.org/", dialed: "uid-of-a :8080"},
		"sent next door":           {path: pods + "a/proxy/?to=next", code: 302, want: "next", dialed: "uid-of-a :8080"},
		"in the machine's network": {path: pods + "host:10250/proxy/", code: 418, want: "GET /", dialed: "uid-of-host 192.0.2.1:10250"},
		"without an address":       {path: pods + "new/proxy/", code: 400, want: "address not allowed"},
		"of the loopback":          {path: pods + "odd:80/proxy/", code: 400, want: "address not allowed"},
		"no such pod":              {path: pods + "b/proxy/", code: 404, want: `pods "b" not found`},
		"no such name":             {path: pods + "ftp:a:1/proxy/", code: 400, want: "invalid pod request"},
		"no such port":             {path: pods + "a:none/proxy/", code: 400, want: "invalid pod request"},
		"not a port":               {path: pods + "a:99999/proxy/", code: 400, want: "invalid pod request"},
		"a service":                {path: services + "web:http/proxy/x", endpoints: []discoveryv1.Endpoint{own}, code: 418, want: "GET /x", dialed: "uid-of-a :8080"},
		"by its port":              {path: services + "web:80/proxy/x", endpoints: []discoveryv1.Endpoint{own}, code: 418, want: "GET /x", dialed: "uid-of-a :8080"},
		"by another port":          {path: services + "web:81/proxy/x", endpoints: []discoveryv1.Endpoint{own}, code: 503, want: `no service port 81 found for service "web"`},
		"by no port":               {path: services + "web/proxy/x", endpoints: []discoveryv1.Endpoint{own}, code: 503, want: `no endpoints available for service "web"`},
		"nobody behind":            {path: services + "web:http/proxy/x", code: 503, want: `no endpoints available for service "web:http"`},
		"nobody ready":             {path: services + "web:http/proxy/x", endpoints: []discoveryv1.Endpoint{endpoint("10.42.0.2", "shop", false)}, code: 503, want: "no endpoints"},
		"of another namespace":     {path: services + "web:http/proxy/x", endpoints: []discoveryv1.Endpoint{endpoint("10.42.0.2", "other", true)}, code: 503, want: "no endpoints"},
		"an address of nobody":     {path: services + "web:http/proxy/x", endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.9"}}}, code: 503, want: "no endpoints"},
		"an address of another":    {path: services + "web:http/proxy/x", endpoints: []discoveryv1.Endpoint{endpoint("192.0.2.9", "shop", true)}, code: 503, want: "no endpoints"},
		"no such service":          {path: services + "none:80/proxy/x", code: 404, want: `services "none" not found`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			there := httptest.NewServer(backend())
			defer there.Close()
			l, s := proxyFixture(t, there, tt.endpoints...)
			var body io.Reader
			if tt.method == "PUT" {
				body = strings.NewReader(strings.Repeat("x", 4_000_000))
			}
			hr := httptest.NewRequest(cmp.Or(tt.method, "GET"), tt.path, body)
			hr.Header.Set("Authorization", "Bearer secret")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, hr)
			got := strings.ReplaceAll(w.Body.String()+w.Header().Get("Location"), `\"`, `"`)
			if w.Code != tt.code || !strings.Contains(got, tt.want) || strings.Contains(got, "Bearer") {
				t.Errorf("%d %s, want %d %s", w.Code, got, tt.code, tt.want)
			}
			if l.last() != tt.dialed {
				t.Errorf("dialed %q, want %q", l.last(), tt.dialed)
			}
		})
	}
}

func TestProxyUpgrades(t *testing.T) {
	there := httptest.NewTLSServer(backend())
	defer there.Close()
	_, s := proxyFixture(t, there)
	here := httptest.NewServer(s)
	defer here.Close()
	conn, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(here.URL, "http")+"/api/v1/namespaces/shop/pods/https:a:8080/proxy", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer conn.Close()
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, text, err := conn.ReadMessage(); string(text) != "echo hello" || err != nil {
		t.Errorf("%q %v", text, err)
	}
}

// Who looks at a pod's pages in a browser does not hand his rights to these pages.
func TestPagesOfPods(t *testing.T) {
	const through, secrets = "/api/v1/namespaces/shop/pods/a/proxy/x", "/api/v1/namespaces/shop/secrets"
	tests := map[string]struct {
		path, site, origin, agent string
		answered                  bool
	}{
		"a typed address":                {through, "none", "", "Mozilla/5.0", true},
		"a page of the pod":              {through, "same-origin", "http://localhost:8001", "Mozilla/5.0", true},
		"a page of somebody":             {through, "cross-site", "", "Mozilla/5.0", false},
		"a form of somebody":             {through, "", "https://evil.example", "Mozilla/5.0", false},
		"an old browser":                 {through, "", "", "Mozilla/5.0", true},
		"kubectl":                        {secrets, "", "", "kubectl/v1.36", true},
		"Python's WebSocket":             {secrets, "", "https://127.0.0.1:6443", "Python", true},
		"the pod's page asks for more":   {secrets, "same-origin", "", "Mozilla/5.0", false},
		"the same, with an old browser":  {secrets, "", "", "Mozilla/5.0", false},
		"the same, over a WebSocket":     {secrets, "", "https://127.0.0.1:6443", "Mozilla/5.0", false},
		"the same, by its own way round": {"/api/v1/namespaces/shop/pods/a/prox%79/../../../secrets", "same-origin", "", "Mozilla/5.0", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			hr := httptest.NewRequest("GET", "https://127.0.0.1:6443"+tt.path, nil)
			hr.TLS = &tls.ConnectionState{}
			for header, value := range map[string]string{"Sec-Fetch-Site": tt.site, "Origin": tt.origin, "User-Agent": tt.agent} {
				if value != "" {
					hr.Header.Set(header, value)
				}
			}
			if err := fromHere(hr); err == nil != tt.answered {
				t.Errorf("%v, want an answer: %t", err, tt.answered)
			}
		})
	}
}
