package pod

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/runtime"
)

// status reports the Pod as it is at this look, in the words of a kubelet. What it does not know of it leaves as it was.
func (p *pass) status() corev1.PodStatus {
	if p.unscheduled != "" {
		return p.waiting()
	}
	s := p.pod.Status // everything that changes below is replaced, not written into
	s.ObservedGeneration = p.pod.Generation
	if s.StartTime == nil {
		s.StartTime = &metav1.Time{Time: p.startTime()}
	}
	s.QOSClass = qosClass(&p.pod.Spec)
	p.setAddresses(&s)
	initialized := p.isInitialized()
	s.InitContainerStatuses = p.containerStatuses(p.inits, reasonInitializing)
	waitingFor := reasonCreating
	if !initialized {
		waitingFor = reasonInitializing
	}
	s.ContainerStatuses = p.containerStatuses(p.mains, waitingFor)
	if len(s.ContainerStatuses) > 1 {
		slices.SortStableFunc(s.ContainerStatuses, func(a, b corev1.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) })
	}
	s.EphemeralContainerStatuses = p.containerStatuses(p.extras, reasonCreating)
	s.Phase = p.phase(initialized)
	s.Reason, s.Message = "", ""
	if p.verdict.phase != "" {
		s.Reason, s.Message = p.verdict.cause, p.verdict.message
	}
	p.setConditions(&s, initialized)
	return s
}

func (p *pass) startTime() time.Time {
	switch {
	case p.pod.Status.StartTime != nil:
		return p.pod.Status.StartTime.Time
	case p.in.Observed != nil && !p.in.Observed.Sandbox.CreatedAt.IsZero() && p.in.Observed.Sandbox.Attempt == 0:
		return p.in.Observed.Sandbox.CreatedAt
	case p.in.Observed != nil && !p.pod.CreationTimestamp.IsZero():
		return p.pod.CreationTimestamp.Time
	}
	return p.in.Now
}

// isInitialized is for the eyes of users: a Pod that has ended well was initialized.
func (p *pass) isInitialized() bool {
	if len(p.inits) == 0 || p.verdict.phase == corev1.PodSucceeded {
		return true
	}
	return (p.ready || p.verdict.phase != "") && p.initialized()
}

// phase sums up. A Pod whose end is decided still counts as running while something of it runs.
func (p *pass) phase(initialized bool) corev1.PodPhase {
	if p.pod.Status.Phase == corev1.PodFailed || p.pod.Status.Phase == corev1.PodSucceeded {
		return p.pod.Status.Phase
	}
	if p.verdict.phase != "" && !p.anyRunning() {
		return p.verdict.phase
	}
	for _, c := range p.mains {
		if c.last == nil || c.last.Attempt == 0 && p.settlesIn(c) {
			return corev1.PodPending
		}
	}
	if !initialized && !slices.ContainsFunc(p.mains, (*container).running) && p.pod.Status.Phase != corev1.PodRunning {
		return corev1.PodPending
	}
	return corev1.PodRunning
}

func (p *pass) containerStatuses(containers []*container, waitingFor string) []corev1.ContainerStatus {
	if len(containers) == 0 {
		return nil
	}
	out := make([]corev1.ContainerStatus, len(containers))
	for i, c := range containers {
		p.containerStatus(&out[i], c, waitingFor)
	}
	return out
}

func (p *pass) containerStatus(s *corev1.ContainerStatus, c *container, waitingFor string) {
	s.Name, s.Image = c.spec.Name, c.spec.Image
	had := p.formerStatus(c)
	if c.last == nil {
		if had != nil {
			s.RestartCount, s.ContainerID, s.LastTerminationState = had.RestartCount, had.ContainerID, had.LastTerminationState
			s.ImageID = had.ImageID
		}
		s.State.Waiting = c.waiting
		if c.waiting == nil || c.waiting.Reason == reasonCreating {
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: waitingFor}
			if c.waiting != nil {
				s.State.Waiting.Message = c.waiting.Message
			}
		}
		s.Started = new(bool)
		return
	}
	s.RestartCount, s.ImageID, s.ContainerID = int32(c.last.Attempt), c.last.ImageID, p.containerID(c.last)
	if c.former != nil {
		s.LastTerminationState.Terminated = p.terminated(c.former)
	}
	started := p.started(c)
	s.Started = &started
	switch {
	case c.last.State == runtime.Running && p.settlesIn(c):
		s.State.Waiting = c.waiting
		if c.waiting == nil {
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: waitingFor}
		}
	case c.last.State == runtime.Running:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.last.StartedAt)}
		s.Ready = p.containerReady(c)
	case c.last.State == runtime.Created:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: reasonCreating}
	case c.waiting != nil, !p.inRound(c):
		if s.State.Waiting = c.waiting; c.waiting == nil {
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: waitingFor}
		}
		s.LastTerminationState.Terminated = p.terminated(c.last)
	default:
		s.State.Terminated = p.terminated(c.last)
		s.Ready = c.init && !c.sidecar && c.last.ExitCode == 0
	}
}

func (p *pass) containerReady(c *container) bool {
	if c.init && !c.sidecar || p.verdict.phase != "" || c.ephemeral != nil {
		return false
	}
	probe, probed := p.in.Probes[c.spec.Name]
	return !probed || probe.Started && probe.Ready && probe.Failed == "" // one that is to end gets no more work
}

func (p *pass) terminated(s *runtime.ContainerStatus) *corev1.ContainerStateTerminated {
	reason := s.Reason
	switch {
	case reason != "":
	case s.ExitCode == 0:
		reason = runtime.ReasonCompleted
	default:
		reason = runtime.ReasonError
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: int32(s.ExitCode), Signal: int32(s.Signal), Reason: reason, Message: s.Message,
		StartedAt: metav1.NewTime(s.StartedAt), FinishedAt: metav1.NewTime(s.FinishedAt), ContainerID: p.containerID(s),
	}
}

// containerID names an attempt for kubectl; nothing reads it back.
func (p *pass) containerID(s *runtime.ContainerStatus) string {
	return "berth://" + string(p.pod.UID) + "/" + s.Name + "/" + strconv.FormatUint(uint64(s.Attempt), 10)
}

func (p *pass) formerStatus(c *container) *corev1.ContainerStatus {
	list := p.pod.Status.ContainerStatuses
	switch {
	case c.init:
		list = p.pod.Status.InitContainerStatuses
	case c.ephemeral != nil:
		list = p.pod.Status.EphemeralContainerStatuses
	}
	for i := range list {
		if list[i].Name == c.spec.Name {
			return &list[i]
		}
	}
	return nil
}

func (p *pass) formerID(c *container) string {
	if had := p.formerStatus(c); had != nil {
		return had.ContainerID
	}
	return ""
}

// tell makes events of what is new in the status, in the words of a scheduler and a kubelet.
func (p *pass) tell(status *corev1.PodStatus) []reconcile.Action {
	var out []reconcile.Action
	node, is := p.pod.Spec.NodeName, corev1.PodScheduled
	if node != "" && !p.begun() && !holds(p.pod.Status.Conditions, is) && holds(status.Conditions, is) {
		message := fmt.Sprintf("Successfully assigned %s/%s to %s", p.pod.Namespace, p.pod.Name, node)
		out = append(out, reconcile.RecordEvent{Key: p.key, UID: p.pod.UID, Routine: true, Reason: "Scheduled", Message: message})
	}
	for _, c := range p.all() {
		had := p.formerStatus(c)
		if c.waiting == nil || had != nil && had.State.Waiting != nil && had.State.Waiting.Reason == c.waiting.Reason {
			continue
		}
		e := reconcile.RecordEvent{Key: p.key, UID: p.pod.UID, Warning: true, Reason: "Failed", Message: "Error: " + c.waiting.Message}
		switch c.waiting.Reason {
		case reasonCreating, reasonPostStart, reasonSandbox:
			continue // nothing to tell, or who tried has told: of a hook without its output, which may be secret
		case reasonCrashLoop:
			e.Reason, e.Message = "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", c.spec.Name, p.pod.Name, p.pod.Namespace, p.pod.UID)
		case reasonImageBackOff:
			e.Reason, e.Message = "BackOff", c.waiting.Message
		case reasonErrImagePull:
			e.Message = fmt.Sprintf("Failed to pull image %q: %s", c.spec.Image, c.waiting.Message)
		case reasonNeverPull:
			e.Reason, e.Message = reasonNeverPull, c.waiting.Message
		}
		out = append(out, e)
	}
	return out
}
