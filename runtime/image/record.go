package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

// imageRecord is images/i/HEX.json. Its modification time is when the image was last asked for, to the minute.
type imageRecord struct {
	ID      string              `json:"id"`
	Created time.Time           `json:"created,omitzero"`
	Config  runtime.ImageConfig `json:"config"`
	Layers  []layerRecord       `json:"layers"`
}

// layerRecord is one layer of an image, lowest first.
type layerRecord struct {
	DiffID string `json:"diffID"`
	// Name is the directory below l.
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	// Opaque hides all layers below; Empty is left out of the stack.
	Opaque bool `json:"opaque,omitempty"`
	Empty  bool `json:"empty,omitempty"`
}

// refRecord is images/r/HEX.json.
type refRecord struct {
	Ref string `json:"ref"`
	ID  string `json:"id"`
	// Digest is that of the image's manifest; Index that of the index the reference names, if it names one.
	Digest string    `json:"digest,omitempty"`
	Index  string    `json:"index,omitempty"`
	At     time.Time `json:"at"`
}

func (s *Store) imagePath(id string) string {
	return s.path("i", strings.TrimPrefix(id, "sha256:")+".json")
}

func (s *Store) refPath(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return s.path("r", hex.EncodeToString(sum[:])+".json")
}

// stack returns the directories for overlayfs, lowest first. A layer that occurs twice counts where it is highest, because
// overlayfs refuses a directory that is there twice; empty ones are left out while another remains.
func (r *imageRecord) stack(dir string) []string {
	var names []string
	for _, l := range slices.Backward(r.Layers) {
		if slices.Contains(names, l.Name) || l.Empty && !l.Opaque {
			continue
		}
		names = append(names, l.Name)
		if l.Opaque {
			break
		}
	}
	if len(names) == 0 && len(r.Layers) > 0 {
		names = append(names, r.Layers[0].Name)
	}
	slices.Reverse(names)
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names
}

// size is the sum over the different layers.
func (r *imageRecord) size() int64 {
	var sum int64
	seen := map[string]bool{}
	for _, l := range r.Layers {
		if !seen[l.Name] {
			seen[l.Name] = true
			sum += l.Bytes
		}
	}
	return sum
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w record %q: %w", ErrInvalid, filepath.Base(path), err)
	}
	return nil
}

// writeJSON replaces a record: written and synced in the session, then renamed, so that it is there whole or not at all.
func (s *Store) writeJSON(path string, v any) (err error) {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := s.session.file("record")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return sys.SyncDir(filepath.Dir(path))
}

// index is everything the store holds, as read at one moment.
type index struct {
	images map[string]*imageRecord
	refs   map[string]*refRecord
	// used is when each image was last asked for.
	used map[string]time.Time
	// broken are records that cannot be read or whose parts are missing.
	broken []string
}

// readIndex reads all records. A record that vanishes meanwhile was removed by another process and is not there.
func (s *Store) readIndex() (*index, error) {
	ix := &index{images: map[string]*imageRecord{}, refs: map[string]*refRecord{}, used: map[string]time.Time{}}
	err := eachRecord(s.path("i"), func(path string, info fs.FileInfo) {
		rec := &imageRecord{}
		err := readJSON(path, rec)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil || s.imagePath(rec.ID) != path || !s.haveLayers(rec) {
			ix.broken = append(ix.broken, path)
			return
		}
		ix.images[rec.ID], ix.used[rec.ID] = rec, info.ModTime()
	})
	if err != nil {
		return nil, err
	}
	err = eachRecord(s.path("r"), func(path string, _ fs.FileInfo) {
		rec := &refRecord{}
		err := readJSON(path, rec)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil || s.refPath(rec.Ref) != path || ix.images[rec.ID] == nil {
			ix.broken = append(ix.broken, path)
			return
		}
		ix.refs[rec.Ref] = rec
	})
	return ix, err
}

func eachRecord(dir string, f func(path string, info fs.FileInfo)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			f(filepath.Join(dir, e.Name()), info)
		}
	}
	return nil
}

func (s *Store) haveLayers(rec *imageRecord) bool {
	for _, l := range rec.Layers {
		if _, err := os.Lstat(filepath.Join(s.layersDir(), l.Name)); err != nil {
			return false
		}
	}
	return len(rec.Layers) > 0
}

// layers returns the layers that images name, by diffID and by directory name.
func (ix *index) layers() (byDiff, byName map[string]layerRecord) {
	byDiff, byName = map[string]layerRecord{}, map[string]layerRecord{}
	for _, rec := range ix.images {
		for _, l := range rec.Layers {
			byDiff[l.DiffID], byName[l.Name] = l, l
		}
	}
	return byDiff, byName
}

// names returns the references that lead to an image, sorted.
func (ix *index) names(id string) []string {
	var names []string
	for ref, rec := range ix.refs {
		if rec.ID == id {
			names = append(names, ref)
		}
	}
	slices.Sort(names)
	return names
}
