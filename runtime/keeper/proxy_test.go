package keeper_test

import (
	"testing"
	"time"

	"berth/runtime/keeper"
)

// A proxy that dies now and then is back at once; one that dies in a loop leaves the machine alone, longer each time, until it lives again.
func TestPauseOfADyingProxy(t *testing.T) {
	var p keeper.Dying
	for i, want := range []time.Duration{0, 0, 0, 0, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		if got := p.Died(time.Second / 10); got != want {
			t.Errorf("after short life %d: a pause of %v, not %v", i+1, got, want)
		}
	}
	for range 10 { // somebody kills it again and again, but it serves
		if got := p.Died(3 * time.Second); got != 0 {
			t.Errorf("after three seconds of life: a pause of %v", got)
		}
	}
}
