package queue

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"berth/reconcile"
)

func key(i int) reconcile.Key {
	return reconcile.Key{Kind: "Pod", Namespace: "default", Name: fmt.Sprint(i)}
}

func TestKeyIsWorkedOnByOneAtATime(t *testing.T) {
	q := New(clock.RealClock{})
	var mu sync.Mutex
	working := map[reconcile.Key]bool{}
	counts := map[reconcile.Key]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				k, ok := q.Get()
				if !ok {
					return
				}
				mu.Lock()
				if working[k] {
					t.Errorf("%s is worked on twice at once", k)
				}
				working[k] = true
				counts[k]++
				n := counts[k]
				mu.Unlock()
				if n < 3 { // comes again while it is worked on
					q.Add(k)
				}
				mu.Lock()
				working[k] = false
				mu.Unlock()
				q.Done(k)
			}
		})
	}
	for i := range 50 {
		q.Add(key(i), key(i))
	}
	<-q.Idle()
	q.Close()
	wg.Wait()
	for i := range 50 {
		if counts[key(i)] < 3 {
			t.Errorf("%s was worked on %d times, want at least 3", key(i), counts[key(i)])
		}
	}
}

func TestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(clock.RealClock{})
		start := time.Now()
		q.AddAfter(key(1), 10*time.Second)
		q.AddAfter(key(2), time.Second)
		q.AddAfter(key(1), 2*time.Second) // the earlier counts
		q.AddAfter(key(1), 5*time.Second)
		for _, want := range []struct {
			key reconcile.Key
			at  time.Duration
		}{{key(2), time.Second}, {key(1), 2 * time.Second}} {
			k, _ := q.Get()
			if k != want.key || time.Since(start) != want.at {
				t.Errorf("got %s after %s, want %s after %s", k, time.Since(start), want.key, want.at)
			}
			q.Done(k)
		}
		q.AddAfter(key(3), time.Minute)
		q.Add(key(3))
		k, _ := q.Get() // ends the minute
		q.AddAfter(k, time.Hour)
		q.Done(k)
		start = time.Now()
		q.Get()
		if got := time.Since(start); got != time.Hour {
			t.Errorf("came again after %s, want an hour: what was set while it was worked on counts", got)
		}
		q.Done(k)
		q.Close()
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(clock.RealClock{})
		var pauses []time.Duration
		for range 16 {
			start := time.Now()
			q.AddBackoff(key(1))
			k, _ := q.Get()
			pauses = append(pauses, time.Since(start))
			q.Done(k)
		}
		if pauses[0] != MinBackoff || pauses[3] != 8*MinBackoff || pauses[15] != MaxBackoff {
			t.Errorf("pauses are %v", pauses)
		}
		q.Forget(key(1))
		start := time.Now()
		q.AddBackoff(key(1))
		q.Get()
		if got := time.Since(start); got != MinBackoff {
			t.Errorf("pause after Forget is %s, want %s", got, MinBackoff)
		}
		q.Close()
	})
}

func TestIdleWaitsForWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(clock.RealClock{})
		q.Add(key(1))
		idle := q.Idle()
		k, _ := q.Get()
		q.Add(k)
		q.Done(k)
		synctest.Wait()
		select {
		case <-idle:
			t.Fatal("idle with a key that is due again")
		default:
		}
		k, _ = q.Get()
		q.Done(k)
		<-idle
		q.Close()
		if _, ok := q.Get(); ok {
			t.Error("Get returned a key of a closed queue")
		}
	})
}
