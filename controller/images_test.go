package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"berth/reconcile"
	"berth/runtime"
)

// slowLook answers that there is no image, late.
type slowLook struct{ answer chan struct{} }

func (s slowLook) Image(context.Context, string) (runtime.Image, error) {
	<-s.answer
	return runtime.Image{}, fmt.Errorf("image: %w", runtime.ErrNotFound)
}

func (s slowLook) Pull(context.Context, string, runtime.PullOptions) (runtime.Image, error) {
	return runtime.Image{ID: "sha256:1"}, nil
}

func TestALateAnswerDoesNotHideAPulledImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group sync.WaitGroup
		s := slowLook{answer: make(chan struct{})}
		im := newImages(s, clock.RealClock{}, &group, func(...reconcile.Key) {}, newNotifier())
		key := reconcile.Key{Kind: "Pod", Name: "a"}
		got := make(chan reconcile.ImageState)
		go func() {
			state, err := im.state(t.Context(), "web:1", key)
			if err != nil {
				t.Error(err)
			}
			got <- state
		}()
		synctest.Wait()
		im.pull(t.Context(), reconcile.PullImage{Pod: key, Ref: "web:1"}, nil)
		group.Wait()
		close(s.answer)
		if state := <-got; state.Image == nil {
			t.Errorf("state after the pull is %+v", state)
		}
	})
}

// waitsInLine pulls for two seconds, after three of waiting for others.
type waitsInLine struct{ slowLook }

func (waitsInLine) Pull(_ context.Context, _ string, opts runtime.PullOptions) (runtime.Image, error) {
	time.Sleep(3 * time.Second)
	opts.Began()
	time.Sleep(2 * time.Second)
	return runtime.Image{ID: "sha256:1"}, nil
}

func TestAPullsTimeIsToldWithAndWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group sync.WaitGroup
		im := newImages(waitsInLine{}, clock.RealClock{}, &group, func(...reconcile.Key) {}, newNotifier())
		var told []string
		im.tell = func(e reconcile.RecordEvent) { told = append(told, e.Message) }
		im.pull(t.Context(), reconcile.PullImage{Pod: reconcile.Key{Kind: "Pod", Name: "a"}, Ref: "web:1"}, nil)
		group.Wait()
		if got := strings.Join(told, "\n"); !strings.Contains(got, "in 2s (5s including waiting)") {
			t.Errorf("told %q", got)
		}
	})
}

func TestAnEndedPullIsNotAFailureOfTheImage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.OnPull("web:1", pullFault{Delay: time.Hour})
		w.start()
		w.write(web("web", "web:1", 1))
		w.pass(time.Second)
		c := w.c
		w.end()
		if f := c.images.refs["web:1"].state; f.Failures != 0 || f.Pulling {
			t.Errorf("state after the end of the controller is %+v", f)
		}
	})
}

// What is known of an image is kept as long as a pod states it, and no longer: its failures count, and new tags come for years.
func TestForgottenImages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts = func(o *Options) { o.secondLook = 0 }
		w.fake.OnPull("gone:1", pullFault{Err: errors.New("no such image")})
		w.write(web("web", "web:1", 1), web("gone", "gone:1", 1))
		w.start()
		w.pass(30 * time.Minute)
		refs := w.c.images.refs
		if len(refs) != 2 || refs["gone:1"].state.Failures == 0 {
			t.Errorf("after some looks there are %d references: %+v", len(refs), refs["gone:1"])
		}
		for i := range 5 {
			w.write(web("web", fmt.Sprint("web:", i), 1))
			w.pass(30 * time.Minute)
		}
		if len(refs) != 1 || refs["web:4"] == nil {
			t.Errorf("%d references are left: %v", len(refs), refs)
		}
	})
}
