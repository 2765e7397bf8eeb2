package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/keeper/client"
	"berth/runtime/volume"
)

// RunSandbox implements runtime.Pods. For a sandbox that stands it only brings the files of its volumes up to date.
func (r *Runtime) RunSandbox(ctx context.Context, cfg runtime.SandboxConfig) (runtime.SandboxStatus, error) {
	if err := checkSandbox(cfg); err != nil {
		return runtime.SandboxStatus{}, err
	}
	p := r.ensurePod(cfg.UID)
	p.op.Lock()
	defer p.op.Unlock()
	st, err := r.runSandbox(ctx, p, cfg)
	if err != nil {
		return runtime.SandboxStatus{}, fmt.Errorf("cannot run sandbox %s: %w", cfg.UID, err)
	}
	return st, nil
}

// ensurePod returns the pod's entry. A new one has no record yet; it is not listed until it has.
func (r *Runtime) ensurePod(uid string) *pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pods[uid]; p != nil {
		return p
	}
	if p := r.making[uid]; p != nil {
		return p
	}
	p := newPod(uid)
	r.making[uid] = p
	return p
}

func (r *Runtime) runSandbox(ctx context.Context, p *pod, cfg runtime.SandboxConfig) (runtime.SandboxStatus, error) {
	r.mu.Lock()
	st, known := p.sandboxStatus(), p.CreatedAt
	base, removing := p.IDBase, p.removing
	r.mu.Unlock()
	if removing {
		// A removal, or the undoing of a sandbox that could not be made, has stopped half-way.
		if err := r.remove(ctx, p); err != nil {
			return st, err
		}
		return st, errors.New("what was left of an earlier one had to be removed first")
	}
	if st.Ready {
		return st, r.updateFiles(p, cfg.Volumes)
	}
	rec := sandboxRecord{Config: withoutFiles(cfg), CreatedAt: r.opts.Now()}
	if !known.IsZero() {
		rec.Attempt = st.Attempt + 1
		rec.IDBase = base // what the pod's containers have written belongs to these ids
	}
	if cfg.UserNamespace && rec.IDBase == 0 {
		var err error
		if rec.IDBase, err = r.allocateIDs(cfg.UID); err != nil {
			return st, err
		}
	}
	if err := r.makeSandbox(ctx, p, cfg, rec); err != nil {
		// What was made of it goes again, but for what an earlier attempt of this pod had made.
		if known.IsZero() {
			err = errors.Join(err, r.remove(context.WithoutCancel(ctx), p))
		} else {
			err = errors.Join(err, r.dropNamespaces(context.WithoutCancel(ctx), p))
		}
		return runtime.SandboxStatus{}, err
	}
	r.events.tell(cfg.UID)
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.sandboxStatus(), nil
}

// makeSandbox records, acts, and confirms.
func (r *Runtime) makeSandbox(ctx context.Context, p *pod, cfg runtime.SandboxConfig, rec sandboxRecord) error {
	uid := cfg.UID
	if err := makeDirs(r.dirs.runPod(uid)); err != nil {
		return err
	}
	if r.opts.Network != nil && !cfg.HostNetwork {
		addr, err := r.opts.Network.Allocate(uid)
		if err != nil {
			return err
		}
		rec.IP, rec.Address6 = addr.String(), r.opts.Network.Address6(addr)
	}
	// A pod's directory alone says that there may be more of it: what is found without a record is removed. That is enough for a promise.
	if !r.promises(p, cfg, rec) {
		if err := r.record(p, rec); err != nil {
			return err
		}
	}
	if rec.Attempt > 0 {
		if err := r.dropNamespaces(ctx, p); err != nil {
			return err
		}
	}
	if err := r.makeParts(ctx, p, cfg, &rec); err != nil {
		return err
	}
	if cfg.UserNamespace {
		if err := r.haveIDMaps(ctx, uid, rec.IDBase); err != nil {
			return err
		}
	}
	rec.Ready = true
	return r.record(p, rec)
}

// makeParts makes the group and the files of a pod, and its namespaces unless these are to come with the first container.
func (r *Runtime) makeParts(ctx context.Context, p *pod, cfg runtime.SandboxConfig, rec *sandboxRecord) error {
	// What is on disk is made while the groups and namespaces are: neither needs the other, and a start waits for the longer only.
	known := *rec
	return both(func() error { return r.makeFiles(ctx, cfg, known) }, func() error {
		if err := r.cgroups.CreatePod(cfg.UID, cfg.PidsLimit); err != nil {
			return err
		}
		if !comesWithContainer(cfg) || p.careful {
			return r.makeNamespaces(ctx, p, cfg, rec)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		p.alive = true
		return nil
	})
}

// makeFiles makes what the containers of the pod share on disk.
func (r *Runtime) makeFiles(ctx context.Context, cfg runtime.SandboxConfig, rec sandboxRecord) error {
	if err := r.makeVolumes(ctx, cfg, rec.IDBase); err != nil {
		return err
	}
	return r.writeEtc(cfg, rec)
}

// SetObject implements runtime.Pods.
func (r *Runtime) SetObject(_ context.Context, uid string, object []byte) error {
	p := r.pod(uid)
	if p == nil {
		return fmt.Errorf("cannot keep the object of a pod: %w", notFound("pod %s", uid))
	}
	p.op.Lock()
	defer p.op.Unlock()
	r.mu.Lock()
	rec := p.sandboxRecord
	r.mu.Unlock()
	rec.Config.Object = object
	return r.record(p, rec)
}

// record writes the sandbox's record and makes the pod visible.
func (r *Runtime) record(p *pod, rec sandboxRecord) error {
	if err := writeRecord(r.dirs.sandbox(p.uid), rec); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.sandboxRecord = rec
	delete(r.making, p.uid)
	r.pods[p.uid] = p
	return nil
}

func (r *Runtime) makeNamespaces(ctx context.Context, p *pod, cfg runtime.SandboxConfig, rec *sandboxRecord) error {
	flags := sandboxFlags(cfg)
	if flags != 0 {
		if err := r.askSandbox(ctx, cfg, rec, flags); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.alive, p.born, p.careful = true, flags != 0, false
	return nil
}

func (r *Runtime) askSandbox(ctx context.Context, cfg runtime.SandboxConfig, rec *sandboxRecord, flags uintptr) error {
	hostname, err := r.hostname(cfg)
	if err != nil {
		return err
	}
	prog := compileSandbox(cfg, hostname)
	req := client.SandboxRequest{ID: cfg.UID, Flags: flags, Program: prog, KeepAlive: cfg.SharePID && !cfg.HostPID}
	if rec.IDBase != 0 {
		req.UIDMap = fmt.Sprintf("0 %d %d\n", rec.IDBase, idRangeSize)
		req.GIDMap = req.UIDMap
	}
	made, err := r.client().Sandbox(ctx, req)
	if err != nil {
		return err
	}
	rec.InitPID, rec.InitTicks = made.PID, made.StartTicks
	if made.NetNS == nil {
		return nil
	}
	defer func() { _ = made.NetNS.Close() }()
	if r.opts.Network == nil {
		return nil
	}
	return r.attach(ctx, made.NetNS, *rec)
}

func (r *Runtime) attach(ctx context.Context, netns *os.File, rec sandboxRecord) error {
	addr, err := parseAddr(rec.IP)
	if err != nil {
		return err
	}
	return r.opts.Network.Attach(ctx, netns, rec.Config.UID, addr, rec.Address6)
}

// sandboxFlags are the namespaces that the pod has of its own.
func sandboxFlags(cfg runtime.SandboxConfig) uintptr {
	var flags uintptr
	if !cfg.HostNetwork {
		flags |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
	}
	if !cfg.HostIPC {
		flags |= unix.CLONE_NEWIPC
	}
	if cfg.UserNamespace {
		flags |= unix.CLONE_NEWUSER
	}
	if cfg.SharePID && !cfg.HostPID {
		flags |= unix.CLONE_NEWPID
	}
	return flags
}

// dropNamespaces makes the keeper forget the sandbox of this pod, if it holds one.
func (r *Runtime) dropNamespaces(ctx context.Context, p *pod) error {
	r.mu.Lock()
	p.alive, p.born = false, false
	r.mu.Unlock()
	return r.whileBusy(ctx, func() error { return r.client().ForgetSandbox(ctx, p.uid) })
}

// hostname is the name the pod's containers find: with the machine's network also the machine's name.
func (r *Runtime) hostname(cfg runtime.SandboxConfig) (string, error) {
	if cfg.HostNetwork {
		return os.Hostname()
	}
	return firstOf(cfg.Hostname, cfg.Name, cfg.UID), nil
}

func (r *Runtime) makeVolumes(ctx context.Context, cfg runtime.SandboxConfig, base uint32) error {
	owner := volume.Owner{Root: base, FSGroup: cfg.FSGroup}
	for _, v := range cfg.Volumes {
		if v.EmptyDir != nil && !v.EmptyDir.Memory {
			if err := makeDirs(r.dirs.volumes(cfg.UID)); err != nil {
				return err
			}
			if err := volume.MakeEmptyDir(filepath.Join(r.dirs.volumes(cfg.UID), v.Name), owner); err != nil {
				return err
			}
		}
		if err := r.haveStorage(cfg, v); err != nil {
			return err
		}
	}
	if err := r.remountMemory(ctx, cfg, base); err != nil {
		return err
	}
	for _, v := range cfg.Volumes {
		if v.Files == nil {
			continue
		}
		if err := r.writeFiles(cfg, base, v); err != nil {
			return err
		}
	}
	return nil
}

// remountMemory mounts what the pod keeps in memory where it is not mounted yet.
func (r *Runtime) remountMemory(ctx context.Context, cfg runtime.SandboxConfig, base uint32) error {
	owner := volume.Owner{Root: base, FSGroup: cfg.FSGroup}
	for _, v := range cfg.Volumes {
		if v.EmptyDir == nil || !v.EmptyDir.Memory {
			continue
		}
		if err := makeDirs(r.dirs.memory(cfg.UID)); err != nil {
			return err
		}
		options := fmt.Sprintf("mode=%o,uid=%d,gid=%d", owner.EmptyDirMode(), owner.Root, owner.Group())
		if v.EmptyDir.SizeLimit > 0 {
			options += fmt.Sprintf(",size=%d", v.EmptyDir.SizeLimit)
		}
		if err := r.mountMemory(ctx, r.memoryPath(cfg.UID, v.Name), options); err != nil {
			return err
		}
	}
	if !cfg.ShareMemory || cfg.HostIPC {
		return nil
	}
	return r.mountMemory(ctx, r.dirs.shm(cfg.UID), fmt.Sprintf("mode=1777,size=%dk", shmSize>>10))
}

// mountMemory mounts a tmpfs in the keeper's mount namespace. One that an earlier attempt has left there keeps its content.
func (r *Runtime) mountMemory(ctx context.Context, path, options string) error {
	if err := r.client().Mount(ctx, path, options); err != nil && !errors.Is(err, client.ErrExists) {
		return fmt.Errorf("cannot mount %s: %w", filepath.Base(path), err)
	}
	return nil
}

func (r *Runtime) memoryPath(uid, volume string) string {
	return filepath.Join(r.dirs.memory(uid), volume)
}

func checkSandbox(cfg runtime.SandboxConfig) error {
	if err := checkUID(cfg.UID); err != nil {
		return err
	}
	for _, n := range []string{cfg.Namespace, cfg.Name} {
		if n != "" && !objectPattern.MatchString(n) {
			return fmt.Errorf("cannot use %q as the name of a pod or namespace", n)
		}
	}
	for _, v := range cfg.Volumes {
		if err := checkName("volume", v.Name); err != nil {
			return err
		}
	}
	if cfg.UserNamespace && (cfg.HostNetwork || cfg.HostPID || cfg.HostIPC) {
		return fmt.Errorf("cannot give pod %s a user namespace beside namespaces of the machine: %w", cfg.UID, runtime.ErrNotSupported)
	}
	return checkSysctls(cfg)
}
