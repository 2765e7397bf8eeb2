package controller

import (
	"context"
	"fmt"
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
