package footprint

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 4 << 20: 200, 8 << 20: 100, 24 << 20: 40, 1 << 30: 40} {
		if got := garbagePercent(live, 8<<20); got != want {
			t.Errorf("with %d MiB in use: %d %%, want %d %%", live>>20, got, want)
		}
	}
}

// What a time of work has left goes once it is over, and a process that has nothing to do sets no timer.
func TestOnlyWorkIsFollowedByLettingGo(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	synctest.Test(t, func(t *testing.T) {
		times := 0
		d := &tended{garbage: 8 << 20, percent: 100, over: time.AfterFunc(calm, func() { times++ })}
		after := func(wait time.Duration, want int, what string) {
			t.Helper()
			time.Sleep(wait) // the bubble's clock
			synctest.Wait()
			if times != want {
				t.Errorf("%s: let go %d times, want %d", what, times, want)
			}
		}
		m := memory{live: 8 << 20}
		work := func(bytes uint64) {
			m.allocated += bytes
			d.collected(m, time.Now())
		}
		for range 5 {
			work(10 << 20)
			after(calm-1, 0, "while it works")
		}
		after(2, 1, "when it has worked")
		work(little - 1)
		after(time.Hour, 1, "when nothing was done")
		work(little)
		after(calm, 2, "when it has worked again")
	})
}
