// Package daemon wires berth together: it alone knows the concrete runtime, source and stores, and joins them to a controller.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/go-logr/logr"

	"berth/controller"
	"berth/controller/api"
	"berth/controller/api/stream"
	"berth/manifests"
	"berth/reconcile/pod"
	"berth/runtime/acme"
	"berth/runtime/cgroup"
	"berth/runtime/footprint"
	"berth/runtime/image"
	"berth/runtime/logs"
	"berth/runtime/native"
	"berth/runtime/network"
	"berth/runtime/proxy/table"
)

// Options say where a berth lives and how it behaves.
type Options struct {
	StateDir, RunDir string
	// Binary is this program: it is started again as the keeper.
	Binary string
	// Registries is the registries file; one that does not exist is none.
	Registries string
	// PodCIDR is the range of pod addresses; zero means the kept one, or one that is free.
	PodCIDR netip.Prefix
	// ServiceCIDR is the range of the addresses of Services, likewise.
	ServiceCIDR netip.Prefix
	// IPv6 gives pods and Services addresses of IPv6, too, of PodCIDR6 and ServiceCIDR6, likewise. A daemon without Source leaves that as it was.
	IPv6                   bool
	PodCIDR6, ServiceCIDR6 netip.Prefix
	// ACMEDirectory is the address of who issues certificates for Ingresses, and ACMEEmail who is told of them; "" for nobody.
	ACMEDirectory, ACMEEmail string
	// Forwarders are whose connections tell by the PROXY protocol whom they forward.
	Forwarders []netip.Prefix
	// AllowFirewall opens what the machine's firewall cuts of pods' paths.
	AllowFirewall bool
	PruneDelay    time.Duration
	AllowPrune    bool
	Source        manifests.Source
	Log           logr.Logger
	// APIGroup may use the Kubernetes API, and so everything; "" for its owner alone.
	APIGroup string
	// Version is berth's own, as clients of the API are told.
	Version string
}

// Daemon is a berth that holds the locks of its two directories.
type Daemon struct {
	Controller *controller.Controller
	Images     *image.Store
	Runtime    *native.Runtime
	// API answers kubectl. Handlers may be entered until Run.
	API *api.Server

	opts    Options
	lock    *Lock
	runLock *Lock
	id      string
	network *network.Network
	cgroups *cgroup.Tree
	streams *stream.Handler
	logs    logs.Watcher
}

// Open takes everything over that an earlier berth of the same directories left. lock is from Acquire or StopRunning and belongs to the
// daemon from now on, also when Open fails.
func Open(ctx context.Context, lock *Lock, opts Options) (_ *Daemon, err error) {
	d := &Daemon{opts: opts, lock: lock}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	// What containers see gets the modes that are asked for, whatever the umask of the caller was; what is private says so itself.
	syscall.Umask(0o022)
	if d.runLock, err = acquireRun(ctx, opts.RunDir); err != nil {
		return nil, err
	}
	if d.id, err = InstanceID(opts.StateDir, opts.RunDir); err != nil {
		return nil, err
	}
	if d.Images, err = image.Open(image.Options{StateDir: opts.StateDir, Registries: opts.Registries, InUse: d.imagesInUse}); err != nil {
		return nil, err
	}
	if d.cgroups, err = cgroup.Open(d.id); err != nil {
		return nil, err
	}
	if d.network, err = network.Open(ctx, d.networkConfig()); err != nil {
		return nil, err
	}
	if d.Runtime, err = native.Open(ctx, native.Options{
		StateDir: opts.StateDir, RunDir: opts.RunDir, Binary: opts.Binary, Images: d.Images, Network: d.network, Cgroups: d.cgroups,
		Services: d.network, DNS: d.names(), NetNSPrefix: "berth-" + d.id, Upgrade: opts.Source != nil, Report: d.complain,
	}); err != nil {
		return nil, err
	}
	d.Controller, err = controller.New(controller.Options{
		Pods: d.Runtime, Containers: d.Runtime, Executor: d.Runtime, Dialer: d.Runtime, Events: d.Runtime, Images: d.Images, Volumes: d.Runtime, Meter: d.Runtime,
		Router: d.Runtime, Forwarders: opts.Forwarders, ServiceCIDR: d.network.ServiceCIDR(), ServiceCIDR6: d.network.ServiceCIDR6(), Judge: d.network, ClusterDNS: d.network.ClusterDNS(),
		Certificates: acme.Open(acme.Options{
			Dir: filepath.Join(opts.StateDir, certificatesDir), Directory: opts.ACMEDirectory, Email: opts.ACMEEmail, Agent: "berth/" + opts.Version,
		}),
		Source: opts.Source, StateDir: opts.StateDir, Log: opts.Log, PruneDelay: opts.PruneDelay, AllowPrune: opts.AllowPrune,
		Node: d.node(), NodeStatus: d.nodeStatus,
	})
	if err != nil {
		return nil, err
	}
	d.API = d.newAPI() //nolint:contextcheck // it is made here, and asked with the contexts of requests
	d.streams = d.newStreams()
	return d, nil
}

// certificatesDir is where certificates that were issued are kept, below the state directory, with the keys of the accounts.
const certificatesDir = "acme"

// complain logs what of the machine does not work.
func (d *Daemon) complain(err error) { d.opts.Log.Error(err, "machine") }

func (d *Daemon) networkConfig() network.Config {
	return network.Config{
		ID: d.id, StateDir: d.opts.StateDir, PodCIDR: d.opts.PodCIDR, ServiceCIDR: d.opts.ServiceCIDR, AllowFirewall: d.opts.AllowFirewall,
		IPv6: d.opts.IPv6, PodCIDR6: d.opts.PodCIDR6, ServiceCIDR6: d.opts.ServiceCIDR6, IPv6AsKept: d.opts.Source == nil,
	}
}

// Warnings are what this machine cannot enforce.
func (d *Daemon) Warnings() []string {
	return append(d.cgroups.Warnings(), d.network.Warnings()...)
}

// Run works until ctx ends; what runs goes on running.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	runs := []func(context.Context) error{
		d.Controller.Run,
		func(ctx context.Context) error {
			return serveControl(ctx, d.opts.RunDir, controlled{d.Controller, d.Warnings})
		},
		d.serveAPI,
		d.streams.Run,
		func(ctx context.Context) error { return d.network.Run(ctx, d.complain) },
	}
	errs := make([]error, len(runs))
	for i, run := range runs {
		group.Go(func() {
			defer cancel()
			errs[i] = run(ctx)
		})
	}
	footprint.Tend(leastGarbage)
	notifySystemd(daemon.SdNotifyReady)
	<-ctx.Done()
	notifySystemd(daemon.SdNotifyStopping)
	group.Wait()
	return errors.Join(errs...)
}

// leastGarbage is how much may be thrown away between two collections however little is in use: with less, a start of many pods would collect all the time.
const leastGarbage = 6 << 20

// Close lets go of the machine; what runs goes on running.
func (d *Daemon) Close() {
	if d.Runtime != nil {
		_ = d.Runtime.Close() // the machine keeps what it has
	}
	_ = d.logs.Close() // an inotify descriptor: nothing can be lost
	if d.network != nil {
		_ = d.network.Close()
	}
	if d.Images != nil {
		_ = d.Images.Close()
	}
	if d.runLock != nil {
		d.runLock.Release()
	}
	d.lock.Release()
}

// imagesInUse are the images that containers run from.
func (d *Daemon) imagesInUse() map[string]bool {
	if d.Runtime == nil {
		return native.ImagesInUse(d.opts.RunDir)
	}
	used := map[string]bool{}
	pods, err := d.Runtime.List(context.Background()) // answers from memory
	if err != nil {
		return native.ImagesInUse(d.opts.RunDir)
	}
	for _, p := range pods {
		for _, c := range p.Containers {
			used[c.ImageID] = true
		}
	}
	return used
}

// notifySystemd tells the service manager, when there is one.
func notifySystemd(state string) {
	_, _ = daemon.SdNotify(false, state) // no socket: not started by systemd
}

// node is this machine as pods see it.
func (d *Daemon) node() pod.Node {
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	disk, _ := diskOf(d.opts.StateDir)
	return pod.Node{
		Name: strings.ToLower(name), HostIP: hostIP(), HostIP6: d.hostIP6(), CPUs: goruntime.NumCPU(), Memory: memory(), Disk: disk, DNS: network.ResolvConf(),
		ClusterDNS: d.network.ClusterDNS().String(), ClusterDomain: clusterDomain,
	}
}

// clusterDomain is what the names of Services end in, as everywhere by default.
const clusterDomain = "cluster.local"

// names is where and how the proxy answers for them.
func (d *Daemon) names() table.DNS {
	return table.DNS{
		Address: d.network.Gateway(), ClusterIP: d.network.ClusterDNS(), Domain: clusterDomain,
		PodCIDR: d.network.PodCIDR(), ServiceCIDR: d.network.ServiceCIDR(), PodCIDR6: d.network.PodCIDR6(), ServiceCIDR6: d.network.ServiceCIDR6(),
	}
}

// hostIP is the address this machine uses towards others.
func hostIP() string {
	return cmp.Or(ownAddress("192.0.2.1:9"), "127.0.0.1") // TEST-NET-1 (RFC 5737)
}

// hostIP6 is that of IPv6, on a machine whose pods have some; "" for none.
func (d *Daemon) hostIP6() string {
	if !d.network.PodCIDR6().IsValid() {
		return ""
	}
	return ownAddress("[2001:db8::1]:9") // for documentation (RFC 3849)
}

// ownAddress is the machine's address on the way to another, found without sending anything: connect(2) only asks the routing table. "" where no way leads.
func ownAddress(to string) string {
	conn, err := net.Dial("udp", to)
	if err != nil {
		return ""
	}
	defer conn.Close()
	addr, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || addr.IP.IsLinkLocalUnicast() {
		return ""
	}
	return addr.IP.String()
}

func memory() int64 {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
