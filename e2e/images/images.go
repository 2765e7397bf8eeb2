// Package images makes real OCI images for the tests, without any container engine: busybox, nginx, redis and postgres out of the machine's
// Debian packages, and a static program of ours with a part for each behaviour.
//
// Images are made once and kept as docker archives in a cache directory.
package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The images that can be made.
const (
	Tool    = "tool"    // busybox and /bin/tool, which is the entrypoint
	Busybox = "busybox" // Debian's static busybox, with a link for every applet
	Nginx   = "nginx"   // Debian's nginx, serving port 80 in the foreground
	Redis   = "redis"   // Debian's redis-server

	Resolvers = "resolvers" // the tool, and lookup-glibc and lookup-musl: what two C libraries resolve names to

	Postgres = "postgres" // Debian's postgresql, initialised on an empty directory as the official image does it
)

// CacheVar names a directory where finished images are kept between runs, and found by machines that cannot make them.
const CacheVar = "BERTH_E2E_CACHE"

// All are the names of all images.
func All() []string { return []string{Busybox, Tool, Nginx, Redis, Postgres, Resolvers} }

// Set makes images and keeps them in a directory.
type Set struct{ dir string }

// Open uses the directory of CacheVar or one in the user's cache.
func Open() (*Set, error) {
	dir := os.Getenv(CacheVar)
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("cannot find a cache directory: %w", err)
		}
		dir = filepath.Join(cache, "berth-e2e")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the image cache: %w", err)
	}
	return &Set{dir}, nil
}

// Dir is where the set is kept.
func (s *Set) Dir() string { return s.dir }

// unused is how long an archive stays that nobody asks for: one of another checkout, or of what this one was.
const unused = 24 * time.Hour

// Archive is the path of a docker archive with the image, named localhost/e2e/NAME:1. It is made when it is not there. Its file is named for what it is
// made of, so that checkouts which differ have one cache and do not get each other's.
func (s *Set) Archive(image string) (string, error) {
	id, build, err := recipe(image)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, image+"-"+id[:16]+".tar")
	now := time.Now()
	if err := os.Chtimes(path, now, now); err == nil {
		return path, nil
	}
	others, err := filepath.Glob(filepath.Join(s.dir, image+"-*.tar"))
	if err != nil {
		return "", err
	}
	if os.Getenv(CacheVar) != "" && len(others) > 0 {
		return others[0], nil // brought from elsewhere: what it was made of is not here
	}
	img, err := build()
	if err != nil {
		return "", fmt.Errorf("cannot make image %s: %w", image, err)
	}
	for _, other := range others {
		if st, err := os.Stat(other); err == nil && now.Sub(st.ModTime()) > unused {
			_ = os.Remove(other)
		}
	}
	return path, SaveArchive(path, Ref(image), img)
}

// Image is the image itself.
func (s *Set) Image(image string) (v1.Image, error) {
	path, err := s.Archive(image)
	if err != nil {
		return nil, err
	}
	return tarball.ImageFromPath(path, nil)
}

// Ref is the name that an image has in its archive.
func Ref(image string) string { return "localhost/e2e/" + image + ":1" }

// SaveArchive writes a docker archive, complete or not at all.
func SaveArchive(path, ref string, img v1.Image) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("cannot name an image: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	tmp := file.Name()
	file.Close()
	defer os.Remove(tmp)
	if err := tarball.WriteToFile(tmp, tag, img); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return os.Rename(tmp, path)
}

// SaveLayout writes an OCI layout directory in which the image is called ref.
func SaveLayout(dir, ref string, img v1.Image) error {
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("cannot make a layout: %w", err)
	}
	return p.AppendImage(img, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": ref, "io.containerd.image.name": ref,
	}))
}

// Config returns img with its config changed.
func Config(img v1.Image, change func(*v1.Config)) (v1.Image, error) {
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config := *file.Config.DeepCopy()
	change(&config)
	return mutate.Config(img, config)
}

func fromTree(t *tree, config v1.Config) (v1.Image, error) {
	base := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	file, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config = goarch(), "linux", config
	if base, err = mutate.ConfigFile(base, file); err != nil {
		return nil, err
	}
	return appendTree(base, t)
}

func appendTree(img v1.Image, t *tree) (v1.Image, error) {
	data, err := t.bytes()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layer)
}

// recipe gives what an image is made of, as an id that changes with it, and how to make it.
func recipe(image string) (id string, build func() (v1.Image, error), err error) {
	h := sha256.New()
	fmt.Fprintln(h, "recipe 2", image)
	use := func(files ...string) {
		for _, f := range files {
			data, readErr := os.ReadFile(f)
			fmt.Fprintln(h, f, len(data), readErr)
			h.Write(data)
		}
	}
	switch image {
	case Busybox:
		use(busyboxPath)
		build = busybox
	case Tool:
		use(busyboxPath)
		use(toolSources()...)
		build = tool
	case Resolvers:
		use(busyboxPath, lookupSource())
		use(toolSources()...)
		build = resolvers
	case Nginx:
		use(nginxPath)
		build = nginx
	case Redis:
		use(redisPath)
		build = redis
	case Postgres:
		use(postgresBin() + "/postgres")
		h.Write([]byte(postgresEntrypoint))
		build = postgres
	default:
		return "", nil, fmt.Errorf("no image is called %q", image)
	}
	return hex.EncodeToString(h.Sum(nil)), build, nil
}

func command(dir string, env []string, argv ...string) ([]byte, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot run %v: %w: %s", argv, err, stderr.String())
	}
	return out, nil
}
