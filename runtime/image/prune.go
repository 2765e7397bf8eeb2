package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

// fresh is how long an image that was just pulled or asked for is safe from pruning that nobody asked for: its container may be on its way.
const fresh = 2 * time.Minute

// Keep says what Prune leaves alone, beside the images that containers run from.
type Keep struct {
	// Named keeps images that a reference leads to.
	Named bool
	// Used keeps images that were asked for within this time.
	Used time.Duration
}

// Pruned is what Prune has removed.
type Pruned struct {
	// Images are the removed images by reference, or by id where none led to them.
	Images []string
	// Bytes is the size of the layers that went with them.
	Bytes int64
}

// Prune removes images and the layers that no other image has.
func (s *Store) Prune(ctx context.Context, keep Keep) (Pruned, error) {
	return s.remove(ctx, func(ix *index) []string {
		used := s.inUse()
		var out []string
		for _, id := range ix.byAge() {
			named := keep.Named && len(ix.names(id)) > 0
			if !used[id] && !named && (keep.Used == 0 || s.opts.Now().Sub(ix.used[id]) > keep.Used) {
				out = append(out, id)
			}
		}
		return out
	})
}

// Remove takes a reference away, and with the last reference to it the image. By id, all its references go. ErrInUse when a
// container runs from the image and this would remove it. A short id is enough where it is unambiguous.
func (s *Store) Remove(ctx context.Context, ref string) (Pruned, error) {
	unlock, err := s.lock()
	if err != nil {
		return Pruned{}, err
	}
	untagged, whole, err := s.untag(ref)
	unlock()
	if err != nil || whole == "" {
		return Pruned{Images: untagged}, err
	}
	return s.remove(ctx, func(*index) []string { return []string{whole} })
}

// untag removes one of several references, or returns the image that has to go as a whole.
func (s *Store) untag(ref string) (untagged []string, whole string, err error) {
	ix, err := s.readIndex()
	if err != nil {
		return nil, "", err
	}
	id, name, err := ix.resolve(ref)
	if err != nil {
		return nil, "", err
	}
	if name != "" && len(ix.names(id)) > 1 {
		return []string{name}, "", s.removeRecord(s.refPath(name))
	}
	if s.inUse()[id] {
		return nil, "", fmt.Errorf("cannot remove image %q: %w", ref, ErrInUse)
	}
	return nil, id, nil
}

// remove takes whole images away: references first, then the image, then the layers that nobody else has.
func (s *Store) remove(ctx context.Context, choose func(*index) []string) (Pruned, error) {
	unlock, err := s.lock()
	if err != nil {
		return Pruned{}, err
	}
	pruned, trash, err := s.removeLocked(choose)
	unlock()
	for _, path := range trash {
		if ctx.Err() != nil {
			// The rest goes with the session.
			return pruned, context.Cause(ctx)
		}
		if rerr := os.RemoveAll(path); err == nil {
			err = rerr
		}
	}
	return pruned, err
}

func (s *Store) removeLocked(choose func(*index) []string) (pruned Pruned, trash []string, err error) {
	ix, err := s.readIndex()
	if err != nil {
		return pruned, nil, err
	}
	_, before := ix.layers()
	for _, id := range choose(ix) {
		if ix.images[id] == nil {
			continue
		}
		names := ix.names(id)
		for _, name := range names {
			if err := s.removeRecord(s.refPath(name)); err != nil {
				return pruned, nil, err
			}
			delete(ix.refs, name)
		}
		if err := s.removeRecord(s.imagePath(id)); err != nil {
			return pruned, nil, err
		}
		delete(ix.images, id)
		if len(names) == 0 {
			names = []string{id}
		}
		pruned.Images = append(pruned.Images, names...)
	}
	_, after := ix.layers()
	for name, l := range before {
		if _, kept := after[name]; !kept {
			pruned.Bytes += l.Bytes
		}
	}
	// An image's record must be gone from the disk before a layer of it is.
	if err := errors.Join(sys.SyncDir(s.path("r")), sys.SyncDir(s.path("i"))); err != nil {
		return pruned, nil, err
	}
	trash, err = s.dropLayers(ix)
	return pruned, trash, err
}

func (s *Store) removeRecord(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove record %q: %w", filepath.Base(path), err)
	}
	return nil
}

func (s *Store) inUse() map[string]bool {
	if s.opts.InUse == nil {
		return nil
	}
	return s.opts.InUse()
}

// byAge returns the ids of the images, the one that was asked for longest ago first.
func (ix *index) byAge() []string {
	ids := make([]string, 0, len(ix.images))
	for id := range ix.images {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(ix.used[a].Compare(ix.used[b]), cmp.Compare(a, b))
	})
	return ids
}

// makeRoom removes unused images, the one that was asked for longest ago first, until the rule for free space is met. An image that
// was asked for a moment ago stays. The need is what will certainly be written: the room must be there afterwards.
func (s *Store) makeRoom(ctx context.Context, need uint64) error {
	err := s.checkSpace(need)
	if !errors.Is(err, runtime.ErrDiskFull) {
		return err
	}
	// What no disk could hold is no reason to throw anything away.
	if d, derr := s.disk(); derr != nil || need > d.Total {
		return errors.Join(err, derr)
	}
	s.dropShelved()
	for s.opts.InUse != nil {
		if err = s.checkSpace(need); !errors.Is(err, runtime.ErrDiskFull) {
			return err
		}
		pruned, rerr := s.remove(context.WithoutCancel(ctx), s.oldestUnused) // room is made for everyone, not for one caller
		if rerr != nil || len(pruned.Images) == 0 {
			return errors.Join(err, rerr)
		}
	}
	return s.checkSpace(need)
}

func (s *Store) oldestUnused(ix *index) []string {
	used := s.opts.InUse()
	for _, id := range ix.byAge() {
		if !used[id] && s.opts.Now().Sub(ix.used[id]) > fresh {
			return []string{id}
		}
	}
	return nil
}
