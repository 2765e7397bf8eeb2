package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log" //nolint:depguard // net/http takes no other logger
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// headerPatience is how long a client may take to say what it wants, the TLS handshake included.
	headerPatience = 10 * time.Second
	// idlePatience is how long an unused connection stays: kubectl opens one per command, k9s uses its own again within seconds.
	idlePatience = 2 * time.Minute
	// maxHeader bounds the head of a request; a selector and a token fit many times.
	maxHeader = 64 << 10
	// bodyPatience is how long a client may take to send what it writes.
	bodyPatience = 30 * time.Second
	// maxBusy is the number of requests under way at a time, as on a small API server.
	maxBusy = 400
	// maxLasting is the number of watches, followed logs and streams: an idle watch over TLS takes some 50 KiB, and so all of them less than the controller.
	maxLasting = 1000
	// MaxBody is the largest body that is read, that of a Kubernetes API server.
	MaxBody = 3 << 20
)

// Listen opens the port for clients that speak TLS: on the loopback interface, the same one as before when it can be had. RUN-DIR/kubeconfig says how to get in.
func Listen(runDir string, now time.Time) (net.Listener, error) {
	c, err := readCredentials(runDir, now)
	if err == nil {
		if l, lerr := listenLoopback(c.port); lerr == nil {
			return c.listener(l), nil
		}
	}
	l, err := listenLoopback(0)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the loopback interface: %w", err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		_ = l.Close()
		return nil, fmt.Errorf("cannot listen on %s", l.Addr())
	}
	if c, err = makeCredentials(runDir, now, addr.Port); err != nil {
		_ = l.Close()
		return nil, err
	}
	return c.listener(l), nil
}

func listenLoopback(port int) (net.Listener, error) {
	return net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
}

func (c *credentials) listener(l net.Listener) net.Listener {
	return tls.NewListener(Bounded(l), &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.authority, NextProtos: []string{"h2", "http/1.1"},
	})
}

// SocketName is the socket in RUN-DIR that answers the same as the port, without TLS: whoever may open it is who the kernel says.
const SocketName = "kube.sock"

// Serve answers on the listeners until ctx ends; connections end then, too. A listener of Unix sockets must let in only whom it means to, and should be Bounded.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	srv := &http.Server{
		Handler: s.guarded(), ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ConnContext: withUser, ConnState: stateChanged, ErrorLog: log.New(complaints{s}, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	var group sync.WaitGroup
	errs := make(chan error, len(listeners))
	for _, l := range listeners {
		group.Go(func() { errs <- srv.Serve(l) })
	}
	var err error
	select {
	case err = <-errs:
		err = fmt.Errorf("cannot serve the Kubernetes API: %w", err)
	case <-ctx.Done():
	}
	_ = srv.Close() // clients come again
	group.Wait()
	return err
}

// complaints logs what net/http says of clients that do not speak its language: no more than a note.
type complaints struct{ s *Server }

func (c complaints) Write(p []byte) (int, error) {
	c.s.opts.Log.V(1).Info("client", "complaint", strings.TrimSpace(string(p)))
	return len(p), nil
}

// connKey is where the context of a connection has the connection.
type connKey struct{}

func withUser(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// guarded lets in whom a certificate or the kernel vouches for, and nobody whom a web page sends.
func (s *Server) guarded() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		_, _, through := proxied(hr.URL)
		if hr.Body != nil && hr.Body != http.NoBody && hr.Header.Get("Upgrade") == "" && !through {
			hr.Body = http.MaxBytesReader(w, hr.Body, MaxBody)
			_ = http.NewResponseController(w).SetReadDeadline(s.opts.Clock.Now().Add(bodyPatience)) // tests have no connection
		}
		user, err := identify(hr)
		if err == nil {
			err = cmp.Or(fromHere(hr), asThemselves(hr))
		}
		if err != nil {
			s.fail(w, hr, err)
			return
		}
		places, of := s.busy, "requests"
		if through || lasting(hr) {
			places, of = s.lasting, "watches and streams"
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			s.fail(w, hr, apierrors.NewTooManyRequests("too many "+of+" at a time, please try again later", 1))
			return
		}
		s.ServeHTTP(w, hr.WithContext(context.WithValue(hr.Context(), userKey{}, user)))
	})
}

// lasting tells what goes on until somebody ends it.
func lasting(hr *http.Request) bool {
	q := hr.URL.Query()
	return q.Has("watch") || q.Has("follow") || hr.Header.Get("Upgrade") != ""
}

func identify(hr *http.Request) (User, error) {
	if hr.TLS != nil {
		if len(hr.TLS.VerifiedChains) == 0 {
			return User{}, apierrors.NewUnauthorized("Unauthorized")
		}
		subject := hr.TLS.VerifiedChains[0][0].Subject
		return User{Name: subject.CommonName, Groups: append(slices.Clip(subject.Organization), "system:authenticated")}, nil
	}
	held, _ := hr.Context().Value(connKey{}).(net.Conn)
	if b, ok := held.(*boundedConn); ok {
		held = b.Conn
	}
	conn, _ := held.(*net.UnixConn)
	if conn == nil {
		return User{}, apierrors.NewUnauthorized("Unauthorized")
	}
	cred, err := peer(conn)
	if err != nil {
		return User{}, apierrors.NewUnauthorized("Unauthorized")
	}
	name := adminName
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		name = fmt.Sprintf("uid:%d", cred.Uid) // of the group that was let at the socket
	}
	return User{Name: name, Groups: []string{adminGroup, "system:authenticated"}}, nil
}

func peer(conn *net.UnixConn) (cred *syscall.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	return cred, errors.Join(err, cerr)
}

// fromHere refuses what a browser sends for a page of somebody else: a name that was made to lead here, or a request from another origin. Clients
// that open a WebSocket name the server itself as the origin (Python's, fabric8). What pods show in a browser, by way of `kubectl proxy`, may ask for more of what
// pods show, and for nothing else: a page of a pod is not the machine's administrator.
func fromHere(hr *http.Request) error {
	origin := hr.Header.Get("Origin")
	own := hr.TLS != nil && (origin == "https://"+hr.Host || origin == "http://"+hr.Host) // Python's says http of either
	site := hr.Header.Get("Sec-Fetch-Site")
	browser := site != "" || strings.HasPrefix(hr.UserAgent(), "Mozilla/") // not all say the first
	if _, _, through := proxied(hr.URL); through {
		own, browser = own || site == "same-origin", site != "" && site != "none" && site != "same-origin"
	}
	if origin != "" && !own || browser {
		return refused("requests from web pages are not answered")
	}
	if hr.TLS == nil {
		return nil // no page can name a Unix socket
	}
	host := hr.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return refused("this server is 127.0.0.1 and has no other name")
	}
	return nil
}

// asThemselves refuses who asks in the name of another (kubectl --as): what that one may do nobody says here, and to let them do everything
// would be the contrary of what is asked for.
func asThemselves(hr *http.Request) error {
	for name := range hr.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			return refused("nobody can be impersonated: roles are not enforced, and who may ask may do everything")
		}
	}
	return nil
}

func refused(text string) error {
	err := apierrors.NewForbidden(schema.GroupResource{}, "", errors.New(text))
	err.ErrStatus.Message = "forbidden: " + text
	return err
}

// SocketPath is where the socket of a run directory is.
func SocketPath(runDir string) string { return filepath.Join(runDir, SocketName) }
