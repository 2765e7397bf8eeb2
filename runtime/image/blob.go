package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// blob opens a part of an image by its digest, at this registry and nowhere else: addresses that a manifest brings are not followed.
// A connection that breaks is made again and goes on where it broke. The content is not checked here.
func (r *repository) blob(ctx context.Context, d descriptor) (io.ReadCloser, error) {
	b := &blob{ctx: ctx, from: r, what: d}
	if err := b.connect(); err != nil {
		return nil, err
	}
	return b, nil
}

// blob is the content of one part, over as many connections as it takes.
type blob struct {
	ctx    context.Context //nolint:containedctx // a reader has no other way to get it, and this one lives as long as its pull
	from   *repository
	what   descriptor
	body   io.ReadCloser
	offset int64
	// failures counts the connections that broke without a byte; progress forgives them.
	failures int
}

// maxFailures is how many connections in a row may break without a byte.
const maxFailures = 3

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.offset += int64(n)
		if n > 0 {
			b.failures = 0
		}
		cut := errors.Is(err, io.EOF) && b.offset < b.what.Size
		switch {
		case err == nil || errors.Is(err, io.EOF) && !cut:
			return n, err
		case b.ctx.Err() != nil:
			return n, context.Cause(b.ctx)
		case n > 0:
			return n, nil
		case cut:
			err = io.ErrUnexpectedEOF
		}
		if b.failures++; b.failures > maxFailures || errors.Is(err, errRefused) || errors.Is(err, errStalled) {
			return 0, fmt.Errorf("cannot fetch %.19s from %s at byte %d of %d: %w", b.what.Digest, b.from.at.host, b.offset, b.what.Size, err)
		}
		if err := b.again(); err != nil {
			return 0, err
		}
	}
}

func (b *blob) again() error {
	_ = b.body.Close()
	wait := time.NewTimer(time.Duration(b.failures) * retryBackoff.Duration)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
	err := b.connect()
	var refused *transport.Error
	if err == nil || errors.As(err, &refused) {
		return err
	}
	// No connection at all counts like one that broke.
	b.body = broken{err}
	return nil
}

// broken is a connection that could not be made.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
func (b broken) Close() error             { return nil }

// connect asks for what is missing. A registry that knows no ranges sends all of it, and the known part is passed over.
func (b *blob) connect() error {
	b.body = http.NoBody
	header := http.Header{}
	if b.offset > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(b.offset, 10)+"-")
	}
	resp, err := b.from.get(b.ctx, "blobs/"+b.what.Digest, header)
	if err != nil {
		return err
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		resp.Body.Close()
		return err
	}
	b.body = resp.Body
	if b.offset > 0 && resp.StatusCode == http.StatusOK {
		if _, err := io.CopyN(io.Discard, resp.Body, b.offset); err != nil {
			return fmt.Errorf("cannot fetch %.19s again: %w", b.what.Digest, err)
		}
	}
	return nil
}

// Close implements io.Closer.
func (b *blob) Close() error { return b.body.Close() }
