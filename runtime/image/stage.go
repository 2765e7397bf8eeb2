package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"berth/runtime/rootfs"
)

// layerSource is a layer that can be read.
type layerSource struct {
	diffID string
	// digest and size are those of the blob; an empty digest means that only the diffID is known.
	digest string
	size   int64
	open   func(ctx context.Context) (io.ReadCloser, error)
}

// stagedLayer is a layer in the session: being unpacked, or unpacked and waiting for the image that needs it to be complete.
// A pull that failed leaves its finished layers for the next attempt.
type stagedLayer struct {
	diffID string
	// done is closed when dir, result and err are final.
	done   chan struct{}
	dir    string
	result rootfs.Result
	err    error
	// wanted are the images that this layer is staged for, true while a pull of the image is under way. Guarded by Store.mu.
	wanted map[string]bool
}

// stage unpacks a layer into the session, or waits for the one who is at it already. The wish is dropped with unwant.
func (s *Store) stage(ctx context.Context, wish string, src layerSource) (*stagedLayer, error) {
	for {
		s.mu.Lock()
		l, ok := s.layers[src.diffID]
		if !ok {
			l = &stagedLayer{diffID: src.diffID, done: make(chan struct{}), wanted: map[string]bool{}}
			s.layers[src.diffID] = l
		}
		l.wanted[wish] = true
		s.mu.Unlock()
		if !ok {
			l.dir, l.result, l.err = s.unpack(ctx, src)
			s.settle(l)
			return l, l.err
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		// The other's failure may be the other's only: its context, its credentials.
		if l.err == nil {
			return l, nil
		}
	}
}

func (s *Store) settle(l *stagedLayer) {
	s.mu.Lock()
	if l.err != nil {
		delete(s.layers, l.diffID)
	}
	close(l.done)
	s.mu.Unlock()
}

// unwant drops an image's wish for staged layers and removes those that nobody wants any more.
func (s *Store) unwant(wish string) {
	s.dropStaged(func(l *stagedLayer) bool {
		delete(l.wanted, wish)
		return len(l.wanted) == 0
	})
}

// shelve keeps an image's staged layers for its next attempt, unless the space is needed before.
func (s *Store) shelve(wish string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.layers {
		if _, ok := l.wanted[wish]; ok {
			l.wanted[wish] = false
		}
	}
}

// dropShelved removes the staged layers that no pull is at.
func (s *Store) dropShelved() {
	s.dropStaged(func(l *stagedLayer) bool {
		for _, active := range l.wanted {
			if active {
				return false
			}
		}
		return true
	})
}

// dropMoved forgets the staged layers that have become part of the store.
func (s *Store) dropMoved() {
	s.dropStaged(func(l *stagedLayer) bool {
		_, err := os.Lstat(l.dir)
		return err != nil
	})
}

// dropStaged removes the finished staged layers that unwanted says yes to.
func (s *Store) dropStaged(unwanted func(*stagedLayer) bool) {
	var drop []string
	s.mu.Lock()
	for id, l := range s.layers {
		select {
		case <-l.done:
			if unwanted(l) {
				delete(s.layers, id)
				drop = append(drop, filepath.Dir(l.dir))
			}
		default:
		}
	}
	s.mu.Unlock()
	for _, dir := range drop {
		_ = os.RemoveAll(dir)
	}
}

// unpack writes one layer into a directory of the session. Nothing is left of it after an error.
func (s *Store) unpack(ctx context.Context, src layerSource) (dir string, result rootfs.Result, err error) {
	home, err := s.session.temp("layer")
	if err != nil {
		return "", result, classify(err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(home)
		}
	}()
	dir = filepath.Join(home, "d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", result, classify(err)
	}
	// Whatever the umask is: the root of the container must be open to its users.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", result, err
	}
	blob, err := src.open(ctx)
	if err != nil {
		return "", result, err
	}
	defer blob.Close()
	var in io.Reader = blob
	if src.digest != "" {
		in = rootfs.Verify(blob, src.digest, src.size)
	}
	result, err = rootfs.UnpackBlob(in, dir, src.diffID, rootfs.Options{Limits: s.opts.Limits, Wrote: s.watchSpace(ctx)})
	if err != nil {
		return "", result, classify(err)
	}
	return dir, result, nil
}

// spaceEvery is how much is written between two looks at the free space.
const spaceEvery = 16 << 20

// spaceEntries is how many entries are made between two looks: empty files take space as well.
const spaceEntries = 4096

// watchSpace stops an unpacking when its context ends or the disk runs short.
func (s *Store) watchSpace(ctx context.Context) func(int64) error {
	var bytes, calls int64
	return func(n int64) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		calls++
		if bytes += n; bytes < spaceEvery && calls < spaceEntries {
			return nil
		}
		bytes, calls = 0, 0
		return s.checkSpace(0)
	}
}

// emptyLayer is what an image without layers is mounted from.
func emptyLayer() layerSource {
	return layerSource{
		diffID: emptyDiffID,
		open:   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(&zeros{left: 1024}), nil },
	}
}

// emptyDiffID is the digest of a tar archive without entries.
const emptyDiffID = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

type zeros struct{ left int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	clear(p[:n])
	z.left -= n
	return n, nil
}

func layerError(diffID string, err error) error {
	return fmt.Errorf("layer %.19s: %w", diffID, err)
}
