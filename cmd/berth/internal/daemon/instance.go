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

// InstanceID is the 8 hex digits that name everything machine-wide of one state directory. It is made once and kept. The run directory has it too while
// something may run: whoever has lost the state finds by that what to take over, or down.
func InstanceID(stateDir, runDir string) (string, error) {
	id, err := readID(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = readID(runDir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		id, err = newID()
	}
	if err != nil {
		return "", err
	}
	_ = keepID(runDir, id) // where it cannot be written (a full disk) only the way back from a lost state is missing
	return id, keepID(stateDir, id)
}

// Known tells whether an instance has ever used this state directory, or may still run from this run directory.
func Known(stateDir, runDir string) bool {
	for _, dir := range []string{stateDir, runDir} {
		if _, err := os.Stat(idPath(dir)); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

func idPath(dir string) string { return filepath.Join(dir, "id") }

func readID(dir string) (string, error) {
	data, err := os.ReadFile(idPath(dir))
	if err != nil {
		return "", fmt.Errorf("cannot read the instance's id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if !idForm.MatchString(id) {
		return "", fmt.Errorf("cannot use the id in %s: it is not 8 hex digits; take the pods down and remove the file", idPath(dir))
	}
	return id, nil
}

func newID() (string, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("cannot make an id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

func keepID(dir, id string) error {
	if kept, err := readID(dir); err == nil && kept == id {
		return nil
	}
	return writeSynced(idPath(dir), []byte(id+"\n"))
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
