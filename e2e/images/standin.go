package images

import (
	"archive/tar"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// StandIn says what an image shall look like and do in the place of one that is not to be had.
type StandIn struct {
	// Commands are the programs that are called by name or path.
	Commands []string
	// Ends are the command lines that end by themselves. Stays are those that go on, whatever Ends says.
	Ends, Stays [][]string
	// First are those of init containers, whose pods may run the same for ever, by the name that the hosts of the pods begin with: in each pod
	// they end once for each time they stand here.
	First   map[string][][]string
	Ports   []int
	WorkDir string
	User    string
}

// StandInBase builds the layer that all stand-ins share. It needs Go.
func (s *Set) StandInBase() (v1.Image, error) {
	out := filepath.Join(s.dir, "standin")
	if _, err := os.Stat(out); err != nil || os.Getenv(CacheVar) == "" {
		if _, err := command(sourceDir(), []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./standin"); err != nil {
			return nil, err
		}
	}
	t := newTree()
	if err := t.copy(out, "standin"); err != nil {
		return nil, err
	}
	t.dir("tmp", 0o1777, 0)
	t.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	t.file("etc/group", "root:x:0:\n")
	return fromTree(t, v1.Config{Env: []string{defaultPath}, Entrypoint: []string{"/standin"}})
}

// Image is base with the part that it plays.
func (s StandIn) Image(base v1.Image) (v1.Image, error) {
	t := newTree()
	for _, c := range append([]string{"/bin/sh", "/bin/bash", "/usr/bin/env"}, s.Commands...) {
		switch {
		case path.IsAbs(c):
		case strings.Contains(c, "/"):
			c = path.Join("/", s.WorkDir, c)
		default:
			c = path.Join("/bin", c)
		}
		if c = path.Clean(c); c != "/standin" && c != "/" && !strings.HasPrefix(c, "/proc/") {
			t.link(c, "/standin")
		}
	}
	part, err := json.Marshal(map[string]any{"Ports": s.Ports, "Ends": s.Ends, "First": s.First, "Stays": s.Stays})
	if err != nil {
		return nil, err
	}
	t.add(&tar.Header{Name: "standin.json", Typeflag: tar.TypeReg, Mode: 0o644}, part)
	img, err := appendTree(base, t)
	if err != nil {
		return nil, err
	}
	return Config(img, func(c *v1.Config) { c.User = s.User })
}
