package controller

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// eventsShown is how many of the last events a status has.
const eventsShown = 20

// Status is one picture of everything, for people and programs.
type Status struct {
	Time    time.Time `json:"time"`
	Started time.Time `json:"started"`
	// Ready tells that what ran before has been adopted and the first snapshot was read.
	Ready     bool              `json:"ready"`
	Converged bool              `json:"converged"`
	Source    SourceStatus      `json:"source"`
	Workloads []Workload        `json:"workloads"`
	Pods      []PodRow          `json:"pods"`
	Waiting   []Waiting         `json:"waiting"`
	Faults    []manifests.Fault `json:"faults"`
	Pulls     []PullStatus      `json:"pulls"`
	// Volumes are the PersistentVolumes, by claim.
	Volumes []Volume `json:"volumes"`
	Events  []Event  `json:"events"`
	// Problems are what the network cannot do of what is stated.
	Problems []Problem `json:"problems"`
	// Published are the ports of the machine that lead somewhere.
	Published []Published `json:"published"`
	// Warnings are about berth's own state.
	Warnings []string `json:"warnings"`
}

// SourceStatus is the state of the place where manifests come from.
type SourceStatus struct {
	Name       string   `json:"name"`
	Files      int      `json:"files"`
	Objects    int      `json:"objects"`
	Incomplete []string `json:"incomplete,omitempty"`
}

// Workload is a stated object that makes pods.
type Workload struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	File      string    `json:"file,omitempty"` // FILE:LINE
	Desired   int32     `json:"desired"`
	Current   int32     `json:"current"`
	Ready     int32     `json:"ready"`
	Updated   int32     `json:"updated"`
	Available int32     `json:"available"`
	Created   time.Time `json:"created"`
	// Problem is why it is not as it should be, for a reason that waiting does not cure; "" when all is well or under way.
	Problem string `json:"problem,omitempty"`
	// Note is what a user has asked for that keeps it from following its manifest: a pause, another revision.
	Note string `json:"note,omitempty"`
	// Done tells that it is as its manifest states, or as was asked for since.
	Done bool `json:"done"`
}

// PodRow is a pod as a table shows it.
type PodRow struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Owner     string `json:"owner,omitempty"` // KIND/NAME of the workload that a file states
	Phase     string `json:"phase"`
	// Reason is the phase in one word of Kubernetes': Running, CrashLoopBackOff, Terminating, Init:0/1 …
	Reason     string         `json:"reason"`
	Message    string         `json:"message,omitempty"`
	Ready      int            `json:"ready"`
	Containers []ContainerRow `json:"containers"`
	Restarts   int32          `json:"restarts"`
	IP         string         `json:"ip,omitempty"`
	Created    time.Time      `json:"created"`
}

// ContainerRow is a container as a table shows it.
type ContainerRow struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Ready    bool   `json:"ready"`
	Restarts int32  `json:"restarts"`
	PID      int    `json:"pid,omitempty"` // on the machine
	Image    string `json:"image"`
	LogPath  string `json:"logPath,omitempty"`
	Init     bool   `json:"init,omitempty"`
	// ExitCode and LastReason tell how the last attempt that ended did so; Message is what there is to say about the state.
	ExitCode   int32  `json:"exitCode,omitempty"`
	LastReason string `json:"lastReason,omitempty"`
	Message    string `json:"message,omitempty"`
}

// PullStatus is a pull under way; Total is 0 while the size is not known.
type PullStatus struct {
	Image    string `json:"image"`
	Complete int64  `json:"complete"`
	Total    int64  `json:"total"`
	Pods     int    `json:"pods"` // that wait for it
}

// Status returns what there is at this moment. It may be called at any time and costs about a microsecond per pod.
func (c *Controller) Status() Status {
	version := c.store.Version()
	s := Status{
		Time: c.opts.Clock.Now(), Started: c.started,
		Workloads: []Workload{}, Pods: []PodRow{}, Waiting: []Waiting{}, Faults: []manifests.Fault{}, Warnings: []string{},
		Pulls: append([]PullStatus{}, c.images.pulling()...), Events: c.events.tail(eventsShown, false),
	}
	c.mu.Lock()
	s.Ready = c.ready
	s.Warnings = append(s.Warnings, c.warnings...)
	c.mu.Unlock()
	s.Problems, s.Published, s.Volumes = slices.Concat(c.trafficProblems(), c.policies.problem(), c.certificateProblems()), c.published(), c.volumes()
	c.ingest.status(&s)
	pods := map[string][]*corev1.Pod{}
	for _, it := range c.store.List(reconcile.KindPod) {
		p, ok := it.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		owner := c.workloadOf(p)
		pods[owner.String()] = append(pods[owner.String()], p)
		if store.Orphan(it) {
			s.Workloads = append(s.Workloads, c.workload(it, []*corev1.Pod{p}))
		}
		s.Pods = append(s.Pods, c.podRow(p, owner))
	}
	for _, kind := range []string{
		reconcile.KindDeployment, reconcile.KindReplicaSet, reconcile.KindReplicationController, reconcile.KindStatefulSet, reconcile.KindDaemonSet,
		reconcile.KindBarePod, reconcile.KindJob, reconcile.KindCronJob,
	} {
		for _, it := range c.store.List(kind) {
			if it.Source != nil || store.Orphan(it) {
				s.Workloads = append(s.Workloads, c.workload(it, pods[it.Key.String()]))
			}
		}
	}
	slices.SortFunc(s.Workloads, func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	// What changed meanwhile is only partly in this picture.
	s.Converged = c.converged(&s) && c.store.Version() == version
	return s
}

func (in *ingest) status(s *Status) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s.Source = SourceStatus{Name: in.last.Source, Files: in.last.Files, Objects: len(in.last.Objects), Incomplete: in.last.Incomplete}
	s.Faults = append(s.Faults, in.last.Faults...)
	for _, f := range in.problems {
		s.Faults = append(s.Faults, f)
	}
	slices.SortStableFunc(s.Faults, func(a, b manifests.Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field))
	})
	s.Waiting = append(s.Waiting, in.waiting()...)
}
