package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var idForm = regexp.MustCompile(`^[0-9a-f]{8}$`)

// InstanceID is the 8 hex digits that name everything machine-wide of one state directory. It is made once and kept.
func InstanceID(stateDir string) (string, error) {
	path := filepath.Join(stateDir, "id")
	data, err := os.ReadFile(path)
	if err == nil {
		if id := strings.TrimSpace(string(data)); idForm.MatchString(id) {
			return id, nil
		}
		return "", fmt.Errorf("cannot use the id in %s: it is not 8 hex digits; take the pods down and remove the file", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read the instance's id: %w", err)
	}
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("cannot make an id: %w", err)
	}
	id := hex.EncodeToString(b[:])
	return id, writeSynced(path, []byte(id+"\n"))
}

// writeSynced replaces a file so that after a power cut the old or the new content is there.
func writeSynced(path string, data []byte) error {
	tmp := path + ".tmp"
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
