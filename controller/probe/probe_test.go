package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// bench is a prober with one container, whose probes are told apart by their commands, in a bubble with its own time.
type bench struct {
	*Prober
	began  time.Time
	target Target
	answer func(kind string, at time.Duration) int // exit code
	took   time.Duration

	looking sync.Mutex // looks overlap
	asked   []string   // KIND@SECONDS
	events  []string
	told    []string // verdicts at their changes
}

func onBench(t *testing.T, c corev1.Container, age time.Duration, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{began: time.Now(), answer: func(string, time.Duration) int { return 0 }}
		b.target = Target{Pod: reconcile.Key{Name: "web"}, UID: "u-1", Container: &c, StartedAt: b.began.Add(-age)}
		b.Prober = New(Options{
			Asker: Asker{Executor: b}, Clock: clock.RealClock{}, Event: func(e reconcile.RecordEvent) { b.note(&b.events, b.at()+" "+e.Reason+": "+e.Message) },
			Changed: func(reconcile.Key, types.UID) { b.note(&b.told, b.at()+" "+b.look()) },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		test(b)
	})
}

func (b *bench) Exec(ctx context.Context, _, _ string, cfg runtime.ExecConfig) (int, error) {
	b.note(&b.asked, cfg.Command[0]+"@"+b.at())
	code := b.answer(cfg.Command[0], time.Since(b.began))
	if b.took > 0 { // not time.After: the race detector of Go 1.26 crashes on a channel timer that is due at once in a bubble
		took, cancel := context.WithTimeout(ctx, b.took)
		<-took.Done()
		cancel()
	}
	return code, ctx.Err()
}

func (b *bench) note(list *[]string, text string) {
	b.looking.Lock()
	defer b.looking.Unlock()
	*list = append(*list, text)
}

func (b *bench) at() string { return fmt.Sprintf("%.4g", time.Since(b.began).Seconds()) }

// look is the verdict in short.
func (b *bench) look() string {
	v, ok := b.Look("u-1", []Target{b.target})["main"]
	if !ok {
		return "no probes"
	}
	var words []string
	if v.Started {
		words = append(words, "started")
	}
	if v.Ready {
		words = append(words, "ready")
	}
	if v.Failed != "" {
		words = append(words, "failed "+string(v.Failed))
	}
	return strings.Join(append(words, ""), " ")
}

func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func probing(change ...func(*corev1.Container)) corev1.Container {
	c := corev1.Container{Name: "main"}
	for _, f := range change {
		f(&c)
	}
	return c
}

func spec(kind string, delay, period, good, bad int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{kind}}}, TimeoutSeconds: 1,
		InitialDelaySeconds: delay, PeriodSeconds: period, SuccessThreshold: good, FailureThreshold: bad,
	}
}

func readiness(delay, period, good, bad int32) func(*corev1.Container) {
	return func(c *corev1.Container) { c.ReadinessProbe = spec("readiness", delay, period, good, bad) }
}

func liveness(delay, period, bad int32) func(*corev1.Container) {
	return func(c *corev1.Container) { c.LivenessProbe = spec("liveness", delay, period, 1, bad) }
}

func startup(period, bad int32) func(*corev1.Container) {
	return func(c *corev1.Container) { c.StartupProbe = spec("startup", 0, period, 1, bad) }
}

// failing answers badly in a window.
func failing(kind string, from, until time.Duration) func(string, time.Duration) int {
	return func(k string, at time.Duration) int {
		if k == kind && at >= from && at < until {
			return 1
		}
		return 0
	}
}

func TestProber(t *testing.T) {
	const s = time.Second
	tests := map[string]struct {
		container corev1.Container
		age       time.Duration // of the container when the prober begins
		known     *Known
		answer    func(string, time.Duration) int
		took, run time.Duration
		asked     []string
		told      []string
		events    []string
		first     string // the first verdict
	}{
		"ready at once": {
			container: probing(readiness(0, 10, 1, 3)), run: 25 * s, first: "started ",
			asked: []string{"readiness@0", "readiness@10", "readiness@20"}, told: []string{"0 started ready "},
		},
		"ready after a moment, between two turns": {
			container: probing(readiness(0, 10, 1, 3)), answer: failing("readiness", 0, 300*time.Millisecond), run: 15 * s, first: "started ",
			asked: []string{"readiness@0", "readiness@0.05", "readiness@0.15", "readiness@0.35", "readiness@10"}, told: []string{"0.35 started ready "},
		},
		"never ready": {
			container: probing(readiness(0, 2, 1, 3)), answer: failing("readiness", 0, time.Hour), run: 5 * s, first: "started ",
			asked:  []string{"readiness@0", "readiness@0.05", "readiness@0.15", "readiness@0.35", "readiness@0.75", "readiness@1.55", "readiness@2", "readiness@4"},
			events: []string{"2 Unhealthy: Readiness probe failed: ", "4 Unhealthy: Readiness probe failed: "},
		},
		"a delay is waited for": {
			container: probing(readiness(5, 10, 1, 3), liveness(7, 10, 3)), run: 20 * s, first: "started ",
			asked: []string{"readiness@5", "liveness@7", "readiness@15", "liveness@17"}, told: []string{"5 started ready "},
		},
		"unready when it has failed often enough, ready with one good look": {
			container: probing(readiness(0, 1, 1, 3)), answer: failing("readiness", 4500*time.Millisecond, 8500*time.Millisecond), run: 10 * s, first: "started ",
			asked: []string{
				"readiness@0", "readiness@1", "readiness@2", "readiness@3", "readiness@4", "readiness@5", "readiness@6", "readiness@7", "readiness@8", "readiness@9", "readiness@10",
			},
			told: []string{"0 started ready ", "7 started ", "9 started ready "},
			events: []string{
				"5 Unhealthy: Readiness probe failed: ", "6 Unhealthy: Readiness probe failed: ", "7 Unhealthy: Readiness probe failed: ", "8 Unhealthy: Readiness probe failed: ",
			},
		},
		"two failures do not make it unready": {
			container: probing(readiness(0, 1, 1, 3)), answer: failing("readiness", 1500*time.Millisecond, 3500*time.Millisecond), run: 5 * s, first: "started ",
			asked: []string{"readiness@0", "readiness@1", "readiness@2", "readiness@3", "readiness@4", "readiness@5"}, told: []string{"0 started ready "},
			events: []string{"2 Unhealthy: Readiness probe failed: ", "3 Unhealthy: Readiness probe failed: "},
		},
		"several good looks are needed": {
			container: probing(readiness(0, 1, 3, 1)), run: 3 * s, first: "started ",
			asked: []string{"readiness@0", "readiness@1", "readiness@2", "readiness@3"}, told: []string{"2 started ready "},
		},
		"liveness ends it after its threshold, and nobody is asked any more": {
			container: probing(liveness(0, 2, 2)), answer: failing("liveness", 3*s, time.Hour), run: 20 * s, first: "started ready ",
			asked: []string{"liveness@2", "liveness@4", "liveness@6"}, told: []string{"6 started ready failed liveness "},
			events: []string{"4 Unhealthy: Liveness probe failed: ", "6 Unhealthy: Liveness probe failed: "},
		},
		"the startup probe holds the others": {
			container: probing(startup(10, 30), liveness(0, 2, 1), readiness(21, 5, 1, 1)), answer: failing("startup", 0, 11*s), run: 24 * s,
			asked: []string{
				"startup@0", "startup@0.05", "startup@0.15", "startup@0.35", "startup@0.75", "startup@1.55", "startup@3.15", "startup@6.35", "startup@10", "startup@20",
				"readiness@21", "liveness@22", "liveness@24",
			},
			told:   []string{"20 started ", "21 started ready "},
			events: []string{"10 Unhealthy: Startup probe failed: "},
		},
		"the startup probe ends it when it has waited long enough": {
			container: probing(startup(3, 3), liveness(0, 1, 1)), answer: failing("startup", 0, time.Hour), run: 20 * s,
			asked: []string{
				"startup@0", "startup@0.05", "startup@0.15", "startup@0.35", "startup@0.75", "startup@1.55", "startup@3", "startup@6", "startup@9",
			},
			told:   []string{"9 failed startup "},
			events: []string{"3 Unhealthy: Startup probe failed: ", "6 Unhealthy: Startup probe failed: ", "9 Unhealthy: Startup probe failed: "},
		},
		"turns that a slow answer has missed are not made up for": {
			container: probing(liveness(0, 1, 1), func(c *corev1.Container) { c.LivenessProbe.TimeoutSeconds = 2 }), took: 1500 * time.Millisecond, run: 5500 * time.Millisecond,
			asked: []string{"liveness@1", "liveness@3", "liveness@5"}, first: "started ready ",
		},
		"an answer that takes too long is a failure": {
			container: probing(liveness(0, 5, 10)), took: 1500 * time.Millisecond, run: 7 * s, asked: []string{"liveness@5"}, first: "started ready ",
			events: []string{`6 Unhealthy: Liveness probe failed: command timed out: "liveness" timed out after 1s`},
		},
		"what was ready before berth began anew stays it": {
			container: probing(startup(1, 1), readiness(0, 10, 1, 3)), age: 63 * s, known: &Known{Started: true, Ready: true, ReadySince: time.Unix(1, 0)}, run: 20 * s, first: "started ready ",
			answer: failing("startup", 0, time.Hour), asked: []string{"readiness@7", "readiness@17"},
		},
		"what was not ready before berth began anew stays it": {
			container: probing(readiness(0, 10, 1, 3)), age: 63 * s, known: &Known{Started: true}, run: 10 * s, first: "started ", answer: failing("readiness", 0, time.Hour),
			asked:  []string{"readiness@0", "readiness@0.05", "readiness@0.15", "readiness@0.35", "readiness@0.75", "readiness@1.55", "readiness@3.15", "readiness@6.35", "readiness@7"},
			events: []string{"7 Unhealthy: Readiness probe failed: "},
		},
		"what nobody knows anything of has just been started": {
			container: probing(startup(10, 3), readiness(65, 10, 1, 3)), age: 63 * s, run: 5 * s,
			asked: []string{"startup@0", "readiness@2"}, told: []string{"0 started ", "2 started ready "},
		},
		"the clock was set back before berth began anew": {
			container: probing(liveness(0, 10, 3)), age: -time.Hour, run: 21 * s, first: "started ready ", asked: []string{"liveness@10", "liveness@20"},
		},
		"no probes": {container: probing(), run: time.Hour, first: "no probes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			onBench(t, tt.container, tt.age, func(b *bench) {
				if b.took = tt.took; tt.answer != nil {
					b.answer = tt.answer
				}
				b.target.Known = tt.known
				if got := b.look(); got != tt.first {
					t.Errorf("the first verdict is %q, want %q", got, tt.first)
				}
				b.pass(tt.run)
				for what, pair := range map[string][2][]string{"asked": {tt.asked, b.asked}, "told": {tt.told, b.told}, "events": {tt.events, b.events}} {
					if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
						t.Errorf("%s (-want +got):\n%s", what, diff)
					}
				}
			})
		})
	}
}

// A container that was started anew is another one: what was known of the one before is forgotten.
func TestRestart(t *testing.T) {
	onBench(t, probing(liveness(0, 1, 1)), 0, func(b *bench) {
		b.answer = failing("liveness", 0, 1500*time.Millisecond)
		b.look()
		b.pass(time.Second)
		if got := b.look(); got != "started ready failed liveness " {
			t.Fatalf("after a failure: %q", got)
		}
		b.target.Attempt, b.target.StartedAt = 1, time.Now()
		if got := b.look(); got != "started ready " {
			t.Errorf("the next attempt is %q", got)
		}
		b.pass(3 * time.Second)
		if want := []string{"liveness@1", "liveness@2", "liveness@3", "liveness@4"}; !slices.Equal(b.asked, want) {
			t.Errorf("asked %v, want %v", b.asked, want)
		}
		if diff := cmp.Diff(map[string]Known{"main": {Attempt: 1, Started: true, Ready: true, ReadySince: b.target.StartedAt}}, b.Known("u-1")); diff != "" {
			t.Errorf("known (-want +got):\n%s", diff)
		}
	})
}

// A pod that ends is asked for its readiness only: nothing can make it start again.
func TestEnding(t *testing.T) {
	onBench(t, probing(liveness(0, 1, 1), readiness(0, 1, 1, 1)), 0, func(b *bench) {
		b.answer = func(string, time.Duration) int { return 1 }
		b.look()
		b.pass(1500 * time.Millisecond)
		b.target.Ending, b.asked = true, nil
		if got := b.look(); got != "started " {
			t.Errorf("an ending container is %q", got)
		}
		b.pass(2 * time.Second)
		if want := []string{"readiness@2", "readiness@3"}; !slices.Equal(b.asked, want) {
			t.Errorf("asked %v, want %v", b.asked, want)
		}
	})
}

// A container that is gone is not asked, and a look under way is given up.
func TestForget(t *testing.T) {
	onBench(t, probing(readiness(0, 1, 1, 1)), 0, func(b *bench) {
		b.took = 500 * time.Millisecond
		b.look()
		b.pass(100 * time.Millisecond)
		b.Forget("u-1")
		b.pass(time.Hour)
		if len(b.asked) != 1 || len(b.told) != 0 || len(b.Known("u-1")) != 0 || len(b.due) != 0 {
			t.Errorf("asked %v, told %v, known %v, due %d", b.asked, b.told, b.Known("u-1"), len(b.due))
		}
	})
}

// However many containers there are, the prober sleeps until the next one is due.
func TestMany(t *testing.T) {
	onBench(t, probing(), 0, func(b *bench) {
		for i := range 50 {
			c := probing(readiness(0, int32(1+i%7), 1, 1))
			tgt := Target{UID: types.UID(fmt.Sprint("u", i)), Container: &c, StartedAt: b.began}
			if v := b.Look(tgt.UID, []Target{tgt}); v["main"] != (pod.Probe{Started: true}) {
				t.Fatalf("a new container is %+v", v)
			}
		}
		b.pass(time.Minute + time.Millisecond)
		looks := 0
		for i := range 50 {
			looks += 1 + 60/(1+i%7)
		}
		if len(b.asked) != looks || len(b.due) != 50 {
			t.Errorf("%d looks, want %d; %d due", len(b.asked), looks, len(b.due))
		}
	})
}
