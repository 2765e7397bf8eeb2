package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"

	"berth/reconcile"
	"berth/runtime"
)

// machine dials for real, and executes what the test says.
type machine struct {
	exec   func(ctx context.Context, cfg runtime.ExecConfig) (int, error)
	dialed []string
}

func (m *machine) Dial(ctx context.Context, uid, network, addr string) (net.Conn, error) {
	m.dialed = append(m.dialed, uid+" "+addr)
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

func (m *machine) Exec(ctx context.Context, _, _ string, cfg runtime.ExecConfig) (int, error) {
	return m.exec(ctx, cfg)
}

func target(ports ...corev1.ContainerPort) *Target {
	return &Target{
		Pod: reconcile.Key{Kind: reconcile.KindPod, Namespace: "shop", Name: "web"}, UID: "u-1", IP: "127.0.0.1",
		Container: &corev1.Container{Name: "main", Ports: ports, Env: []corev1.EnvVar{{Name: "WHO", Value: "me"}, {Name: "REF", ValueFrom: &corev1.EnvVarSource{}}}},
	}
}

func TestHTTP(t *testing.T) {
	var last atomic.Pointer[http.Request]
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last.Store(r)
		code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		switch {
		case r.URL.Path == "/slow":
			<-r.Context().Done()
		case r.URL.Path == "/here":
			http.Redirect(w, r, "/200", http.StatusFound)
		case r.URL.Path == "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case r.URL.Path == "/there":
			http.Redirect(w, r, "http://example.test/", http.StatusFound)
		case err == nil:
			w.WriteHeader(code)
		}
		_, _ = io.WriteString(w, "body")
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	portOf := func(s *httptest.Server) int {
		u, _ := url.Parse(s.URL)
		n, _ := strconv.Atoi(u.Port())
		return n
	}
	tests := map[string]struct {
		path    string
		change  func(*corev1.HTTPGetAction)
		want    result
		message string // "PORT" stands for the port
		err     string
		check   func(*http.Request) string
	}{
		"200":                   {path: "/200", want: success},
		"204":                   {path: "/204", want: success},
		"399":                   {path: "/399", want: warning, message: "Probe terminated redirects, Response body: body"},
		"400":                   {path: "/400", message: "HTTP probe failed with statuscode: 400"},
		"503":                   {path: "/503", message: "HTTP probe failed with statuscode: 503"},
		"a redirect to itself":  {path: "/here", want: success},
		"redirects for ever":    {path: "/round", message: `Get "/round": stopped after 10 redirects`},
		"a redirect elsewhere":  {path: "/there", want: warning, message: "Probe terminated redirects, Response body: <a href=\"http://example.test/\">Found</a>.\n\nbody"},
		"too slow":              {path: "/slow", message: `Get "http://127.0.0.1:PORT/slow": context deadline exceeded`},
		"a path with a query":   {path: "/?a=b", want: success, check: func(r *http.Request) string { return r.URL.RawQuery }, message: "a=b"},
		"its own headers":       {path: "/", want: success, check: func(r *http.Request) string { return r.UserAgent() + " " + r.Header.Get("Accept") }, message: "kube-probe/1.36 (berth) */*"},
		"no body compressed":    {path: "/", want: success, check: func(r *http.Request) string { return r.Header.Get("Accept-Encoding") }},
		"a port with a name":    {path: "/", change: func(g *corev1.HTTPGetAction) { g.Port = intstr.FromString("web") }, want: success},
		"a port without a name": {path: "/", change: func(g *corev1.HTTPGetAction) { g.Port = intstr.FromString("db") }, err: "couldn't find port: db in the container's ports"},
		"stated headers": {path: "/", change: func(g *corev1.HTTPGetAction) {
			g.HTTPHeaders = []corev1.HTTPHeader{{Name: "Host", Value: "shop.test"}, {Name: "user-agent", Value: "own"}, {Name: "Accept", Value: ""}}
		}, want: success, check: func(r *http.Request) string {
			return fmt.Sprint(r.Host, " ", r.UserAgent(), " ", r.Header["Accept"])
		}, message: "shop.test own []"},
		"TLS, no certificate checked": {path: "/200", change: func(g *corev1.HTTPGetAction) {
			g.Scheme, g.Port = corev1.URISchemeHTTPS, intstr.FromInt(portOf(secure))
		}, want: success},
		"nobody listens": {path: "/", change: func(g *corev1.HTTPGetAction) { g.Port = intstr.FromInt(1) }, message: `Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused`},
		"another host":   {path: "/", change: func(g *corev1.HTTPGetAction) { g.Host = "127.0.0.2" }, want: failure, message: `Get "http://127.0.0.2:PORT/": dial tcp 127.0.0.2:PORT: connect: connection refused`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			last.Store(nil)
			get := &corev1.HTTPGetAction{Path: tt.path, Port: intstr.FromInt(portOf(plain))}
			if tt.change != nil {
				tt.change(get)
			}
			a := Asker{Dialer: &machine{}}
			tgt := target(corev1.ContainerPort{Name: "web", ContainerPort: int32(portOf(plain))})
			res, message, err := a.ask(t.Context(), tgt, &corev1.Probe{TimeoutSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: get}})
			if got := last.Load(); tt.check != nil && got != nil {
				message = tt.check(got)
			}
			want := strings.ReplaceAll(tt.message, "PORT", strconv.Itoa(portOf(plain)))
			if res != tt.want || message != want || text(err) != tt.err {
				t.Errorf("got %v %q %v, want %v %q %q", res, message, err, tt.want, want, tt.err)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	m := &machine{}
	ask := func(port intstr.IntOrString) (result, string, error) {
		return Asker{Dialer: m}.ask(t.Context(), target(corev1.ContainerPort{Name: "db", ContainerPort: 1}),
			&corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}})
	}
	if res, _, err := ask(intstr.FromInt(port)); res != success || err != nil {
		t.Errorf("an open port: %v %v", res, err)
	}
	if res, message, err := ask(intstr.FromString("db")); res != failure || err != nil || message != "dial tcp 127.0.0.1:1: connect: connection refused" {
		t.Errorf("a closed port: %v %q %v", res, message, err)
	}
	if diff := cmp.Diff([]string{fmt.Sprint("u-1 127.0.0.1:", port), "u-1 127.0.0.1:1"}, m.dialed); diff != "" {
		t.Errorf("dialed (-want +got):\n%s", diff)
	}
}

func TestExec(t *testing.T) {
	tests := map[string]struct {
		command []string
		want    result
		message string
		err     string
	}{
		"it ends well":            {[]string{"0"}, success, "out", ""},
		"it fails":                {[]string{"7"}, failure, "out", ""},
		"it takes too long":       {[]string{"hang", "on"}, failure, `command timed out: "hang on" timed out after 2s`, ""},
		"it cannot be run":        {[]string{"none"}, failure, "", "no such file"},
		"it sees stated values":   {[]string{"echo", "$(WHO) $$(WHO) $(REF) $(NONE)"}, success, "me $(WHO) $(REF) $(NONE)", ""},
		"it says more than fits":  {[]string{"much"}, success, strings.Repeat("x", maxOutput), ""},
		"it says what is no text": {[]string{"bytes"}, success, "a\uFFFDb", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := Asker{Executor: &machine{exec: program}}
				res, message, err := a.ask(t.Context(), target(), &corev1.Probe{TimeoutSeconds: 2, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: tt.command}}})
				if res != tt.want || message != tt.message || text(err) != tt.err {
					t.Errorf("got %v %q %v, want %v %q %q", res, message, err, tt.want, tt.message, tt.err)
				}
			})
		})
	}
}

func program(ctx context.Context, cfg runtime.ExecConfig) (int, error) {
	switch cfg.Command[0] {
	case "hang":
		<-ctx.Done()
		return 0, ctx.Err()
	case "none":
		return 0, errors.New("no such file")
	case "echo":
		_, _ = io.WriteString(cfg.Stdout, cfg.Command[1])
		return 0, nil
	case "much":
		for range maxOutput {
			_, _ = io.WriteString(cfg.Stderr, "xy"[:1])
			_, _ = io.WriteString(cfg.Stdout, "xx")
		}
		return 0, nil
	case "bytes":
		_, _ = cfg.Stdout.Write([]byte("a\xffb"))
		return 0, nil
	}
	_, _ = io.WriteString(cfg.Stdout, "out")
	return strconv.Atoi(cfg.Command[0])
}

// health answers as a gRPC server does.
func health(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	service := ""
	if len(body) > 7 {
		service = string(body[7:])
	}
	answer := func(code int, message string, data ...byte) {
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		if len(data) > 0 {
			frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(data)))
			_, _ = w.Write(append(frame, data...))
		}
		w.Header().Set("Grpc-Status", strconv.Itoa(code))
		w.Header().Set("Grpc-Message", message)
	}
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/grpc.health.v1.Health/Check" || r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers":
		answer(13, "wrong request")
	case service == "":
		answer(0, "", 8, 1)
	case service == "down":
		answer(0, "", 8, 2)
	case service == "later fields":
		answer(0, "", 18, 1, 'x', 8, 1, 29, 0, 0, 0, 0)
	case service == "empty":
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(make([]byte, 5))
		w.Header().Set("Grpc-Status", "0")
	case service == "cut":
		answer(0, "", 8)
	case service == "unknown":
		w.Header().Set("Grpc-Status", "5") // an answer without a body
		w.Header().Set("Grpc-Message", "no such%20service")
	case service == "none":
		answer(12, "unknown service")
	case service == "slow":
		<-r.Context().Done()
	case service == "web":
		w.Header().Set("Content-Type", "text/html")
	}
}

func TestGRPC(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(health))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	port := s.Listener.Addr().(*net.TCPAddr).Port
	old := httptest.NewServer(http.NotFoundHandler()) // speaks HTTP/1 only
	defer old.Close()
	tests := map[string]struct {
		service string
		port    int
		want    result
		message string
	}{
		"serving":              {want: success},
		"fields it not knows":  {service: "later fields", want: success},
		"not serving":          {service: "down", message: `service unhealthy (responded with "NOT_SERVING")`},
		"an empty answer":      {service: "empty", message: `service unhealthy (responded with "UNKNOWN")`},
		"a damaged answer":     {service: "cut", message: "error: health rpc probe failed: cannot read the message of the answer"},
		"unknown service":      {service: "unknown", message: "error: health rpc probe failed: rpc error: code = NotFound desc = no such service"},
		"no health protocol":   {service: "none", message: "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service"},
		"too slow":             {service: "slow", message: "timeout: health rpc did not complete within 1s"},
		"not gRPC":             {service: "web", message: `error: health rpc probe failed: unexpected answer: HTTP status code 200, content type "text/html"`},
		"nobody listens":       {port: 1, message: `error: failed to connect service at "127.0.0.1:1": dial tcp 127.0.0.1:1: connect: connection refused`},
		"a server of HTTP/1.1": {port: old.Listener.Addr().(*net.TCPAddr).Port, message: "error: health rpc probe failed: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.port == 0 {
				tt.port = port
			}
			res, message, err := Asker{Dialer: &machine{}}.ask(t.Context(), target(), &corev1.Probe{
				TimeoutSeconds: 1, ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(tt.port), Service: &tt.service}},
			})
			if res != tt.want || err != nil || !strings.HasPrefix(message, tt.message) || tt.message == "" && message != "" {
				t.Errorf("got %v %q %v, want %v %q", res, message, err, tt.want, tt.message)
			}
		})
	}
}

// FuzzHealthStatus: whatever a server answers, reading it neither fails hard nor goes on for ever.
func FuzzHealthStatus(f *testing.F) {
	for _, seed := range [][]byte{nil, {0, 0, 0, 0, 2, 8, 1}, {0, 0, 0, 0, 5, 29, 0, 0, 0, 0}, bytes.Repeat([]byte{0xff}, 20)} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = healthStatus(data) })
}

func TestHook(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.UserAgent() != "kube-lifecycle/1.36 (berth)" {
			t.Errorf("headers %v", r.Header)
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer plain.Close()
	port := intstr.FromInt(plain.Listener.Addr().(*net.TCPAddr).Port)
	const pod = ` for Container "main" in Pod "web_shop(u-1)" failed - error: `
	tests := map[string]struct {
		hook corev1.LifecycleHandler
		want string
	}{
		"exec":            {corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"0"}}}, ""},
		"exec fails":      {corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"7"}}}, "Exec lifecycle hook ([7])" + pod + "command '7' exited with 7: out"},
		"any HTTP answer": {corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Port: port}}, ""},
		"HTTPS that is HTTP": {corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
			Port: port, Scheme: corev1.URISchemeHTTPS, HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "secret"}},
		}}, ErrFallback.Error()},
		"no HTTP answer": {
			corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/x", Port: intstr.FromInt(1)}},
			"HTTP lifecycle hook (/x)" + pod + `Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused`,
		},
		"sleep":     {corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}, ""},
		"tcpSocket": {corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}, "Cannot run handler: a lifecycle hook is exec, httpGet or sleep"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &machine{exec: program}
			if got := text(Asker{Dialer: m, Executor: m}.Hook(t.Context(), clock.RealClock{}, target(), &tt.hook)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSleepHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}
		began := time.Now()
		if err := (Asker{}).Hook(t.Context(), clock.RealClock{}, target(), hook); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("slept %s: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := (Asker{}).Hook(ctx, clock.RealClock{}, target(), hook); err == nil || time.Since(began) != 6*time.Second {
			t.Errorf("a container that ended did not end the hook: %v after %s", err, time.Since(began))
		}
	})
}
