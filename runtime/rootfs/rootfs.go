// Package rootfs unpacks the layers of images into directories that can be the lower directories of an overlay.
//
// A layer is hostile until proven otherwise: every path in it is resolved by the kernel below the directory it is unpacked into
// (openat2 with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS), so no name, symlink or hard link of an image reaches anything outside.
// Whiteouts become overlay whiteouts and opaque directories; a layer cannot supply either directly.
package rootfs

import (
	"errors"
)

// Limits bound what one layer may use. A zero field means its default.
type Limits struct {
	// Bytes is the greatest sum of file sizes, holes of sparse files included.
	Bytes int64
	// Entries is the greatest number of tar entries.
	Entries int64
	// Depth is the greatest number of components in a path.
	Depth int
	// Window is the greatest zstd window in bytes: the memory that decompressing may take.
	Window uint64
}

// The defaults of Limits. The largest public images (machine learning) have layers of 20 GB and half a million files.
const (
	DefaultBytes   = 64 << 30
	DefaultEntries = 4 << 20
	DefaultDepth   = 256
	// DefaultWindow is what the highest level of the zstd program uses without --long.
	DefaultWindow = 128 << 20
)

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.Entries == 0 {
		l.Entries = DefaultEntries
	}
	if l.Depth == 0 {
		l.Depth = DefaultDepth
	}
	if l.Window == 0 {
		l.Window = DefaultWindow
	}
	return l
}

// Options are the choices of one Unpack.
type Options struct {
	Limits Limits
	// Wrote is told how many bytes were written since the last call; an error stops the unpacking. Nil for none.
	// It is called at least once per entry, so it is also where a context is asked.
	Wrote func(bytes int64) error
}

// Result is what a layer turned out to hold.
type Result struct {
	// Bytes is the sum of the sizes of its files, Entries the number of its tar entries.
	Bytes, Entries int64
	// Opaque says that the layer hides everything below it: an opaque marker at its root.
	Opaque bool
	// Empty says that the directory holds nothing at all: no file, directory, whiteout.
	Empty bool
}

// Errors that callers branch on.
var (
	// ErrTooLarge means that a limit was exceeded; the message says which.
	ErrTooLarge = errors.New("layer exceeds a limit")
	// ErrMalformed means that a layer is not what a layer may be.
	ErrMalformed = errors.New("malformed layer")
	// ErrDigest means that the bytes are not those that were asked for.
	ErrDigest = errors.New("digest mismatch")
)
