// Package load sends HTTP requests at a steady rate and counts honestly: each request is sent when it is due, whether or not earlier ones were
// answered; none is sent twice; and the time it took counts from the moment it was due.
package load

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what to send where.
type Config struct {
	// Addr is HOST:PORT.
	Addr string
	// Rate is the number of requests a second.
	Rate int
	// Connections is the number of connections that are kept and used in turn; 0 makes a new one for each request.
	Connections int
	// Timeout is how long an answer may take, from the moment the request was due; 0 means 10 s.
	Timeout time.Duration
}

// Result is what became of the requests.
type Result struct {
	// Intended is how many were due, Sent how many were begun. A run that sent fewer than 95 % is not a result: see Valid.
	Intended, Sent, Answered int
	// Failed counts the failures by what went wrong.
	Failed map[string]int
	// Slowest, P50 and P99 are times of answered requests.
	Slowest, P50, P99 time.Duration
	// FirstFailure is when and how the first request failed; "" for none.
	FirstFailure string
}

// RateVar is the most requests a second that a client sends, whatever it was asked for: slow machines set it.
const RateVar = "BERTH_E2E_RATE"

func bounded(rate int) int {
	if most, err := strconv.Atoi(os.Getenv(RateVar)); err == nil && most > 0 {
		return min(rate, most)
	}
	return rate
}

// inFlight bounds the requests that wait for an answer. A generator that is this far behind has not kept its rate.
const inFlight = 4096

// run is a load under way.
type run struct {
	cfg   Config
	start time.Time
	sent  atomic.Int64

	mu     sync.Mutex
	ended  int
	more   sync.Cond // told of each request that has ended
	times  []time.Duration
	failed map[string]int
	first  string
}

// Run sends until ctx ends, waits for the answers that are due, and tells what became of them.
func Run(ctx context.Context, cfg Config) Result { return newRun(cfg).send(ctx) }

// around is how many requests of each load During sees end before and after what happens.
const around = 30

// During sends the loads while something happens, and before and after it until some requests of each have ended, however that was.
func During(ctx context.Context, happens func(), loads ...Config) []Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make([]Result, len(loads))
	runs := make([]*run, len(loads))
	var group sync.WaitGroup
	for i, cfg := range loads {
		runs[i] = newRun(cfg)
		group.Go(func() { results[i] = runs[i].send(ctx) })
	}
	some := func() {
		for _, r := range runs {
			r.await(ctx, around)
		}
	}
	some()
	happens()
	some()
	cancel()
	group.Wait()
	return results
}

func newRun(cfg Config) *run {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	cfg.Rate = bounded(cfg.Rate)
	r := &run{cfg: cfg, start: time.Now(), failed: map[string]int{}}
	r.more.L = &r.mu
	return r
}

// await waits until n more requests have ended, or ctx has.
func (r *run) await(ctx context.Context, n int) {
	defer context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.more.Broadcast()
	})()
	r.mu.Lock()
	defer r.mu.Unlock()
	for goal := r.ended + n; r.ended < goal && ctx.Err() == nil; {
		r.more.Wait()
	}
}

func (r *run) send(ctx context.Context) Result {
	var group sync.WaitGroup
	work := r.each(&group)
	intended := r.pace(ctx, work)
	close(work)
	group.Wait()
	return r.result(intended)
}

// pace hands out requests when they are due and returns their number. A request nobody can take is not sent, and missing.
func (r *run) pace(ctx context.Context, work chan<- time.Time) int {
	gap := time.Second / time.Duration(r.cfg.Rate)
	for n := 0; ; n++ {
		due := r.start.Add(time.Duration(n) * gap)
		if wait := time.Until(due); wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return n
			}
		}
		if ctx.Err() != nil {
			return n
		}
		select {
		case work <- due:
		default:
		}
	}
}

// each starts what takes the requests: one worker for each kept connection, or one for each request that may wait.
func (r *run) each(group *sync.WaitGroup) chan time.Time {
	work := make(chan time.Time, inFlight)
	if r.cfg.Connections == 0 {
		group.Go(func() {
			slots := make(chan struct{}, inFlight)
			for due := range work {
				slots <- struct{}{}
				group.Go(func() {
					c := &connection{addr: r.cfg.Addr, once: true}
					r.ask(c, due)
					c.close()
					<-slots
				})
			}
		})
		return work
	}
	for range r.cfg.Connections {
		group.Go(func() {
			c := &connection{addr: r.cfg.Addr}
			defer c.close()
			for due := range work {
				r.ask(c, due)
			}
		})
	}
	return work
}

// ask sends one request and notes what became of it.
func (r *run) ask(c *connection, due time.Time) {
	r.sent.Add(1)
	err := c.get(due.Add(r.cfg.Timeout))
	took := time.Since(due)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	r.more.Broadcast()
	if err == nil {
		r.times = append(r.times, took)
		return
	}
	what := reason(err)
	r.failed[what]++
	if r.first == "" {
		r.first = fmt.Sprintf("%.3f s after the start: %v", due.Sub(r.start).Seconds(), err)
	}
}

func (r *run) result(intended int) Result {
	slices.Sort(r.times)
	res := Result{Intended: intended, Sent: int(r.sent.Load()), Answered: len(r.times), Failed: r.failed, FirstFailure: r.first}
	if n := len(r.times); n > 0 {
		res.Slowest, res.P50, res.P99 = r.times[n-1], r.times[n/2], r.times[n*99/100]
	}
	return res
}

// Failures is the number of requests that were sent and not answered.
func (r Result) Failures() int {
	n := 0
	for _, k := range r.Failed {
		n += k
	}
	return n
}

// Valid tells whether the rate was kept, so that the run says something.
func (r Result) Valid() bool { return r.Intended > 0 && r.Sent*100 >= r.Intended*95 }

// String is one line: sent, answered, failed and why, the slowest.
func (r Result) String() string {
	var why []string
	for _, k := range slices.Sorted(maps.Keys(r.Failed)) {
		why = append(why, fmt.Sprintf("%d %s", r.Failed[k], k))
	}
	s := fmt.Sprintf("sent %d of %d, answered %d, failed %d, slowest %s, p99 %s, median %s",
		r.Sent, r.Intended, r.Answered, r.Failures(), r.Slowest.Round(time.Millisecond/10), r.P99.Round(time.Millisecond/10), r.P50.Round(time.Millisecond/100))
	if len(why) > 0 {
		s += " (" + strings.Join(why, ", ") + "; first " + r.FirstFailure + ")"
	}
	return s
}
