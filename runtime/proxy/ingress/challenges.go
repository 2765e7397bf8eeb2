package ingress

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"

	"berth/runtime"
)

// protocolACME is what an authority speaks that looks for its challenge by TLS, and nothing else (RFC 8737 section 3).
const protocolACME = "acme-tls/1"

// challenges is what certificate authorities ask for. It is never changed.
type challenges struct {
	answers map[asked]string
	shown   map[string]*tls.Certificate // by host
}

// asked is a request for an answer.
type asked struct{ host, path string }

// newChallenges leaves out what cannot be shown: the authority says then that it has not seen it.
func newChallenges(list []runtime.Challenge) *challenges {
	out := &challenges{answers: map[asked]string{}, shown: map[string]*tls.Certificate{}}
	for i := range list {
		c := &list[i]
		if c.Path != "" {
			out.answers[asked{c.Host, c.Path}] = c.Answer
		} else if pair, err := tls.X509KeyPair(c.Cert, c.Key); err == nil {
			out.shown[c.Host] = &pair
		}
	}
	return out
}

// answer is what a request for a challenge gets, on either port: some authorities follow a redirect to HTTPS.
func (c *challenges) answer(r *http.Request) (string, bool) {
	if len(c.answers) == 0 {
		return "", false
	}
	answer, ok := c.answers[asked{hostname(r.Host), r.URL.Path}]
	return answer, ok
}

// config is that for an authority; nil for everybody else. The connection ends after the handshake, as the server knows no such protocol.
func (c *challenges) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != protocolACME {
		return nil, nil //nolint:nilnil // the server's own
	}
	cert := c.shown[strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))]
	if cert == nil {
		return nil, errors.New("no challenge for this name")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{protocolACME}, Certificates: []tls.Certificate{*cert}}, nil
}
