package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"berth/controller/store"
	"berth/reconcile"
	"berth/runtime"
)

// What pods serve by HTTP can be had by way of the API: pods/[SCHEME:]NAME[:PORT]/proxy/PATH and the same of services, as `kubectl get --raw`, `kubectl proxy` and dashboards
// ask for it. A connection is always to the pod that is named, or to one that is ready behind the Service: it is dialled by the pod's UID, so an address that somebody
// else has meanwhile leads nowhere, and an endpoint that is no pod of the namespace is none.

// proxyDialTime is how long a pod may take to accept, as in Kubernetes.
const proxyDialTime = 30 * time.Second

// proxied finds what follows a path like /api/v1/namespaces/shop/services/web/proxy: it is for the pod to understand, whatever it is.
func proxied(u *url.URL) (head, rest string, ok bool) {
	const first = 7 // parts
	parts := strings.SplitN(strings.TrimPrefix(u.EscapedPath(), "/"), "/", first+1)
	if len(parts) < first || parts[0] != "api" || parts[2] != "namespaces" || parts[4] != "pods" && parts[4] != "services" || parts[6] != "proxy" {
		return u.EscapedPath(), "", false
	}
	if len(parts) > first {
		rest = "/" + parts[first]
	}
	return strings.Join(parts[:first], "/"), rest, true
}

// proxiedMethods are those that are handed on, as in Kubernetes.
var proxiedMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}

// HandleProxies enters the way to what pods serve.
func (s *Server) HandleProxies(dialer runtime.Dialer) {
	p := &proxies{Server: s, dialer: dialer}
	p.transport = &http.Transport{
		DialContext: p.dial, DialTLSContext: p.dialTLS, DisableCompression: true,
		DisableKeepAlives: true, // nothing is left that would have to be looked after
	}
	s.Handle("connect", "pods", "proxy", p.toPod)
	s.Handle("connect", "services", "proxy", p.toService)
}

type proxies struct {
	*Server
	dialer    runtime.Dialer
	transport *http.Transport
}

// target is a port of a pod.
type target struct {
	pod          *corev1.Pod
	scheme, port string
}

func (p *proxies) toPod(w http.ResponseWriter, r *Request) error {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(r.Name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", r.Name))
	}
	pod, ok := store.Get[*corev1.Pod](p.opts.Store, reconcile.Key{Kind: reconcile.KindPod, Namespace: r.Namespace, Name: name})
	if !ok {
		return apierrors.NewNotFound(r.Resource.GroupResource(), name)
	}
	port, ok = portOf(pod, port)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", r.Name))
	}
	return p.relay(w, r, target{pod, scheme, port})
}

// portOf is the number of a pod's port; of none the first that it states.
func portOf(pod *corev1.Pod, port string) (string, bool) {
	if _, err := strconv.ParseUint(port, 10, 16); err == nil {
		return port, true
	}
	for i := range pod.Spec.Containers {
		for _, has := range pod.Spec.Containers[i].Ports {
			if port == "" || has.Name == port {
				return strconv.Itoa(int(has.ContainerPort)), true
			}
		}
	}
	return "", port == ""
}

func (p *proxies) toService(w http.ResponseWriter, r *Request) error {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(r.Name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", r.Name))
	}
	svc, ok := store.Get[*corev1.Service](p.opts.Store, reconcile.Key{Kind: reconcile.KindService, Namespace: r.Namespace, Name: name})
	if !ok {
		return apierrors.NewNotFound(r.Resource.GroupResource(), name)
	}
	if n, err := strconv.ParseInt(port, 10, 32); err == nil {
		i := slices.IndexFunc(svc.Spec.Ports, func(has corev1.ServicePort) bool { return int64(has.Port) == n })
		if i < 0 {
			return apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", n, name))
		}
		port = svc.Spec.Ports[i].Name
	}
	all := p.behind(svc, port)
	if len(all) == 0 {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", r.Name))
	}
	to := all[rand.IntN(len(all))]
	to.scheme = scheme
	return p.relay(w, r, to)
}

// behind are the pods that are ready behind a port of a Service. An address that is not that of a pod of the namespace does not count.
func (p *proxies) behind(svc *corev1.Service, port string) (all []target) {
	for _, it := range p.opts.Store.List("EndpointSlice") {
		slice, ok := it.Object.(*discoveryv1.EndpointSlice)
		if !ok || slice.Namespace != svc.Namespace || slice.Labels[discoveryv1.LabelServiceName] != svc.Name {
			continue
		}
		i := slices.IndexFunc(slice.Ports, func(has discoveryv1.EndpointPort) bool {
			return has.Port != nil && (has.Name == nil && port == "" || has.Name != nil && *has.Name == port)
		})
		if i < 0 {
			continue
		}
		for j := range slice.Endpoints {
			if pod := p.podOf(slice, &slice.Endpoints[j]); pod != nil {
				all = append(all, target{pod: pod, port: strconv.Itoa(int(*slice.Ports[i].Port))})
			}
		}
	}
	return all
}

func (p *proxies) podOf(slice *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint) *corev1.Pod {
	ref := e.TargetRef
	if ref == nil || ref.Namespace != slice.Namespace || len(e.Addresses) == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready {
		return nil
	}
	pod, ok := store.Get[*corev1.Pod](p.opts.Store, reconcile.Key{Kind: reconcile.KindPod, Namespace: slice.Namespace, Name: ref.Name})
	if !ok || !slices.Contains(pod.Status.PodIPs, corev1.PodIP{IP: e.Addresses[0]}) {
		return nil
	}
	return pod
}

// relay hands a request on to a pod, and its answer back.
func (p *proxies) relay(w http.ResponseWriter, r *Request, to target) error {
	_, rest, _ := proxied(r.URL)
	if rest == "" && r.Header.Get("Upgrade") == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		there := url.URL{Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery} // or its relative links would lead elsewhere
		w.Header().Set("Location", there.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return nil
	}
	if ip := net.ParseIP(to.pod.Status.PodIP); ip == nil || !ip.IsGlobalUnicast() {
		return apierrors.NewBadRequest("address not allowed")
	}
	path, err := url.PathUnescape(rest)
	if err != nil {
		return apierrors.NewBadRequest("the path cannot be decoded")
	}
	if to.scheme == "" {
		to.scheme = "http"
	}
	if to.port == "" {
		to.port = map[string]string{"http": "80", "https": "443"}[to.scheme]
	}
	prefix := strings.TrimSuffix(r.URL.Path, path)
	hand := httputil.ReverseProxy{
		Transport: p.transport, FlushInterval: -1, // what a pod tells is to be seen at once
		Rewrite: func(pr *httputil.ProxyRequest) {
			out := pr.Out
			out.URL = &url.URL{Scheme: to.scheme, Host: net.JoinHostPort(string(to.pod.UID), to.port), Path: path, RawPath: rest, RawQuery: r.URL.RawQuery}
			out.Header.Del("Authorization") // is for this server
			out.Header.Set("X-Forwarded-Uri", r.URL.EscapedPath())
			if from := pr.In.Header["X-Forwarded-For"]; len(from) > 0 {
				out.Header["X-Forwarded-For"] = from
			}
			if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil { // not of a Unix socket
				out.Header.Set("X-Forwarded-For", strings.Join(append(slices.Clip(out.Header["X-Forwarded-For"]), host), ", "))
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			here := net.JoinHostPort(to.pod.Status.PodIP, to.port)
			if l := resp.Header.Get("Location"); l != "" {
				resp.Header.Set("Location", relocated(l, prefix, r.Host, here, to.pod.Status.PodIP))
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, hr *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				p.fail(w, hr, apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err)))
			}
		},
	}
	hand.ServeHTTP(w, r.Request)
	return nil
}

// relocated is where a pod sends a client that has come by way of this server: what is on the pod is reached below prefix.
func relocated(location, prefix string, here ...string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host != "" && !slices.Contains(here, u.Host) || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, prefix+"/") {
		return location
	}
	u.Scheme, u.Host = "", ""
	if u.RawPath != "" {
		u.RawPath = prefix + u.RawPath
	}
	u.Path = prefix + u.Path
	return u.String()
}

// dial reaches a pod; addr is its UID and the port.
func (p *proxies) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	uid, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	key, _ := p.opts.Store.ByUID(types.UID(uid))
	pod, ok := store.Get[*corev1.Pod](p.opts.Store, key)
	if !ok {
		return nil, errors.New("the pod is gone")
	}
	host := "" // its own
	if pod.Spec.HostNetwork {
		host = pod.Status.PodIP // and not what listens on the machine's loopback address
	}
	ctx, cancel := context.WithTimeout(ctx, proxyDialTime)
	defer cancel()
	return p.dialer.Dial(ctx, uid, network, net.JoinHostPort(host, port))
}

// dialTLS is dial for https: a pod's certificate is for other names, so nobody looks at it.
func (p *proxies) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := p.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as in Kubernetes: the way to the pod does not leave the machine
	ctx, cancel := context.WithTimeout(ctx, proxyDialTime)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}
