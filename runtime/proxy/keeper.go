package proxy

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/client"
)

// present turns to the keeper. Without one, or with one that does not answer, the proxy works all the same, and looks out for the next.
func (p *proxy) present(ctx context.Context, leaving bool) (*client.Client, map[string]*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, keeperPatience)
	defer cancel()
	k, err := client.Dial(ctx, p.runDir)
	if err != nil {
		return nil, nil, err
	}
	held, err := k.Serve(ctx, p.build, leaving)
	if err != nil {
		_ = k.Close() // the error before says more
		return nil, nil, err
	}
	return k, held, nil
}

// sayLeaving tells the keeper that this proxy has let go. That it is refused the sockets is the wish.
func (p *proxy) sayLeaving(ctx context.Context) { _, _, _ = p.present(ctx, true) }

// followKeeper gives the sockets to the keeper after this one, whenever there is one: an upgrade's, or the next after a killed one.
func (p *proxy) followKeeper(ctx context.Context, k *client.Client) {
	for {
		if k != nil {
			<-k.Done()
			p.sockets.SetKeeper(ctx, nil)
		}
		next, err := p.awaitKeeper(ctx)
		if errors.Is(err, client.ErrBusy) { // it has another proxy
			p.retire(ctx)
			return
		}
		if err != nil || p.isRetired() {
			return
		}
		k = next
		p.sockets.SetKeeper(ctx, k)
		_ = k.Serving(ctx) // one that has died is followed by another
	}
}

// How often a keeper that is not there is looked for, when nothing in the run directory changes: it is about to listen, or it is dead.
const (
	firstLook = 2 * time.Millisecond
	lastLook  = 300 * time.Millisecond
)

// awaitKeeper waits for a keeper. One makes its socket in the run directory: nothing wakes up before something changes there.
func (p *proxy) awaitKeeper(ctx context.Context) (*client.Client, error) {
	watch, err := newWatch(p.runDir)
	if err != nil {
		return nil, err
	}
	defer watch.Close()
	for {
		for pause := firstLook; pause < lastLook; pause *= 2 {
			k, held, err := p.present(ctx, p.isRetired())
			for _, f := range held { // what an upgraded keeper has are duplicates of ours
				f.Close()
			}
			if err == nil || errors.Is(err, client.ErrBusy) {
				return k, err
			}
			time.Sleep(pause)
		}
		if _, err := watch.Read(make([]byte, 4096)); err != nil {
			return nil, err
		}
	}
}

// newWatch is a file that can be read from when something is made in a directory.
func newWatch(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "watch"), nil
}
