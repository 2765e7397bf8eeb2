package image

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Listed is one image of List.
type Listed struct {
	ID string `json:"id"`
	// Names are the references that lead to it, as a user would write them; none for an image whose name moved on.
	Names   []string  `json:"names"`
	Digests []string  `json:"digests,omitempty"`
	Created time.Time `json:"created,omitzero"`
	// Used is when the image was last asked for, to the minute.
	Used time.Time `json:"used"`
	// Size is in bytes, unpacked; Unique is the part that no other image shares.
	Size   int64 `json:"size"`
	Unique int64 `json:"unique"`
	Layers int   `json:"layers"`
	InUse  bool  `json:"inUse"`
}

// ShortID returns the twelve digits by which people call an image.
func (l Listed) ShortID() string { return strings.TrimPrefix(l.ID, "sha256:")[:12] }

// List returns the stored images, by first name and then by id.
func (s *Store) List() ([]Listed, error) {
	ix, err := s.readIndex()
	if err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	users := ix.users()
	used := s.inUse()
	out := make([]Listed, 0, len(ix.images))
	for id, rec := range ix.images {
		l := Listed{ID: id, Created: rec.Created, Used: ix.used[id], Size: rec.size(), Layers: len(rec.Layers), InUse: used[id], Names: []string{}}
		for _, name := range ix.names(id) {
			r, err := ParseReference(name)
			if err != nil {
				continue
			}
			l.Names = append(l.Names, r.Familiar())
			if d := ix.refs[name].Digest; d != "" && !slices.Contains(l.Digests, d) {
				l.Digests = append(l.Digests, d)
			}
		}
		seen := map[string]bool{}
		for _, layer := range rec.Layers {
			if users[layer.Name] == 1 && !seen[layer.Name] {
				l.Unique += layer.Bytes
			}
			seen[layer.Name] = true
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Listed) int {
		return cmp.Or(slices.Compare(a.Names, b.Names), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// users counts the images that have each layer.
func (ix *index) users() map[string]int {
	users := map[string]int{}
	for _, rec := range ix.images {
		seen := map[string]bool{}
		for _, l := range rec.Layers {
			if !seen[l.Name] {
				seen[l.Name] = true
				users[l.Name]++
			}
		}
	}
	return users
}

// minShortID is how many digits a short id must have.
const minShortID = 4

// resolve finds an image by reference, id or short id. The name is the reference that was meant, or empty for an id.
func (ix *index) resolve(ref string) (id, name string, err error) {
	r, perr := ParseReference(ref)
	if perr == nil && r.ID == "" {
		if rec, ok := ix.refs[r.String()]; ok {
			return rec.ID, r.String(), nil
		}
		for key, rec := range ix.refs {
			if r.Digest != "" && strings.HasPrefix(key, r.Registry+"/"+r.Repository+":") && (rec.Digest == r.Digest || rec.Index == r.Digest) {
				return rec.ID, key, nil
			}
		}
	}
	prefix := strings.TrimPrefix(ref, "sha256:")
	for candidate := range ix.images {
		if len(prefix) >= minShortID && strings.HasPrefix(strings.TrimPrefix(candidate, "sha256:"), prefix) {
			if id != "" {
				return "", "", fmt.Errorf("%w image id %q: more than one image has it", ErrInvalid, ref)
			}
			id = candidate
		}
	}
	if id != "" {
		return id, "", nil
	}
	if perr != nil {
		return "", "", perr
	}
	return "", "", notFound(r)
}
