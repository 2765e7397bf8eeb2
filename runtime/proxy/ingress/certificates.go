package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"berth/runtime"
)

// certificates has what is shown to whom.
type certificates struct {
	// byName has those of each host in their order: one of an elliptic curve, say, and one of RSA for who knows nothing newer.
	byName atomic.Pointer[map[string][]*tls.Certificate]

	mu sync.Mutex
	// parsed are the certificates of the table, by what they are made from: most tables change something else.
	parsed map[[sha256.Size]byte]*tls.Certificate
	own    *tls.Certificate
}

// replace makes these what is shown.
func (c *certificates) replace(list []runtime.Certificate) (problems []runtime.RouteProblem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parsed, byName := map[[sha256.Size]byte]*tls.Certificate{}, map[string][]*tls.Certificate{}
	for _, in := range list {
		id := fingerprint(in)
		cert := c.parsed[id]
		if cert == nil {
			pair, err := tls.X509KeyPair(in.Cert, in.Key)
			if err != nil {
				problems = append(problems, runtime.RouteProblem{
					Owner: in.Owner, Reason: "InvalidCertificate", Message: fmt.Sprintf("cannot use the certificate: %v", strings.TrimPrefix(err.Error(), "tls: ")),
				})
				continue
			}
			cert = &pair
		}
		parsed[id] = cert
		hosts := in.Hosts
		if len(hosts) == 0 {
			hosts = cert.Leaf.DNSNames
		}
		for _, h := range hosts {
			h = strings.ToLower(h)
			byName[h] = append(byName[h], cert)
		}
	}
	c.parsed = parsed
	c.byName.Store(&byName)
	return problems
}

func fingerprint(in runtime.Certificate) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(in.Cert)) //nolint:errcheck // a hash takes everything
	h.Write(in.Cert)
	h.Write(in.Key)
	return [sha256.Size]byte(h.Sum(nil))
}

func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// get is the certificate for the name that a client asks for, or else for one label of any name in its place, or else our own.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if byName := c.byName.Load(); byName != nil {
		if list := (*byName)[name]; len(list) > 0 {
			return understood(hello, list), nil
		}
		if _, domain, ok := strings.Cut(name, "."); ok {
			if list := (*byName)["*."+domain]; len(list) > 0 {
				return understood(hello, list), nil
			}
		}
	}
	return c.fallback()
}

// understood is the first of a host's certificates that a client can make use of, or else the first.
func understood(hello *tls.ClientHelloInfo, list []*tls.Certificate) *tls.Certificate {
	for _, cert := range list {
		if len(list) > 1 && hello.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	return list[0]
}

// ownLife is how long our own certificate counts. Nobody trusts it; it is only there so that a client can say whom it did not reach.
const ownLife = 10 * 365 * 24 * time.Hour

// fallback is a certificate that is made when it is first needed, and never written down.
func (c *certificates) fallback() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own != nil {
		return c.own, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{Organization: []string{"berth"}, CommonName: "no certificate for this name"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ownLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate: %w", err)
	}
	c.own = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return c.own, nil
}
