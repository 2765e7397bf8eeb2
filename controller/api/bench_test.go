package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// crowd is a server of 1,000 pods as they are in use.
func crowd(tb testing.TB) (*Server, *httptest.Server) {
	tb.Helper()
	st, err := store.Open(store.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	s := New(Options{Store: st})
	for i := range 1000 {
		p := &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("web-%04d", i), Labels: map[string]string{"app": "web", "pod-template-hash": "abc"}},
			Spec: corev1.PodSpec{NodeName: "here", Containers: []corev1.Container{{
				Name: "main", Image: "registry.example/web:1", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}, Env: []corev1.EnvVar{{Name: "A", Value: "b"}},
			}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
				ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: true, ContainerID: "berth://x", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
			},
		}
		for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue})
		}
		manifests.Scheme().Default(p)
		if err := st.Create(reconcile.KeyOf(p), p, nil); err != nil {
			tb.Fatal(err)
		}
	}
	srv := httptest.NewUnstartedServer(s)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	tb.Cleanup(srv.Close)
	return s, srv
}

func fetch(tb testing.TB, c *http.Client, url, accept string) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := c.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		tb.Fatalf("%d %v", resp.StatusCode, err)
	}
}

// percentiles reports how long each of the calls took.
func percentiles(b *testing.B, call func()) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		call()
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func BenchmarkAPI(b *testing.B) {
	_, srv := crowd(b)
	pods := srv.URL + "/api/v1/namespaces/shop/pods"
	b.Run("get a pod", func(b *testing.B) {
		percentiles(b, func() { fetch(b, srv.Client(), pods+"/web-0500", jsonType) })
	})
	b.Run("list 1000 pods", func(b *testing.B) { percentiles(b, func() { fetch(b, srv.Client(), pods, jsonType) }) })
	b.Run("table of 1000 pods", func(b *testing.B) {
		percentiles(b, func() { fetch(b, srv.Client(), pods, "application/json;as=Table;v=v1;g=meta.k8s.io") })
	})
}

// BenchmarkWatchers is the time from a change in the store until the last of 100 watchers has read it.
func BenchmarkWatchers(b *testing.B) {
	s, srv := crowd(b)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var seen sync.WaitGroup
	for range 100 {
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/pods?watch=1&resourceVersion=%d", srv.URL, s.Store().Version()), nil)
		resp, err := srv.Client().Do(r) //nolint:bodyclose // its reader closes it
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			defer resp.Body.Close()
			one := make([]byte, 64<<10)
			for {
				n, err := resp.Body.Read(one)
				for _, c := range one[:n] {
					if c == '\n' {
						seen.Done()
					}
				}
				if err != nil {
					return
				}
			}
		}()
	}
	i := 0
	percentiles(b, func() {
		seen.Add(100)
		i++
		annotate(b, s, i)
		seen.Wait()
	})
}

// annotate makes the i-th change, at one of the first thousand pods of a crowd.
func annotate(tb testing.TB, s *Server, i int) {
	tb.Helper()
	key := reconcile.Key{Kind: "Pod", Namespace: "shop", Name: fmt.Sprintf("web-%04d", i%1000)}
	if err := s.Store().Update(key, func(it store.Item) (store.Item, error) {
		n := *it.Object.(*corev1.Pod)
		n.Annotations = map[string]string{"i": fmt.Sprint(i)}
		it.Object = &n
		return it, nil
	}); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkIdleWatches is what 10,000 watches cost that see nothing, on ten connections.
func BenchmarkIdleWatches(b *testing.B) {
	const watches = 10_000
	s, _ := crowd(b)
	for b.Loop() {
		goruntime.GC()
		var before, after goruntime.MemStats
		goruntime.ReadMemStats(&before)
		ctx, cancel := context.WithCancel(b.Context())
		var begun sync.WaitGroup // each flushes, and waits
		begun.Add(watches)
		for range watches {
			go s.ServeHTTP(&sink{header: http.Header{}, flushed: begun.Done}, httptest.NewRequestWithContext(ctx, "GET", fmt.Sprintf("/api/v1/pods?watch=1&resourceVersion=%d", s.Store().Version()), nil))
		}
		begun.Wait()
		goruntime.GC()
		goruntime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/watches/1024, "KiB/watch")
		cancel()
	}
}

// sink is a client that listens.
type sink struct {
	header  http.Header
	flushed func()
}

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) WriteHeader(int)                  {}
func (s *sink) FlushError() error                { s.flushed(); return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
