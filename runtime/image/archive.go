package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"berth/runtime/rootfs"
)

// files is what an archive or a directory holds, by clean relative name.
type files interface {
	// open returns a file and its size, or an error that is os.ErrNotExist.
	open(name string) (io.ReadCloser, int64, error)
}

// dirFiles are the files of a directory; nothing outside it is reached.
type dirFiles struct{ root *os.Root }

func (d dirFiles) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, 0, fmt.Errorf("%w: %q is not a file: %w", ErrInvalid, name, errors.Join(err, fs.ErrInvalid))
	}
	return f, info.Size(), nil
}

// archive is a tar file whose files are read in place.
type archive struct {
	file    *os.File
	remove  bool
	entries map[string]entry
}

// entry is where a file is in the archive, or the name it is a link to.
type entry struct {
	offset, size int64
	link         string
}

// Bounds of an archive: real ones have a few hundred entries, and links of one step.
const (
	maxArchiveEntries = 100_000
	maxArchiveLinks   = 10
)

// openArchive finds the files of an archive. A plain tar file is used where it is; anything else is unpacked to one in the session.
func (s *Store) openArchive(ctx context.Context, r io.Reader) (*archive, error) {
	a := &archive{entries: map[string]entry{}}
	if f, ok := r.(*os.File); ok && isPlainTar(f) {
		a.file = f
	} else if err := s.spool(ctx, r, a); err != nil {
		return nil, err
	}
	if err := a.index(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// isPlainTar looks at the magic of the first header. The file is at its start afterwards.
func isPlainTar(f *os.File) bool {
	var head [512]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil || n < len(head) {
		return false
	}
	_, err = f.Seek(0, io.SeekStart)
	return err == nil && string(head[257:262]) == "ustar"
}

func (s *Store) spool(ctx context.Context, r io.Reader, a *archive) error {
	if err := s.makeRoom(ctx, 0); err != nil {
		return err
	}
	plain, err := rootfs.Decompress(r, s.opts.Limits)
	if err != nil {
		return err
	}
	defer plain.Close()
	if a.file, err = s.session.file("archive"); err != nil {
		return err
	}
	a.remove = true
	watch := s.watchSpace(ctx)
	buf := make([]byte, 256<<10)
	for {
		n, err := plain.Read(buf)
		if n > 0 {
			if _, werr := a.file.Write(buf[:n]); werr != nil {
				a.close()
				return werr
			}
			if werr := watch(int64(n)); werr != nil {
				a.close()
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			a.close()
			return fmt.Errorf("%w archive: %w", ErrInvalid, err)
		}
	}
}

func (a *archive) close() {
	if a.remove {
		_ = a.file.Close()
		_ = os.Remove(a.file.Name())
	}
}

func (a *archive) index() error {
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tr := tar.NewReader(a.file)
	for count := 0; ; count++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w archive: %w", ErrInvalid, err)
		}
		if count >= maxArchiveEntries {
			return fmt.Errorf("%w archive: more than %d entries", ErrInvalid, maxArchiveEntries)
		}
		name := cleanPath(hdr.Name)
		switch hdr.Typeflag {
		case tar.TypeReg:
			// A tar.Reader that has read a header stands at the first byte of the content.
			offset, err := a.file.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			a.entries[name] = entry{offset: offset, size: hdr.Size}
		case tar.TypeSymlink:
			a.entries[name] = entry{link: cleanPath(path.Join(path.Dir(name), hdr.Linkname))}
		case tar.TypeLink:
			a.entries[name] = entry{link: cleanPath(hdr.Linkname)}
		}
	}
}

func cleanPath(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (a *archive) open(name string) (io.ReadCloser, int64, error) {
	for range maxArchiveLinks {
		e, ok := a.entries[name]
		if !ok {
			break
		}
		if e.link == "" {
			return io.NopCloser(io.NewSectionReader(a.file, e.offset, e.size)), e.size, nil
		}
		name = e.link
	}
	return nil, 0, fmt.Errorf("no file %q in the archive: %w", name, fs.ErrNotExist)
}

// readSmall reads a file that is to be understood, not unpacked.
func readSmall(in files, name string, limit int64) ([]byte, error) {
	f, size, err := in.open(cleanPath(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%w: %q has %d bytes, at most %d are read", ErrInvalid, name, size, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// dockerImages reads the manifest.json of a docker archive.
func dockerImages(in files) ([]found, error) {
	raw, err := readSmall(in, "manifest.json", maxManifestBytes)
	if err != nil {
		return nil, err
	}
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("%w manifest.json: %w", ErrInvalid, err)
	}
	if len(manifest) == 0 {
		return nil, fmt.Errorf("%w manifest.json: it names no image", ErrInvalid)
	}
	var out []found
	for _, m := range manifest {
		src, err := dockerImage(in, m.Config, m.Layers)
		if err != nil {
			return nil, err
		}
		out = append(out, found{source: *src, names: m.RepoTags})
	}
	return out, nil
}

func dockerImage(in files, configName string, layers []string) (*source, error) {
	raw, err := readSmall(in, configName, maxConfigBytes)
	if err != nil {
		return nil, invalidPart("configuration", configName, err)
	}
	config, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w archive: %d layers, the configuration names %d", ErrInvalid, len(layers), len(config.RootFS.DiffIDs))
	}
	src := &source{id: digestBytes(raw), config: config}
	for i, name := range layers {
		f, _, err := in.open(cleanPath(name))
		if err != nil {
			return nil, invalidPart("layer", name, err)
		}
		f.Close()
		src.layers = append(src.layers, layerSource{diffID: config.RootFS.DiffIDs[i], open: opener(in, name)})
	}
	return src, nil
}

func opener(in files, name string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) {
		f, _, err := in.open(cleanPath(name))
		return f, err
	}
}

// invalidPart keeps a missing part of an archive from looking like a missing archive.
func invalidPart(what, name string, err error) error {
	return fmt.Errorf("%w archive: cannot read %s %q: %v", ErrInvalid, what, name, err)
}

func digestBytes(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
