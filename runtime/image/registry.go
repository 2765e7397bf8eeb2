package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// repository is one repository at one endpoint, with a login that it has accepted.
type repository struct {
	at     endpoint
	guard  *guard
	client *http.Client
}

// retryBackoff is for blips only: three tries within a second. Trying for longer is the caller's decision.
var retryBackoff = transport.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}

// dialRepository introduces itself to a registry.
func (s *Store) dialRepository(ctx context.Context, at endpoint, auth authn.Authenticator) (*repository, error) {
	var own *tls.Config
	if t := s.registries.config(at.host).TLS; t != nil {
		cfg, err := t.config()
		if err != nil {
			return nil, err
		}
		own = cfg
	}
	var opts []name.Option
	if at.plain {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(at.host, opts...)
	if err != nil {
		return nil, err
	}
	g := newGuard(at, own, s.opts.StallTimeout)
	retrying := transport.NewRetry(g, transport.WithRetryBackoff(retryBackoff), transport.WithRetryPredicate(isBlip),
		transport.WithRetryStatusCodes(http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout))
	scope := "repository:" + at.repository + ":pull"
	authorized, err := transport.NewWithContext(ctx, reg, auth, transport.NewUserAgent(retrying, "berth"), []string{scope})
	if err != nil {
		g.close()
		return nil, err
	}
	return &repository{at: at, guard: g, client: &http.Client{Transport: authorized}}, nil
}

func (r *repository) close() { r.guard.close() }

// isBlip says whether trying again at once may help.
func isBlip(err error) bool {
	var temporary interface{ Temporary() bool }
	switch {
	case errors.Is(err, errRefused), errors.Is(err, errStalled), errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return true
	}
	return errors.As(err, &temporary) && temporary.Temporary()
}

func (r *repository) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	// The transport knows whether the registry speaks https or plain http.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.at.host+"/v2/"+r.at.repository+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	return r.client.Do(req)
}

var acceptManifest = http.Header{"Accept": {strings.Join([]string{typeOCIIndex, typeDockerIndex, typeOCIManifest, typeDockerManifest}, ", ")}}

// manifest fetches a manifest by tag or digest and returns it with the digest of its bytes.
func (r *repository) manifest(ctx context.Context, what string) (m *manifest, digest string, err error) {
	resp, err := r.get(ctx, "manifests/"+what, acceptManifest)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, "", err
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifestBytes+1))
	if err != nil {
		return nil, "", fmt.Errorf("cannot read manifest: %w", err)
	}
	digest = digestBytes(raw)
	if digestForm.MatchString(what) && what != digest {
		return nil, "", fmt.Errorf("%w manifest: %s has the digest %s, not %s", ErrInvalid, r.at.host, digest, what)
	}
	m, err = parseManifest(raw, resp.Header.Get("Content-Type"))
	return m, digest, err
}

// source finds the image for this machine. Nothing but manifests and the configuration is fetched for it.
func (r *repository) source(ctx context.Context, what string) (*source, error) {
	m, digest, err := r.manifest(ctx, what)
	if err != nil {
		return nil, err
	}
	index := ""
	for depth := 0; m.isIndex(); depth++ {
		if depth == 0 {
			index = digest
		}
		if depth >= maxIndexDepth {
			return nil, fmt.Errorf("%w index: it leads to more than %d others", ErrInvalid, maxIndexDepth)
		}
		part, err := choose(m.Manifests)
		if err != nil {
			return nil, err
		}
		if m, digest, err = r.manifest(ctx, part.Digest); err != nil {
			return nil, err
		}
	}
	if m.Config.Size > maxConfigBytes {
		return nil, fmt.Errorf("%w image configuration: %d bytes, at most %d are read", ErrInvalid, m.Config.Size, maxConfigBytes)
	}
	raw, err := r.config(ctx, *m.Config)
	if err != nil {
		return nil, err
	}
	src, err := manifestSource(m, digest, raw, func(d descriptor) func(context.Context) (io.ReadCloser, error) {
		return func(ctx context.Context) (io.ReadCloser, error) { return r.blob(ctx, d) }
	})
	if err == nil {
		src.index = index
	}
	return src, err
}

func (r *repository) config(ctx context.Context, d descriptor) ([]byte, error) {
	body, err := r.blob(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("cannot fetch image configuration: %w", err)
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, d.Size+1))
	if err != nil {
		return nil, fmt.Errorf("cannot fetch image configuration: %w", err)
	}
	if got := digestBytes(raw); got != d.Digest {
		return nil, fmt.Errorf("%w image configuration: it has the digest %s, the manifest promises %s", ErrInvalid, got, d.Digest)
	}
	return raw, nil
}
