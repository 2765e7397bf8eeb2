// Package controller is the one place where things happen. It keeps the wish of a source and the facts of the machine, lets the planners
// compare them, and executes what they plan, again and again until nothing is left to do.
//
//	source ──snapshot──► ingest ──► store ──key──► queue ──► worker: gather → Plan → execute ──► store, runtime
//	runtime ──event────► observe ──────────key──────┘                                               │
//	      └──────────────────────────────── level-triggered: every effect comes back as a key ◄─────┘
//
// It may be killed at any moment. Wishes and ReplicaSets are in the journal of its store before anything acts on them; a Pod is carried by
// its sandbox. What has neither is planned again.
package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"berth/controller/probe"
	"berth/controller/queue"
	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// Judgements about time.
const (
	// DefaultPruneDelay is how long an object must be absent: longer than an editor or `git checkout` needs to write it again.
	DefaultPruneDelay = 2 * time.Second
	// secondLook is the first full look after the start: it finds what happened between listing the machine and listening to it.
	secondLook = 5 * time.Second
	// fullEvery is how often everything is looked at without a reason.
	fullEvery = 10 * time.Minute
	// firstSnapshot is how long workers wait for the source at start: what runs must be looked after also when a directory hangs.
	firstSnapshot = 2 * time.Second
	// stopWait is how long Run waits for passes under way when it is to end; the promise is 5 s in all.
	stopWait = 4 * time.Second
	// ownerPause collects what happens to the pods of one owner before the owner is looked at: a pass over n pods costs n.
	ownerPause = 5 * time.Millisecond
	// eventsPause is the pause before listening to the runtime again after it broke off.
	eventsPause = time.Second
	// stuckAfter is the number of failures in a row that are no race any more: with the queue's pauses about a second.
	stuckAfter = 8
	// sourcePause is the pause before following a source again that failed.
	sourcePause = 10 * time.Second
	// defaultWorkers is the number of passes at a time. Starts of containers wait for the kernel more than they compute.
	defaultWorkers = 4
)

// Options of a controller. Pods, Containers, Executor, Dialer, Events, Images are required.
type Options struct {
	Pods       runtime.Pods
	Containers runtime.Containers
	Executor   runtime.Executor // of probes and hooks, as Dialer
	Dialer     runtime.Dialer
	Events     runtime.Events
	Images     runtime.Images
	// Meter measures what pods use; nil for a machine that cannot.
	Meter runtime.Meter
	// Volumes keeps the data of claims; nil for a machine that cannot.
	Volumes runtime.Volumes
	// Router directs connections to pods; nil for a machine without Services.
	Router runtime.Router
	// Forwarders are whose connections tell by the PROXY protocol whom they forward.
	Forwarders []netip.Prefix
	// Judge judges connections of pods by NetworkPolicies; nil for a machine that cannot. ClusterDNS is what pods ask for names; zero for nobody.
	Judge      runtime.Judge
	ClusterDNS netip.Addr
	// Certificates has certificates issued for Ingresses; nil for a machine that cannot.
	Certificates runtime.Certificates
	// ServiceCIDR is the range of the addresses of Services, ServiceCIDR6 that of IPv6; zero on a machine whose pods have none.
	ServiceCIDR, ServiceCIDR6 netip.Prefix
	// NodeStatus describes the machine to clients of the Kubernetes API; nil for no Node object.
	NodeStatus func(context.Context) corev1.NodeStatus
	// Source gives the wish; nil to work with the last good objects only.
	Source manifests.Source
	// StateDir is where last good objects and revisions outlive a reboot, in the folder objects; "" for in memory only.
	StateDir string
	Clock    clock.WithDelayedExecution
	// Log is also put into the context of everything that runs.
	Log logr.Logger
	// PruneDelay is how long an object must be absent from the source; 0 means DefaultPruneDelay.
	PruneDelay time.Duration
	// AllowPrune consents to all removals: no fuse.
	AllowPrune bool
	// Workers is the number of passes at a time; 0 means 4.
	Workers int
	// Node is the machine as pods see it.
	Node pod.Node
	// NewUID makes the UIDs of objects; random ones by default.
	NewUID func() types.UID
	// Nonce makes the names of pods; random by default.
	Nonce func() uint64
	// Guard makes the store panic when a planner changes an object in place. For tests.
	Guard bool

	secondLook time.Duration // tests put it off, so that it hides nothing
}

// Controller makes the wish of a source true on a runtime.
type Controller struct {
	opts     Options
	store    *store.Store
	queue    *queue.Queue
	ingest   *ingest
	observed *observed
	images   *images
	events   *events
	diary    *diary
	memory   *memory
	lost     *lost
	// inhabited are the namespaces that objects are in.
	inhabited inhabited
	// references make due who uses a ConfigMap or a Secret that changes.
	references *references
	notify     *notifier
	mounts     *mounts
	holders    *holders
	turns      *turns
	disks      *disks
	scalers    *scalers
	traffic    *traffic
	policies   *policies
	room       *room
	planners   map[string]func(*Controller, context.Context, store.Item) (reconcile.Plan, error) // by kind
	started    time.Time
	asker      probe.Asker
	prober     *probe.Prober
	hooks      *hooks
	kinship    *kinship
	labelling  sync.Mutex // held while what a sandbox carries is changed
	evicting   sync.Mutex // held from asking the disruption budgets until a pod's end has begun

	certificates *certificates // those that an authority issues

	pulls   sync.WaitGroup
	keeping sync.Mutex // held while what is known of a pod is read and written down

	mu       sync.Mutex
	ready    bool // workers run: adoption and the first snapshot are done
	warnings []string
	failing  map[reconcile.Key]failure
}

// New opens the state and returns a controller that does nothing yet. Damage of the state is a warning in the status, never an error, even when
// nothing can be saved at all: what runs must be looked after.
func New(opts Options) (*Controller, error) {
	if opts.Pods == nil || opts.Containers == nil || opts.Executor == nil || opts.Dialer == nil || opts.Events == nil || opts.Images == nil {
		return nil, errors.New("cannot make a controller: it needs a whole runtime")
	}
	opts = withDefaults(opts)
	c := &Controller{opts: opts, started: opts.Clock.Now(), notify: newNotifier(), failing: map[reconcile.Key]failure{}}
	var dir string
	if opts.StateDir != "" {
		dir = filepath.Join(opts.StateDir, "objects")
	}
	s, err := store.Open(store.Options{Dir: dir, Clock: opts.Clock, NewUID: opts.NewUID, New: newObject, Warn: c.warn, Over: c.unwarn, Guard: opts.Guard})
	if err != nil {
		c.warn(fmt.Sprintf("cannot use %s: %v; nothing is remembered over a reboot", dir, err))
	}
	c.store = s
	c.queue = queue.New(opts.Clock)
	c.events = newEvents(opts.Clock, c.notify, s)
	c.inhabited.count, c.inhabited.ending = map[string]int{}, map[string]bool{}
	c.diary = newDiary(opts.Clock)
	c.observed = newObserved(opts.Pods)
	c.memory = newMemory()
	c.kinship = newKinship()
	c.lost = newLost()
	c.mounts = newMounts()
	c.holders = newHolders()
	c.turns = newTurns()
	c.disks = newDisks()
	c.scalers = newScalers()
	c.traffic = newTraffic()
	c.policies = &policies{}
	c.room = newRoom(opts.Node)
	c.certificates = newCertificates(opts.Certificates, c.warn)
	c.hooks = newHooks()
	c.asker = probe.Asker{Dialer: opts.Dialer, Executor: opts.Executor}
	c.prober = probe.New(probe.Options{Asker: c.asker, Clock: opts.Clock, Changed: c.verdictChanged, Event: c.events.add})
	c.images = newImages(opts.Images, opts.Clock, &c.pulls, c.queue.Add, c.notify)
	c.images.tell = c.events.steps.put
	c.references = newReferences(s, c.queue.Add, c.images.retry)
	c.ingest = newIngest(c)
	c.planners = make(map[string]func(*Controller, context.Context, store.Item) (reconcile.Plan, error))
	for _, p := range planners() {
		c.planners[p.kind] = p.plan
	}
	c.countNamespaces()
	s.Watch(c.changed)
	return c, nil
}

// Store has the objects. Whoever watches it must say so before Run.
func (c *Controller) Store() *store.Store { return c.store }

func withDefaults(o Options) Options {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.PruneDelay == 0 {
		o.PruneDelay = DefaultPruneDelay
	}
	if o.Workers == 0 {
		o.Workers = defaultWorkers
	}
	if o.secondLook == 0 {
		o.secondLook = secondLook
	}
	if o.Nonce == nil {
		o.Nonce = randomNonce
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	return o
}

func newObject(gvk schema.GroupVersionKind) (kruntime.Object, error) {
	obj, err := manifests.Scheme().New(gvk)
	if err != nil {
		return nil, fmt.Errorf("cannot make a %s: %w", gvk, err)
	}
	return obj, nil
}
