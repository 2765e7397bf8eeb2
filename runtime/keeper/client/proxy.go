package client

import (
	"context"
	"errors"
	"fmt"
	"os"

	"berth/runtime/keeper/wire"
)

// VersionProxy is the version of the protocol from which a keeper looks after a proxy.
const VersionProxy = 3

// Proxy is what a keeper says of the proxy.
type Proxy struct {
	// PID is 0 while it waits before it starts another one, because several have died.
	PID   int
	Build string
	// Sockets is how many the keeper holds duplicates of.
	Sockets int
}

// Proxy makes sure that a proxy runs, now and from now on: the keeper restarts it. It does not wait until the proxy serves. The keeper must
// speak VersionProxy.
func (c *Client) Proxy(ctx context.Context) (Proxy, error) {
	var m wire.ProxyState
	file, err := c.do(ctx, wire.ProxyKind, nil, nil, &m)
	closeFile(file)
	return Proxy{PID: m.PID, Build: m.Build, Sockets: m.Sockets}, err
}

// Serve presents the calling process as the proxy and returns the sockets that it shall go on with, by name; they are the caller's.
// ErrBusy means that another one serves: this one is to let go of everything and end with its last connection. leaving says that it does so.
// What belongs to a proxy is for a process that the keeper has started, or that a keeper of the same directory had.
func (c *Client) Serve(ctx context.Context, build string, leaving bool) (_ map[string]*os.File, err error) {
	id, w, err := c.begin(wire.ServeKind, nil)
	if err != nil {
		return nil, err
	}
	defer c.forget(id)
	if err := c.send(wire.ServeKind, id, &wire.Serve{Build: build, Leaving: leaving}, nil); err != nil {
		return nil, err
	}
	held := map[string]*os.File{}
	defer func() {
		if err != nil {
			for _, f := range held {
				f.Close()
			}
		}
	}()
	for more := true; more; {
		var m wire.Held
		var files []*os.File
		select {
		case r := <-w.replies:
			if r.err != nil {
				return nil, r.err
			}
			wire.Decode(r.packet, &m)
			if r.file != nil {
				files = append(files, r.file)
			}
			files = append(files, r.more...)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.done:
			return nil, ErrKeeperGone
		}
		if len(files) != len(m.Names) {
			closeFiles(files)
			return nil, fmt.Errorf("cannot use %d sockets with %d names", len(files), len(m.Names))
		}
		for i, name := range m.Names {
			held[name] = files[i]
		}
		more = m.More
	}
	return held, nil
}

// Serving tells the keeper that the proxy accepts connections.
func (c *Client) Serving(ctx context.Context) error {
	return c.plain(ctx, wire.ServingKind, nil)
}

// Hold gives the keeper a duplicate of a socket: the proxy after this one goes on with it. The name takes the place of the one that had it.
func (c *Client) Hold(ctx context.Context, name string, fd int) error {
	file, err := c.do(ctx, wire.HoldKind, &wire.ID{ID: name}, []int{fd}, nil)
	closeFile(file)
	return err
}

// Drop lets the keeper close what it holds under a name; nothing is not an error.
func (c *Client) Drop(ctx context.Context, name string) error {
	return c.plain(ctx, wire.DropKind, &wire.ID{ID: name})
}

// ErrOld means that the keeper is of a berth that did not know this yet. It goes on until it is upgraded in place.
var ErrOld = errors.New("the keeper is of an older berth")
