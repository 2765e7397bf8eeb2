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
	"slices"
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

// failure is what went wrong in the last passes over a key, one after the other.
type failure struct {
	times int
	text  string
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

// Run works until ctx ends, and returns within 5 s after that. Everything that runs goes on running. It may be called once.
//
// The order at start keeps promises: the runtime is listened to before it is listed; pods are adopted before the first snapshot is read, and
// no worker decides anything before both are known.
func (c *Controller) Run(ctx context.Context) error {
	ctx = logr.NewContext(ctx, c.opts.Log)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { _ = c.store.Close() }()
	var group sync.WaitGroup
	heard := make(chan runtime.Event, 1024)
	group.Go(func() { c.listen(ctx, heard) })
	group.Go(func() { c.events.run(ctx) })
	if err := c.adopt(ctx); err != nil {
		cancel()
		group.Wait()
		return err
	}
	if err := c.ShowNode(ctx); err != nil {
		c.opts.Log.Error(err, "cannot show this machine")
	}
	group.Go(func() { c.observe(ctx, heard) })
	group.Go(func() { c.prober.Run(ctx) })
	group.Go(func() { c.measureDisks(ctx) })
	first := make(chan struct{})
	group.Go(func() { c.follow(ctx, first) })
	c.await(ctx, first)
	c.enqueueAll()
	c.setReady()
	for range c.opts.Workers {
		group.Go(func() { c.work(ctx) })
	}
	group.Go(func() { c.lookAtEverything(ctx) })
	<-ctx.Done()
	c.queue.Close()
	c.ingest.stop()
	group.Go(c.pulls.Wait)
	group.Go(c.hooks.under.Wait)
	group.Go(c.certificates.under.Wait)
	c.waitFor(&group)
	return nil
}

// follow applies the snapshots of the source; first is closed after the first of them. A source that fails is followed again: what was good last goes
// on meanwhile.
func (c *Controller) follow(ctx context.Context, first chan struct{}) {
	if c.opts.Source == nil {
		close(first)
		return
	}
	var once sync.Once
	for {
		err := c.opts.Source.Run(ctx, func(s manifests.Snapshot) {
			c.ingest.apply(s)
			once.Do(func() { close(first) })
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.warn(fmt.Sprintf("cannot follow the manifests: %v; trying again", err))
		}
		t := c.opts.Clock.NewTimer(sourcePause)
		select {
		case <-t.C():
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (c *Controller) await(ctx context.Context, first <-chan struct{}) {
	t := c.opts.Clock.NewTimer(firstSnapshot)
	defer t.Stop()
	select {
	case <-first:
	case <-t.C():
		c.opts.Log.Info("no manifests yet: going on with what was good last")
	case <-ctx.Done():
	}
}

// lookAtEverything is the only thing that happens without a reason.
func (c *Controller) lookAtEverything(ctx context.Context) {
	for pause := c.opts.secondLook; ; pause = fullEvery {
		t := c.opts.Clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C():
			c.lookAgain(ctx)
			c.enqueueAll()
		}
	}
}

func (c *Controller) waitFor(group *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	t := c.opts.Clock.NewTimer(stopWait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C():
		c.opts.Log.Info("ending although work is under way; it is taken up again at the next start")
	}
}

// enqueueAll makes every object due, and the table of traffic first: who waits for it is ending.
func (c *Controller) enqueueAll() {
	c.policies.doubt()
	c.queue.Add(keyPolicies)
	c.traffic.doubt()
	c.queue.Add(keyTraffic)
	c.queue.Add(keyNamespaces)
	c.queue.Add(c.allCertificates()...)
	c.queue.Add(keyScales)
	for _, p := range planners() {
		for _, it := range c.store.List(p.kind) {
			c.queue.Add(it.Key)
		}
	}
	for _, it := range c.store.List(reconcile.KindBarePod) {
		c.queue.Add(it.Key)
	}
	for _, it := range c.store.List("") { // what has no planner may have lost its owner
		if c.planners[it.Key.Kind] == nil && it.Source == nil && it.Key.Kind != reconcile.KindEvent {
			c.queue.Add(it.Key)
		}
	}
}

// changed makes due what a change in the store concerns. It is called from the writer's goroutine and only names keys.
func (c *Controller) changed(ch store.Change) {
	if ch.Key.Kind == reconcile.KindEvent {
		return // tells of changes, and is none
	}
	c.roomChanged(ch) // a pod counts before anything is decided about it
	if (c.planners[ch.Key.Kind] != nil || ch.Key.Kind == reconcile.KindBarePod) && !derived(ch) {
		c.queue.Add(ch.Key)
	}
	switch {
	case derived(ch) && !ch.Deleted: // made, and not looked at
	case ch.Owner.Kind != "":
		c.queue.AddAfter(ch.Owner, ownerPause)
	case ch.Key.Kind == reconcile.KindPod:
		c.queue.Add(reconcile.Key{Kind: reconcile.KindBarePod, Namespace: ch.Key.Namespace, Name: ch.Key.Name})
	}
	if ch.Deleted {
		for _, it := range c.store.OwnedBy(ch.UID) {
			c.queue.Add(it.Key)
		}
	}
	c.kinChanged(ch)
	c.namespacesChanged(ch)
	c.references.note(ch)
	c.storageChanged(ch)
	c.setsChanged(ch)
	c.trafficChanged(ch)
	c.endpointsChanged(ch)
	c.certificatesChanged(ch)
	c.policiesChanged(ch)
	c.disruptionChanged(ch)
	c.nodeChanged(ch)
	c.disksChanged(ch)
	c.scalesChanged(ch)
	if ch.Deleted && ch.Key.Kind == reconcile.KindReplicaSet && ch.Owner.Kind != "" {
		c.diary.orphaned(ch.Key, ch.Owner)
	}
	if ch.Deleted && ch.Key.Kind == reconcile.KindPod {
		if p, ok := ch.Old.(*corev1.Pod); ok {
			c.diary.buried(p, c.workloadOf(p))
		}
		c.memory.forget(ch.UID)
		c.hooks.forget(ch.UID)
		c.prober.Forget(ch.UID)
		c.observed.forget(string(ch.UID))
	}
	c.notify.notify()
}

// warn logs and shows a line about berth's own state, once.
func (c *Controller) warn(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.warnings, text) {
		return
	}
	c.opts.Log.Info(text)
	if len(c.warnings) < maxWarnings {
		c.warnings = append(c.warnings, text)
	}
}

// unwarn takes a line back that holds no more.
func (c *Controller) unwarn(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.warnings, text); i >= 0 {
		c.opts.Log.Info("no more: " + text)
		c.warnings = slices.Delete(slices.Clone(c.warnings), i, i+1)
	}
}

// noteFailure counts the failures of a key; nil ends the count.
func (c *Controller) noteFailure(key reconcile.Key, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.failing, key)
		return
	}
	f := c.failing[key]
	c.failing[key] = failure{times: f.times + 1, text: firstLine(err)}
}

// stuckOn is why the passes over a key go on failing, "" when they do not.
func (c *Controller) stuckOn(key reconcile.Key) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.failing[key]; f.times >= stuckAfter {
		return f.text
	}
	return ""
}

func (c *Controller) setReady() {
	c.mu.Lock()
	c.ready = true
	c.mu.Unlock()
	c.notify.notify()
}

func newObject(gvk schema.GroupVersionKind) (kruntime.Object, error) {
	obj, err := manifests.Scheme().New(gvk)
	if err != nil {
		return nil, fmt.Errorf("cannot make a %s: %w", gvk, err)
	}
	return obj, nil
}
