package controller

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
)

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
