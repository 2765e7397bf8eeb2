package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"berth/runtime"
)

// queue is a host's pulls in a test: each begins, and ends when it is told to.
type queue struct {
	t     *testing.T
	turns *turns
	begun []string
	end   map[string]chan struct{}
}

func (q *queue) ask(ctx context.Context, names ...string) {
	q.t.Helper()
	for _, name := range names {
		end := make(chan struct{})
		q.end[name] = end
		go func() {
			host, _, _ := strings.Cut(name, "/")
			done, err := q.turns.take(ctx, host)
			if err != nil {
				return
			}
			q.turns.mu.Lock()
			q.begun = append(q.begun, name)
			q.turns.mu.Unlock()
			<-end
			done()
		}()
		synctest.Wait()
	}
}

func (q *queue) finish(name string) {
	close(q.end[name])
	synctest.Wait()
}

// want compares with those that have begun since it was last asked, of which several may begin at one moment.
func (q *queue) want(when string, names ...string) {
	q.t.Helper()
	slices.Sort(q.begun)
	slices.Sort(names)
	if !slices.Equal(q.begun, names) {
		q.t.Errorf("%s: %v began, want %v", when, q.begun, names)
	}
	q.begun = nil
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{t: t, turns: &turns{running: map[string]int{}}, end: map[string]chan struct{}{}}
		impatient, leave := context.WithCancel(t.Context())
		q.ask(t.Context(), "a/1", "a/2", "a/3", "a/4", "a/5")
		q.want("one registry", "a/1", "a/2", "a/3")
		q.ask(impatient, "b/1", "b/2", "b/3", "b/4")
		q.want("another one", "b/1", "b/2", "b/3")
		q.ask(t.Context(), "c/1", "c/2", "d/1")
		q.want("more, while there are six", "c/1", "d/1")
		q.finish("a/1")
		q.finish("a/2")
		q.want("seven and six are under way")
		q.finish("d/1")
		q.want("who has the fewest", "a/4")
		q.finish("c/1")
		q.want("the first of a registry", "c/2")
		leave()
		synctest.Wait()
		q.finish("b/1")
		q.want("who left", "a/5")
		for _, name := range []string{"a/3", "a/4", "a/5", "b/2", "b/3", "c/2"} {
			q.finish(name)
		}
		if len(q.turns.running) != 0 || q.turns.all != 0 || len(q.turns.waiting) != 0 {
			t.Errorf("at the end: %v, %d, %d", q.turns.running, q.turns.all, len(q.turns.waiting))
		}
	})
}

// Registries that take connections and never answer hold up nobody but their own pulls.
func TestAHangingRegistryHoldsUpNoOther(t *testing.T) {
	s := testStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	var hung []chan error
	for range 3 {
		dead := newRegistry(t)
		asked := make(chan struct{}, 100)
		dead.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
			asked <- struct{}{}
			<-r.Context().Done()
			return true
		})
		for i := range 5 {
			ended := make(chan error, 1)
			hung = append(hung, ended)
			go func() {
				_, err := s.Pull(ctx, fmt.Sprintf("%s/hangs/%d:1", dead.host(), i), runtime.PullOptions{})
				ended <- err
			}()
		}
		<-asked
	}
	well := newRegistry(t)
	for i := range 5 {
		ref := well.push(t, fmt.Sprintf("works/%d:1", i), testImage(t, testLayer(t, fmt.Sprint("file=", i))))
		began := 0
		if _, err := s.Pull(t.Context(), ref, runtime.PullOptions{Began: func() { began++ }}); err != nil || began != 1 {
			t.Errorf("began %d times: %v", began, err)
		}
	}
	cancel()
	for _, ended := range hung {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a pull that was given up: %v", err)
		}
	}
}

// A mirror that hangs is the mirror's turn, not the registry's that it stands for.
func TestTurnsAreThoseOfTheEndpoint(t *testing.T) {
	origin, mirror := newRegistry(t), newRegistry(t)
	ref := origin.push(t, "app:1", testImage(t, testLayer(t, "file=1")))
	mirror.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	s := testStore(t, func(o *Options) {
		o.Registries = writeRegistries(t, fmt.Sprintf("mirrors:\n  %q:\n    endpoint: [%q]\n", origin.host(), mirror.URL))
	})
	for range pullsOfHost { // nobody ends these
		if _, err := s.turns.take(t.Context(), origin.host()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Pull(ctx, ref, runtime.PullOptions{})
		done <- err
	}()
	waitFor(t, func() bool {
		s.turns.mu.Lock()
		defer s.turns.mu.Unlock()
		return s.turns.running[mirror.host()] == 0 && len(s.turns.waiting) == 1 && s.turns.waiting[0].host == origin.host()
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
