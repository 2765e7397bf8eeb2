package volume

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
)

// maxRead is the largest file that is read for berth's own use, in bytes: a pod has written it.
const maxRead = 256 << 10

// ReadFile returns the content of a small regular file in a volume. Links are followed inside the volume only.
func ReadFile(vol *sys.FD, path string) ([]byte, error) {
	fd, err := sys.OpenInRoot(vol, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = fd.Close() }()
	st, err := fd.Stat()
	switch {
	case err != nil:
		return nil, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%q is no regular file", path)
	case st.Size > maxRead:
		return nil, fmt.Errorf("%q has %d bytes, more than the %d that are read", path, st.Size, maxRead)
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd.Int())) // the very file that was looked at
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxRead))
}
