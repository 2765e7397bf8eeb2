package native

import (
	"context"
	"errors"
	"path/filepath"

	"berth/runtime"
	"berth/runtime/volume"
)

// DiskUsage implements runtime.Meter. The pod is not kept from anything meanwhile.
func (r *Runtime) DiskUsage(ctx context.Context, uid string) (runtime.DiskUsage, error) {
	status, err := r.Status(ctx, uid)
	if err != nil {
		return runtime.DiskUsage{}, err
	}
	u := runtime.DiskUsage{Containers: map[string]int64{}, Volumes: map[string]int64{}}
	var errs []error
	add := func(to map[string]int64, name string, paths ...string) {
		for _, path := range paths {
			n, err := volume.Used(ctx, path)
			to[name] += n
			errs = append(errs, err)
		}
	}
	logs := r.dirs.podLogs(status.Namespace, status.Name, uid)
	for i, c := range status.Containers { // the newest attempt is the last
		if i+1 < len(status.Containers) && status.Containers[i+1].Name == c.Name {
			continue
		}
		dir := r.dirs.container(uid, attemptName(c.Name, c.Attempt))
		add(u.Containers, c.Name, filepath.Join(dir, upperDir), filepath.Join(dir, messageFile), filepath.Join(logs, c.Name))
	}
	for _, name := range r.emptyDirs(uid) {
		add(u.Volumes, name, filepath.Join(r.dirs.volumes(uid), name))
	}
	var etc int64
	etc, err = volume.Used(ctx, r.dirs.etc(uid))
	u.Other = etc
	return u, errors.Join(append(errs, err)...)
}

// emptyDirs names the volumes of a pod that are on disk and go with it.
func (r *Runtime) emptyDirs(uid string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	if p := r.pods[uid]; p != nil {
		for _, v := range p.Config.Volumes {
			if v.EmptyDir != nil && !v.EmptyDir.Memory {
				names = append(names, v.Name)
			}
		}
	}
	return names
}
