package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"berth/controller/api"
	"berth/manifests"
	"berth/runtime/rootsocket"
)

// newAPI joins what answers kubectl to the controller's store.
func (d *Daemon) newAPI() *api.Server {
	s := api.New(api.Options{
		Store: d.Controller.Store(), Log: d.opts.Log.WithName("api"), Version: d.opts.Version,
		RefreshNode: d.Controller.ShowNode, Meter: meter{d.Runtime},
	})
	files, _ := d.opts.Source.(manifests.Writer) // a source that is none is read-only
	s.HandleWrites(files, d.Controller)
	return s
}

// serveAPI answers kubectl on RUN-DIR/kube.sock and a loopback port until ctx ends. A port that cannot be had is no reason not to run.
func (d *Daemon) serveAPI(ctx context.Context) error {
	socket, err := rootsocket.Listen(api.SocketPath(d.opts.RunDir))
	if err != nil {
		return err
	}
	listeners := []net.Listener{socket}
	if l, err := api.Listen(d.opts.RunDir, time.Now()); err == nil {
		listeners = append(listeners, l)
	} else {
		d.opts.Log.Error(err, "kubectl has no port: the Kubernetes API is on its socket only", "socket", api.SocketPath(d.opts.RunDir))
	}
	if err := shareAPI(d.opts.RunDir, d.opts.APIGroup); err != nil {
		d.opts.Log.Error(err, "the Kubernetes API stays with its owner")
		listeners[0] = rootsocket.Only{Listener: socket}
	} else if d.opts.APIGroup == "" {
		listeners[0] = rootsocket.Only{Listener: socket}
	}
	listeners[0] = api.Bounded(listeners[0])
	return d.API.Serve(ctx, listeners...)
}

// shareAPI lets a group at the socket and the kubeconfig, and at nothing else in the directory; "" takes back what an earlier start has given.
func shareAPI(runDir, group string) error {
	gid, dir, socket, config := os.Getegid(), os.FileMode(0o700), os.FileMode(0o600), os.FileMode(0o600)
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("cannot use --api-group: %w", err)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return fmt.Errorf("cannot use --api-group: %w", err)
		}
		dir, socket, config = 0o710, 0o660, 0o640
	}
	for _, f := range []struct {
		path string
		mode os.FileMode
	}{{runDir, dir}, {api.SocketPath(runDir), socket}, {filepath.Join(runDir, api.Kubeconfig), config}} {
		err := errors.Join(os.Chown(f.path, -1, gid), os.Chmod(f.path, f.mode))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot share the Kubernetes API: %w", err)
		}
	}
	return nil
}
