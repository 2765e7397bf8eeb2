package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/acme"

	"berth/runtime"
)

// order is one try to get a certificate.
type order struct {
	client *acme.Client
	hosts  []string
	ways   []runtime.ChallengeWay
	show   func(context.Context, []runtime.Challenge) error
	open   []string // authorizations that are not decided
	looked bool
}

// prove shows the authority that the hosts are this machine, and returns the order by which the certificate is asked for then.
func (o *order) prove(ctx context.Context) (*acme.Order, error) {
	placed, err := o.client.AuthorizeOrder(ctx, acme.DomainIDs(o.hosts...))
	if err != nil {
		return nil, err
	}
	o.open = slices.Clone(placed.AuthzURLs)
	var shown []runtime.Challenge
	var asked []*acme.Challenge
	for _, url := range placed.AuthzURLs {
		a, err := o.client.GetAuthorization(ctx, url)
		if err != nil {
			return nil, err
		}
		if a.Status != acme.StatusPending { // proved not long ago, or refused, which the order says
			o.decided(url)
			continue
		}
		challenge, err := o.choose(a)
		if err != nil {
			return nil, err
		}
		s, err := o.answer(a.Identifier.Value, challenge)
		if err != nil {
			return nil, err
		}
		shown, asked = append(shown, s), append(asked, challenge)
	}
	if len(shown) > 0 {
		if err := o.show(ctx, shown); err != nil {
			return nil, fmt.Errorf("cannot show what the authority looks for: %w", err)
		}
	}
	for _, challenge := range asked {
		o.looked = true
		if _, err := o.client.Accept(ctx, challenge); err != nil {
			return nil, err
		}
	}
	for _, url := range slices.Clone(o.open) {
		if _, err := o.client.WaitAuthorization(ctx, url); err != nil {
			return nil, err
		}
		o.decided(url)
	}
	if _, err := o.client.WaitOrder(ctx, placed.URI); err != nil {
		return nil, err
	}
	return placed, nil
}

// finalize asks for the certificate and fetches it.
func (o *order) finalize(ctx context.Context, placed *acme.Order, request []byte) ([][]byte, error) {
	chain, _, err := o.client.CreateOrderCert(ctx, placed.FinalizeURL, request, true)
	if err == nil {
		return chain, nil
	}
	// The library looks for the order where the answer says it is. Not every authority says so, and then it has been asked well all the same.
	now, waitErr := o.client.WaitOrder(ctx, placed.URI)
	switch {
	case waitErr != nil:
		return nil, waitErr
	case now.Status != acme.StatusValid || now.CertURL == "":
		return nil, err
	}
	return o.client.FetchCert(ctx, now.CertURL, true)
}

func (o *order) decided(url string) {
	o.open = slices.DeleteFunc(o.open, func(u string) bool { return u == url })
}

// choose is the challenge by the first of our ways that the authority offers.
func (o *order) choose(a *acme.Authorization) (*acme.Challenge, error) {
	var offered []string
	for _, way := range o.ways {
		for _, c := range a.Challenges {
			if c.Type == string(way) {
				return c, nil
			}
		}
	}
	for _, c := range a.Challenges {
		offered = append(offered, c.Type)
	}
	return nil, fmt.Errorf("the authority wants proof for %s by %s, and there is %s", a.Identifier.Value, strings.Join(offered, " or "), join(o.ways))
}

func join(ways []runtime.ChallengeWay) string {
	if len(ways) == 0 {
		return "neither port"
	}
	var out []string
	for _, w := range ways {
		out = append(out, string(w))
	}
	return "only " + strings.Join(out, " and ")
}

// answer is what the host has to show for a challenge.
func (o *order) answer(host string, c *acme.Challenge) (runtime.Challenge, error) {
	out := runtime.Challenge{Host: strings.ToLower(host)}
	if c.Type == string(runtime.ByHTTP) {
		answer, err := o.client.HTTP01ChallengeResponse(c.Token)
		out.Path, out.Answer = o.client.HTTP01ChallengePath(c.Token), answer
		return out, err
	}
	pair, err := o.client.TLSALPN01ChallengeCert(c.Token, host)
	if err != nil {
		return out, err
	}
	out.Cert, out.Key, err = encode(&pair)
	return out, err
}

func encode(pair *tls.Certificate) (cert, key []byte, err error) {
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), nil
}

// regret takes back what is undecided: an account may leave only so much open. The authority forgets it by itself, too, after some days.
func (o *order) regret(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), regretPatience)
	defer cancel()
	for _, url := range o.open {
		_ = o.client.RevokeAuthorization(ctx, url) // the one that was refused cannot be taken back
	}
}
