package image

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"berth/runtime"
)

// Pull fetches an image and unpacks it. When it returns, the image is on disk and survives a loss of power. Concurrent pulls of one
// reference with the same credentials share the work, which ends when the last of them has gone. A reference by digest that is present
// needs no network. Errors are runtime.ErrUnauthorized, runtime.ErrNotFound, runtime.ErrDiskFull and ErrInvalid, or the network's.
func (s *Store) Pull(ctx context.Context, ref string, opts runtime.PullOptions) (runtime.Image, error) {
	img, err := s.join(ctx, ref, opts)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("cannot pull %q: %w", ref, err)
	}
	return img, nil
}

func (s *Store) join(ctx context.Context, name string, opts runtime.PullOptions) (runtime.Image, error) {
	ref, err := ParseReference(name)
	if err != nil {
		return runtime.Image{}, err
	}
	if ref.ID != "" || ref.Digest != "" {
		if img, err := s.lookup(ref); err == nil || ref.ID != "" {
			return img, err
		}
	}
	key := flightKey(ref, opts.Credentials)
	f := s.board(ctx, key, ref, opts)
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	s.leave(key, f)
	select {
	case <-f.done:
		return f.image, f.err
	default:
		return runtime.Image{}, context.Cause(ctx)
	}
}

// flight is one pull and those who wait for it.
type flight struct {
	cancel   context.CancelFunc
	done     chan struct{}
	image    runtime.Image
	err      error
	progress progress
	// waiting is guarded by Store.mu.
	waiting int
}

func flightKey(ref Reference, credentials []runtime.Credential) string {
	data, _ := json.Marshal(credentials)
	sum := sha256.Sum256(data)
	return ref.String() + " " + string(sum[:])
}

// board joins the flight for a key, or starts it.
func (s *Store) board(ctx context.Context, key string, ref Reference, opts runtime.PullOptions) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.flights[key]
	if !ok {
		// It ends with the last of those who wait, not with the first.
		flightCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{})}
		s.flights[key] = f
		go func() {
			defer close(f.done)
			f.image, f.err = s.fetch(flightCtx, ref, opts.Credentials, &f.progress)
		}()
	}
	f.waiting++
	f.progress.add(opts.Progress)
	f.progress.whenBegun(opts.Began)
	return f
}

// leave ends the flight when nobody waits any more, and then waits for its end.
func (s *Store) leave(key string, f *flight) {
	s.mu.Lock()
	f.waiting--
	last := f.waiting == 0
	if last && s.flights[key] == f {
		delete(s.flights, key)
	}
	s.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
}

// fetch tries the endpoints in order, each when it is the pull's turn there. What the registry itself says is the answer; why the mirrors did not help is added when
// the registry could not be asked.
func (s *Store) fetch(ctx context.Context, ref Reference, credentials []runtime.Credential, p *progress) (runtime.Image, error) {
	var errs []error
	for _, at := range s.registries.endpoints(ref) {
		done, err := s.turns.take(ctx, at.host)
		if err != nil {
			return runtime.Image{}, err
		}
		p.begin()
		img, err := s.fetchFrom(ctx, at, ref, credentials, p)
		done()
		if err == nil {
			return img, nil
		}
		if ctx.Err() != nil {
			return runtime.Image{}, context.Cause(ctx)
		}
		if errors.Is(err, runtime.ErrDiskFull) {
			return runtime.Image{}, err
		}
		errs = append(errs, err)
	}
	last := errs[len(errs)-1]
	if errors.Is(last, runtime.ErrNotFound) || errors.Is(last, runtime.ErrUnauthorized) || len(errs) == 1 {
		return runtime.Image{}, last
	}
	return runtime.Image{}, errors.Join(errs...)
}

// fetchFrom tries the logins for one endpoint in order, until one of them may see the image.
func (s *Store) fetchFrom(ctx context.Context, at endpoint, ref Reference, credentials []runtime.Credential, p *progress) (runtime.Image, error) {
	logins, problems := s.logins(at, credentials)
	var denied error
	for _, l := range logins {
		r, src, err := s.resolve(ctx, at, ref, l)
		if err == nil {
			defer r.close()
			return s.download(ctx, r, src, ref, p)
		}
		if !errors.Is(err, runtime.ErrUnauthorized) {
			return runtime.Image{}, err
		}
		// The first refusal is that of the best credentials.
		if denied == nil {
			denied = err
		}
	}
	return runtime.Image{}, errors.Join(append([]error{denied}, problems...)...)
}

func (s *Store) resolve(ctx context.Context, at endpoint, ref Reference, l login) (*repository, *source, error) {
	r, err := s.dialRepository(ctx, at, l.auth)
	if err != nil {
		return nil, nil, explain(err, at, l)
	}
	what := ref.Tag
	if ref.Digest != "" {
		what = ref.Digest
	}
	src, err := r.source(ctx, what)
	if err != nil {
		r.close()
		return nil, nil, explain(err, at, l)
	}
	return r, src, nil
}

func (s *Store) download(ctx context.Context, r *repository, src *source, ref Reference, p *progress) (runtime.Image, error) {
	missing, err := s.missing(src.layers)
	if err != nil {
		return runtime.Image{}, err
	}
	p.start(int64(sizes(missing)))
	for i := range src.layers {
		open := src.layers[i].open
		src.layers[i].open = func(ctx context.Context) (io.ReadCloser, error) {
			body, err := open(ctx)
			if err != nil {
				return nil, err
			}
			return &counted{ReadCloser: body, progress: p}, nil
		}
	}
	img, err := s.store(ctx, src, []Reference{ref})
	if err != nil {
		return runtime.Image{}, explain(err, r.at, login{})
	}
	p.finish()
	return img, nil
}

// explain puts a registry's refusal into words.
func explain(err error, at endpoint, l login) error {
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("cannot trust the certificate of %s (a registries file can name its authority): %w", at.host, untrusted)
	}
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		text := fmt.Sprintf("%s refuses %q without a login, or it does not exist", at.host, at.repository)
		if l.from != "" {
			text = fmt.Sprintf("%s refuses %q with the login from %s", at.host, at.repository, l.from)
		}
		return &refusal{text, runtime.ErrUnauthorized, err}
	case http.StatusNotFound:
		text := "manifest unknown in " + at.host
		for _, d := range refused.Errors {
			switch d.Code {
			case transport.NameUnknownErrorCode:
				text = fmt.Sprintf("no repository %q in %s", at.repository, at.host)
			case transport.BlobUnknownErrorCode, transport.ManifestBlobUnknownErrorCode:
				text = "a part of the image is missing in " + at.host
			default: // what else it says has no better words
			}
		}
		return &refusal{text, runtime.ErrNotFound, err}
	case http.StatusTooManyRequests:
		return &refusal{at.host + " has had too many requests (429); a login may raise its limit", errLimited, err}
	}
	return &refusal{fmt.Sprintf("%s answers %d %s", at.host, refused.StatusCode, http.StatusText(refused.StatusCode)), errLimited, err}
}

// errLimited is a refusal that passes.
var errLimited = errors.New("registry is busy")

// refusal is what a registry said, in words, with what it means and the answer itself.
type refusal struct {
	text  string
	kind  error
	cause error
}

func (r *refusal) Error() string   { return r.text }
func (r *refusal) Unwrap() []error { return []error{r.kind, r.cause} }

// progress tells all who wait how far a pull is.
type progress struct {
	mu              sync.Mutex
	complete, total int64
	tell            []func(complete, total int64)
	begun           bool
	tellBegun       []func()
}

func (p *progress) add(f func(complete, total int64)) {
	if f == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell = append(p.tell, f)
}

// whenBegun calls f when the pull begins, at once when it has begun.
func (p *progress) whenBegun(f func()) {
	if f == nil {
		return
	}
	p.mu.Lock()
	begun := p.begun
	if !begun {
		p.tellBegun = append(p.tellBegun, f)
	}
	p.mu.Unlock()
	if begun {
		f()
	}
}

// begin is called when it is the pull's turn, at each place where it looks.
func (p *progress) begin() {
	p.mu.Lock()
	tell := p.tellBegun
	p.begun, p.tellBegun = true, nil
	p.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

func (p *progress) start(total int64) { p.set(func() { p.complete, p.total = 0, total }) }
func (p *progress) finish()           { p.set(func() { p.complete = p.total }) }

func (p *progress) set(change func()) {
	p.mu.Lock()
	change()
	complete, total, tell := p.complete, p.total, p.tell
	p.mu.Unlock()
	for _, f := range tell {
		f(complete, total)
	}
}

// counted counts the bytes of one layer. More than the total may pass when a layer is fetched twice; it is not shown.
type counted struct {
	io.ReadCloser
	progress *progress
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if n > 0 {
		c.progress.set(func() { c.progress.complete = min(c.progress.complete+int64(n), c.progress.total) })
	}
	return n, err
}
