package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tree is a root file system in the making. Its bytes depend on its content only.
type tree struct {
	headers map[string]*tar.Header
	data    map[string][]byte
}

func newTree() *tree {
	return &tree{headers: map[string]*tar.Header{}, data: map[string][]byte{}}
}

// add puts an entry and the directories above it.
func (t *tree) add(h *tar.Header, data []byte) {
	h.Name = strings.TrimPrefix(path.Clean(h.Name), "/")
	h.Size = int64(len(data))
	for dir := path.Dir(h.Name); dir != "."; dir = path.Dir(dir) {
		if t.headers[dir] == nil {
			t.headers[dir] = &tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}
		}
	}
	t.headers[h.Name], t.data[h.Name] = h, data
}

func (t *tree) dir(name string, mode int64, uid int) {
	t.add(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode, Uid: uid, Gid: uid}, nil)
}

func (t *tree) file(name, content string) {
	t.add(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, []byte(content))
}

// script is a file that can be run.
func (t *tree) script(name, content string) {
	t.add(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755}, []byte(content))
}

func (t *tree) link(name, target string) {
	t.add(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, nil)
}

// copy takes a file of this machine, its content where it is a link, to the same or another place.
func (t *tree) copy(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot copy a file of this machine: %w", err)
	}
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("cannot copy a file of this machine: %w", err)
	}
	t.add(&tar.Header{Name: to, Typeflag: tar.TypeReg, Mode: int64(info.Mode().Perm())}, data)
	return nil
}

// program copies an executable and every shared library it asks for.
func (t *tree) program(from string) error {
	if err := t.copy(from, from); err != nil {
		return err
	}
	return t.libraries(from)
}

// libraries copies every shared library that a program of this machine asks for.
func (t *tree) libraries(of string) error {
	out, err := command("", nil, "ldd", of)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		for word := range strings.FieldsSeq(line) {
			if !filepath.IsAbs(word) {
				continue
			}
			if err := t.copy(word, word); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tree) bytes() ([]byte, error) {
	var names []string
	for n := range t.headers {
		names = append(names, n)
	}
	slices.Sort(names)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, n := range names {
		h := *t.headers[n]
		h.Format = tar.FormatPAX
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(t.data[n]); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}
