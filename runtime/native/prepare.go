package native

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/runtime"
	"berth/runtime/internal/sys"
	"berth/runtime/volume"
)

// makeContainer makes what a container needs on the machine: its cgroup, its directories, and the trees that are bound into it.
func (r *Runtime) makeContainer(ctx context.Context, uid string, s *start) error {
	err := both(func() error { return r.makeGroup(ctx, uid, s) }, func() error {
		if err := r.makeLayer(uid, s); err != nil {
			return createError("make the writable layer", err)
		}
		if err := makeDirs(filepath.Dir(s.c.LogPath)); err != nil {
			return createError("make the log directory", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.in.taskFiles = s.group.TaskFiles()
	if err := r.openGroups(s, s.group.Dir()); err != nil {
		return createError("open the cgroup", err)
	}
	if err := r.gatherAttachments(uid, s); err != nil {
		return createError("prepare the volumes", err)
	}
	return nil
}

// both runs two functions of which neither needs the other, at once.
func both(f, g func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	err := g()
	return errors.Join(<-done, err)
}

func (r *Runtime) makeGroup(ctx context.Context, uid string, s *start) error {
	cfg := s.c.Config
	if err := r.awaitEmpty(ctx, uid, cfg.Name); err != nil {
		return createError("clear the cgroup", err)
	}
	group, err := r.cgroups.CreateContainer(uid, cfg.Name, cfg.Resources, cfg.Security.Privileged)
	if err != nil {
		return createError("make the cgroup", err)
	}
	s.group = group
	return nil
}

// dyingTime is how long a start waits for what an earlier attempt has left behind, which was killed when that ended.
const dyingTime = 5 * time.Second

// awaitEmpty waits until the last processes of an earlier attempt are gone.
func (r *Runtime) awaitEmpty(ctx context.Context, uid, name string) error {
	group := r.cgroups.Group(uid, name)
	if populated, err := group.Populated(); err != nil || !populated {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dyingTime)
	defer cancel()
	return group.Remove(ctx)
}

// openGroups opens the container's groups as mount trees.
func (r *Runtime) openGroups(s *start, v2dir string) error {
	s.in.cgroups = groupTrees(r.hierarchy, s.in.taskFiles, v2dir)
	options := volume.TreeOptions{ReadOnly: !s.c.Config.Security.Privileged, NoSUID: true, NoDev: true, NoExec: true}
	for i, g := range s.in.cgroups {
		fd, err := sys.OpenDir(g.dir)
		if err != nil {
			return err
		}
		tree, err := volume.Tree(fd, options)
		_ = fd.Close()
		if err != nil {
			return err
		}
		s.in.cgroups[i].slot = s.send(tree)
	}
	return nil
}

// makeLayer makes fresh directories for the overlay: what a crash has left of the same attempt would make the mount fail.
func (r *Runtime) makeLayer(uid string, s *start) error {
	dir := r.dirs.container(uid, s.c.at())
	if err := makeDirs(r.dirs.podLayers(uid)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		if err := removeTree(dir); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return err
	}
	s.in.upper, s.in.work = filepath.Join(dir, upperDir), filepath.Join(dir, "work")
	for _, d := range []string{s.in.upper, s.in.work} {
		// The upper directory is the container's "/": everybody may read it.
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
		if s.in.idBase != 0 {
			if err := os.Lchown(d, int(s.in.idBase), int(s.in.idBase)); err != nil {
				return err
			}
		}
	}
	return nil
}

// gatherAttachments opens what is bound into the container: the pod's own files in /etc, its shared memory, the message file, the volumes.
func (r *Runtime) gatherAttachments(uid string, s *start) error {
	cfg := s.c.Config
	for _, name := range etcFiles() {
		if err := s.bindFile("/etc/"+name, filepath.Join(r.dirs.etc(uid), name), cfg.Security.ReadOnlyRootfs); err != nil {
			return err
		}
	}
	if p := cfg.TerminationMessagePath; p != "" {
		if err := r.bindMessage(uid, s, p); err != nil {
			return err
		}
	}
	switch box := s.sandbox.Config; {
	case box.HostIPC:
		s.add(attachment{what: "shared memory", path: "/dev/shm", dir: true, source: "/dev/shm"})
	case box.ShareMemory:
		s.add(attachment{what: "shared memory", path: "/dev/shm", dir: true, source: r.dirs.shm(uid)})
	}
	if err := r.makeMountPoints(s.sandbox, cfg.Mounts); err != nil {
		return err
	}
	for _, m := range cfg.Mounts {
		if err := r.bindVolume(uid, s, m); err != nil {
			return err
		}
	}
	// What is mounted deeper comes later; of equal depth the order is the manifest's.
	slices.SortStableFunc(s.in.attachments, func(a, b attachment) int {
		return cmp.Compare(strings.Count(a.path, "/"), strings.Count(b.path, "/"))
	})
	return nil
}

// add appends an attachment; one at the same place is replaced: a volume wins over berth's own file.
func (s *start) add(a attachment) {
	s.in.attachments = slices.DeleteFunc(s.in.attachments, func(o attachment) bool { return o.path == a.path })
	s.in.attachments = append(s.in.attachments, a)
}

// send hands a mount tree to the child and returns its slot.
func (s *start) send(tree *sys.FD) int {
	f := tree.File("tree")
	s.held = append(s.held, f)
	s.files = append(s.files, f)
	return len(s.files) - 1
}

func (s *start) bindFile(at, source string, readOnly bool) error {
	fd, err := sys.OpenPath(source)
	if err != nil {
		return err
	}
	defer func() { _ = fd.Close() }()
	tree, err := volume.Tree(fd, volume.TreeOptions{ReadOnly: readOnly, NoSUID: true, NoDev: true})
	if err != nil {
		return err
	}
	s.add(attachment{what: path.Base(source), path: at, slot: s.send(tree)})
	return nil
}

// messageFile is the name of the termination message's file beside the writable layer.
const messageFile = "termination-log"

// upperDir holds what a container writes into its own files.
const upperDir = "upper"

func (r *Runtime) bindMessage(uid string, s *start, at string) error {
	if err := checkMountPath(at); err != nil {
		return err
	}
	source := filepath.Join(r.dirs.container(uid, s.c.at()), messageFile)
	f, err := os.OpenFile(source, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := f.Chown(int(s.in.idBase), int(s.in.idBase)); err != nil {
		return err
	}
	if err := f.Chmod(0o666); err != nil { // whoever the container runs as may write it
		return err
	}
	return s.bindFile(path.Clean(at), source, false)
}

func (r *Runtime) bindVolume(uid string, s *start, m runtime.Mount) error {
	i := slices.IndexFunc(s.sandbox.Config.Volumes, func(v runtime.Volume) bool { return v.Name == m.Volume })
	if i < 0 {
		return fmt.Errorf("cannot mount volume %q: the pod has no such volume", m.Volume)
	}
	v := s.sandbox.Config.Volumes[i]
	if path.IsAbs(m.SubPath) || slices.Contains(strings.Split(m.SubPath, "/"), "..") {
		return fmt.Errorf("cannot mount volume %q: its subPath %q leaves it", m.Volume, m.SubPath)
	}
	switch {
	case v.EmptyDir != nil && v.EmptyDir.Memory:
		return r.bindMemory(uid, s, m)
	case v.Image != "":
		s.add(attachment{what: "volume " + m.Volume, path: path.Clean(m.Path), dir: true, layers: s.layers[v.Name], sub: m.SubPath})
		return nil
	}
	fd, options, err := r.openVolume(uid, v, m)
	if err != nil {
		return err
	}
	defer func() { _ = fd.Close() }()
	dir, err := fd.IsDir()
	if err != nil {
		return err
	}
	tree, err := volume.Tree(fd, options)
	if err != nil {
		return fmt.Errorf("cannot mount volume %q: %w", m.Volume, err)
	}
	s.add(attachment{
		what: "volume " + m.Volume, path: path.Clean(m.Path), dir: dir, slot: s.send(tree),
		// What berth has made itself belongs to the pod's ids already.
		idmap: (v.HostPath != nil || v.Disk != nil) && s.in.idBase != 0,
	})
	return nil
}

// openVolume opens a volume on disk, or the part of it that the mount names.
func (r *Runtime) openVolume(uid string, v runtime.Volume, m runtime.Mount) (*sys.FD, volume.TreeOptions, error) {
	options := volume.TreeOptions{ReadOnly: m.ReadOnly}
	var fd *sys.FD
	var err error
	switch {
	case v.HostPath != nil:
		options.Recursive, options.Follow = true, m.FollowMounts
		fd, err = volume.OpenHostPath(*v.HostPath, []string{r.dirs.state, r.dirs.run})
	case v.Disk != nil:
		fd, err = r.dirs.disks().Open(v.Disk.ID)
	case v.Files != nil:
		options = volume.TreeOptions{ReadOnly: true, NoSUID: true, NoDev: true}
		fd, err = sys.OpenDir(filepath.Join(r.dirs.files(uid), v.Name))
	default:
		fd, err = sys.OpenDir(filepath.Join(r.dirs.volumes(uid), v.Name))
	}
	if err != nil || m.SubPath == "" {
		return fd, options, err
	}
	defer func() { _ = fd.Close() }()
	sub, err := volume.OpenSubPath(fd, m.SubPath, v.Files == nil)
	return sub, options, err
}

// bindMemory lets the child open a volume that is mounted in the keeper's mount namespace only.
func (r *Runtime) bindMemory(uid string, s *start, m runtime.Mount) error {
	dir := true
	if m.SubPath != "" {
		// Through the keeper's root the volume can be reached, but not mounted: make what is missing, and see what it is.
		vol, err := sys.OpenPath(fmt.Sprintf("/proc/%d/root%s", r.client().Info().PID, r.memoryPath(uid, m.Volume)))
		if err != nil {
			return err
		}
		defer func() { _ = vol.Close() }()
		sub, err := volume.OpenSubPath(vol, m.SubPath, true)
		if err != nil {
			return err
		}
		defer func() { _ = sub.Close() }()
		if dir, err = sub.IsDir(); err != nil {
			return err
		}
	}
	s.add(attachment{
		what: "volume " + m.Volume, path: path.Clean(m.Path), dir: dir, readOnly: m.ReadOnly,
		source: r.memoryPath(uid, m.Volume), sub: m.SubPath,
	})
	return nil
}
