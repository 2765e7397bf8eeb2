package runtime

import (
	"context"
	"net/netip"
)

// Router directs connections to pods. Its methods are idempotent and safe for concurrent use.
type Router interface {
	// Route makes t what the kernel, the published ports and the names go by, and returns when no new connection goes anywhere else: who is no
	// longer in it gets none. Connections that are open stay where they are. What of it could not be done is in the result; an error means
	// that the old table may still hold.
	Route(ctx context.Context, t Traffic) (RouteStatus, error)
}

// Traffic is everything there is to know about who is reached where. It is a whole: what is not in it is not served.
type Traffic struct {
	// Services are sorted by namespace and name.
	Services []Service
	// Ports are the ports of the machine itself that lead to pods, sorted by protocol, address and number. No two are the same.
	Ports []PublishedPort
	// Ingress is what the HTTP ports of the machine do; nil for nothing.
	Ingress *Ingress
	// Forwarders are the addresses whose TCP connections, to Ports and to those of Ingress, begin with a header of the PROXY protocol that says whom they
	// forward: that is the client then. A connection of theirs without one is closed.
	Forwarders []netip.Prefix
}

// Protocol is a transport protocol as nftables and Go's net package spell it.
type Protocol string

// The protocols that berth carries.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Service is a name for pods. With ClusterIPs it has addresses of its own, without them it is the names of its endpoints only.
type Service struct {
	Namespace, Name string
	// ClusterIPs are its own addresses; none for a headless Service and an ExternalName.
	ClusterIPs []netip.Addr
	// ExternalIPs are addresses of the machine's surroundings that lead to it when a packet comes by.
	ExternalIPs []netip.Addr
	// ExternalName is a name that this one is another word for; "" for none.
	ExternalName string
	Ports        []ServicePort
	// Hosts are the names and addresses of endpoints, for the DNS of headless Services: all of them, whichever port they serve.
	Hosts []Host
	// AffinitySeconds keeps a client with the endpoint it had, for so long after its last connection; 0 for no affinity.
	AffinitySeconds int32
}

// ServicePort is a port of a Service.
type ServicePort struct {
	Name     string // "" when it is the only one
	Protocol Protocol
	Port     uint16
	// Backends take new connections, sorted. With none, connections are refused. They are the ready endpoints; while all are ending, those that
	// still serve.
	Backends []netip.AddrPort
}

// Host is an endpoint as DNS sees it.
type Host struct {
	// Name is its hostname below the Service's name; "" for one made of its address.
	Name    string
	Address netip.Addr
	// Ports are those it serves, by name and protocol, for SRV records.
	Ports []HostPort
}

// HostPort is a port that an endpoint serves.
type HostPort struct {
	Name     string
	Protocol Protocol
	Port     uint16
}

// PublishedPort is a port of the machine that leads to pods.
type PublishedPort struct {
	Protocol Protocol
	// Address is the machine's address it is open on; the zero value for all of them.
	Address netip.Addr
	Port    uint16
	// Owner says in messages what it is for: "Service/default/web".
	Owner string
	// Backends take new connections, sorted. With none, connections are refused as long as there are none.
	Backends []netip.AddrPort
	// Sources are the ranges that may connect; none for everybody.
	Sources []netip.Prefix
	// Only says of backends that not everybody may connect to who may, sorted by backend. This machine may in any case.
	Only []BackendSources
	// AffinitySeconds is as in Service.
	AffinitySeconds int32
	// ShowClient makes pods see the address of a client as it is, where a pod can answer it: one of IPv4 that is neither the machine's loopback nor
	// the pod itself. Else they see the machine's.
	ShowClient bool
	// ProxyProtocol is the version of the PROXY protocol in which backends are told of their clients, 1 or 2; 0 for none. TCP only.
	ProxyProtocol int
}

// BackendSources are the addresses that may connect to a backend; none for nobody.
type BackendSources struct {
	Backend netip.AddrPort
	Sources []AddrRange
}

// ClientMark is the mark (SO_MARK) of packets to pods that are to carry their client's address as their source: it is their priority
// (SO_PRIORITY), as the four bytes of the address lie in memory. Marks that others use lie below.
const ClientMark = 0x62 << 24

// Ingress is one HTTP server on the machine's ports that knows many hosts.
type Ingress struct {
	// HTTP and HTTPS are the ports it listens on, on all addresses; 0 for none.
	HTTP, HTTPS uint16
	// Rules are sorted: of those that match, the first is taken.
	Rules []IngressRule
	// Certificates are what HTTPS shows, by the name the client asks for.
	Certificates []Certificate
	// Challenges are what certificate authorities ask for at this moment, before any rule.
	Challenges []Challenge
}

// IngressRule sends requests to pods.
type IngressRule struct {
	// Host is a name in lower case, "*.example.com" for one label in its place, "" for every host.
	Host string
	// Path begins with "/". Exact wants it whole, else it is a prefix of whole elements.
	Path  string
	Exact bool
	// Owner says in messages what it is for: "Ingress/default/web".
	Owner string
	// Backends take the requests, sorted; with none the answer is 503.
	Backends []netip.AddrPort
	// Protocol is what the backends speak.
	Protocol BackendProtocol
	// RedirectToHTTPS answers plain requests with the address under HTTPS.
	RedirectToHTTPS bool
}

// BackendProtocol is how requests are brought to the backends of a rule.
type BackendProtocol string

// What backends speak: HTTP/1.1; HTTP/2 without TLS, as those of gRPC do; or, by TLS, whichever of both they choose. Nobody asks whose their
// certificates are: pods are asked by address, and berth made that address.
const (
	BackendHTTP  BackendProtocol = ""
	BackendH2C   BackendProtocol = "h2c"
	BackendHTTPS BackendProtocol = "https"
)

// Certificate is a chain and its key, both PEM.
type Certificate struct {
	// Hosts are the names it is shown for; none for its own.
	Hosts     []string
	Cert, Key []byte
	Owner     string
}

// Challenge shows a certificate authority that a host leads to this machine, in one of two ways.
type Challenge struct {
	Host string
	// Path and Answer are of the one by plain HTTP (http-01, RFC 8555 section 8.3): who asks the host for the path gets the answer.
	Path, Answer string
	// Cert and Key, PEM, are of the one by TLS (tls-alpn-01, RFC 8737): they are shown to who asks for the host and speaks nothing but acme-tls/1.
	Cert, Key []byte
}

// RouteStatus says what of a Traffic could not be done; the rest is.
type RouteStatus struct {
	// Problems are sorted by owner. The router goes on trying as often as makes sense; ask again to hear how it went.
	Problems []RouteProblem
}

// RouteProblem is one thing that could not be done.
type RouteProblem struct {
	// Owner is that of the PublishedPort, rule or certificate.
	Owner string
	// Reason is CamelCase, for events: "PortInUse", "InvalidCertificate".
	Reason, Message string
}

// NearCongestion is the congestion control of TCP for what does not leave the machine: the plainest one, which every kernel has. The machine's own may be one
// that measures the path and paces what it sends (bbr); between pods that finds nothing, and leaves a quarter of what goes through.
const NearCongestion = "reno"
