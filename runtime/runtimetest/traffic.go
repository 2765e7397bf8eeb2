package runtimetest

import (
	"context"

	"berth/runtime"
)

var _ runtime.Router = (*Fake)(nil)

// Route implements runtime.Router: it is done when it returns, and Traffic tells what is routed.
func (f *Fake) Route(ctx context.Context, t runtime.Traffic) (runtime.RouteStatus, error) {
	after, err := f.enter(ctx, true)
	if err != nil {
		return runtime.RouteStatus{}, err
	}
	f.machine.mu.Lock()
	hook := f.onRoute
	f.machine.mu.Unlock()
	if hook != nil {
		if err := hook(t); err != nil {
			return runtime.RouteStatus{}, err
		}
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.traffic = t
	return runtime.RouteStatus{Problems: f.routeProblems}, after
}

// Traffic is what was routed last. It must not be changed.
func (f *Fake) Traffic() runtime.Traffic {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	return f.traffic
}

// OnRoute is asked before each table is taken; an error leaves the old one.
func (f *Fake) OnRoute(hook func(t runtime.Traffic) error) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.onRoute = hook
}

// OnSignal is told of each signal before it is sent.
func (f *Fake) OnSignal(hook func(uid, name string, signal int)) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.onSignal = hook
}

// SetRouteProblems makes every Route from now on tell of problems.
func (f *Fake) SetRouteProblems(problems ...runtime.RouteProblem) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.routeProblems = problems
}
