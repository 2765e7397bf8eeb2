package image

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"berth/runtime"
)

// cache holds the answers of Image. An entry is good while the record it came from is the same file.
type cache struct {
	mu      sync.Mutex
	entries map[string]cached
}

type cached struct {
	path    string
	file    fileID
	image   runtime.Image
	touched time.Time
}

// fileID tells one version of a record from the next: each is a new file.
type fileID struct {
	inode uint64
	mtime syscall.Timespec
}

// touchEvery is how exactly it is known when an image was last asked for.
const touchEvery = time.Minute

// maxCached bounds the cache; a machine with more images in use than this reads their records.
const maxCached = 1024

func (s *Store) lookup(r Reference) (runtime.Image, error) {
	key := r.String()
	s.cache.mu.Lock()
	hit, ok := s.cache.entries[key]
	s.cache.mu.Unlock()
	if ok {
		if id, err := identify(hit.path, r.ID != ""); err == nil && id == hit.file {
			s.touch(key, hit)
			return hit.image, nil
		}
	}
	entry, err := s.find(r)
	if err != nil {
		return runtime.Image{}, err
	}
	s.cache.mu.Lock()
	if len(s.cache.entries) >= maxCached {
		clear(s.cache.entries)
	}
	s.cache.entries[key] = entry
	s.cache.mu.Unlock()
	s.touch(key, entry)
	return entry.image, nil
}

// identify tells which file has a path. The time of an image's record is not part of its identity: it is when it was used.
func identify(path string, ignoreTime bool) (fileID, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return fileID{}, err
	}
	if ignoreTime {
		return fileID{inode: st.Ino}, nil
	}
	return fileID{inode: st.Ino, mtime: st.Mtim}, nil
}

// touch notes that an image is wanted, so that pruning takes others first.
func (s *Store) touch(key string, entry cached) {
	now := s.opts.Now()
	if now.Sub(entry.touched) < touchEvery {
		return
	}
	_ = os.Chtimes(s.imagePath(entry.image.ID), time.Time{}, now)
	entry.touched = now
	s.cache.mu.Lock()
	s.cache.entries[key] = entry
	s.cache.mu.Unlock()
}

// find reads the records. The identity is taken first: a record that changes in between is read again the next time.
func (s *Store) find(r Reference) (cached, error) {
	if r.ID != "" {
		path := s.imagePath(r.ID)
		id, err := identify(path, true)
		if err != nil {
			return cached{}, notFound(r)
		}
		return s.load(r, path, id, &refRecord{ID: r.ID})
	}
	path := s.refPath(r.String())
	id, err := identify(path, false)
	if err != nil {
		return s.findByDigest(r)
	}
	ref := &refRecord{}
	if err := readJSON(path, ref); err != nil {
		return cached{}, notFound(r)
	}
	return s.load(r, path, id, ref)
}

// findByDigest finds an image that was pulled by tag and is now asked for by digest.
func (s *Store) findByDigest(r Reference) (cached, error) {
	if r.Digest == "" {
		return cached{}, notFound(r)
	}
	prefix := r.Registry + "/" + r.Repository
	var found cached
	err := eachRecord(s.path("r"), func(path string, _ fs.FileInfo) {
		ref := &refRecord{}
		id, err := identify(path, false)
		if found.path != "" || err != nil || readJSON(path, ref) != nil {
			return
		}
		sameRepository := strings.HasPrefix(ref.Ref, prefix+":") || strings.HasPrefix(ref.Ref, prefix+"@")
		if sameRepository && (ref.Digest == r.Digest || ref.Index == r.Digest) {
			if entry, err := s.load(r, path, id, ref); err == nil {
				found = entry
			}
		}
	})
	if err == nil && found.path == "" {
		err = notFound(r)
	}
	return found, err
}

func (s *Store) load(r Reference, path string, id fileID, ref *refRecord) (cached, error) {
	rec := &imageRecord{}
	if err := readJSON(s.imagePath(ref.ID), rec); err != nil || !s.haveLayers(rec) {
		return cached{}, notFound(r)
	}
	return cached{path: path, file: id, image: s.contract(rec, ref.Digest)}, nil
}

func (s *Store) contract(rec *imageRecord, digest string) runtime.Image {
	return runtime.Image{ID: rec.ID, Digest: digest, Layers: rec.stack(s.layersDir()), Config: rec.Config, Size: rec.size()}
}

func notFound(r Reference) error {
	return fmt.Errorf("image %q: %w", r.Familiar(), runtime.ErrNotFound)
}
