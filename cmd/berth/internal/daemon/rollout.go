package daemon

import (
	"context"
	"fmt"

	"berth/controller"
	"berth/reconcile"
)

// Verbs of Rollout, as kubectl has them.
const (
	RolloutStatus  = "status"
	RolloutHistory = "history"
	RolloutUndo    = "undo"
	RolloutPause   = "pause"
	RolloutResume  = "resume"
	RolloutRestart = "restart"
)

// Rollout is a request about the rollout of a workload.
type Rollout struct {
	Verb string `json:"verb"`
	// Kind is Deployment; status and restart take StatefulSet and DaemonSet, too.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Revision is the one to go back to; 0 for the one before.
	Revision int64 `json:"revision,omitempty"`
	// Seen is what a status said last: the answer comes when it says something else.
	Seen string `json:"seen,omitempty"`
}

// RolloutAnswer is the answer to a Rollout.
type RolloutAnswer struct {
	// Text is a status; Done tells that there is nothing to wait for.
	Text string `json:"text,omitempty"`
	Done bool   `json:"done,omitempty"`
	// History is oldest first.
	History []controller.Revision `json:"history,omitempty"`
}

func (c controlled) Rollout(ctx context.Context, r Rollout) (a RolloutAnswer, err error) {
	key := reconcile.Key{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
	switch r.Verb {
	case RolloutStatus:
		a.Text, a.Done, err = c.c.Progress(ctx, key, r.Seen)
	case RolloutHistory:
		a.History, err = c.c.History(key)
	case RolloutUndo:
		_, err = c.c.Undo(key, r.Revision)
	case RolloutPause:
		err = c.c.Pause(key)
	case RolloutResume:
		err = c.c.Resume(key)
	case RolloutRestart:
		err = c.c.Restart(key)
	default:
		err = fmt.Errorf("cannot do %q with a rollout", r.Verb)
	}
	return a, err
}
