package controller

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/request"
)

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

func wish(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}
