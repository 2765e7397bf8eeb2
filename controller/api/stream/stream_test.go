package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"github.com/moby/spdystream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/runtime"
)

// world is everything a Handler works with.
type world struct {
	pod    corev1.Pod
	facts  runtime.PodStatus
	exec   func(context.Context, runtime.ExecConfig) (int, error)
	attach func(context.Context, runtime.AttachConfig) error
	dial   func(uint16) (net.Conn, error)
	read   func(context.Context, string, LogOptions, io.Writer) error
	change chan runtime.Event

	mu sync.Mutex // guards facts while it is served
}

func newWorld() *world {
	return &world{
		pod: corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", TTY: true}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
				{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			}},
		},
		facts:  runtime.PodStatus{Containers: []runtime.ContainerStatus{{Name: "main", State: runtime.Running, LogPath: "0.log"}}},
		change: make(chan runtime.Event),
	}
}

func (w *world) Pod(namespace, name string) (*corev1.Pod, bool) {
	return &w.pod, namespace == w.pod.Namespace && name == w.pod.Name
}

func (w *world) Status(context.Context, string) (runtime.PodStatus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.facts, nil
}

func (w *world) Events(ctx context.Context, handle func(runtime.Event)) error {
	for {
		select {
		case e := <-w.change:
			handle(e)
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *world) Exec(ctx context.Context, _, _ string, cfg runtime.ExecConfig) (int, error) {
	return w.exec(ctx, cfg)
}

func (w *world) Attach(ctx context.Context, _, _ string, cfg runtime.AttachConfig) error {
	return w.attach(ctx, cfg)
}

func (w *world) Forward(_ context.Context, _, _ string, port uint16) (net.Conn, error) {
	return w.dial(port)
}

func (w *world) ReadLog(ctx context.Context, path string, o LogOptions, out io.Writer) error {
	return w.read(ctx, path, o, out)
}

// start serves the world and returns the URL of the pod.
func (w *world) start(t *testing.T) string {
	t.Helper()
	h := New(Options{
		Pods: w, Machine: w, Events: w, Executor: w, Attacher: w, Forwarder: w, Logs: w,
		Now: func() time.Time { return time.Unix(1000, 0) },
	})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h.ServePod(rw, r, "default", "p", strings.TrimPrefix(r.URL.Path, "/"))
	}))
	ctx, cancel := context.WithCancel(t.Context())
	s.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	s.Start()
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s.URL
}

// script reads all input and answers with what it was, on both streams.
func script(code int) func(context.Context, runtime.ExecConfig) (int, error) {
	return func(_ context.Context, cfg runtime.ExecConfig) (int, error) {
		in := []byte("nothing")
		if cfg.Stdin != nil {
			in, _ = io.ReadAll(cfg.Stdin)
		}
		fmt.Fprintf(cfg.Stdout, "out %s", in)
		if cfg.Stderr != nil {
			fmt.Fprintf(cfg.Stderr, "err %d", len(in))
		}
		return code, nil
	}
}

// told is what a client of the channel protocol has received.
type told struct {
	out, err string
	status   metav1.Status
	closed   int
}

func dialWS(t *testing.T, url string, protocols ...string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: protocols}
	conn, resp, err := d.Dial("ws"+strings.TrimPrefix(url, "http"), nil) //nolint:bodyclose // an upgrade has none
	if err != nil {
		t.Fatalf("cannot dial: %v, %+v", err, resp)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func receive(t *testing.T, conn *websocket.Conn) told {
	t.Helper()
	var got told
	for {
		_, p, err := conn.ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			got.closed = closed.Code
			return got
		}
		if err != nil {
			t.Fatalf("cannot read: %v", err)
		}
		switch p[0] {
		case channelStdout:
			got.out += string(p[1:])
		case channelStderr:
			got.err += string(p[1:])
		case channelStatus:
			if err := json.Unmarshal(p[1:], &got.status); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func send(t *testing.T, conn *websocket.Conn, id byte, text string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.BinaryMessage, append([]byte{id}, text...)); err != nil {
		t.Fatal(err)
	}
}

func TestExecOverWebSocket(t *testing.T) {
	w := newWorld()
	w.exec = script(7)
	url := w.start(t)
	conn := dialWS(t, url+"/exec?command=a&command=b+c&stdin=true&stdout=true&stderr=true", protocolV5)
	send(t, conn, channelStdin, "one ")
	send(t, conn, channelStdin, "two\x00\xff")
	send(t, conn, channelClose, string([]byte{channelStdin}))
	got := receive(t, conn)
	want := told{out: "out one two\x00\xff", err: "err 9", closed: websocket.CloseNormalClosure, status: metav1.Status{
		Status: "Failure", Reason: "NonZeroExitCode", Message: "command terminated with non-zero exit code: exit status 7",
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: "7"}}},
	}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(told{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// A program that reads nothing ends although the client goes on sending, and all it has written arrives.
func TestExecEndsWhileInputComes(t *testing.T) {
	w := newWorld()
	w.exec = func(_ context.Context, cfg runtime.ExecConfig) (int, error) {
		_, err := io.WriteString(cfg.Stdout, strings.Repeat("x", 1<<20))
		return 0, err
	}
	conn := dialWS(t, w.start(t)+"/exec?command=a&stdin=true&stdout=true", protocolV5)
	go func() {
		for conn.WriteMessage(websocket.BinaryMessage, make([]byte, 32<<10)) == nil {
		}
	}()
	if got := receive(t, conn); len(got.out) != 1<<20 || got.status.Status != "Success" {
		t.Errorf("%d bytes, %+v", len(got.out), got.status)
	}
}

// When the client leaves, the program is ended, also in the middle of its input.
func TestExecEndsWithItsClient(t *testing.T) {
	for name, protocol := range map[string]string{"v5": protocolV5, "v4": protocolV4} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			begun, ended := make(chan struct{}), make(chan struct{})
			w.exec = func(ctx context.Context, _ runtime.ExecConfig) (int, error) {
				close(begun)
				<-ctx.Done()
				close(ended)
				return 0, ctx.Err()
			}
			conn := dialWS(t, w.start(t)+"/exec?command=a&stdout=true", protocol)
			<-begun
			_ = conn.Close()
			<-ended
		})
	}
}

func TestTerminalSizes(t *testing.T) {
	w := newWorld()
	w.exec = func(_ context.Context, cfg runtime.ExecConfig) (int, error) {
		size := <-cfg.Resize
		fmt.Fprintf(cfg.Stdout, "%dx%d, stderr %v", size.Width, size.Height, cfg.Stderr != nil)
		return 0, nil
	}
	conn := dialWS(t, w.start(t)+"/exec?command=a&stdin=true&stdout=true&stderr=true&tty=true", protocolV5)
	send(t, conn, channelSize, `{"Width":132,"Height":43}`)
	if got := receive(t, conn); got.out != "132x43, stderr false" {
		t.Errorf("%q", got.out)
	}
}

// spdyClient opens a connection for SPDY, as kubectl does when there is no WebSocket.
func spdyClient(t *testing.T, url, protocol string) *spdystream.Connection {
	t.Helper()
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n%s: %s\r\nContent-Length: 0\r\n\r\n", path, headerProtocol, protocol)
	head := make([]byte, 0, 512)
	for !strings.HasSuffix(string(head), "\r\n\r\n") {
		var b [1]byte
		if _, err := conn.Read(b[:]); err != nil {
			t.Fatalf("cannot read the answer: %v after %q", err, head)
		}
		head = append(head, b[0])
	}
	if !strings.HasPrefix(string(head), "HTTP/1.1 101 ") || !strings.Contains(string(head), protocol) {
		t.Fatalf("answer %q", head)
	}
	c, err := spdystream.NewConnection(conn, false)
	if err != nil {
		t.Fatal(err)
	}
	go c.Serve(spdystream.NoOpStreamHandler)
	t.Cleanup(func() { _ = conn.Close() })
	return c
}

func open(t *testing.T, c *spdystream.Connection, kind string, more ...string) *spdystream.Stream {
	t.Helper()
	h := http.Header{headerType: {kind}}
	for i := 0; i < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	s, err := c.CreateStream(h, nil, false)
	if err == nil {
		err = s.WaitTimeout(10 * time.Second)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExecOverSPDY(t *testing.T) {
	w := newWorld()
	w.exec = script(3)
	c := spdyClient(t, w.start(t)+"/exec?command=a&stdin=1&stdout=1&stderr=1", protocolV4)
	fault, in, out, errOut := open(t, c, typeError), open(t, c, typeStdin), open(t, c, typeStdout), open(t, c, typeStderr)
	go func() {
		_, _ = io.WriteString(in, "hello")
		_ = in.Close()
	}()
	o, _ := io.ReadAll(out)
	e, _ := io.ReadAll(errOut)
	s, _ := io.ReadAll(fault)
	var status metav1.Status
	if err := json.Unmarshal(s, &status); err != nil {
		t.Fatal(err)
	}
	if string(o) != "out hello" || string(e) != "err 5" || status.Reason != "NonZeroExitCode" || status.Details.Causes[0].Message != "3" {
		t.Errorf("out %q, err %q, %s", o, e, s)
	}
}

// echoServer answers each connection with what it receives, and says goodbye when that ends.
func echoServer(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_, _ = io.WriteString(c, " bye")
				_ = c.Close()
			}()
		}
	}()
	return l
}

func TestPortForward(t *testing.T) {
	l := echoServer(t)
	w := newWorld()
	w.dial = func(port uint16) (net.Conn, error) {
		if port != 80 {
			return nil, fmt.Errorf("connection refused")
		}
		return net.Dial("tcp", l.Addr().String())
	}
	url := w.start(t)
	ws := dialWS(t, url+"/portforward", protocolTunnel)
	inside, err := spdystream.NewConnection(&tunnel{Conn: ws}, false)
	if err != nil {
		t.Fatal(err)
	}
	go inside.Serve(spdystream.NoOpStreamHandler)
	for name, c := range map[string]*spdystream.Connection{
		"tunnel": inside, "spdy": spdyClient(t, url+"/portforward", protocolForward),
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 60 {
				id := fmt.Sprint(name, i)
				t.Run(id, func(t *testing.T) {
					t.Parallel()
					fault := open(t, c, typeError, headerPort, "80", headerRequest, id)
					data := open(t, c, typeData, headerPort, "80", headerRequest, id)
					_ = fault.Close()
					_, _ = io.WriteString(data, "I am "+id)
					_ = data.Close() // half of it: the answer still comes
					got, _ := io.ReadAll(data)
					wrong, _ := io.ReadAll(fault)
					if string(got) != "I am "+id+" bye" || len(wrong) > 0 {
						t.Errorf("%q, %q", got, wrong)
					}
				})
			}
			fault := open(t, c, typeError, headerPort, "81", headerRequest, "no")
			_ = open(t, c, typeData, headerPort, "81", headerRequest, "no")
			if wrong, _ := io.ReadAll(fault); !strings.Contains(string(wrong), "error forwarding port 81 to pod p: connection refused") {
				t.Errorf("%q", wrong)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	crash := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	tests := map[string]struct {
		change func(*world)
		path   string
		method string
		code   int
		text   string
	}{
		"no such container": {nil, "/log?container=x", "GET", 400, "container x is not valid for pod p"},
		"which container":   {func(w *world) { w.pod.Spec.Containers = append(w.pod.Spec.Containers, corev1.Container{Name: "side"}) }, "/log", "GET", 400, "a container name must be specified for pod p, choose one of: [main side]"},
		"none before":       {nil, "/log?previous=true", "GET", 400, `previous terminated container "main" in pod "p" not found`},
		"negative tail":     {nil, "/log?tailLines=-1", "GET", 422, "tailLines: Invalid value: -1"},
		"two times":         {nil, "/log?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", "GET", 422, "at most one of `sinceTime` or `sinceSeconds`"},
		"waiting to start": {func(w *world) {
			w.facts.Containers = nil
			w.pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
		}, "/log", "GET", 400, `container "main" in pod "p" is waiting to start: ContainerCreating`},
		"image cannot be pulled": {func(w *world) {
			w.facts.Containers = nil
			w.pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
		}, "/log", "GET", 400, "trying and failing to pull image"},
		"no command": {nil, "/exec?stdout=1", "POST", 400, "you must specify a command"},
		"no streams": {nil, "/exec?command=a", "POST", 400, "at least 1 of stdin, stdout, stderr"},
		"does not run": {func(w *world) {
			w.facts.Containers[0].State = runtime.Exited
			w.pod.Status.ContainerStatuses[0].State = crash
		}, "/exec?command=a&stdout=1", "POST", 500, `container not found ("main"): it is waiting to start: CrashLoopBackOff`},
		"completed pod":    {func(w *world) { w.pod.Status.Phase = corev1.PodSucceeded }, "/exec?command=a&stdout=1", "POST", 400, "cannot exec into a container in a completed pod; current phase is Succeeded"},
		"no upgrade":       {nil, "/exec?command=a&stdout=1", "POST", 403, "none of the protocols"},
		"log is read only": {nil, "/log", "POST", 405, "POST is not supported on pods/log"},
		"no terminal":      {func(w *world) { w.pod.Spec.Containers[0].TTY = false }, "/attach?stdin=1&tty=1", "POST", 400, "has no terminal"},
		"not running":      {func(w *world) { w.pod.Status.Phase = corev1.PodPending }, "/portforward", "POST", 400, "pod is not running"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			if tc.change != nil {
				tc.change(w)
			}
			req, err := http.NewRequestWithContext(t.Context(), tc.method, w.start(t)+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var s metav1.Status
			if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.code || int(s.Code) != tc.code || !strings.Contains(s.Message, tc.text) {
				t.Errorf("%d, %+v", resp.StatusCode, s)
			}
		})
	}
}

func TestLogAttempts(t *testing.T) {
	run := func(n uint32) runtime.ContainerStatus {
		return runtime.ContainerStatus{Name: "main", Attempt: n, State: runtime.Running, LogPath: fmt.Sprint(n)}
	}
	end := func(n uint32) runtime.ContainerStatus {
		c := run(n)
		c.State = runtime.Exited
		return c
	}
	made := func(n uint32) runtime.ContainerStatus {
		c := run(n)
		c.State = runtime.Created
		return c
	}
	wait := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	done := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	on := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	tests := map[string]struct {
		list     []runtime.ContainerStatus
		state    corev1.ContainerState
		previous bool
		want     string
	}{
		"the one that runs":                {[]runtime.ContainerStatus{end(1), run(2)}, on, false, "2"},
		"the one before":                   {[]runtime.ContainerStatus{end(1), run(2)}, on, true, "1"},
		"in back-off the last":             {[]runtime.ContainerStatus{end(1), end(2)}, wait, false, "2"},
		"in back-off the last is previous": {[]runtime.ContainerStatus{end(1), end(2)}, wait, true, "2"},
		"ended for good":                   {[]runtime.ContainerStatus{end(1), end(2)}, done, false, "2"},
		"before one that ended for good":   {[]runtime.ContainerStatus{end(1), end(2)}, done, true, "1"},
		"the next is just being made":      {[]runtime.ContainerStatus{end(1), made(2)}, wait, false, "1"},
		"previous of the first":            {[]runtime.ContainerStatus{run(0)}, on, true, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newWorld().pod
			pod.Status.ContainerStatuses[0].State = tc.state
			got, err := logged(&pod, "main", tc.list, tc.previous)
			if got.LogPath != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("%q, %v; want %q", got.LogPath, err, tc.want)
			}
		})
	}
}

// Following ends with the attempt of the container, told by an event.
func TestLogFollow(t *testing.T) {
	w := newWorld()
	begun := make(chan struct{})
	w.read = func(ctx context.Context, path string, o LogOptions, out io.Writer) error {
		fmt.Fprintf(out, "%s tail %d since %d\n", path, *o.Tail, o.Since.Unix())
		o.Flush()
		close(begun)
		select {
		case <-o.Ended:
			_, err := io.WriteString(out, "last\n")
			return err
		case <-ctx.Done():
			return errors.New("the client left")
		}
	}
	url := w.start(t)
	resp, err := http.Get(url + "/log?follow=true&tailLines=3&sinceSeconds=60")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len("0.log tail 3 since 940\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "0.log tail 3 since 940\n" {
		t.Fatalf("%q, %v", first, err)
	}
	<-begun
	w.change <- runtime.Event{UID: "another"}
	w.mu.Lock()
	w.facts = runtime.PodStatus{Containers: []runtime.ContainerStatus{{Name: "main", State: runtime.Exited}}}
	w.mu.Unlock()
	w.change <- runtime.Event{UID: "u"}
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "last\n" {
		t.Errorf("%q, %v", rest, err)
	}
}
