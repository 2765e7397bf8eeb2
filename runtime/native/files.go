package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"berth/runtime"
	"berth/runtime/internal/sys"
	"berth/runtime/volume"
)

// UpdateFiles implements runtime.Pods.
func (r *Runtime) UpdateFiles(_ context.Context, uid string, volumes []runtime.Volume) error {
	p := r.pod(uid)
	if p == nil {
		return fmt.Errorf("cannot update volumes: %w", notFound("pod %s", uid))
	}
	p.op.Lock()
	defer p.op.Unlock()
	if err := r.updateFiles(p, volumes); err != nil {
		return fmt.Errorf("cannot update volumes of pod %s: %w", uid, err)
	}
	return nil
}

// updateFiles writes what differs, then records it. A crash between the two makes it be written again.
func (r *Runtime) updateFiles(p *pod, volumes []runtime.Volume) error {
	r.mu.Lock()
	rec := p.sandboxRecord
	r.mu.Unlock()
	rec.Config.Volumes = slices.Clone(rec.Config.Volumes)
	changed := false
	for _, v := range volumes {
		if v.Files == nil {
			continue
		}
		i := slices.IndexFunc(rec.Config.Volumes, func(had runtime.Volume) bool { return had.Name == v.Name && had.Files != nil })
		if i < 0 {
			return fmt.Errorf("the pod has no volume %q of files", v.Name)
		}
		if rec.Config.Volumes[i].Files.Hash == v.Files.Hash {
			continue
		}
		if err := r.writeFiles(rec.Config, rec.IDBase, v); err != nil {
			return err
		}
		rec.Config.Volumes[i].Files = &runtime.Files{Hash: v.Files.Hash}
		changed = true
	}
	if !changed {
		return nil
	}
	if err := r.record(p, rec); err != nil {
		return err
	}
	r.events.tell(p.uid)
	return nil
}

// ReadFile implements runtime.Pods.
func (r *Runtime) ReadFile(_ context.Context, uid, name, path string) ([]byte, error) {
	data, err := r.readFile(uid, name, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot read %s of volume %q: %w", path, name, runtime.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("cannot read volume %q: %w", name, err)
	}
	return data, nil
}

func (r *Runtime) readFile(uid, name, path string) ([]byte, error) {
	p := r.pod(uid)
	if p == nil {
		return nil, notFound("pod %s", uid)
	}
	r.mu.Lock()
	volumes := p.Config.Volumes
	r.mu.Unlock()
	i := slices.IndexFunc(volumes, func(v runtime.Volume) bool { return v.Name == name && v.EmptyDir != nil })
	if i < 0 {
		return nil, fmt.Errorf("it is no emptyDir of pod %s", uid)
	}
	dir := filepath.Join(r.dirs.volumes(uid), name)
	if volumes[i].EmptyDir.Memory {
		dir = fmt.Sprintf("/proc/%d/root%s", r.client().Info().PID, r.memoryPath(uid, name))
	}
	fd, err := sys.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = fd.Close() }()
	return volume.ReadFile(fd, path)
}

func (r *Runtime) writeFiles(cfg runtime.SandboxConfig, base uint32, v runtime.Volume) error {
	if err := makeDirs(r.dirs.files(cfg.UID)); err != nil {
		return err
	}
	owner := volume.Owner{Root: base, FSGroup: cfg.FSGroup}
	return volume.WriteFiles(filepath.Join(r.dirs.files(cfg.UID), v.Name), *v.Files, owner)
}

// makeMountPoints makes room in volumes of files for what is mounted inside them: once they are mounted they are read-only.
func (r *Runtime) makeMountPoints(sandbox sandboxRecord, mounts []runtime.Mount) error {
	owner := volume.Owner{Root: sandbox.IDBase, FSGroup: sandbox.Config.FSGroup}
	for _, outer := range mounts {
		if outer.SubPath != "" || !slices.ContainsFunc(sandbox.Config.Volumes, func(v runtime.Volume) bool { return v.Name == outer.Volume && v.Files != nil }) {
			continue
		}
		for _, inner := range mounts {
			sub, inside := strings.CutPrefix(filepath.Clean(inner.Path), strings.TrimSuffix(filepath.Clean(outer.Path), "/")+"/")
			if !inside || sub == "" {
				continue
			}
			if err := volume.MakeMountPoint(filepath.Join(r.dirs.files(sandbox.Config.UID), outer.Volume), sub, owner); err != nil {
				return fmt.Errorf("cannot mount volume %q inside volume %q: %w", inner.Volume, outer.Volume, err)
			}
		}
	}
	return nil
}

// fileHashes are those of the files that volumes hold.
func fileHashes(cfg runtime.SandboxConfig) map[string]string {
	var hashes map[string]string
	for _, v := range cfg.Volumes {
		if v.Files == nil {
			continue
		}
		if hashes == nil {
			hashes = map[string]string{}
		}
		hashes[v.Name] = v.Files.Hash
	}
	return hashes
}

// withoutFiles is what is recorded of a configuration: the content of Files is on disk anyway.
func withoutFiles(cfg runtime.SandboxConfig) runtime.SandboxConfig {
	cfg.Volumes = slices.Clone(cfg.Volumes)
	for i, v := range cfg.Volumes {
		if v.Files != nil {
			cfg.Volumes[i].Files = &runtime.Files{Hash: v.Files.Hash}
		}
	}
	return cfg
}
