package reconciletest

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	oneSeed  = flag.Uint64("seed", 0, "live through this one seed and print what happens")
	seeds    = flag.Uint64("seeds", 0, "live through so many seeds; 0 for as many as -duration allows")
	firstRun = flag.Uint64("first", 1, "the first seed")
	duration = flag.Duration("duration", 3*time.Second, "how long to try seeds")
)

// TestMain lets garbage lie a little longer: a world is small, lives for some milliseconds, and leaves everything behind at once.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(3200)
	}
	os.Exit(m.Run())
}

// TestSim lives through seeds until the time is over. A failing one is named with the command that shows it.
func TestSim(t *testing.T) {
	if *oneSeed != 0 {
		replay(t, *oneSeed)
		return
	}
	if n, err := strconv.ParseUint(os.Getenv("BERTH_SIM_SEEDS"), 10, 64); err == nil && *seeds == 0 {
		*seeds = n // make sim says it so
	}
	var next, events, passes, actions, moments, done atomic.Uint64
	var failed atomic.Pointer[Result]
	next.Store(*firstRun - 1)
	begin := time.Now()
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for failed.Load() == nil {
				seed := next.Add(1)
				if *seeds > 0 && seed >= *firstRun+*seeds || *seeds == 0 && time.Since(begin) > *duration {
					return
				}
				r := Run(seed, false)
				done.Add(1)
				events.Add(uint64(r.Events))
				passes.Add(uint64(r.Passes))
				actions.Add(uint64(r.Actions))
				moments.Add(uint64(r.Moments))
				if r.Err != nil {
					failed.CompareAndSwap(nil, &r)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	t.Logf("%d seeds, %d events, %d passes, %d actions, %d quiet moments in %s: %.0f seeds/s", done.Load(), events.Load(), passes.Load(),
		actions.Load(), moments.Load(), took.Round(time.Millisecond), float64(done.Load())/took.Seconds())
	if r := failed.Load(); r != nil {
		t.Errorf("seed %d: %v", r.Seed, r.Err)
		t.Fatalf("replay it with: go test ./reconcile/reconciletest -run 'TestSim$' -seed %d -v", r.Seed)
	}
}

// replay shows one seed in full.
func replay(t *testing.T, seed uint64) {
	t.Helper()
	r := Run(seed, true)
	t.Log("\n" + strings.Join(r.Trace, "\n"))
	if r.Err != nil {
		t.Errorf("seed %d: %v", seed, r.Err)
	}
}

// TestSameSeedSameLife holds that a seed can be replayed.
func TestSameSeedSameLife(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		a, b := Run(seed, true), Run(seed, true)
		if strings.Join(a.Trace, "\n") != strings.Join(b.Trace, "\n") {
			t.Errorf("seed %d was lived through in two ways", seed)
		}
	}
}
