// Package acme has certificates issued by an authority that speaks ACME (RFC 8555), and keeps them in files that only root reads.
//
// It says nothing to anybody but the authority that it was opened with, and decides nothing: neither when to ask nor how often. What the
// authority looks at, the hosts show on ports of the machine; see runtime.Challenge.
package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"berth/runtime"
)

// LetsEncrypt is the directory of the authority that most people mean.
const LetsEncrypt = acme.LetsEncryptURL

// Patience with an authority.
const (
	// issuePatience is for a whole order. One that is not done by then would not have been.
	issuePatience = 3 * time.Minute
	// requestPatience is for one request and its answer.
	requestPatience = 30 * time.Second
	// regretPatience is for taking back what an order that failed has left open.
	regretPatience = 10 * time.Second
)

// Options say where certificates are kept and who issues them.
type Options struct {
	// Dir is where they are kept. It is made when something is to be kept.
	Dir string
	// Directory is the address of the authority; "" for none. Giving one accepts its terms of service.
	Directory string
	// Email is told to the authority; "" for nobody.
	Email string
	// Agent is berth's name and version, as the authority is told.
	Agent string
}

// Certificates implements runtime.Certificates.
type Certificates struct {
	opts Options
	http *http.Client

	mu  sync.Mutex // held while the account's key is read or made
	key crypto.Signer
}

// Open does not touch anything yet.
func Open(opts Options) *Certificates {
	return &Certificates{opts: opts, http: &http.Client{Timeout: requestPatience}}
}

// Authority implements runtime.Certificates.
func (c *Certificates) Authority() string { return c.opts.Directory }

// Issue implements runtime.Certificates.
func (c *Certificates) Issue(
	ctx context.Context, hosts []string, ways []runtime.ChallengeWay, show func(context.Context, []runtime.Challenge) error,
) (runtime.Issued, error) {
	if c.opts.Directory == "" {
		return runtime.Issued{}, &runtime.IssueError{Message: "there is no authority to ask"}
	}
	ctx, cancel := context.WithTimeout(ctx, issuePatience)
	defer cancel()
	o := &order{hosts: hosts, ways: ways, show: show}
	issued, err := c.issue(ctx, o)
	if err != nil {
		o.regret(ctx)
		return runtime.Issued{}, &runtime.IssueError{Message: explain(err), Looked: o.looked, Wait: wait(err)}
	}
	return issued, nil
}

func (c *Certificates) issue(ctx context.Context, o *order) (runtime.Issued, error) {
	account, err := c.account()
	if err != nil {
		return runtime.Issued{}, err
	}
	o.client = &acme.Client{Key: account, DirectoryURL: c.opts.Directory, HTTPClient: c.http, UserAgent: c.opts.Agent, RetryBackoff: patience}
	if err := c.register(ctx, o.client); err != nil {
		return runtime.Issued{}, err
	}
	placed, err := o.prove(ctx)
	if err != nil {
		return runtime.Issued{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return runtime.Issued{}, fmt.Errorf("cannot make a key: %w", err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: o.hosts}, key)
	if err != nil {
		return runtime.Issued{}, fmt.Errorf("cannot make a request for a certificate: %w", err)
	}
	chain, err := o.finalize(ctx, placed, request)
	if err != nil {
		return runtime.Issued{}, err
	}
	return pack(chain, key, o.hosts)
}

// register makes the account known. An authority that has forgotten it, or is another one at the same address, is told anew.
func (c *Certificates) register(ctx context.Context, client *acme.Client) error {
	var contact []string
	if c.opts.Email != "" {
		contact = []string{"mailto:" + c.opts.Email}
	}
	_, err := client.Register(ctx, &acme.Account{Contact: contact}, acme.AcceptTOS)
	if errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil
	}
	return err
}

// patience is the pause before a request is sent again that the authority could not answer: three times at most, the whole order comes again. What is
// too much for it is not said again.
func patience(n int, _ *http.Request, answer *http.Response) time.Duration {
	if n > 3 || answer.StatusCode == http.StatusTooManyRequests {
		return -1
	}
	return time.Duration(n) * time.Second
}

// pack is a certificate as it was issued, if it is what was ordered.
func pack(chain [][]byte, key *ecdsa.PrivateKey, hosts []string) (runtime.Issued, error) {
	out := runtime.Issued{Hosts: slices.Sorted(slices.Values(hosts))}
	for _, der := range chain {
		out.Cert = append(out.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return out, fmt.Errorf("cannot encode a key: %w", err)
	}
	out.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	pair, err := tls.X509KeyPair(out.Cert, out.Key)
	if err != nil {
		return out, fmt.Errorf("cannot use the certificate that was issued: %w", err)
	}
	out.From, out.Until = pair.Leaf.NotBefore, pair.Leaf.NotAfter
	for _, h := range hosts {
		if err := pair.Leaf.VerifyHostname(h); err != nil {
			return out, fmt.Errorf("cannot use the certificate that was issued: %w", err)
		}
	}
	return out, nil
}
