package daemon

import (
	"context"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/api"
	"berth/controller/api/stream"
	"berth/controller/store"
	"berth/reconcile"
	"berth/runtime/logs"
)

// newStreams joins what kubectl does inside pods to the machine.
func (d *Daemon) newStreams() *stream.Handler {
	h := stream.New(stream.Options{
		Pods: storedPods{d.Controller.Store()}, Machine: d.Runtime, Events: d.Runtime, Executor: d.Runtime, Attacher: d.Runtime, Forwarder: d.Runtime,
		Logs: logReader{&d.logs}, Now: time.Now,
	})
	for verb, subresources := range map[string][]string{"get": {"log"}, "connect": {"exec", "attach", "portforward"}} {
		for _, sub := range subresources {
			d.API.Handle(verb, "pods", sub, func(w http.ResponseWriter, r *api.Request) error {
				h.ServePod(w, r.Request, r.Namespace, r.Name, sub)
				return nil
			})
		}
	}
	d.API.HandleProxies(d.Runtime)
	return h
}

// storedPods are the pods of a store.
type storedPods struct{ store *store.Store }

func (s storedPods) Pod(namespace, name string) (*corev1.Pod, bool) {
	it, ok := s.store.Get(reconcile.Key{Kind: reconcile.KindPod, Namespace: namespace, Name: name})
	if !ok {
		return nil, false
	}
	p, ok := it.Object.(*corev1.Pod)
	return p, ok
}

// logReader reads logs where the keeper writes them.
type logReader struct{ watcher *logs.Watcher }

func (l logReader) ReadLog(ctx context.Context, path string, o stream.LogOptions, w io.Writer) error {
	opts := logs.Options{
		Tail: o.Tail, Since: o.Since, Timestamps: o.Timestamps, Stream: o.Stream, LimitBytes: o.LimitBytes, Ended: o.Ended, Idle: o.Flush,
	}
	if o.Ended == nil {
		return logs.Read(ctx, path, opts, w)
	}
	return l.watcher.Follow(ctx, path, opts, w)
}
