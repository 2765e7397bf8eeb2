package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"berth/reconcile"
	"berth/runtime"
)

// images knows what this machine has of each image, and pulls what pods ask for: each reference once at a time. How many in all is for the runtime to say.
type images struct {
	runtime runtime.Images
	clock   clock.PassiveClock
	group   *sync.WaitGroup
	enqueue func(...reconcile.Key)
	notify  *notifier
	tell    func(reconcile.RecordEvent) // must not block; nil for nobody

	mu   sync.Mutex // not held while the runtime is asked
	refs map[string]*imageRef
}

// imageRef is one reference.
type imageRef struct {
	state           reconcile.ImageState
	known           bool                        // state.Image is what the runtime has, also when that is nothing
	waiting         map[reconcile.Key]time.Time // pods, and since when
	complete, total int64
}

func newImages(r runtime.Images, c clock.PassiveClock, group *sync.WaitGroup, enqueue func(...reconcile.Key), n *notifier) *images {
	return &images{
		runtime: r, clock: c, group: group, enqueue: enqueue, notify: n, refs: map[string]*imageRef{},
	}
}

// state returns what is known of a reference. A pod that sees a pull under way becomes due when that ends.
func (im *images) state(ctx context.Context, ref string, pod reconcile.Key) (reconcile.ImageState, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	r, err := im.current(ctx, ref)
	if err != nil {
		return reconcile.ImageState{}, err
	}
	if r.state.Pulling {
		im.wait(r, ref, pod)
	}
	return r.state, nil
}

// peek is state for a pod that does not wait for the image: one that is going needs to know its stop signal, no more.
func (im *images) peek(ctx context.Context, ref string) (reconcile.ImageState, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	r, err := im.current(ctx, ref)
	if err != nil {
		return reconcile.ImageState{}, err
	}
	return r.state, nil
}

// current is a reference as it is. The runtime is asked when it is not known to be there; somebody may have loaded it. im.mu is held, but
// not while the runtime is asked.
func (im *images) current(ctx context.Context, ref string) (*imageRef, error) {
	r := im.ref(ref)
	if !r.known && !r.state.Pulling {
		if err := im.look(ctx, ref, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// look asks the runtime, without im.mu meanwhile. What a pull found out in that time is newer than the answer.
func (im *images) look(ctx context.Context, ref string, r *imageRef) error {
	im.mu.Unlock()
	img, err := im.runtime.Image(ctx, ref)
	im.mu.Lock()
	switch {
	case r.known || r.state.Pulling:
	case err == nil:
		r.state.Image, r.known = &img, true
	case errors.Is(err, runtime.ErrNotFound):
		r.state.Image = nil
	case errors.Is(err, runtime.ErrInvalidName):
		r.state.Invalid, r.known = err.Error(), true
	default:
		return err
	}
	return nil
}

// pull begins a pull and returns at once. The pods that asked for it become due when it ends.
func (im *images) pull(ctx context.Context, a reconcile.PullImage, credentials []runtime.Credential) {
	im.mu.Lock()
	defer im.mu.Unlock()
	r := im.ref(a.Ref)
	if !r.state.Pulling && r.state.Image != nil && !a.Always {
		im.enqueue(a.Pod) // it has come meanwhile
		return
	}
	im.wait(r, a.Ref, a.Pod)
	if r.state.Pulling {
		return
	}
	r.state.Pulling, r.complete, r.total = true, 0, 0
	im.group.Go(func() { im.fetch(ctx, a.Ref, credentials) })
	im.notify.notify()
}

// wait enters a pod that waits for a pull. im.mu is held.
func (im *images) wait(r *imageRef, ref string, pod reconcile.Key) {
	if _, waits := r.waiting[pod]; waits {
		return
	}
	r.waiting[pod] = im.clock.Now()
	if im.tell != nil {
		im.tell(reconcile.RecordEvent{Key: pod, Routine: true, Reason: "Pulling", Message: fmt.Sprintf("Pulling image %q", ref)})
	}
}

// pulledAt is when a reference was last pulled, in the life of this process.
func (im *images) pulledAt(ref string) time.Time {
	im.mu.Lock()
	defer im.mu.Unlock()
	if r := im.refs[ref]; r != nil {
		return r.state.PulledAt
	}
	return time.Time{}
}

func (im *images) fetch(ctx context.Context, ref string, credentials []runtime.Credential) {
	began := im.clock.Now()
	img, err := im.runtime.Pull(ctx, ref, runtime.PullOptions{Credentials: credentials, Progress: im.progress(ref), Began: func() {
		im.mu.Lock()
		defer im.mu.Unlock()
		began = im.clock.Now()
	}})
	im.mu.Lock()
	defer im.mu.Unlock()
	r := im.ref(ref)
	r.state.Pulling = false
	switch {
	case err == nil:
		r.state.Image, r.known = &img, true
		now := im.clock.Now()
		r.state.PulledAt, r.state.Failures, r.state.LastError = now, 0, ""
		for pod, since := range r.waiting {
			if im.tell != nil {
				im.tell(pullTold(pod, ref, &img, now.Sub(began), now.Sub(since)))
			}
		}
	case ctx.Err() != nil: // nobody is there to try again, and it was not the image's fault
	default:
		r.state.Failures++
		r.state.LastFailure, r.state.LastError = im.clock.Now(), firstLine(err)
	}
	im.wake(r)
	im.notify.notify()
}

// progress passes on how far a pull is, at most once in a hundredth of the way.
func (im *images) progress(ref string) func(complete, total int64) {
	return func(complete, total int64) {
		im.mu.Lock()
		r := im.ref(ref)
		step := complete*100/max(total, 1) != r.complete*100/max(r.total, 1) || r.total != total
		r.complete, r.total = complete, total
		im.mu.Unlock()
		if step {
			im.notify.notify()
		}
	}
}

// wake makes the waiting pods due. im.mu is held; the queue takes no other lock.
func (im *images) wake(r *imageRef) {
	for key := range r.waiting {
		im.enqueue(key)
	}
	clear(r.waiting)
}

func (im *images) ref(ref string) *imageRef {
	r := im.refs[ref]
	if r == nil {
		r = &imageRef{waiting: map[reconcile.Key]time.Time{}}
		im.refs[ref] = r
	}
	return r
}

// retry forgets the failures of a reference: what they came from may have changed.
func (im *images) retry(ref string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	s := &im.ref(ref).state
	s.Failures, s.LastFailure, s.LastError = 0, time.Time{}, ""
}

// expire makes the next look ask the runtime again.
func (im *images) expire(ref string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.ref(ref).known = false
}

// expireAll makes the next looks ask the runtime again, and forgets the references that are not in use: each new tag brings one.
func (im *images) expireAll(used map[string]bool) {
	im.mu.Lock()
	defer im.mu.Unlock()
	for ref, r := range im.refs {
		if r.known = false; !used[ref] && !r.state.Pulling {
			delete(im.refs, ref)
		}
	}
}

// pulling lists the pulls under way, sorted.
func (im *images) pulling() []PullStatus {
	im.mu.Lock()
	defer im.mu.Unlock()
	var list []PullStatus
	for ref, r := range im.refs {
		if r.state.Pulling {
			list = append(list, PullStatus{Image: ref, Complete: r.complete, Total: r.total, Pods: len(r.waiting)})
		}
	}
	slices.SortFunc(list, func(a, b PullStatus) int { return strings.Compare(a.Image, b.Image) })
	return list
}

func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	const longest = 1024 // an error may quote a registry
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}
