// Package pod decides what the machine does next for one Pod: the work of a kubelet as a pure function. From the Pod and from what the
// machine has of it, it finds the next steps towards the wish, the status to report, and when to look again.
package pod

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/runtime"
)

// Input is what is known of one Pod. Nothing in it is changed.
type Input struct {
	Pod *corev1.Pod
	// Observed is what the machine has of the Pod; nil for nothing.
	Observed *runtime.PodStatus
	// Config are the ConfigMaps and Secrets the Pod names, those that exist.
	Config config.Contents
	// EnvFiles are the files of variables that could be read, those of EnvFiles that are there.
	EnvFiles map[EnvFile][]byte
	// Images are the references the Pod states.
	Images map[string]reconcile.ImageState
	Memory reconcile.PodMemory
	// Claims are the PersistentVolumeClaims that the Pod mounts, by name. One without an entry does not exist.
	Claims map[string]Claim
	// Services are those of the Pod's namespace, sorted.
	Services []*corev1.Service
	// Probes hold, by container name, what its probes say. A container without an entry is started and ready while it runs.
	Probes map[string]Probe
	// Routed means that new connections are sent to the Pod, or may be at any moment. One that is to end is told so only when they are not any more.
	Routed bool
	// Undirected means that the machine goes by no table of traffic yet: nobody answers for names. Programs that ask for one at their very start
	// would wait five seconds for the second try of their resolver, so a Pod that asks the cluster's DNS gets its sandbox after the first table.
	Undirected bool
	// Unjudged means that the machine does not go by the network policies for the Pod's address yet: nothing of it may begin to run.
	Unjudged bool
	// Disk is what was last measured of the Pod, nil when nothing was.
	Disk *runtime.DiskUsage
	// Evicted is set when an EvictPod was carried out.
	Evicted *Eviction
	// Cordoned means that the machine takes no new Pods. Those that have begun go on, and those of DaemonSets do not mind.
	Cordoned bool
	// Wanting is what the machine does not have of what the Pod asks for, in a scheduler's words (see fit); "" when it has all.
	Wanting string
	Node    Node
	Now     time.Time
}

// Probe is the verdict of the probes of one running container.
type Probe struct {
	Started, Ready bool
	// ReadySince is when it last became ready; zero when that is not known.
	ReadySince time.Time
	// Failed is the kind of the probe that wants the container to end, "" for none.
	Failed ProbeKind
}

// ProbeKind is what a probe is for. It prints as in messages: "failed liveness probe".
type ProbeKind string

// Probes, and what follows when they fail: the container ends, is not ready, or ends.
const (
	Liveness  ProbeKind = "liveness"
	Readiness ProbeKind = "readiness"
	Startup   ProbeKind = "startup"
)

// Node is the machine as Pods see it.
type Node struct {
	Name string
	// HostIP is the machine's address, HostIP6 that of IPv6 where its pods have some; "" for none.
	HostIP, HostIP6 string
	// CPUs, Memory and Disk stand for limits that a container does not state; Memory and Disk are in bytes.
	CPUs         int
	Memory, Disk int64
	// DNS is the machine's own resolver configuration. It is needed for Pods that add to it.
	DNS runtime.DNS
	// ClusterDNS is the address that answers for the names of Services, ClusterDomain what those end in ("cluster.local"); "" where nobody does.
	ClusterDNS, ClusterDomain string
}

// Plan returns the next steps for the Pod: its status first, then effects in order. What fails is planned again at the next look.
func Plan(in Input) reconcile.Plan {
	p := newPass(in)
	switch {
	case in.Pod.DeletionTimestamp != nil:
		p.remove()
	case p.settled():
		if p.stop(ending{deadline: p.verdictOver(), decided: p.unreadySince(), reason: p.verdict.reason}) && p.ready {
			p.do(reconcile.StopSandbox{Pod: p.key, UID: p.pod.UID, Empty: p.in.Evicted != nil})
		}
	case p.exceeds():
		return reconcile.Plan{Actions: p.actions} // decided first, and told then
	default:
		p.run()
	}
	p.dropOldAttempts()
	return p.finish()
}

// pass is one look at one Pod.
type pass struct {
	in  Input
	pod *corev1.Pod
	key reconcile.Key

	inits, mains []*container // parts of every
	every        []*container // in the order in which they start
	extras       []*container // ephemeral ones, which nothing waits for
	// attempt is that of the sandbox that containers started now will run in; ready tells that it is there.
	attempt uint32
	ready   bool
	changed bool // the pod had a sandbox before and lost it
	verdict verdict
	// round counts how often all containers were started over; over tells that this is to happen now.
	round uint32
	over  bool
	// volumes are those that can be had; unmounted tells what the others wait for.
	volumes   []runtime.Volume
	unmounted []string
	// unscheduled is why nothing of the Pod may begin, "" when it may.
	unscheduled string

	actions []reconcile.Action
	pulls   map[string]bool
	next    time.Duration
	forget  bool
}

// container is a container of the Pod: what it shall be and what became of it.
type container struct {
	spec          *corev1.Container
	init, sidecar bool
	ephemeral     *corev1.EphemeralContainer
	last, former  *runtime.ContainerStatus // the newest attempt, and the one before it
	refused       *reconcile.StartFailure  // the next attempt could not even be made
	waiting       *corev1.ContainerStateWaiting
	hash          string
	begun         bool // this plan starts it
}

func newPass(in Input) *pass {
	p := &pass{
		in: in, pod: in.Pod,
		key: reconcile.Key{Kind: reconcile.KindPod, Namespace: in.Pod.Namespace, Name: in.Pod.Name},
	}
	if o := in.Observed; o != nil {
		p.ready, p.attempt = o.Sandbox.Ready, o.Sandbox.Attempt
		p.changed = !o.Sandbox.Ready && (!o.Sandbox.CreatedAt.IsZero() || len(o.Containers) > 0)
	}
	if p.changed {
		p.attempt++
	}
	spec := &in.Pod.Spec
	inits := len(spec.InitContainers)
	list := make([]container, inits+len(spec.Containers))
	p.every = make([]*container, len(list))
	for i := range list {
		c := &list[i]
		p.every[i] = c
		if i < inits {
			c.spec, c.init = &spec.InitContainers[i], true
			c.sidecar = reconcile.IsSidecar(c.spec)
		} else {
			c.spec = &spec.Containers[i-inits]
		}
		p.look(c)
	}
	p.inits, p.mains = p.every[:inits], p.every[inits:]
	p.findExtras()
	p.findRound()
	return p
}

// look finds the attempts of a container. A start that ran into the program itself counts as one, wherever it is remembered.
func (p *pass) look(c *container) {
	spec := c.spec
	if p.in.Observed != nil {
		for i := range p.in.Observed.Containers {
			s := &p.in.Observed.Containers[i]
			if s.Name != spec.Name {
				continue
			}
			if c.last == nil || s.Attempt > c.last.Attempt {
				c.former, c.last = c.last, s
			}
		}
	}
	f, failed := p.in.Memory.Failed[spec.Name]
	if !failed || (c.last != nil && c.last.Attempt >= f.Attempt) {
		return
	}
	if f.Reason == runtime.ReasonStartError || f.Reason == runtime.ReasonCannotRun {
		c.former, c.last = c.last, &runtime.ContainerStatus{
			Name: spec.Name, Attempt: f.Attempt, Backoff: f.Backoff, SpecHash: f.SpecHash, State: runtime.Exited, Image: spec.Image,
			StartedAt: f.At, FinishedAt: f.At, ExitCode: runtime.CannotStartExitCode, Reason: f.Reason, Message: f.Message,
		}
		return
	}
	c.refused = &f
}

func (c *container) running() bool { return c.last != nil && c.last.State != runtime.Exited }
func (c *container) exited() bool  { return c.last != nil && c.last.State == runtime.Exited }

// all returns the containers in the order in which they start, ephemeral ones last. Nobody changes the list.
func (p *pass) all() []*container {
	if len(p.extras) == 0 {
		return p.every
	}
	return slices.Concat(p.every, p.extras)
}

// do adds a step.
func (p *pass) do(actions ...reconcile.Action) { p.actions = append(p.actions, actions...) }

// again asks for another look after a while, or earlier.
func (p *pass) again(after time.Duration) {
	if after = max(after, time.Millisecond); p.next == 0 || after < p.next {
		p.next = after
	}
}

func (p *pass) wait(c *container, reason, message string) {
	c.waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
}

func (p *pass) note(warning bool, reason, message string) {
	p.do(reconcile.RecordEvent{Key: p.key, UID: p.pod.UID, Warning: warning, Reason: reason, Message: message})
}

func (p *pass) grace() time.Duration {
	if s := p.pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return corev1.DefaultTerminationGracePeriodSeconds * time.Second
}

// graceOver is the end of a grace that began at a moment. One that is still far off means that the clock was set back by much: nobody knows
// how long it has been, and waiting for the clock to catch up could take hours.
func (p *pass) graceOver(since time.Time) time.Time {
	if since.After(p.in.Now.Add(time.Minute)) {
		return p.in.Now
	}
	return since.Add(p.grace())
}

// finish puts the status before the effects, so that a pod that is about to lose a container stops being ready first.
func (p *pass) finish() reconcile.Plan {
	plan := reconcile.Plan{Actions: p.actions, RequeueAfter: p.next}
	if p.forget {
		return plan
	}
	status := p.status()
	if sameStatus(&status, &p.pod.Status) {
		return plan
	}
	updated := *p.pod // what is not of the status is shared: nobody writes into an object
	updated.Status = status
	first := append([]reconcile.Action{reconcile.UpdateStatus{Object: &updated}}, p.tell(&status)...)
	plan.Actions = append(first, plan.Actions...)
	return plan
}
