package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"berth/runtime"
)

// Loaded is one image that Load has stored.
type Loaded struct {
	Image runtime.Image
	// Names are the references that now lead to it, in full.
	Names []string
}

// found is an image in an archive or layout, with the names it has there.
type found struct {
	source source
	names  []string
}

// Load stores the images of a docker archive or an OCI layout: a directory, a tar file, or a compressed tar file.
func (s *Store) Load(ctx context.Context, path string) ([]Loaded, error) {
	loaded, err := s.loadPath(ctx, path)
	if err != nil {
		return loaded, fmt.Errorf("cannot load %q: %w", path, err)
	}
	return loaded, nil
}

func (s *Store) loadPath(ctx context.Context, path string) ([]Loaded, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return s.loadFiles(ctx, dirFiles{root})
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.loadArchive(ctx, f)
}

// LoadReader is Load for a stream, which is copied to disk first.
func (s *Store) LoadReader(ctx context.Context, r io.Reader) ([]Loaded, error) {
	loaded, err := s.loadArchive(ctx, r)
	if err != nil {
		return loaded, fmt.Errorf("cannot load images: %w", err)
	}
	return loaded, nil
}

func (s *Store) loadArchive(ctx context.Context, r io.Reader) ([]Loaded, error) {
	archive, err := s.openArchive(ctx, r)
	if err != nil {
		return nil, classify(err)
	}
	defer archive.close()
	return s.loadFiles(ctx, archive)
}

// loadFiles prefers the docker form where an archive has both: it names exactly the images that were saved.
func (s *Store) loadFiles(ctx context.Context, in files) ([]Loaded, error) {
	images, err := dockerImages(in)
	if errors.Is(err, os.ErrNotExist) {
		images, err = layoutImages(in)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: neither a docker archive (manifest.json) nor an OCI layout (index.json): %w", ErrInvalid, err)
	}
	if err != nil {
		return nil, err
	}
	var out []Loaded
	for _, img := range images {
		loaded, err := s.loadOne(ctx, &img.source, img.names)
		if err != nil {
			return out, err
		}
		out = append(out, loaded)
	}
	return out, nil
}

func (s *Store) loadOne(ctx context.Context, src *source, names []string) (Loaded, error) {
	var refs []Reference
	var full []string
	for _, name := range names {
		r, err := ParseReference(name)
		if err != nil {
			return Loaded{}, err
		}
		if r.ID == "" {
			refs, full = append(refs, r), append(full, r.String())
		}
	}
	img, err := s.store(ctx, src, refs)
	return Loaded{Image: img, Names: full}, err
}

// LoadImage stores an image that a program has made, under names.
func (s *Store) LoadImage(ctx context.Context, img v1.Image, names ...string) (runtime.Image, error) {
	src, err := imageSource(img)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("cannot load image: %w", err)
	}
	loaded, err := s.loadOne(ctx, src, names)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("cannot load image: %w", err)
	}
	return loaded.Image, nil
}

func imageSource(img v1.Image) (*source, error) {
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	config, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w image: %d layers, its configuration names %d", ErrInvalid, len(layers), len(config.RootFS.DiffIDs))
	}
	src := &source{id: digestBytes(raw), config: config}
	for i, l := range layers {
		src.layers = append(src.layers, layerSource{
			diffID: config.RootFS.DiffIDs[i],
			open:   func(context.Context) (io.ReadCloser, error) { return l.Uncompressed() },
		})
	}
	return src, nil
}
