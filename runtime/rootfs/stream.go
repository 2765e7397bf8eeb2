package rootfs

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Decompress returns the plain bytes of a gzip, zstd or uncompressed stream, told apart by their first bytes.
func Decompress(r io.Reader, limits Limits) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && len(magic) < 4 && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return zr, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18}):
		zr, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(limits.withDefaults().Window))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return zr.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// UnpackBlob unpacks a layer as registries and archives hold it, compressed or not, and checks that its plain bytes have the digest
// diffID ("sha256:…"). After an error the directory is to be thrown away.
func UnpackBlob(blob io.Reader, dir, diffID string, opts Options) (Result, error) {
	plain, err := Decompress(blob, opts.Limits)
	if err != nil {
		return Result{}, err
	}
	defer plain.Close()
	sum := sha256.New()
	result, err := Unpack(io.TeeReader(plain, sum), dir, opts)
	if err != nil {
		return Result{}, err
	}
	if got := digestOf(sum); got != diffID {
		return Result{}, fmt.Errorf("%w: the layer unpacks to %s, the image promises %s", ErrDigest, got, diffID)
	}
	return result, nil
}

// Verify returns a reader that fails instead of ending when the bytes read are not exactly size bytes of the digest ("sha256:…").
func Verify(r io.Reader, digest string, size int64) io.Reader {
	return &verifier{r: r, sum: sha256.New(), digest: digest, left: size, size: size}
}

type verifier struct {
	r          io.Reader
	sum        hash.Hash
	digest     string
	left, size int64
}

func (v *verifier) Read(p []byte) (int, error) {
	// One byte more than promised is asked for, so that a longer stream is noticed.
	if int64(len(p)) > v.left+1 {
		p = p[:v.left+1]
	}
	n, err := v.r.Read(p)
	if int64(n) > v.left {
		return 0, fmt.Errorf("%w: more than the promised %d bytes", ErrDigest, v.size)
	}
	v.left -= int64(n)
	v.sum.Write(p[:n])
	if err != io.EOF {
		return n, err
	}
	if v.left > 0 {
		return n, fmt.Errorf("%w: %d of %d bytes are missing", io.ErrUnexpectedEOF, v.left, v.size)
	}
	if got := digestOf(v.sum); got != v.digest {
		return n, fmt.Errorf("%w: got %s, want %s", ErrDigest, got, v.digest)
	}
	return n, io.EOF
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
