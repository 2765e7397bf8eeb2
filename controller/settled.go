package controller

import (
	"context"
	"errors"

	"berth/manifests"
)

// ErrNotConverged means that things are as they will stay, and not as the manifests state.
var ErrNotConverged = errors.New("not everything is as the manifests state")

// Settled waits until nothing is left to do: every workload is as stated, or cannot be for a stated reason, and no removal is
// under way. It returns the status of that moment, with ErrNotConverged when something cannot be.
func (c *Controller) Settled(ctx context.Context) (Status, error) {
	changes, cancel := c.Changes()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return c.Status(), context.Cause(ctx)
		case <-changes:
		}
		select {
		case <-ctx.Done():
			return c.Status(), context.Cause(ctx)
		case <-c.queue.Idle():
		}
		if s := c.Status(); s.Converged {
			return s, s.verdict()
		}
	}
}

// Converged tells whether nothing is left to do.
func (c *Controller) Converged() bool { return c.Status().Converged }

// converged judges a status. What waits for consent, or for a file to become readable, is settled: it is the user's turn.
func (c *Controller) converged(s *Status) bool {
	if !s.Ready || c.queue.Len() > 0 || len(s.Pulls) > 0 || c.certificates.ordersUnderWay() || !c.traffic.settled() || !c.policies.settled() {
		return false
	}
	for _, w := range s.Waiting {
		if w.Why == WaitDelay {
			return false
		}
	}
	for i := range s.Workloads {
		if !s.Workloads[i].Done && s.Workloads[i].Problem == "" {
			return false
		}
	}
	for i := range s.Pods {
		if s.Pods[i].Reason == "Terminating" {
			return false
		}
	}
	return true
}

func (s *Status) verdict() error {
	for i := range s.Workloads {
		if !s.Workloads[i].Done {
			return ErrNotConverged
		}
	}
	if len(s.Problems) > 0 {
		return ErrNotConverged
	}
	for i := range s.Faults {
		if s.Faults[i].Severity == manifests.Error {
			return ErrNotConverged
		}
	}
	return nil
}
