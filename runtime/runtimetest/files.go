package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"berth/runtime"
)

// UpdateFiles implements runtime.Pods.
func (f *Fake) UpdateFiles(ctx context.Context, uid string, volumes []runtime.Volume) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	return errors.Join(f.updateFiles(uid, volumes), after)
}

// ReadFile implements runtime.Pods.
func (f *Fake) ReadFile(ctx context.Context, uid, volume, path string) ([]byte, error) {
	if _, err := f.enter(ctx, false); err != nil {
		return nil, err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	p := f.pods[uid]
	if p == nil {
		return nil, fmt.Errorf("cannot read volume %q: pod %s: %w", volume, uid, runtime.ErrNotFound)
	}
	data, ok := p.written[volume+"/"+path]
	if !ok {
		return nil, fmt.Errorf("cannot read %s of volume %q: %w", path, volume, runtime.ErrNotFound)
	}
	return data, nil
}

// WriteFile puts a file into a volume, as a program of the pod does.
func (f *Fake) WriteFile(uid, volume, path string, data []byte) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	p := f.pods[uid]
	if p == nil {
		return
	}
	if p.written == nil {
		p.written = map[string][]byte{}
	}
	p.written[volume+"/"+path] = data
}

// Files returns what is in a volume of files, by path; nil if there is no such volume.
func (f *Fake) Files(uid, volume string) map[string]string {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	p := f.pods[uid]
	if p == nil {
		return nil
	}
	for _, v := range p.cfg.Volumes {
		if v.Name != volume || v.Files == nil {
			continue
		}
		files := map[string]string{}
		for _, e := range v.Files.Entries {
			files[e.Path] = string(e.Data)
		}
		return files
	}
	return nil
}

func (m *machine) updateFiles(uid string, volumes []runtime.Volume) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	if p == nil {
		return fmt.Errorf("cannot update volumes of pod %s: %w", uid, runtime.ErrNotFound)
	}
	m.note("update files %s/%s", p.cfg.Namespace, p.cfg.Name)
	p.cfg.Volumes = slices.Clone(p.cfg.Volumes)
	for _, v := range volumes {
		i := slices.IndexFunc(p.cfg.Volumes, func(had runtime.Volume) bool { return had.Name == v.Name && had.Files != nil })
		if i < 0 {
			return fmt.Errorf("cannot update volumes of pod %s: it has no volume %q of files", uid, v.Name)
		}
		p.setFiles(i, v.Files)
	}
	m.tell(uid)
	return nil
}

// setFiles replaces a volume's content, unless the hash says that it is there already.
func (p *pod) setFiles(i int, files *runtime.Files) {
	v := &p.cfg.Volumes[i]
	if p.sandbox.Files[v.Name] == files.Hash {
		return
	}
	v.Files = files
	hashes := maps.Clone(p.sandbox.Files)
	if hashes == nil {
		hashes = map[string]string{}
	}
	hashes[v.Name] = files.Hash
	p.sandbox.Files = hashes
}

// haveFiles brings the volumes of a sandbox that is made again to what its configuration states now.
func (p *pod) haveFiles(cfg runtime.SandboxConfig) {
	had := p.cfg.Volumes
	p.cfg = cfg
	p.cfg.Volumes = slices.Clone(cfg.Volumes)
	for i, v := range p.cfg.Volumes {
		if v.Files == nil {
			continue
		}
		if j := slices.IndexFunc(had, func(o runtime.Volume) bool { return o.Name == v.Name && o.Files != nil && o.Files.Hash == v.Files.Hash }); j >= 0 {
			p.cfg.Volumes[i].Files = had[j].Files
		}
		p.setFiles(i, p.cfg.Volumes[i].Files)
	}
}
