package stream

import (
	"bufio"
	"context"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"

	"berth/runtime"
)

// log answers with the log of one attempt of a container. With follow it goes on until this attempt has ended: as in Kubernetes, who wants
// the log of the next one asks again.
func (h *Handler) log(w http.ResponseWriter, r *http.Request, pod *corev1.Pod) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("%v", err)
	}
	o, wanted, err := h.logOptions(pod.Name, q)
	if err != nil {
		return err
	}
	name, err := choose(pod, q.Get("container"))
	if err != nil {
		return err
	}
	woke, stop := h.changes.watch(string(pod.UID)) // before the look, so that nothing is missed between
	defer stop()
	facts, err := h.opts.Machine.Status(r.Context(), string(pod.UID))
	if err != nil {
		facts = runtime.PodStatus{} // nothing on the machine: the object tells why
	}
	attempt, err := logged(pod, name, attempts(&facts, name), wanted.previous)
	if err != nil {
		return err
	}
	if wanted.follow && attempt.State != runtime.Exited {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		ended := make(chan struct{})
		o.Ended = ended
		go func() {
			defer close(ended)
			h.awaitEnd(ctx, string(pod.UID), attempt, woke)
		}()
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, 32<<10)
	control := http.NewResponseController(w)
	o.Flush = func() {
		_ = out.Flush()     // the next write tells
		_ = control.Flush() // as above
	}
	o.Flush() // the client learns at once that there is a log, also when it is silent for hours
	err = h.opts.Logs.ReadLog(r.Context(), attempt.LogPath, o, out)
	_ = out.Flush() // the client went away: nobody to tell
	if err != nil && r.Context().Err() == nil {
		// The status line is gone. Breaking off tells that this was not all.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// awaitEnd returns when an attempt runs no more, or ctx ends.
func (h *Handler) awaitEnd(ctx context.Context, uid string, attempt runtime.ContainerStatus, woke <-chan struct{}) {
	for {
		facts, err := h.opts.Machine.Status(ctx, uid)
		if err != nil {
			return
		}
		running := false
		for _, c := range attempts(&facts, attempt.Name) {
			running = running || c.Attempt == attempt.Attempt && c.State != runtime.Exited
		}
		if !running {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-woke:
		}
	}
}

// attempts are those of one container that the machine still knows, the newest last.
func attempts(p *runtime.PodStatus, name string) []runtime.ContainerStatus {
	var list []runtime.ContainerStatus
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			list = append(list, p.Containers[i])
		}
	}
	return list
}

// logged is the attempt whose log is meant: the one that runs, or the one that ran last; with previous the one before, or the one that has
// ended while the next is waited for. The errors are worded as the kubelet's are.
func logged(pod *corev1.Pod, name string, list []runtime.ContainerStatus, previous bool) (runtime.ContainerStatus, error) {
	s := status(pod, name)
	begun := list
	if n := len(begun); n > 0 && begun[n-1].State == runtime.Created {
		begun = begun[:n-1] // there is nothing of it yet
	}
	want := len(begun) - 1
	if previous && s != nil && want >= 0 && (begun[want].State == runtime.Running || s.State.Terminated != nil) {
		want--
	}
	switch {
	case s == nil:
		return runtime.ContainerStatus{}, badRequest("container %q in pod %q is not available", name, pod.Name)
	case want >= 0:
		return begun[want], nil
	case previous:
		return runtime.ContainerStatus{}, badRequest("previous terminated container %q in pod %q not found", name, pod.Name)
	case s.State.Waiting != nil:
		return runtime.ContainerStatus{}, badRequest("container %q in pod %q is waiting to start: %s", name, pod.Name, waiting(s.State.Waiting))
	case s.State.Terminated != nil:
		return runtime.ContainerStatus{}, badRequest("container %q in pod %q is terminated", name, pod.Name)
	}
	return runtime.ContainerStatus{}, badRequest("container %q in pod %q is waiting to start - no logs yet", name, pod.Name)
}

// waiting is the reason of a state in the words that the kubelet has for it.
func waiting(w *corev1.ContainerStateWaiting) string {
	switch w.Reason {
	case "ErrImagePull":
		return "image can't be pulled"
	case "ImagePullBackOff":
		return "trying and failing to pull image"
	}
	return w.Reason
}
