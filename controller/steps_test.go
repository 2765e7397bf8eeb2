package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"

	"berth/reconcile"
)

// What a pod goes through is told in the words, and the order, of a cluster; a new controller that finds it running has nothing to tell.
func TestStepsOfAPod(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(barePod("web", "web:1"))
		w.settle()
		told := func() (list []string) {
			for _, e := range w.c.Events(0) {
				if e.Object.Kind == reconcile.KindPod {
					list = append(list, fmt.Sprintf("%s: %s ×%d", e.Reason, e.Message, e.Count))
				}
			}
			return list
		}
		steps := told()
		for i, s := range steps { // how long the pull took is the fake's
			if before, _, ok := strings.Cut(s, " in "); ok {
				steps[i] = before
			}
		}
		want := []string{
			"Scheduled: Successfully assigned shop/web to node ×1", `Pulling: Pulling image "web:1" ×1`, `Pulled: Successfully pulled image "web:1"`,
			"Created: Created container: main ×1", "Started: Started container main ×1",
		}
		byMoment := func(list []string) []string { return slices.Sorted(slices.Values(list)) } // several are of one moment
		if diff := cmp.Diff(byMoment(want), byMoment(steps)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		for _, e := range w.c.Status().Events {
			if e.Object.Kind == reconcile.KindPod {
				t.Errorf("the status tells of an ordinary step: %+v", e)
			}
		}
		w.restart()
		w.settle()
		if got := told(); len(got) > 0 {
			t.Errorf("after a restart of the controller: %q", got)
		}
		w.write(barePod("web", "web:1"), barePod("other", "web:1"))
		w.settle()
		present := `Pulled: Container image "web:1" already present on machine ×1`
		if got := told(); !slices.Contains(got, present) {
			t.Errorf("events %q, want %q among them", got, present)
		}
		w.write()
		w.settle()
		if got := w.eventsOf("Killing"); !slices.Contains(got, "Killing: Stopping container main ×1") {
			t.Errorf("events of the end: %q", got)
		}
		for _, ev := range w.c.events.tail(maxEvents, false) {
			if ev.Object.Kind == reconcile.KindPod && ev.Type == "Normal" {
				t.Errorf("where space is short it is told: %s: %s", ev.Reason, ev.Message)
			}
		}
	})
}

// Many steps at once are not all told, and what warns is not pushed out by what went well.
func TestStepsAreBounded(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	e := newEvents(clock, newNotifier(), eventStore(t))
	pod := func(i int) reconcile.Key {
		return reconcile.Key{Kind: reconcile.KindPod, Namespace: "shop", Name: fmt.Sprint("web-", i)}
	}
	e.add(reconcile.RecordEvent{Key: pod(0), Warning: true, Reason: "Failed", Message: "no"})
	put := func() int {
		for i := range 3 * stepsBurst {
			e.steps.put(reconcile.RecordEvent{Key: pod(i), Reason: "Started", Message: "yes"})
		}
		n := len(e.steps.queue)
		for range n {
			s := <-e.steps.queue
			e.record(s.RecordEvent, s.at)
		}
		return n
	}
	if n := put(); n != stepsBurst {
		t.Errorf("%d of many are told, want %d", n, stepsBurst)
	}
	clock.SetTime(clock.Now().Add(2 * time.Second))
	if n := put(); n != 2*stepsRate {
		t.Errorf("%d are told after two seconds, want %d", n, 2*stepsRate)
	}
	for i := range 4 * maxEvents {
		e.add(reconcile.RecordEvent{Key: pod(i), Reason: "Noise"})
	}
	all := e.tail(2*maxEvents, true)
	if !slices.ContainsFunc(all, func(ev Event) bool { return ev.Reason == "Failed" }) || len(all) > maxEvents {
		t.Errorf("of %d events none is the warning", len(all))
	}
}

// Events that differ in their words only are told together from the eleventh on.
func TestSimilarEventsAreToldTogether(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	e := newEvents(clock, newNotifier(), eventStore(t))
	rs := reconcile.Key{Kind: reconcile.KindReplicaSet, Namespace: "shop", Name: "web"}
	made := func(n int) {
		for i := range n {
			e.add(reconcile.RecordEvent{Key: rs, Reason: "SuccessfulCreate", Message: fmt.Sprint("Created pod: web-", i)})
		}
	}
	made(1000)
	got := e.tail(100, true)
	if len(got) != maxKin+1 || len(e.store.List(reconcile.KindEvent)) != len(got) {
		t.Fatalf("%d events of a thousand, want %d", len(got), maxKin+1)
	}
	last := got[slices.IndexFunc(got, func(ev Event) bool { return strings.HasPrefix(ev.Message, combined) })]
	if last.Count != 1000-maxKin || last.Message != combined+"Created pod: web-999" {
		t.Errorf("the rest is %+v", last)
	}
	clock.SetTime(clock.Now().Add(kinFor + time.Minute))
	e.add(reconcile.RecordEvent{Key: rs, Reason: "SuccessfulCreate", Message: "Created pod: web-x"})
	if got := e.tail(1, true)[0]; got.Message != "Created pod: web-x" {
		t.Errorf("after a while: %q", got.Message)
	}
}
