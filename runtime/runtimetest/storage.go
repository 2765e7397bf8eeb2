package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"berth/runtime"
)

var _ runtime.Volumes = (*Fake)(nil)

// MakeVolume implements runtime.Volumes.
func (f *Fake) MakeVolume(ctx context.Context, v runtime.StoredVolume) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	return errors.Join(f.makeVolume(v), after)
}

// ListVolumes implements runtime.Volumes.
func (f *Fake) ListVolumes(ctx context.Context) ([]runtime.StoredVolume, error) {
	if _, err := f.enter(ctx, false); err != nil {
		return nil, err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	var list []runtime.StoredVolume
	for _, id := range slices.Sorted(maps.Keys(f.volumes)) {
		list = append(list, f.volumes[id])
	}
	return list, nil
}

// RemoveVolume implements runtime.Volumes.
func (f *Fake) RemoveVolume(ctx context.Context, id string) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	return errors.Join(f.removeVolume(id), after)
}

// OnVolume is asked before each new volume; an error fails it. It must not call the fake.
func (f *Fake) OnVolume(hook func(id string) error) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.onVolume = hook
}

func (m *machine) makeVolume(v runtime.StoredVolume) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.volumes[v.ID]; !ok {
		if m.onVolume != nil {
			if err := m.onVolume(v.ID); err != nil {
				return fmt.Errorf("cannot make volume %q: %w", v.ID, err)
			}
		}
		m.note("make volume %s", v.ID)
	}
	v.Label = slices.Clone(v.Label)
	m.volumes[v.ID] = v
	return nil
}

func (m *machine) removeVolume(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pods {
		if slices.ContainsFunc(p.cfg.Volumes, func(v runtime.Volume) bool { return v.Disk != nil && v.Disk.ID == id }) {
			return fmt.Errorf("cannot remove volume %q: pod %s has it: %w", id, p.cfg.UID, runtime.ErrInUse)
		}
	}
	if _, ok := m.volumes[id]; ok {
		m.note("remove volume %s", id)
		delete(m.volumes, id)
	}
	return nil
}

// haveVolumes fails when a disk that a sandbox wants is not there.
func (m *machine) haveVolumes(cfg runtime.SandboxConfig) error {
	for _, v := range cfg.Volumes {
		if v.Disk == nil {
			continue
		}
		if stored, ok := m.volumes[v.Disk.ID]; !ok || stored.NoData {
			return fmt.Errorf("cannot run sandbox %s: volume %q: %w", cfg.UID, v.Disk.ID, runtime.ErrNotFound)
		}
	}
	return nil
}

func testVolumes(t *testing.T, s *suite) {
	t.Helper()
	v := runtime.StoredVolume{ID: "conformance-1", Label: []byte("first")}
	cfg := runtime.SandboxConfig{
		UID: s.uid, Namespace: "default", Name: "web", Hostname: "web", Object: []byte("{}"),
		Volumes: []runtime.Volume{{Name: "data", Disk: &runtime.Disk{ID: v.ID}}},
	}
	if _, err := s.Pods.RunSandbox(t.Context(), cfg); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("RunSandbox without its volume = %v, want ErrNotFound", err)
	}
	for _, label := range []string{"first", "second"} {
		v.Label = []byte(label)
		if err := s.Volumes.MakeVolume(t.Context(), v); err != nil {
			t.Fatalf("MakeVolume: %v", err)
		}
	}
	if _, err := s.Pods.RunSandbox(t.Context(), cfg); err != nil {
		t.Fatalf("RunSandbox: %v", err)
	}
	if err := s.Volumes.RemoveVolume(t.Context(), v.ID); !errors.Is(err, runtime.ErrInUse) {
		t.Errorf("RemoveVolume of one in use = %v, want ErrInUse", err)
	}
	s.unwatch() // the machine goes away under its controller
	s.Machine = s.Reopen(t)
	s.watch(t)
	list, err := s.Volumes.ListVolumes(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != v.ID || string(list[0].Label) != "second" {
		t.Errorf("ListVolumes after reopen = %+v, %v", list, err)
	}
	if err := s.Volumes.RemoveVolume(t.Context(), v.ID); !errors.Is(err, runtime.ErrInUse) {
		t.Errorf("RemoveVolume of one in use, after reopen = %v, want ErrInUse", err)
	}
	if err := s.Pods.RemoveSandbox(t.Context(), s.uid); err != nil {
		t.Fatalf("RemoveSandbox: %v", err)
	}
	for range 2 {
		if err := s.Volumes.RemoveVolume(t.Context(), v.ID); err != nil {
			t.Errorf("RemoveVolume = %v", err)
		}
	}
	if list, err := s.Volumes.ListVolumes(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("ListVolumes after removal = %+v, %v", list, err)
	}
}
