package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/cgroup"
	"berth/runtime/keeper/client"
	"berth/runtime/security"
)

// StartContainer implements runtime.Containers. A container whose program could not be executed is found ended afterwards, with the
// reason; one that could not even be prepared leaves nothing.
func (r *Runtime) StartContainer(ctx context.Context, uid string, cfg runtime.ContainerConfig) (runtime.ContainerStatus, error) {
	if err := checkName("container", cfg.Name); err != nil {
		return runtime.ContainerStatus{}, err
	}
	p := r.pod(uid)
	if p == nil {
		return runtime.ContainerStatus{}, fmt.Errorf("cannot start container %q: %w", cfg.Name, notFound("pod %s", uid))
	}
	p.op.Lock()
	defer p.op.Unlock()
	st, err := r.startContainer(ctx, p, cfg)
	if err != nil {
		return st, fmt.Errorf("cannot start container %q of pod %s: %w", cfg.Name, uid, err)
	}
	return st, nil
}

func (r *Runtime) startContainer(ctx context.Context, p *pod, cfg runtime.ContainerConfig) (runtime.ContainerStatus, error) {
	r.mu.Lock()
	found, last := p.find(cfg.Name, cfg.Attempt), p.newest(cfg.Name)
	ready := p.sandboxStatus().Ready && !p.removing
	sandbox := p.sandboxRecord
	var st runtime.ContainerStatus
	if found != nil {
		st = found.status()
	}
	busy := last != nil && last != found && last.State == runtime.Running
	unborn := !p.born && sandboxFlags(sandbox.Config) != 0
	r.mu.Unlock()
	switch {
	case found != nil:
		return st, nil
	case !ready:
		return st, runtime.ErrSandboxGone
	case busy:
		return st, errors.New("an earlier attempt runs still")
	}
	s, err := r.prepareStart(ctx, sandbox, cfg)
	if err != nil {
		return st, err
	}
	defer s.close()
	if s.target, err = r.targetOf(p, cfg.Target); err != nil {
		return st, err
	}
	if unborn {
		if err := r.bear(ctx, p, s); err != nil {
			return st, err
		}
	}
	return r.start(ctx, p, s)
}

// targetOf is the keeper's name of a running container, "" for none.
func (r *Runtime) targetOf(p *pod, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if v := r.client().Info().Version; v < client.VersionTarget {
		return "", createError("join the processes of container "+name, fmt.Errorf("the keeper is of an earlier version: %w", runtime.ErrNotSupported))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := p.newest(name)
	if c == nil || c.State != runtime.Running {
		return "", createError("join the processes of container "+name, errors.New("it does not run"))
	}
	return c.keeperID(p.uid), nil
}

// start is one start of a container under way.
type start struct {
	sandbox sandboxRecord
	c       *container
	image   runtime.Image
	in      programInput
	group   *cgroup.Group
	target  string // the keeper's name of the container whose pid namespace it joins; "" for none
	// layers are those of the pod's volumes that are images, by volume.
	layers map[string][]string
	files  []*os.File
	held   []interface{ Close() error }
}

func (s *start) close() {
	for _, h := range s.held {
		_ = h.Close()
	}
}

// prepareStart decides all that can be decided without touching the machine.
func (r *Runtime) prepareStart(ctx context.Context, sandbox sandboxRecord, cfg runtime.ContainerConfig) (*start, error) {
	image, err := r.opts.Images.Image(ctx, firstOf(cfg.ImageID, cfg.Image))
	if err != nil {
		return nil, err
	}
	sec := cfg.Security
	if g := sandbox.Config.FSGroup; g != nil {
		sec.SupplementalGroups = append(append([]int64{}, sec.SupplementalGroups...), *g)
	}
	user, err := security.LookupUser(image.Layers, image.Config.User, sec)
	if err != nil {
		return nil, &runtime.StartError{Reason: runtime.ReasonConfigError, Step: "decide the user", Err: err}
	}
	if err := checkMapped(user, sandbox.IDBase); err != nil {
		return nil, err
	}
	caps, err := security.Capabilities(cfg.Security)
	if err != nil {
		return nil, &runtime.StartError{Reason: runtime.ReasonConfigError, Step: "decide the capabilities", Err: err}
	}
	filter, err := r.filter(cfg.Security, caps)
	if err != nil {
		return nil, err
	}
	hostname, err := r.hostname(sandbox.Config)
	if err != nil {
		return nil, err
	}
	input := specInput{
		sandbox: sandbox.Config, container: cfg, image: image.Config, user: user, caps: caps,
		idBase: sandbox.IDBase, hostname: hostname, openFiles: r.openFiles,
	}
	if cfg.Security.Privileged {
		input.hostDevices = hostDevices()
	}
	spec, err := buildSpec(input)
	if err != nil {
		return nil, err
	}
	c := newContainer()
	c.containerRecord = containerRecord{
		Config: cfg, ImageID: image.ID, State: runtime.Created, Process: spec.Process, Caps: caps,
		LogPath: filepath.Join(r.dirs.podLogs(sandbox.Config.Namespace, sandbox.Config.Name, sandbox.Config.UID), cfg.Name, fmt.Sprintf("%d.log", cfg.Attempt)),
	}
	fifo, inputEnds := "", cfg.Stdin && cfg.StdinOnce && !cfg.TTY && r.client().Info().Version >= client.VersionInput
	if cfg.Stdin && !cfg.TTY && !inputEnds {
		fifo = r.dirs.fifo(sandbox.Config.UID, c.at(), "in")
	}
	layers, err := r.volumeLayers(ctx, sandbox.Config)
	if err != nil {
		return nil, err
	}
	return &start{sandbox: sandbox, c: c, image: image, layers: layers, in: programInput{
		spec: spec, caps: caps, filter: filter, idBase: sandbox.IDBase, input: fifo,
		inputEnds: inputEnds, root: r.dirs.root(), layers: image.Layers, skeleton: r.dirs.skeleton(), ownDirs: ownDirs(image.Config.Volumes, spec.Mounts, cfg.Mounts),
		joinIPC: !sandbox.Config.HostIPC, joinNet: !sandbox.Config.HostNetwork, joinUTS: !sandbox.Config.HostNetwork,
	}}, nil
}

// volumeLayers finds the images that a pod has as volumes.
func (r *Runtime) volumeLayers(ctx context.Context, cfg runtime.SandboxConfig) (map[string][]string, error) {
	layers := map[string][]string{}
	for _, v := range cfg.Volumes {
		if v.Image == "" {
			continue
		}
		image, err := r.opts.Images.Image(ctx, v.Image)
		if err != nil {
			return nil, fmt.Errorf("cannot find the image of volume %q: %w", v.Name, err)
		}
		layers[v.Name] = image.Layers
	}
	return layers, nil
}

// checkMapped refuses ids that a pod's user namespace does not have.
func checkMapped(u security.User, base uint32) error {
	if base == 0 {
		return nil
	}
	for _, id := range append([]uint32{u.UID, u.GID}, u.Groups...) {
		if id >= idRangeSize {
			return configError("run as id %d: the pod's user namespace has only ids below %d", id, idRangeSize)
		}
	}
	return nil
}

// start records, acts, and confirms.
func (r *Runtime) start(ctx context.Context, p *pod, s *start) (_ runtime.ContainerStatus, err error) {
	uid, c := p.uid, s.c
	if err := writeRecord(r.dirs.record(uid, c.at()), c.containerRecord); err != nil {
		return runtime.ContainerStatus{}, err
	}
	r.mu.Lock()
	p.add(c)
	r.mu.Unlock()
	defer func() {
		if err != nil && c.State == runtime.Created {
			err = r.undoStart(context.WithoutCancel(ctx), p, c, err)
		}
	}()
	if err := r.makeContainer(ctx, uid, s); err != nil {
		return runtime.ContainerStatus{}, err
	}
	prog, err := compileContainer(s.in)
	if err != nil {
		return runtime.ContainerStatus{}, createError("lay out the start", err)
	}
	req := r.startRequest(ctx, uid, s)
	req.Program = prog
	started, err := r.client().Start(ctx, req)
	if err != nil && s.in.birth.failed(err) {
		return runtime.ContainerStatus{}, r.stillborn(p, err)
	}
	if err != nil {
		return r.notStarted(p, c, err)
	}
	r.mu.Lock()
	p.born = p.born || s.in.birth != nil
	c.State, c.PID, c.StartTicks, c.StartedAt = runtime.Running, started.PID, started.StartTicks, started.At
	st, rec := c.status(), c.containerRecord
	r.mu.Unlock()
	if err := writeRecord(r.dirs.record(uid, c.at()), rec); err != nil {
		return st, err
	}
	r.nameNetNS(p)
	r.events.tell(uid)
	return st, nil
}

func (r *Runtime) startRequest(ctx context.Context, uid string, s *start) client.StartRequest {
	c := s.c
	req := client.StartRequest{
		ID: c.keeperID(uid), Flags: unix.CLONE_NEWNS, CgroupDir: s.group.Dir(), TTY: c.Config.TTY,
		Log:      r.log(uid, s.sandbox, c),
		ExitPath: r.dirs.exit(uid, c.at()), Input: s.in.inputEnds,
	}
	if sandboxFlags(s.sandbox.Config) != 0 {
		req.Sandbox = uid
	}
	switch {
	case s.sandbox.Config.HostPID || s.sandbox.Config.SharePID:
	case s.target != "":
		req.Target = s.target
	default:
		req.Flags |= unix.CLONE_NEWPID
	}
	for _, f := range s.files {
		req.Files = append(req.Files, int(f.Fd()))
	}
	if s.in.birth != nil {
		req.Namespaces = sandboxFlags(s.sandbox.Config)
		if s.sandbox.IP != "" {
			req.Attach = func(netns *os.File) error { return r.attach(ctx, netns, s.sandbox) }
		}
	}
	return req
}

// log says where the output of a container goes.
func (r *Runtime) log(uid string, sandbox sandboxRecord, c *container) client.Log {
	l := client.Log{Path: c.LogPath, Owner: sandbox.IDBase + c.Process.User.UID}
	if !c.Config.TTY {
		l.Stdout, l.Stderr = r.dirs.fifo(uid, c.at(), "out"), r.dirs.fifo(uid, c.at(), "err")
	}
	return l
}

// notStarted records a container whose program could not be executed as ended.
func (r *Runtime) notStarted(p *pod, c *container, cause error) (runtime.ContainerStatus, error) {
	err := startError(cause)
	var start *runtime.StartError
	if !errors.As(err, &start) {
		return runtime.ContainerStatus{}, err
	}
	r.mu.Lock()
	now := r.opts.Now()
	c.State, c.StartedAt, c.FinishedAt, c.ExitCode = runtime.Exited, now, now, runtime.CannotStartExitCode
	c.Reason, c.Message = start.Reason, start.Error()
	st, rec := c.status(), c.containerRecord
	r.mu.Unlock()
	c.end()
	r.events.tell(p.uid)
	return st, errors.Join(err, writeRecord(r.dirs.record(p.uid, c.at()), rec))
}

// undoStart removes what was made for a container that did not come to be. Where that fails the container counts as ended, so that it is
// removed like any other.
func (r *Runtime) undoStart(ctx context.Context, p *pod, c *container, cause error) error {
	err := r.cgroups.Group(p.uid, c.Config.Name).Kill()
	if err == nil {
		err = r.forget(ctx, p, c)
	}
	if err == nil {
		return cause
	}
	r.mu.Lock()
	now := r.opts.Now()
	c.State, c.StartedAt, c.FinishedAt, c.ExitCode = runtime.Exited, now, now, runtime.CannotStartExitCode
	c.Reason, c.Message = runtime.ReasonCreateError, cause.Error()
	rec := c.containerRecord
	r.mu.Unlock()
	c.end()
	return errors.Join(cause, err, writeRecord(r.dirs.record(p.uid, c.at()), rec))
}

// SignalContainer implements runtime.Containers.
func (r *Runtime) SignalContainer(ctx context.Context, uid, name string, signal int) error {
	r.settle(uid)
	c, err := r.newestOf(uid, name)
	if err != nil || c == nil {
		return err
	}
	err = r.client().Signal(ctx, c.keeperID(uid), unix.Signal(signal))
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return fmt.Errorf("cannot signal container %q of pod %s: %w", name, uid, err)
	}
	return nil
}

// KillContainer implements runtime.Containers.
func (r *Runtime) KillContainer(_ context.Context, uid, name string) error {
	c, err := r.newestOf(uid, name)
	if err != nil || c == nil {
		return err
	}
	if err := r.cgroups.Group(uid, name).Kill(); err != nil {
		return fmt.Errorf("cannot kill container %q of pod %s: %w", name, uid, err)
	}
	return nil
}

// newestOf is the last attempt of a container if it runs, nil if it has ended.
func (r *Runtime) newestOf(uid, name string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[uid]
	if p == nil {
		return nil, notFound("pod %s", uid)
	}
	c := p.newest(name)
	if c == nil {
		return nil, notFound("container %q of pod %s", name, uid)
	}
	if c.State == runtime.Exited {
		return nil, nil //nolint:nilnil // ended is no error, and nothing to act on
	}
	return c, nil
}
