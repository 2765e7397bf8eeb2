package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"berth/e2e/images"
)

// builtPebble is the version of Let's Encrypt's small test authority in .tools/pebble.mod.
const builtPebble = "2.10.1"

// BuildPebble builds the authority into dir, unless it is there, and returns its path.
func BuildPebble(dir string) (string, error) {
	own := filepath.Join(dir, "pebble-"+builtPebble)
	if _, err := os.Stat(own); err == nil {
		return own, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-modfile", filepath.Join(root, ".tools", "pebble.mod"), "-o", own, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build pebble: %w\n%s", err, text)
	}
	return own, nil
}

// Pebble is the path of the authority that was built before the tests.
func Pebble() (string, error) {
	set, err := images.Open()
	if err != nil {
		return "", err
	}
	return BuildPebble(set.Dir())
}
