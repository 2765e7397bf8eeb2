package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// The annotations by which an OCI layout names its images. containerd's is a full reference, OCI's often only a tag.
const (
	annotationName    = "io.containerd.image.name"
	annotationRefName = "org.opencontainers.image.ref.name"
)

// layoutImages reads the index.json of an OCI layout.
func layoutImages(in files) ([]found, error) {
	raw, err := readSmall(in, "index.json", maxManifestBytes)
	if err != nil {
		return nil, err
	}
	var top manifest
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("%w index.json: %w", ErrInvalid, err)
	}
	if err := top.check(); err != nil {
		return nil, err
	}
	groups := groupByName(top.Manifests)
	if len(groups) == 0 {
		return nil, fmt.Errorf("%w index.json: it names no image", ErrInvalid)
	}
	var out []found
	for _, parts := range groups {
		d, err := choose(parts)
		if err != nil {
			return nil, err
		}
		src, err := layoutImage(in, d, 0)
		if err != nil {
			return nil, err
		}
		img := found{source: *src}
		if name := layoutName(d); name != "" {
			img.names = []string{name}
		}
		out = append(out, img)
	}
	return out, nil
}

// groupByName puts the parts that carry one name together: they are one image for several platforms. Parts without a name are one
// image for several platforms where they state platforms, and images of their own where they do not.
func groupByName(parts []descriptor) [][]descriptor {
	var order []string
	groups := map[string][]descriptor{}
	for _, d := range parts {
		if isAttestation(d) {
			continue
		}
		key := layoutName(d)
		if key == "" && d.Platform == nil {
			key = d.Digest
		}
		if _, ok := groups[key]; !ok {
			order = append(order, key)
		}
		groups[key] = append(groups[key], d)
	}
	var out [][]descriptor
	for _, key := range order {
		out = append(out, groups[key])
	}
	return out
}

func layoutName(d descriptor) string {
	if name := d.Annotations[annotationName]; name != "" {
		return name
	}
	return d.Annotations[annotationRefName]
}

func blobName(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// readBlob reads a small blob and checks its digest.
func readBlob(in files, d descriptor, limit int64) ([]byte, error) {
	raw, err := readSmall(in, blobName(d.Digest), limit)
	if err != nil {
		return nil, invalidPart("blob", d.Digest, err)
	}
	if got := digestBytes(raw); got != d.Digest {
		return nil, fmt.Errorf("%w archive: blob %s has the digest %s", ErrInvalid, d.Digest, got)
	}
	return raw, nil
}

func layoutImage(in files, d descriptor, depth int) (*source, error) {
	raw, err := readBlob(in, d, maxManifestBytes)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw, d.MediaType)
	if err != nil {
		return nil, err
	}
	if m.isIndex() {
		if depth >= maxIndexDepth {
			return nil, fmt.Errorf("%w index: it leads to more than %d others", ErrInvalid, maxIndexDepth)
		}
		part, err := choose(m.Manifests)
		if err != nil {
			return nil, err
		}
		src, err := layoutImage(in, part, depth+1)
		if err == nil {
			src.index = d.Digest
		}
		return src, err
	}
	raw, err = readBlob(in, *m.Config, maxConfigBytes)
	if err != nil {
		return nil, err
	}
	return manifestSource(m, d.Digest, raw, func(layer descriptor) func(context.Context) (io.ReadCloser, error) {
		return opener(in, blobName(layer.Digest))
	})
}

// manifestSource puts a manifest and its configuration together.
func manifestSource(m *manifest, digest string, rawConfig []byte, open func(descriptor) func(context.Context) (io.ReadCloser, error)) (*source, error) {
	config, err := parseConfig(rawConfig)
	if err != nil {
		return nil, err
	}
	if len(m.Layers) != len(config.RootFS.DiffIDs) {
		if config.RootFS.Type == "" {
			return nil, fmt.Errorf("%w image: it is an artifact, not something to run", ErrInvalid)
		}
		return nil, fmt.Errorf("%w image: %d layers, its configuration names %d", ErrInvalid, len(m.Layers), len(config.RootFS.DiffIDs))
	}
	src := &source{id: m.Config.Digest, digest: digest, config: config}
	for i, l := range m.Layers {
		src.layers = append(src.layers, layerSource{diffID: config.RootFS.DiffIDs[i], digest: l.Digest, size: l.Size, open: open(l)})
	}
	return src, nil
}
