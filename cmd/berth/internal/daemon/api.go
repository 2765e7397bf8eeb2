package daemon

import (
	"context"
	"net"
	"time"

	"berth/controller/api"
	"berth/manifests"
)

// newAPI joins what answers kubectl to the controller's store.
func (d *Daemon) newAPI() *api.Server {
	s := api.New(api.Options{
		Store: d.Controller.Store(), Log: d.opts.Log.WithName("api"), Version: d.opts.Version,
		RefreshNode: d.Controller.ShowNode,
	})
	files, _ := d.opts.Source.(manifests.Writer) // a source that is none is read-only
	s.HandleWrites(files, d.Controller)
	return s
}

// serveAPI answers kubectl on RUN-DIR/kube.sock and a loopback port until ctx ends. A port that cannot be had is no reason not to run.
func (d *Daemon) serveAPI(ctx context.Context) error {
	l, err := listenUnix(api.SocketPath(d.opts.RunDir))
	if err != nil {
		return err
	}
	listeners := []net.Listener{rootOnly{l}}
	if l, err := api.Listen(d.opts.RunDir, time.Now()); err == nil {
		listeners = append(listeners, l)
	} else {
		d.opts.Log.Error(err, "kubectl has no port: the Kubernetes API is on its socket only", "socket", api.SocketPath(d.opts.RunDir))
	}
	return d.API.Serve(ctx, listeners...)
}
