package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
)

// idmapProbe remembers whether this machine can show a pod the layers with its own ids.
type idmapProbe struct {
	mu    sync.Mutex
	known bool
	err   error
}

// haveIDMaps tries, once, what every start in a pod with a user namespace needs: an overlay over an idmapped directory of the state
// directory's file system. Linux can from 5.19 on. uid is a pod whose user namespace the keeper holds.
func (r *Runtime) haveIDMaps(ctx context.Context, uid string, base uint32) error {
	r.idmaps.mu.Lock()
	defer r.idmaps.mu.Unlock()
	if r.idmaps.known {
		return r.idmaps.err
	}
	err := r.probeIDMaps(ctx, uid, base)
	var step *client.StepError
	switch {
	case err == nil:
	case errors.As(err, &step) && step.Errno != 0:
		err = fmt.Errorf("cannot use a user namespace: it needs Linux 5.19 and a state directory on a file system that can show files with other ids (%v): %w",
			err, runtime.ErrNotSupported)
	default:
		return err // the probe itself failed: ask again
	}
	r.idmaps.known, r.idmaps.err = true, err
	return err
}

// probeIDMaps runs the first steps of a start, up to the overlay, in a child that ends there.
func (r *Runtime) probeIDMaps(ctx context.Context, uid string, base uint32) (err error) {
	dir := r.dirs.container(uid, "probe")
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := makeDirs(upper, work); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeTree(dir)) }()
	for _, d := range []string{upper, work} {
		if err := os.Lchown(d, int(base), int(base)); err != nil {
			return err
		}
	}
	c := &compiler{in: programInput{
		idBase: base, root: r.dirs.root(), layers: []string{filepath.Join(r.dirs.skeleton(), "etc")}, upper: upper, work: work,
	}}
	c.Call("make all mounts private", unix.SYS_MOUNT, program.Imm(0), c.String("/"), program.Imm(0), program.Imm(unix.MS_REC|unix.MS_PRIVATE))
	if err := c.rootfs(); err != nil {
		return err
	}
	c.Call(probeEnd, program.NRExit, program.Imm(0))
	id := uid + "/probe/0"
	_, err = r.client().Start(ctx, client.StartRequest{ID: id, Sandbox: uid, Flags: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Program: &c.Builder})
	var step *client.StepError
	if errors.As(err, &step) && step.Errno == 0 && step.Signal == 0 && !step.TimedOut {
		return nil // the child has ended where it should
	}
	return err
}

// probeEnd is the last step of a probe.
const probeEnd = "end the probe"
