package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestWaitingMessage(t *testing.T) {
	const backoff = "back-off 10s restarting failed container=main"
	crash := func(end *corev1.ContainerStateTerminated) corev1.ContainerStatus {
		return corev1.ContainerStatus{
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: backoff}},
			LastTerminationState: corev1.ContainerState{Terminated: end},
		}
	}
	tests := map[string]struct {
		status corev1.ContainerStatus
		want   string
	}{
		"what it died of": {
			crash(&corev1.ContainerStateTerminated{Reason: "ContainerCannotRun", ExitCode: 128, Message: "cannot execve /nope: no such file or directory\n"}),
			"ContainerCannotRun, exit code 128: cannot execve /nope: no such file or directory; " + backoff,
		},
		"it left no words":    {crash(&corev1.ContainerStateTerminated{ExitCode: 1}), "ended, exit code 1; " + backoff},
		"nothing is known":    {crash(nil), backoff},
		"it waits for others": {corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no"}}}, "no"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := waitingMessage(&tc.status); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
