package api

import (
	"bufio"
	"fmt"
	"net/http"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What `kubectl get -w` sees in a day leaves nothing behind, nor does a client that has stopped reading: the history is full after some thousand changes, and that is all.
func TestWatchingForADay(t *testing.T) {
	const (
		hour  = 1_000   // changes; a watch is never so many behind
		slack = 2 << 20 // what is in use varies by half of that, however long it is watched; a change that is kept takes more than 200 bytes
	)
	day := 100 * hour
	if testing.Short() {
		day = 20 * hour
	}
	s, srv := crowd(t)
	var watches sync.WaitGroup
	var lines [3]atomic.Int64
	watch := func(accept string, seen func(line string)) {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/api/v1/pods?watch=1&resourceVersion=%d", srv.URL, s.Store().Version()), nil)
		r.Header.Set("Accept", accept)
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if seen == nil {
			return
		}
		watches.Go(func() {
			for l := bufio.NewReader(resp.Body); ; {
				line, err := l.ReadString('\n')
				if err != nil {
					return
				}
				seen(line)
			}
		})
	}
	more := sync.NewCond(&sync.Mutex{})
	for i, accept := range []string{jsonType, "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"} {
		watch(accept, func(line string) {
			if !strings.HasPrefix(line, `{"type":"MODIFIED"`) {
				t.Errorf("a watch says %.200s", line)
			}
			more.L.Lock()
			lines[i].Add(1)
			more.L.Unlock()
			more.Broadcast()
		})
	}
	watch(jsonType, nil) // it never reads
	var early, late goruntime.MemStats
	goroutines := 0
	for i := 1; i <= day; i++ {
		annotate(t, s, i)
		if i%hour != 0 {
			continue
		}
		more.L.Lock()
		for lines[0].Load() < int64(i) || lines[1].Load() < int64(i) || lines[2].Load() < int64(i) {
			more.Wait()
		}
		more.L.Unlock()
		if i == day/2 {
			goroutines = goruntime.NumGoroutine()
			inUse(&early)
		}
	}
	inUse(&late)
	if grown := int64(late.HeapAlloc) - int64(early.HeapAlloc); grown > slack {
		t.Errorf("%d bytes in use after %d changes, %d more after %d", early.HeapAlloc, day/2, grown, day)
	}
	for deadline := time.Now().Add(time.Minute); goruntime.NumGoroutine() > goroutines; goruntime.Gosched() { // the last request's may be ending
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", goruntime.NumGoroutine(), goroutines)
		}
	}
	srv.CloseClientConnections()
	watches.Wait()
}

// inUse is what is left when all garbage is gone, that of pools included: they keep it for one collection.
func inUse(m *goruntime.MemStats) {
	goruntime.GC()
	goruntime.GC()
	goruntime.ReadMemStats(m)
}
