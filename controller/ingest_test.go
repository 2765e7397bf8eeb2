package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/manifests"
)

// many makes n Deployments of one replica.
func many(n int) []manifests.Object {
	var out []manifests.Object
	for i := range n {
		out = append(out, web(fmt.Sprintf("d%02d", i), "web:1", 1))
	}
	return out
}

func TestRemovalWaitsForTheDelay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("a", "web:1", 1), web("b", "web:1", 1))
		w.settle()
		w.write(web("a", "web:1", 1))
		w.pass(DefaultPruneDelay - time.Millisecond)
		w.wantRunning(2)
		if s := w.c.Status(); len(s.Waiting) != 1 || s.Waiting[0].Object != "Deployment/shop/b" || s.Waiting[0].Why != WaitDelay || s.Converged {
			t.Errorf("status: %s", table(s))
		}
		w.pass(10 * time.Millisecond)
		w.pass(time.Second)
		w.wantRunning(1)
		if s := w.settle(); len(s.Waiting) != 0 || len(s.Workloads) != 1 {
			t.Errorf("status: %s", table(s))
		}
	})
}

func TestComingBackCancelsRemoval(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		both := []manifests.Object{web("a", "web:1", 1), web("b", "web:1", 1)}
		w.write(both...)
		w.settle()
		before := w.pids()
		for range 5 {
			w.write(both[:1]...)
			w.pass(time.Second)
			w.write(both...)
			w.pass(1500 * time.Millisecond)
		}
		w.pass(time.Minute)
		w.wantPids(before, "after each came back in time")
	})
}

func TestWishesAreActedOnAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 300))
		w.settle()
		w.wantRunning(300)
		w.write(web("web", "web:1", 0))
		w.pass(100 * time.Millisecond)
		w.wantRunning(0)
	})
}

func TestFuse(t *testing.T) {
	tests := map[string]struct {
		total, vanish int
		allowPrune    bool
		want          int // left after a minute
	}{
		"five of five go":             {total: 5, vanish: 5, want: 0},
		"six of six wait":             {total: 6, vanish: 6, want: 6},
		"six of eleven wait":          {total: 11, vanish: 6, want: 11},
		"six of twelve go":            {total: 12, vanish: 6, want: 6},
		"all go when that is allowed": {total: 8, vanish: 8, allowPrune: true, want: 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.opts = func(o *Options) { o.AllowPrune = tc.allowPrune }
				w.start()
				all := many(tc.total)
				w.write(all...)
				w.settle()
				w.write(all[tc.vanish:]...)
				if n := len(slices.DeleteFunc(w.c.DryRun(w.source.now), func(p PlannedChange) bool { return p.Verb != VerbDelete })); n != tc.total-tc.want {
					t.Errorf("a dry run says that %d go, want %d", n, tc.total-tc.want)
				}
				w.pass(time.Minute)
				w.wantRunning(tc.want)
			})
		})
	}
}

func TestFuseCountsWhatVanishesWithinOneDelay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		all := many(8)
		w.write(all...)
		w.settle()
		for i := range 8 {
			w.write(all[i+1:]...)
			w.pass(100 * time.Millisecond)
		}
		w.pass(time.Minute)
		w.wantRunning(8)
	})
}

func TestConsent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(many(8)...)
		w.settle()
		w.write()
		w.pass(time.Minute)
		s := w.settle()
		if len(s.Waiting) != 8 || s.Waiting[0].Why != WaitConsent || !s.Converged {
			t.Fatalf("status: %s", table(s))
		}
		w.restart() // consent is not given by a restart
		w.pass(time.Minute)
		w.wantRunning(8)

		if got := w.c.Allow("d03.yaml"); !slices.Equal(got, []string{"Deployment/shop/d03"}) {
			t.Errorf("allowing a file removed %v", got)
		}
		if got := w.c.Allow("deployment/d04", "Deployment/shop/d05", "Deployment/other/d06"); len(got) != 2 {
			t.Errorf("allowing two objects removed %v", got)
		}
		w.settle()
		w.wantRunning(5)
		back := many(8)[7:]
		w.write(back...) // comes back: consent is not needed any more
		if s := w.settle(); len(s.Waiting) != 4 {
			t.Errorf("status: %s", table(s))
		}
		if got := w.c.Allow(); len(got) != 4 {
			t.Errorf("allowing all removed %v", got)
		}
		w.settle()
		w.wantRunning(1)
	})
}

func TestConsentIsNotGivenByNewObjects(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(many(20)[:8]...)
		w.settle()
		w.write()
		w.pass(time.Minute)
		w.write(many(20)[8:]...) // now eight are less than half of all
		w.settle()
		w.restart()
		w.pass(time.Minute)
		w.wantRunning(20)
	})
}

func TestTheDelayBeginsAgainAfterARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("a", "web:1", 1), web("b", "web:1", 1))
		w.settle()
		w.write(web("a", "web:1", 1))
		w.pass(1900 * time.Millisecond)
		w.restart()
		w.pass(1900 * time.Millisecond)
		w.wantRunning(2)
		w.pass(time.Second)
		w.wantRunning(1)
	})
}

func TestWhatCannotBeReadNeverVanishes(t *testing.T) {
	for _, incomplete := range []string{"b.yaml", "/"} {
		t.Run(incomplete, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.start()
				w.write(web("a", "web:1", 1), web("b", "web:1", 1))
				w.settle()
				before := w.pids()
				a := []manifests.Object{web("a", "web:1", 1)}
				w.snapshot(manifests.Snapshot{Objects: a, Incomplete: []string{incomplete}})
				w.pass(time.Hour)
				w.restart()
				w.pass(time.Hour)
				w.wantPids(before, "with a file that cannot be read")
				if s := w.c.Status(); len(s.Waiting) != 1 || s.Waiting[0].Why != WaitUnreadable {
					t.Errorf("status: %s", table(s))
				}
				if got := w.c.Allow(); len(got) != 0 {
					t.Errorf("allowing what waits removed %v", got)
				}
				if got := w.c.Allow("b.yaml"); len(got) != 1 {
					t.Errorf("allowing the file removed %v", got)
				}
				w.settle()
				w.wantRunning(1)
			})
		})
	}
}

func TestDirectoryIsIncomplete(t *testing.T) {
	if !covered([]string{"shop/"}, "shop/a/b.yaml") || covered([]string{"shop/"}, "shopping/b.yaml") || covered([]string{"shop"}, "shop/b.yaml") || covered(nil, "") {
		t.Error("a directory ended by a slash means what is below it, and nothing else")
	}
}

func TestAReadableFileLetsItsObjectsGo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("a", "web:1", 1), web("b", "web:1", 1))
		w.settle()
		a := []manifests.Object{web("a", "web:1", 1)}
		w.snapshot(manifests.Snapshot{Objects: a, Incomplete: []string{"b.yaml"}})
		w.pass(time.Hour)
		w.snapshot(manifests.Snapshot{Objects: a})
		w.pass(time.Second)
		w.wantRunning(2)
		w.pass(2 * time.Second)
		w.wantRunning(1)
	})
}

func TestDryRun(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("a", "web:1", 1), web("b", "web:1", 1), web("c", "web:1", 1))
		w.settle()
		next := manifests.Snapshot{Objects: []manifests.Object{web("a", "web:2", 5), web("b", "web:1", 1), web("e", "web:1", 1)}}
		want := []string{
			"update Deployment/shop/a (a.yaml:1): spec.replicas: 1 → 5, spec.template.spec.containers[main].image: \"web:1\" → \"web:2\"; its pods are exchanged, for spec.template.spec.containers[main].image",
			"create Deployment/shop/e (e.yaml:1)",
			"delete Deployment/shop/c (c.yaml): no file states it any more",
		}
		version := w.c.store.Version()
		offline, err := DryRun(w.dir, next, false)
		if err != nil {
			t.Fatal(err)
		}
		for how, got := range map[string][]PlannedChange{"running": w.c.DryRun(next), "from the state": offline} {
			var lines []string
			for _, c := range got {
				lines = append(lines, c.String())
			}
			if diff := cmp.Diff(want, lines); diff != "" {
				t.Errorf("%s (-want +got):\n%s", how, diff)
			}
		}
		if w.c.store.Version() != version {
			t.Error("a dry run changed the store")
		}
		if got := w.c.DryRun(w.source.now); len(got) != 0 {
			t.Errorf("a dry run of what is there: %v", got)
		}
	})
}
