package reconcile

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HookKind tells the two lifecycle hooks of a container apart.
type HookKind string

// The hooks: one runs beside a container's start, the other before the signal to end.
const (
	PostStart HookKind = "PostStart"
	PreStop   HookKind = "PreStop"
)

// RunHook runs a lifecycle hook of a running container. It returns at once: a hook may take minutes. How it went is remembered, and makes
// the pod due again. A hook that runs already is left alone.
type RunHook struct {
	Pod       Key
	UID       types.UID
	Container string
	Attempt   uint32
	Kind      HookKind
	Handler   *corev1.LifecycleHandler
	// Timeout is how long it may take; 0 means as long as its container runs.
	Timeout time.Duration
}

func (RunHook) isAction() {}

// String tells what will be done.
func (a RunHook) String() string {
	return fmt.Sprintf("run %s hook of container %s of %s", a.Kind, a.Container, a.Pod)
}

// HookID names a hook of a pod.
type HookID struct {
	Container string
	Kind      HookKind
}

// HookRun is a hook that was begun for an attempt of its container.
type HookRun struct {
	Attempt uint32
	// Ended is zero while it runs.
	Began, Ended time.Time
	// Failure is why it did not end well, "" otherwise.
	Failure string
}

// Done tells that the hook has come to its end.
func (r HookRun) Done() bool { return !r.Ended.IsZero() }

// Signalled is the stop signal that an attempt of a container was sent, and when.
type Signalled struct {
	Attempt uint32
	At      time.Time
}
