package rootfs

import (
	"fmt"
	"path"
	"strings"
)

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	// metaPrefix names what old drivers left in layers (.wh..wh.plnk and the like). It is nobody's data.
	metaPrefix = ".wh..wh."
)

// maxName is PATH_MAX less the terminating byte.
const maxName = 4095

// cleanName returns the name of a tar entry relative to the root of its layer, "." for the root itself. Leading slashes and dots
// that would climb above the root end at the root.
func cleanName(name string, depth int) (string, error) {
	if len(name) > maxName {
		return "", fmt.Errorf("%w: a name of %d bytes", ErrTooLarge, len(name))
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("%w: a name with a zero byte", ErrMalformed)
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		return ".", nil
	}
	if n := strings.Count(clean, "/") + 1; n > depth {
		return "", fmt.Errorf("%w: a path of %d components, %d are allowed", ErrTooLarge, n, depth)
	}
	return clean, nil
}

// splitName returns the directory of a clean name ("." for the root) and its last component.
func splitName(clean string) (dir, base string) {
	dir, base = path.Split(clean)
	if dir == "" {
		return ".", base
	}
	return strings.TrimSuffix(dir, "/"), base
}

// kind tells what a clean name asks for.
type kind int

const (
	kindEntry kind = iota
	kindWhiteout
	kindOpaque
	kindIgnored
)

// classify tells an entry from the markers that only look like one.
func classify(clean string) (kind, error) {
	dir, base := splitName(clean)
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, metaPrefix) {
			return kindIgnored, nil
		}
		if strings.HasPrefix(part, whiteoutPrefix) {
			return 0, fmt.Errorf("%w: the whiteout %q is used as a directory", ErrMalformed, part)
		}
	}
	switch {
	case base == opaqueMarker:
		return kindOpaque, nil
	case strings.HasPrefix(base, metaPrefix):
		return kindIgnored, nil
	case strings.HasPrefix(base, whiteoutPrefix):
		if name := strings.TrimPrefix(base, whiteoutPrefix); name == "" || name == "." || name == ".." {
			return 0, fmt.Errorf("%w: the whiteout %q names nothing", ErrMalformed, base)
		}
		return kindWhiteout, nil
	}
	return kindEntry, nil
}
