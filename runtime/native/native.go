// Package native is berth's own runtime: sandboxes and containers made of namespaces, cgroups and overlay mounts.
//
// It prepares and the keeper acts. What a container needs is laid out here as a list of system calls (a program), with the volumes
// opened as mount trees that exist as descriptors only; the keeper clones a child that runs the list and becomes the container. So a
// container outlives this process, and nothing of it is ever mounted on the machine itself.
//
// Everything is recorded before it is done, below the run directory, one directory per pod. What is on the machine without a record, or
// in a record without being on the machine, is the trace of a crash: Open takes back what lives and removes the rest.
package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/runtime"
	"berth/runtime/cgroup"
	"berth/runtime/internal/sys"
	"berth/runtime/keeper/client"
	"berth/runtime/proxy/table"
)

var (
	_ runtime.Pods       = (*Runtime)(nil)
	_ runtime.Containers = (*Runtime)(nil)
	_ runtime.Executor   = (*Runtime)(nil)
	_ runtime.Events     = (*Runtime)(nil)
	_ runtime.Volumes    = (*Runtime)(nil)
)

// Network gives pods their addresses. A pod's interface lives as long as its network namespace.
type Network interface {
	Allocate(uid string) (netip.Addr, error)
	Reserve(uid string, addr netip.Addr) error
	Release(uid string)
	// Address6 is the IPv6 address that goes with one of IPv4; zero when pods have none.
	Address6(addr netip.Addr) netip.Addr
	// Attach makes the interface; without addr6, which is an Address6, with IPv4 alone.
	Attach(ctx context.Context, netns *os.File, uid string, addr, addr6 netip.Addr) error
	// Rejoin connects the interfaces of the pods that have been reserved, where something of the network was removed.
	Rejoin(ctx context.Context) error
}

// Images finds unpacked images.
type Images interface {
	Image(ctx context.Context, ref string) (runtime.Image, error)
}

// Options of Open. StateDir, RunDir, Binary, Images and Cgroups are required.
type Options struct {
	// StateDir holds writable layers, volumes and logs; RunDir what a reboot may forget. Both are absolute.
	StateDir, RunDir string
	// Binary is started as the keeper when none serves RunDir.
	Binary string
	Images Images
	// Network is nil for pods with nothing but a loopback interface.
	Network Network
	Cgroups *cgroup.Tree
	// Services is nil for a machine whose Services have no addresses.
	Services Services
	// DNS is where the proxy answers names; the zero value for nowhere.
	DNS table.DNS
	// NetNSPrefix begins the names under which ip-netns(8) finds the networks of pods: PREFIX-NAMESPACE-NAME; "" for no names.
	NetNSPrefix string
	// Now is the clock; nil for the machine's.
	Now func() time.Time
	// Upgrade makes a keeper of another build execute Binary in its place; containers do not notice.
	Upgrade bool
	// Report is told what went wrong where nobody waits for an answer; nil for nobody.
	Report func(error)
}

// Runtime runs pods on this machine. It is safe for concurrent use.
type Runtime struct {
	opts Options
	dirs layout

	cgroups   *cgroup.Tree
	hierarchy []hierarchy
	openFiles uint64
	filters   filterCache
	idmaps    idmapProbe

	// stop ends the background work, of which work waits for all.
	stop context.CancelFunc
	work sync.WaitGroup

	events hub
	ends   endQueue
	erased atomic.Int64 // pods, since the start

	routing sync.Mutex // guards what follows, and the table
	// proxied: there was something for a proxy to do once, so one runs.
	proxied bool
	// names is where the proxy answers for names.
	names netip.AddrPort

	mu sync.Mutex // guards what follows
	// keeper is replaced when it dies.
	keeper *client.Client
	pods   map[string]*pod
	// making holds pods that have no record yet.
	making map[string]*pod
	// ids are the ranges of user namespaces in use, by their first id.
	ids map[uint32]string
}

// Open makes itself ready to run pods and takes back those that an earlier controller has left: what lives goes on, what has ended
// meanwhile is found ended, and the traces of a crash are removed. ctx is for opening only.
func Open(ctx context.Context, opts Options) (*Runtime, error) {
	if opts.Now == nil {
		opts.Now = time.Now //nolint:forbidigo // the default of an injected clock
	}
	if opts.Report == nil {
		opts.Report = func(error) {}
	}
	r := &Runtime{
		opts: opts, dirs: layout{state: opts.StateDir, run: opts.RunDir}, cgroups: opts.Cgroups,
		pods: map[string]*pod{}, making: map[string]*pod{}, ids: map[uint32]string{}, events: newHub(), ends: newEndQueue(),
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	k, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	r.keeper = k
	if err := r.adopt(ctx); err != nil {
		_ = r.keeper.Close()
		return nil, err
	}
	r.nameAllNetNS()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	r.work.Go(func() { r.recordEnds(background) })
	r.work.Go(func() { r.watchKeeper(background) })
	return r, nil
}

// prepare makes the directories and looks at the machine.
func (r *Runtime) prepare() error {
	err := makeDirs(r.dirs.run, r.dirs.root(), r.dirs.runPods(), r.dirs.state, r.dirs.statePods(), r.dirs.containers(), r.dirs.logs())
	if err != nil {
		return err
	}
	if err := makeSkeleton(r.dirs.skeleton()); err != nil {
		return err
	}
	if err := r.forgetOtherBoot(); err != nil {
		return err
	}
	if r.hierarchy, err = readHierarchies(); err != nil {
		return err
	}
	if r.openFiles, err = sys.OpenFilesLimit(); err != nil {
		return fmt.Errorf("cannot look up limits: %w", err)
	}
	if err := r.cgroups.Ensure(); err != nil {
		return fmt.Errorf("cannot prepare cgroups: %w", err)
	}
	return nil
}

// forgetOtherBoot drops all records when they are of another boot of the machine: none of their processes exists.
func (r *Runtime) forgetOtherBoot() error {
	boot, err := sys.BootID()
	if err != nil {
		return fmt.Errorf("cannot identify this boot: %w", err)
	}
	recorded, err := os.ReadFile(r.dirs.bootID())
	if err == nil && string(recorded) == boot {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot identify recorded boot: %w", err)
	}
	if err := errors.Join(removeTree(r.dirs.runPods()), table.Remove(r.dirs.run)); err != nil {
		return err
	}
	if err := makeDirs(r.dirs.runPods()); err != nil {
		return err
	}
	if err := os.WriteFile(r.dirs.bootID(), []byte(boot), 0o600); err != nil {
		return fmt.Errorf("cannot record this boot: %w", err)
	}
	return nil
}

// Close ends the background work and the connection to the keeper. Pods go on.
func (r *Runtime) Close() error {
	r.stop()
	err := r.client().Close()
	r.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Shutdown is Close, and ends the keeper and removes all groups and records of this instance as well. It is for when no pod is left:
// containers that still run are killed.
func (r *Runtime) Shutdown(ctx context.Context) error {
	r.stop()
	err := r.client().Shutdown(ctx, true)
	if errors.Is(err, client.ErrKeeperGone) {
		err = nil
	}
	err = errors.Join(err, r.Close(), r.removeGroups(ctx))
	r.sweepNetNSNames(nil)
	for _, path := range []string{r.dirs.runPods(), r.dirs.root(), r.dirs.bootID()} {
		err = errors.Join(err, removeTree(path))
	}
	return errors.Join(err, table.Remove(r.dirs.run))
}

// quietEnd is how long a keeper has to end by itself: it takes some milliseconds.
const quietEnd = 2 * time.Second

// removeGroups removes the groups of the instance. A keeper that has lost its directory, and so hears nothing, lives on in them with its proxy: it is killed.
func (r *Runtime) removeGroups(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, quietEnd)
	defer cancel()
	if r.cgroups.Remove(soon) == nil {
		return nil
	}
	return errors.Join(r.cgroups.Kill(), r.cgroups.Remove(ctx))
}

// List implements runtime.Pods.
func (r *Runtime) List(context.Context) ([]runtime.PodStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]runtime.PodStatus, 0, len(r.pods))
	for _, p := range r.pods {
		list = append(list, p.status())
	}
	slices.SortFunc(list, func(a, b runtime.PodStatus) int { return strings.Compare(a.UID, b.UID) })
	return list, nil
}

// Status implements runtime.Pods.
func (r *Runtime) Status(_ context.Context, uid string) (runtime.PodStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[uid]
	if p == nil {
		return runtime.PodStatus{}, notFound("pod %s", uid)
	}
	return p.status(), nil
}

// pod returns a pod to act on, or nil.
func (r *Runtime) pod(uid string) *pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pods[uid]
}

func (r *Runtime) client() *client.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keeper
}

// hostDevices lists the machine's device nodes, for privileged containers.
func hostDevices() []specs.LinuxDevice { return listDevices("/dev") }
