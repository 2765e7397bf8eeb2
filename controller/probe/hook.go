package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// ErrFallback tells that an HTTPS hook was answered in HTTP, and done so.
var ErrFallback = errors.New("got HTTP response, retry with HTTP succeeded")

// Hook runs a lifecycle handler of a container until it is done or ctx ends. Its error is for the user; ErrFallback is a success. Like
// the kubelet it does not look at the status code of an HTTP answer.
func (a Asker) Hook(ctx context.Context, clk clock.Clock, t *Target, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		code, output, err := a.exec(ctx, t, h.Exec.Command)
		if err == nil && code != 0 {
			err = fmt.Errorf("command '%s' exited with %d: %s", strings.Join(h.Exec.Command, " "), code, output)
		}
		return about(t, fmt.Sprintf("Exec lifecycle hook (%v)", h.Exec.Command), err)
	case h.HTTPGet != nil:
		err := a.get(ctx, t, h.HTTPGet)
		if errors.Is(err, ErrFallback) {
			return err
		}
		return about(t, fmt.Sprintf("HTTP lifecycle hook (%s)", h.HTTPGet.Path), err)
	case h.Sleep != nil:
		return about(t, fmt.Sprintf("Sleep lifecycle hook (%d)", h.Sleep.Seconds), sleep(ctx, clk, h.Sleep.Seconds))
	}
	return errors.New("Cannot run handler: a lifecycle hook is exec, httpGet or sleep") //nolint:staticcheck // as the kubelet words it
}

func about(t *Target, what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s for Container %q in Pod \"%s_%s(%s)\" failed - error: %w", what, t.Container.Name, t.Pod.Name, t.Pod.Namespace, t.UID, err)
}

// get does an HTTP hook. A server that speaks HTTP where HTTPS was stated is asked in HTTP, without the credentials.
func (a Asker) get(ctx context.Context, t *Target, get *corev1.HTTPGetAction) error {
	req, err := request(ctx, t, get, "lifecycle")
	if err != nil {
		return err
	}
	err = a.discard(t, req)
	if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return err
	}
	again := req.Clone(ctx)
	again.URL.Scheme = "http"
	again.Header.Del("Authorization")
	if a.discard(t, again) != nil {
		return err
	}
	return ErrFallback
}

func (a Asker) discard(t *Target, req *http.Request) error {
	res, err := a.client(t).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxOutput) // the answer does not matter
	return nil
}

func sleep(ctx context.Context, clk clock.Clock, seconds int64) error {
	t := clk.NewTimer(secondsOf(int32(min(seconds, 1<<30))))
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return errors.New("container terminated before sleep hook finished")
	}
}
