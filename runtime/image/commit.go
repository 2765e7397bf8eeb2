package image

import (
	"context"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

// source is an image that can be stored, wherever it comes from.
type source struct {
	// id is the digest of the configuration, digest that of the manifest and index that of the index above it; the latter two may be empty.
	id, digest, index string
	config            *configFile
	layers            []layerSource
}

// parallel is how many layers are fetched and unpacked at once. More gains nothing: one stream fills most lines and one core unpacks 200 MB/s.
const parallel = 3

// store unpacks what is missing of an image, and makes the references lead to it.
func (s *Store) store(ctx context.Context, src *source, refs []Reference) (runtime.Image, error) {
	if len(src.layers) == 0 {
		src.layers = []layerSource{emptyLayer()}
	}
	for attempt := 0; ; attempt++ {
		img, err := s.storeOnce(ctx, src, refs)
		if !errors.Is(err, errVanished) || attempt == 3 {
			return img, err
		}
	}
}

func (s *Store) storeOnce(ctx context.Context, src *source, refs []Reference) (_ runtime.Image, err error) {
	defer func() {
		if err != nil {
			s.shelve(src.id)
		}
	}()
	missing, err := s.missing(src.layers)
	if err != nil {
		return runtime.Image{}, err
	}
	if len(missing) > 0 {
		if err := s.makeRoom(ctx, sizes(missing)); err != nil {
			return runtime.Image{}, err
		}
	}
	staged, err := s.stageAll(ctx, src.id, missing)
	if err != nil {
		return runtime.Image{}, err
	}
	if len(staged) > 0 {
		if err := s.sync(); err != nil {
			return runtime.Image{}, err
		}
	}
	img, err := s.commit(src, refs, staged)
	s.dropMoved()
	if err != nil {
		return runtime.Image{}, classify(err)
	}
	s.unwant(src.id)
	return img, nil
}

// sizes is the sum of the blobs, which is the least that their files take.
func sizes(layers []layerSource) (sum uint64) {
	for _, l := range layers {
		sum += uint64(l.size)
	}
	return sum
}

// missing returns the layers that the store has not.
func (s *Store) missing(layers []layerSource) ([]layerSource, error) {
	ix, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	have, _ := ix.layers()
	var out []layerSource
	for _, l := range layers {
		_, present := have[l.diffID]
		if !present && !slices.ContainsFunc(out, func(o layerSource) bool { return o.diffID == l.diffID }) {
			out = append(out, l)
		}
	}
	return out, nil
}

// stageAll stages layers side by side. The first failure stops the others; what is finished stays for the next attempt.
func (s *Store) stageAll(ctx context.Context, wish string, layers []layerSource) (map[string]*stagedLayer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		staged = map[string]*stagedLayer{}
		slots  = make(chan struct{}, parallel)
	)
	for _, src := range layers {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			l, err := s.stage(ctx, wish, src)
			if err != nil {
				cancel(layerError(src.diffID, err))
				return
			}
			mu.Lock()
			staged[src.diffID] = l
			mu.Unlock()
		})
	}
	wg.Wait()
	return staged, context.Cause(ctx)
}

// sync makes everything that was unpacked survive a loss of power.
func (s *Store) sync() error {
	if err := unix.Syncfs(int(s.session.fd.Fd())); err != nil {
		return fmt.Errorf("cannot sync layers: %w", classify(err))
	}
	return nil
}

// commit puts staged layers, the image and its references in place, in this order, each by a rename.
func (s *Store) commit(src *source, refs []Reference, staged map[string]*stagedLayer) (runtime.Image, error) {
	unlock, err := s.lock()
	if err != nil {
		return runtime.Image{}, err
	}
	defer unlock()
	ix, err := s.readIndex()
	if err != nil {
		return runtime.Image{}, err
	}
	rec := &imageRecord{ID: src.id, Config: src.config.contract()}
	if src.config.Created != nil {
		rec.Created = *src.config.Created
	}
	if rec.Layers, err = s.placeLayers(ix, src.layers, staged); err != nil {
		return runtime.Image{}, err
	}
	if ix.images[src.id] == nil {
		if err := sys.SyncDir(s.layersDir()); err != nil {
			return runtime.Image{}, err
		}
		if err := s.writeJSON(s.imagePath(src.id), rec); err != nil {
			return runtime.Image{}, err
		}
	}
	for _, ref := range refs {
		next := &refRecord{Ref: ref.String(), ID: src.id, Digest: src.digest, Index: src.index, At: s.opts.Now()}
		if old := ix.refs[next.Ref]; old != nil && old.ID == next.ID && old.Digest == next.Digest && old.Index == next.Index {
			continue
		}
		if err := s.writeJSON(s.refPath(next.Ref), next); err != nil {
			return runtime.Image{}, err
		}
	}
	// The image is wanted now: a prune that follows takes others first.
	now := s.opts.Now()
	_ = os.Chtimes(s.imagePath(src.id), now, now)
	return s.contract(rec, src.digest), nil
}

// placeLayers gives every layer of an image its directory.
func (s *Store) placeLayers(ix *index, layers []layerSource, staged map[string]*stagedLayer) ([]layerRecord, error) {
	have, names := ix.layers()
	var out []layerRecord
	for _, l := range layers {
		if rec, ok := have[l.diffID]; ok {
			out = append(out, rec)
			continue
		}
		from := staged[l.diffID]
		if from == nil {
			return nil, errVanished
		}
		rec := layerRecord{DiffID: l.diffID, Bytes: from.result.Bytes, Opaque: from.result.Opaque, Empty: from.result.Empty}
		rec.Name = shortName(l.diffID, names)
		if err := s.place(from.dir, rec.Name); err != nil {
			return nil, err
		}
		have[rec.DiffID], names[rec.Name] = rec, rec
		out = append(out, rec)
	}
	return out, nil
}

// place moves a staged layer to its name. What a crash left there under no image's name makes way.
func (s *Store) place(dir, name string) error {
	to := filepath.Join(s.layersDir(), name)
	if _, err := os.Lstat(to); err == nil {
		if _, err := s.bury(to); err != nil {
			return err
		}
	}
	if err := os.Rename(dir, to); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return errVanished
		}
		return err
	}
	return nil
}

// bury moves something into the session, where it ends with it unless it is removed before. On a full disk, where what frees space must not need any, it is moved
// beside the sessions, and ends like that of a process that has died.
func (s *Store) bury(path string) (string, error) {
	grave, err := s.session.temp("grave")
	if isFull(err) {
		grave = filepath.Join(s.session.home, fmt.Sprintf("%s.%08x", filepath.Base(path), rand.Uint32()))
		return grave, os.Rename(path, grave)
	}
	if err != nil {
		return "", err
	}
	return grave, os.Rename(path, filepath.Join(grave, "d"))
}

var shortEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// shortName returns the first characters of a layer's digest that no other layer has: eight, unless somebody made two that collide.
func shortName(diffID string, taken map[string]layerRecord) string {
	raw, _ := hex.DecodeString(strings.TrimPrefix(diffID, "sha256:"))
	full := strings.ToLower(shortEncoding.EncodeToString(raw))
	for n := 8; n < len(full); n++ {
		if _, ok := taken[full[:n]]; !ok {
			return full[:n]
		}
	}
	return full
}
