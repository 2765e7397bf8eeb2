package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/request"
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

// workloadOf is the key of the stated object that a pod comes from.
func (c *Controller) workloadOf(p *corev1.Pod) reconcile.Key {
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return reconcile.Key{Kind: reconcile.KindBarePod, Namespace: p.Namespace, Name: p.Name}
	}
	key := reconcile.Key{Kind: owner.Kind, Namespace: p.Namespace, Name: owner.Name}
	if it, ok := c.store.Get(key); ok {
		if above := metav1.GetControllerOfNoCopy(it.Object); above != nil {
			return reconcile.Key{Kind: above.Kind, Namespace: p.Namespace, Name: above.Name}
		}
	}
	return key
}

func (c *Controller) podRow(p *corev1.Pod, owner reconcile.Key) PodRow {
	row := PodRow{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Phase: string(p.Status.Phase), IP: p.Status.PodIP,
		Created: p.CreationTimestamp.Time, Message: p.Status.Message, Containers: []ContainerRow{},
	}
	if owner.Kind != reconcile.KindBarePod {
		row.Owner = owner.Kind + "/" + owner.Name
	}
	add := func(list []corev1.ContainerStatus, init bool) {
		for i := range list {
			r := c.containerRow(p, &list[i], init)
			row.Containers = append(row.Containers, r)
			row.Restarts += r.Restarts
			if !init && r.Ready {
				row.Ready++
			}
		}
	}
	add(p.Status.InitContainerStatuses, true)
	add(p.Status.ContainerStatuses, false)
	row.Reason, row.Message = summary(p)
	return row
}

func (c *Controller) containerRow(p *corev1.Pod, s *corev1.ContainerStatus, init bool) ContainerRow {
	r := ContainerRow{Name: s.Name, Ready: s.Ready, Restarts: s.RestartCount, Image: s.Image, Init: init}
	switch {
	case s.State.Running != nil:
		r.State = "Running"
	case s.State.Terminated != nil:
		r.State, r.Message = cmp.Or(s.State.Terminated.Reason, "Terminated"), s.State.Terminated.Message
	case s.State.Waiting != nil:
		r.State, r.Message = cmp.Or(s.State.Waiting.Reason, "Waiting"), waitingMessage(s)
	default:
		r.State = "Waiting"
	}
	if end := cmp.Or(s.State.Terminated, s.LastTerminationState.Terminated); end != nil {
		r.ExitCode, r.LastReason = end.ExitCode, end.Reason
	}
	if o := c.observed.peek(string(p.UID)); o != nil {
		for i := range o.Containers { // the newest attempt is the last
			if o.Containers[i].Name == s.Name {
				r.PID, r.LogPath = o.Containers[i].PID, o.Containers[i].LogPath
			}
		}
	}
	return r
}

// summary is a pod's state in one word, and what there is to say about it.
func summary(p *corev1.Pod) (reason, message string) {
	reason, message = cmp.Or(p.Status.Reason, string(p.Status.Phase)), p.Status.Message
	if p.DeletionTimestamp != nil {
		return "Terminating", message
	}
	if why := unscheduled(p); why != "" {
		return reason, why
	}
	if p.Status.Reason != "" {
		return reason, message // why the pod as a whole has ended says more than how its containers did
	}
	done := 0
	for i := range p.Status.InitContainerStatuses {
		s := &p.Status.InitContainerStatuses[i]
		switch {
		case s.State.Terminated != nil && s.State.Terminated.ExitCode == 0, s.State.Running != nil && s.Started != nil && *s.Started:
			done++
			continue
		case s.State.Waiting != nil && s.State.Waiting.Reason != "" && s.State.Waiting.Reason != "PodInitializing":
			return "Init:" + s.State.Waiting.Reason, s.State.Waiting.Message
		case s.State.Terminated != nil:
			return "Init:" + cmp.Or(s.State.Terminated.Reason, "Error"), s.State.Terminated.Message
		}
		return fmt.Sprintf("Init:%d/%d", done, len(p.Spec.InitContainers)), message
	}
	for i := range p.Status.ContainerStatuses {
		s := &p.Status.ContainerStatuses[i]
		if s.State.Waiting != nil && s.State.Waiting.Reason != "" {
			return s.State.Waiting.Reason, waitingMessage(s)
		}
		if s.State.Terminated != nil && s.State.Terminated.Reason != "" {
			reason, message = s.State.Terminated.Reason, s.State.Terminated.Message
		}
	}
	return reason, message
}

// workload is the row of one stated object and its pods.
func (c *Controller) workload(it store.Item, pods []*corev1.Pod) Workload {
	w := Workload{Kind: it.Key.Kind, Namespace: it.Key.Namespace, Name: it.Key.Name, Created: it.Object.GetCreationTimestamp().Time}
	if it.Source != nil && it.Source.Origin.File != "" {
		w.File = it.Source.Origin.String()
	}
	ending := 0
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			ending++
		}
	}
	switch o := it.Object.(type) {
	case *appsv1.Deployment:
		s := &o.Status
		w.Desired, w.Current, w.Ready, w.Updated, w.Available = wish(o.Spec.Replicas), s.Replicas, s.ReadyReplicas, s.UpdatedReplicas, s.AvailableReplicas
		w.Done = s.ObservedGeneration >= o.Generation && w.Current == w.Desired && w.Updated == w.Desired && w.Available == w.Desired && ending == 0
		w.Done = w.Done || (o.Spec.Paused || request.Paused(o.Annotations)) && ending == 0
		w.rolloutStatus(o)
	case *appsv1.ReplicaSet:
		s := &o.Status
		w.Desired, w.Current, w.Ready, w.Available, w.Updated = wish(o.Spec.Replicas), s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.Replicas
		w.Done = s.ObservedGeneration >= o.Generation && w.Current == w.Desired && w.Available == w.Desired && ending == 0
	case *corev1.Pod:
		w.Kind = reconcile.KindPod
		w.Desired, w.Current = 1, int32(len(pods))
		for _, p := range pods {
			if p.DeletionTimestamp == nil && (ready(p) || p.Status.Phase == corev1.PodSucceeded) {
				w.Ready, w.Available, w.Updated, w.Done = 1, 1, 1, true
			}
		}
	case *corev1.ReplicationController, *appsv1.StatefulSet, *appsv1.DaemonSet:
		setRow(&w, it.Object, pods, ending)
	case *batchv1.Job:
		jobRow(&w, o)
		pods = unfinished(pods)
	case *batchv1.CronJob:
		cronJobRow(&w, o)
	}
	if s, scaled := request.ReadScale(it.Object.GetAnnotations()); scaled && w.Note == "" {
		w.Note = fmt.Sprintf("HorizontalPodAutoscaler %s decides how many there are, %d now", s.By, s.Replicas)
	}
	if w.Problem == "" && !w.Done {
		w.Problem = cmp.Or(problem(pods), c.stuckOn(it.Key), c.stuckPod(pods))
	}
	if it.Source == nil { // whatever it is like, that is nobody's wish
		w.Done, w.Note = true, "it has lost its owner, and no file states it"
	}
	return w
}

// stuck are the reasons that waiting alone does not cure.
func stuck(reason string) bool {
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CrashLoopBackOff", "CreateContainerConfigError",
		"CreateContainerError", "RunContainerError", "StartError", "PostStartHookError", "ContainerCannotRun", "FailedCreatePodSandBox":
		return true
	}
	return false
}

// blocked tells that a container is not even created, for want of something: one that is just under way has no message.
func blocked(w *corev1.ContainerStateWaiting) bool {
	return (w.Reason == "ContainerCreating" || w.Reason == "PodInitializing") && w.Message != ""
}

// problem is what keeps a workload's pods from being ready, when waiting does not cure it.
func problem(pods []*corev1.Pod) string {
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		if why := unscheduled(p); why != "" {
			return fmt.Sprintf("pod %s waits: %s", p.Name, why)
		}
		if p.Status.Phase == corev1.PodFailed {
			return fmt.Sprintf("pod %s has failed: %s", p.Name, cmp.Or(p.Status.Message, p.Status.Reason, "a container ended with an error"))
		}
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for i := range list {
				if w := list[i].State.Waiting; w != nil && (stuck(w.Reason) || blocked(w)) {
					return fmt.Sprintf("pod %s, container %s: %s: %s", p.Name, list[i].Name, w.Reason, waitingMessage(&list[i]))
				}
			}
		}
	}
	return ""
}

// waitingMessage is why a container waits. A back-off alone explains nothing: what the last attempt died of stands before it.
func waitingMessage(s *corev1.ContainerStatus) string {
	w, end := s.State.Waiting, s.LastTerminationState.Terminated
	if w.Reason != "CrashLoopBackOff" || end == nil {
		return w.Message
	}
	words := fmt.Sprintf("%s, exit code %d", cmp.Or(end.Reason, "ended"), end.ExitCode)
	if end.Message != "" {
		words += ": " + strings.TrimSpace(end.Message)
	}
	return words + "; " + w.Message
}

// stuckPod is what keeps failing about one of the pods, and about the ReplicaSets above them.
func (c *Controller) stuckPod(pods []*corev1.Pod) string {
	for _, p := range pods {
		if text := c.stuckOn(reconcile.Key{Kind: reconcile.KindPod, Namespace: p.Namespace, Name: p.Name}); text != "" {
			return fmt.Sprintf("pod %s: %s", p.Name, text)
		}
	}
	return ""
}

// unscheduled is why nothing of a pod may begin, "" when it may.
func unscheduled(p *corev1.Pod) string {
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse {
			return cmp.Or(cond.Message, cond.Reason)
		}
	}
	return ""
}

func ready(p *corev1.Pod) bool {
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

func wish(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}
