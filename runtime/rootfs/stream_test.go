package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(data)
	must(t, err)
	must(t, w.Close())
	return buf.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	must(t, err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func TestUnpackBlob(t *testing.T) {
	needRoot(t)
	plain := makeTar(t, dir("d"), file("d/f", strings.Repeat("content ", 5000)))
	half := len(plain) / 2
	junk := append(append([]byte{}, plain...), "evil"...)
	zeros := append(append([]byte{}, plain...), make([]byte, 9000)...)
	tests := map[string]struct {
		blob   []byte
		diffID string
		want   error
	}{
		"plain":                      {plain, digest(plain), nil},
		"gzip":                       {zipped(t, plain), digest(plain), nil},
		"gzip of two members":        {append(zipped(t, plain[:half]), zipped(t, plain[half:])...), digest(plain), nil},
		"zstd":                       {zstandard(t, plain), digest(plain), nil},
		"zstd of two frames":         {append(zstandard(t, plain[:half]), zstandard(t, plain[half:])...), digest(plain), nil},
		"zstd after a skipped frame": {append([]byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 'h', 'i'}, zstandard(t, plain)...), digest(plain), nil},
		"zeros after the end":        {zipped(t, zeros), digest(zeros), nil},
		"other diffID":               {zipped(t, plain), digest(zeros), ErrDigest},
		"junk in the archive":        {zipped(t, junk), digest(junk), ErrMalformed},
		"junk after gzip":            {append(zipped(t, plain), "evil junk that is no gzip member"...), digest(plain), gzip.ErrHeader},
		"junk after zstd":            {append(zstandard(t, plain), "evil"...), digest(plain), zstd.ErrMagicMismatch},
		"not an archive":             {[]byte(strings.Repeat("<html>", 200)), digest(nil), ErrMalformed},
		"nothing":                    {nil, digest(nil), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := UnpackBlob(bytes.NewReader(tt.blob), t.TempDir(), tt.diffID, Options{})
			if tt.want == nil {
				must(t, err)
			} else if err == nil || !errors.Is(err, tt.want) && !strings.Contains(err.Error(), tt.want.Error()) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestUnpackBlobCut cuts a layer at every byte and damages it at every byte: an error each time, and no hang.
func TestUnpackBlobCut(t *testing.T) {
	needRoot(t)
	plain := makeTar(t, dir("d"), file("d/f", "content"), symlink("l", "d/f"))
	for name, blob := range map[string][]byte{"gzip": zipped(t, plain), "zstd": zstandard(t, plain)} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for i := 1; i < len(blob); i++ {
				if _, err := UnpackBlob(bytes.NewReader(blob[:i]), root, digest(plain), Options{}); err == nil {
					t.Errorf("cut at %d of %d: no error", i, len(blob))
				}
				damaged := bytes.Clone(blob)
				damaged[i] ^= 0x41
				dst := filepath.Join(root, "x")
				must(t, os.MkdirAll(dst, 0o755))
				// A change in the header of gzip (time, name) is not one of the content.
				if _, err := UnpackBlob(bytes.NewReader(damaged), dst, digest(plain), Options{}); err == nil && (name != "gzip" || i > 9) {
					t.Errorf("damage at %d of %d: no error", i, len(blob))
				}
			}
		})
	}
}

func TestDecompressWindow(t *testing.T) {
	plain := makeTar(t, file("f", strings.Repeat("x", 4<<20)))
	blob := func() []byte {
		var buf bytes.Buffer
		w, err := zstd.NewWriter(&buf, zstd.WithWindowSize(8<<20))
		must(t, err)
		_, err = io.Copy(w, bytes.NewReader(plain))
		must(t, err)
		must(t, w.Close())
		return buf.Bytes()
	}()
	for limit, ok := range map[uint64]bool{8 << 20: true, 4 << 20: false} {
		r, err := Decompress(bytes.NewReader(blob), Limits{Window: limit})
		must(t, err)
		_, err = io.Copy(io.Discard, r)
		must(t, r.Close())
		if (err == nil) != ok {
			t.Errorf("a window of 8 MiB with a limit of %d: %v", limit, err)
		}
	}
}

func TestVerify(t *testing.T) {
	data := []byte("hello")
	for name, tt := range map[string]struct {
		in   string
		size int64
		want error
	}{
		"right":     {"hello", 5, nil},
		"other":     {"hellO", 5, ErrDigest},
		"too short": {"hell", 5, io.ErrUnexpectedEOF},
		"too long":  {"hello!", 5, ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := io.ReadAll(Verify(strings.NewReader(tt.in), digest(data), tt.size))
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// FuzzUnpack looks for a layer that reaches outside its root or hangs.
func FuzzUnpack(f *testing.F) {
	needRoot(f)
	for _, tt := range hostile("/outside") {
		f.Add(makeTar(f, tt.in...))
	}
	f.Add(makeTar(f, dir("d"), file("d/.wh.x", ""), device("d/x", tar.TypeChar, 0, 0)))
	home := f.TempDir()
	outside := newCanary(f, filepath.Join(home, "outside"))
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := os.MkdirTemp(home, "root") //nolint:usetesting // one of thousands beside the canary, gone at once
		must(t, err)
		defer os.RemoveAll(root)
		_, _ = Unpack(bytes.NewReader(data), root, Options{Limits: Limits{Bytes: 1 << 20, Entries: 1000}})
		outside.check(t)
	})
}

// FuzzCleanName looks for a name that is not clean or climbs.
func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"", "/", "..", "a/../..", "a//b", "./a/", "a/./b", "...", "\x00", "/../a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := cleanName(name, DefaultDepth)
		if err != nil || got == "." {
			return
		}
		for part := range strings.SplitSeq(got, "/") {
			if part == "" || part == "." || part == ".." {
				t.Errorf("%q becomes %q", name, got)
			}
		}
	})
}
