package stream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/runtime"
)

// command is what the query of an exec or attach says.
type command struct {
	container                  string
	args                       []string
	stdin, stdout, stderr, tty bool
}

// session are the streams of a command as its client has them, whatever carries them. Streams that are not wanted are nil.
type session struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	sizes          <-chan runtime.Size
	// finish tells the client how the command ended, after all of its output, and lets go of it.
	finish func(*metav1.Status)
}

// exec runs a program in a container, for as long as the client stays.
func (h *Handler) exec(w http.ResponseWriter, r *http.Request, pod *corev1.Pod) error {
	c, err := parseCommand(r, pod)
	if err != nil {
		return err
	}
	if len(c.args) == 0 {
		return badRequest("you must specify a command")
	}
	if err := h.runs(r.Context(), pod, c.container); err != nil {
		return err
	}
	return serve(w, r, c, func(ctx context.Context, s *session) (int, error) {
		code, err := h.opts.Executor.Exec(ctx, string(pod.UID), c.container, runtime.ExecConfig{
			Command: c.args, Stdin: s.stdin, Stdout: s.stdout, Stderr: s.stderr, TTY: c.tty, Resize: s.sizes,
		})
		if err != nil {
			err = fmt.Errorf("error executing command in container: %w", err)
		}
		return code, err
	})
}

// attach shows what a container writes from now on and hands on what is typed.
func (h *Handler) attach(w http.ResponseWriter, r *http.Request, pod *corev1.Pod) error {
	c, err := parseCommand(r, pod)
	if err != nil {
		return err
	}
	has := spec(pod, c.container)
	switch {
	case has == nil:
		return badRequest("container %s is not valid for pod %s", c.container, pod.Name)
	case c.tty && !has.TTY:
		return badRequest("container %s in pod %s has no terminal: its manifest does not say `tty: true`", c.container, pod.Name)
	}
	if err := h.runs(r.Context(), pod, c.container); err != nil {
		return err
	}
	return serve(w, r, c, func(ctx context.Context, s *session) (int, error) {
		err := h.opts.Attacher.Attach(ctx, string(pod.UID), c.container, runtime.AttachConfig{
			Stdin: s.stdin, Stdout: s.stdout, Stderr: s.stderr, Resize: s.sizes,
		})
		if err != nil {
			err = fmt.Errorf("error attaching to container: %w", err)
		}
		return 0, err
	})
}

// serve opens the streams, has the work done and tells how it ended. When the client goes away the context of the work ends.
func serve(w http.ResponseWriter, r *http.Request, c command, work func(context.Context, *session) (int, error)) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	open := openSPDY
	if websocket.IsWebSocketUpgrade(r) {
		open = openWebSocket
	}
	s, err := open(ctx, w, r, c, cancel)
	if err != nil {
		return err
	}
	if s == nil {
		return nil // the client has been told
	}
	code, err := work(ctx, s)
	s.finish(outcome(code, err))
	return nil
}

// parseCommand reads the fields of PodExecOptions and PodAttachOptions from a query. A terminal has no separate standard error.
func parseCommand(r *http.Request, pod *corev1.Pod) (command, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return command{}, badRequest("%v", err)
	}
	c := command{args: q["command"]}
	for name, to := range map[string]*bool{"stdin": &c.stdin, "stdout": &c.stdout, "stderr": &c.stderr, "tty": &c.tty} {
		if !q.Has(name) {
			continue
		}
		if *to, err = strconv.ParseBool(q.Get(name)); err != nil {
			return command{}, badRequest("%s must be true or false, not %q", name, q.Get(name))
		}
	}
	c.stderr = c.stderr && !c.tty
	if !c.stdin && !c.stdout && !c.stderr {
		return command{}, badRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	c.container, err = choose(pod, q.Get("container"))
	return c, err
}

// runs says why nothing can be done in a container that does not run.
func (h *Handler) runs(ctx context.Context, pod *corev1.Pod, name string) error {
	if phase := pod.Status.Phase; phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		return badRequest("cannot exec into a container in a completed pod; current phase is %s", phase)
	}
	facts, err := h.opts.Machine.Status(ctx, string(pod.UID))
	if err == nil {
		if list := attempts(&facts, name); len(list) > 0 && list[len(list)-1].State == runtime.Running {
			return nil
		}
	}
	why := "it does not run"
	if s := status(pod, name); s != nil && s.State.Waiting != nil && s.State.Waiting.Reason != "" {
		why = "it is waiting to start: " + s.State.Waiting.Reason
	}
	return apierrors.NewInternalError(fmt.Errorf("container not found (%q): %s", name, why))
}
