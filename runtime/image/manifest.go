package image

import (
	"encoding/json"
	"fmt"
	"strings"
)

// maxManifestBytes is what registries accept as a manifest.
const maxManifestBytes = 4 << 20

// maxIndexDepth is how far an index may lead to an index.
const maxIndexDepth = 2

// The media types of manifests.
const (
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerSchema1  = "application/vnd.docker.distribution.manifest.v1"
)

// descriptor is one part of an image, named by its digest.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
	Platform    *platform         `json:"platform"`
}

// manifest is an image manifest or an index, in the OCI or the Docker form.
type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType"`
	Config        *descriptor  `json:"config"`
	Layers        []descriptor `json:"layers"`
	Manifests     []descriptor `json:"manifests"`
}

func (m *manifest) isIndex() bool { return m.Manifests != nil }

// parseManifest reads a manifest and refuses one that could be read in two ways.
func parseManifest(raw []byte, contentType string) (*manifest, error) {
	bad := func(format string, args ...any) (*manifest, error) {
		return nil, fmt.Errorf("%w manifest: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	if len(raw) > maxManifestBytes {
		return bad("%d bytes, at most %d are read", len(raw), maxManifestBytes)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%w manifest: %w", ErrInvalid, err)
	}
	contentType, _, _ = strings.Cut(contentType, ";")
	known := isIndexType(contentType) || isImageType(contentType)
	switch {
	case m.SchemaVersion == 1 || strings.HasPrefix(contentType, typeDockerSchema1):
		return bad("the image has the form of Docker before 2016 (schema 1); push it again with a current tool")
	case m.SchemaVersion != 2:
		return bad("schema version %d", m.SchemaVersion)
	case m.Manifests != nil && (m.Layers != nil || m.Config != nil):
		return bad("it is an index and an image at once")
	case m.Manifests == nil && m.Config == nil:
		return bad("it is neither an image nor an index")
	case known && m.MediaType != "" && m.MediaType != contentType:
		return bad("it says %q, the registry says %q", m.MediaType, contentType)
	case known && isIndexType(contentType) != m.isIndex():
		return bad("it is not the %q that the registry says", contentType)
	}
	return &m, m.check()
}

func (m *manifest) check() error {
	parts := append(append([]descriptor{}, m.Layers...), m.Manifests...)
	if m.Config != nil {
		parts = append(parts, *m.Config)
	}
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("%w image: %d layers, overlayfs stacks at most %d", ErrInvalid, len(m.Layers), maxLayers)
	}
	for _, d := range parts {
		if !digestForm.MatchString(d.Digest) {
			return fmt.Errorf("%w manifest: digest %.100q", ErrInvalid, d.Digest)
		}
		if d.Size < 0 {
			return fmt.Errorf("%w manifest: a part of %d bytes", ErrInvalid, d.Size)
		}
	}
	return nil
}

func isIndexType(t string) bool { return t == typeOCIIndex || t == typeDockerIndex }
func isImageType(t string) bool { return t == typeOCIManifest || t == typeDockerManifest }
