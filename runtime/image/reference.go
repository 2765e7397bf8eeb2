package image

import (
	"fmt"
	"regexp"
	"strings"

	"berth/runtime"
)

// Reference is an image reference in the form that Docker and Kubernetes understand, with every part filled in.
type Reference struct {
	// Registry is a host with an optional port; Docker Hub is "docker.io".
	Registry string
	// Repository is the path in the registry, "library/nginx".
	Repository string
	// Tag is empty when Digest is set: a digest says it all.
	Tag string
	// Digest is "sha256:…" or empty.
	Digest string
	// ID is set instead of all others when the reference was an image id.
	ID string
}

var (
	componentForm = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	hostForm      = regexp.MustCompile(`^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$`)
	tagForm       = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestForm    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// maxRepository is the limit of the distribution specification for registry and repository together.
const maxRepository = 255

// ParseReference reads a reference: "nginx" is docker.io/library/nginx:latest.
func ParseReference(s string) (Reference, error) {
	bad := func(why string) error {
		if len(s) > 300 {
			s = s[:300] + "…"
		}
		return fmt.Errorf("%w image reference: %w: %q: %s", ErrInvalid, runtime.ErrInvalidName, s, why)
	}
	if digestForm.MatchString(s) {
		return Reference{ID: s}, nil
	}
	var r Reference
	name, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		if !digestForm.MatchString(digest) {
			return Reference{}, bad("the digest must be sha256: and 64 lower-case hexadecimal digits")
		}
		r.Digest = digest
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		if !tagForm.MatchString(name[i+1:]) {
			return Reference{}, bad("a tag is 1 to 128 letters, digits, dots, dashes and underscores")
		}
		name, r.Tag = name[:i], name[i+1:]
	}
	r.Registry, r.Repository = splitRegistry(name)
	if r.Repository == "" {
		return Reference{}, bad("it names no repository")
	}
	if !hostForm.MatchString(r.Registry) {
		return Reference{}, bad(fmt.Sprintf("%q is not a registry host", r.Registry))
	}
	if len(r.Registry)+1+len(r.Repository) > maxRepository {
		return Reference{}, bad("it is longer than 255 characters")
	}
	for part := range strings.SplitSeq(r.Repository, "/") {
		if !componentForm.MatchString(part) {
			return Reference{}, bad("a repository is made of lower-case letters and digits, separated by single dots, dashes, underscores and slashes")
		}
	}
	switch {
	case r.Digest != "":
		r.Tag = ""
	case r.Tag == "":
		r.Tag = "latest"
	}
	return r, nil
}

// splitRegistry applies Docker's rule: the first component is a host if it has a dot or a colon or is "localhost".
func splitRegistry(name string) (registry, repository string) {
	first, rest, found := strings.Cut(name, "/")
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" {
		first, rest = dockerHub, name
	}
	if first = hubName(first); first == dockerHub && !strings.Contains(rest, "/") && rest != "" {
		rest = "library/" + rest
	}
	return first, rest
}

// dockerHub is how references name Docker Hub; dockerHubHost is where it answers.
const (
	dockerHub     = "docker.io"
	dockerHubHost = "registry-1.docker.io"
)

// hubName returns the one name for the many of Docker Hub, and any other host as it is.
func hubName(host string) string {
	switch host {
	case "index.docker.io", dockerHubHost, "registry.hub.docker.com":
		return dockerHub
	}
	return host
}

// String returns the reference in full.
func (r Reference) String() string {
	switch {
	case r.ID != "":
		return r.ID
	case r.Digest != "":
		return r.Registry + "/" + r.Repository + "@" + r.Digest
	}
	return r.Registry + "/" + r.Repository + ":" + r.Tag
}

// Familiar returns the reference as a user would write it.
func (r Reference) Familiar() string {
	s := strings.TrimPrefix(r.String(), dockerHub+"/")
	return strings.TrimPrefix(s, "library/")
}
