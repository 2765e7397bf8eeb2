package native

import (
	"context"
	"fmt"

	"berth/runtime"
	"berth/runtime/internal/sys"
	"berth/runtime/volume"
)

// MakeVolume implements runtime.Volumes.
func (r *Runtime) MakeVolume(_ context.Context, v runtime.StoredVolume) error {
	return r.dirs.disks().Make(v)
}

// ListVolumes implements runtime.Volumes.
func (r *Runtime) ListVolumes(context.Context) ([]runtime.StoredVolume, error) {
	return r.dirs.disks().List()
}

// RemoveVolume implements runtime.Volumes. A sandbox is recorded before its volumes are opened: one that is not seen here does not find the
// volume any more.
func (r *Runtime) RemoveVolume(_ context.Context, id string) error {
	if user := r.userOf(id); user != "" {
		return fmt.Errorf("cannot remove volume %q: pod %s has it: %w", id, user, runtime.ErrInUse)
	}
	return r.dirs.disks().Remove(id)
}

// userOf names a pod whose sandbox has a volume, "" for none.
func (r *Runtime) userOf(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		for _, v := range p.Config.Volumes {
			if v.Disk != nil && v.Disk.ID == id {
				return p.Config.Namespace + "/" + p.Config.Name
			}
		}
	}
	return ""
}

// haveStorage sees that what a volume stands for is there, and the pod's group's where that is berth's to say. The ids on it are the
// container's own also in a user namespace: it is shown idmapped.
func (r *Runtime) haveStorage(cfg runtime.SandboxConfig, v runtime.Volume) error {
	var fd *sys.FD
	var err error
	switch {
	case v.Disk != nil:
		fd, err = r.dirs.disks().Open(v.Disk.ID)
	case v.HostPath != nil && v.HostPath.FSGroup && cfg.FSGroup != nil:
		fd, err = volume.OpenHostPath(*v.HostPath, []string{r.dirs.state, r.dirs.run})
	default:
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = fd.Close() }()
	if cfg.FSGroup == nil {
		return nil
	}
	return volume.GiveToGroup(fd, uint32(*cfg.FSGroup), cfg.FSGroupOnRootMismatch)
}
