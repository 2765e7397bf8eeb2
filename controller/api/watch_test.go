package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// serving is a server on a port, and its store.
type serving struct {
	*Server
	t   *testing.T
	url string
}

func serve(t *testing.T, objects ...store.Object) *serving {
	t.Helper()
	s := fixture(t, objects...)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return &serving{s, t, srv.URL}
}

// watch returns the next n events as "TYPE name", and of what is not named by an object "TYPE code" or "TYPE version".
func (s *serving) watch(n int, query string) []string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	events, err := s.begin(ctx, query)
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for e := range events {
		if got = append(got, e); len(got) == n {
			break
		}
	}
	return got
}

func (s *serving) begin(ctx context.Context, query string) (<-chan string, error) {
	hr := httptest.NewRequest("GET", s.url+"/api/v1/configmaps?watch=1&"+query, nil).WithContext(ctx)
	hr.RequestURI = ""
	resp, err := httpClient(s.t).Do(hr) //nolint:bodyclose // its reader closes it
	if err != nil {
		return nil, err
	}
	events := make(chan string, 16)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			var e struct {
				Type   string `json:"type"`
				Object struct {
					Metadata struct {
						Name        string            `json:"name"`
						Version     string            `json:"resourceVersion"`
						Annotations map[string]string `json:"annotations"`
					} `json:"metadata"`
					Code int `json:"code"`
				} `json:"object"`
			}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				events <- err.Error()
				return
			}
			word := e.Object.Metadata.Name
			switch e.Type {
			case "ERROR":
				word = fmt.Sprint(e.Object.Code)
			case "BOOKMARK":
				word = fmt.Sprint(e.Object.Metadata.Annotations["k8s.io/initial-events-end"])
			}
			select {
			case events <- strings.TrimSpace(e.Type + " " + word):
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, nil
}

func (s *serving) version() string { return fmt.Sprint(s.Store().Version()) }

func (s *serving) relabel(name, value string) {
	s.t.Helper()
	key := reconcile.Key{Kind: "ConfigMap", Namespace: "shop", Name: name}
	err := s.Store().Update(key, func(it store.Item) (store.Item, error) {
		n := it.Object.(*corev1.ConfigMap).DeepCopy()
		n.Labels = map[string]string{"name": value}
		it.Object = n
		return it, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *serving) add(name string) {
	s.t.Helper()
	obj := configMap(name)
	if err := s.Store().Create(reconcile.KeyOf(obj), obj, nil); err != nil {
		s.t.Fatal(err)
	}
}

func (s *serving) remove(name string) {
	s.Store().Delete(reconcile.Key{Kind: "ConfigMap", Namespace: "shop", Name: name}, "")
}

func TestWatch(t *testing.T) {
	t.Run("from the beginning", func(t *testing.T) {
		s := serve(t, configMap("a"), configMap("b"))
		if diff := cmp.Diff([]string{"ADDED a", "ADDED b"}, s.watch(2, "")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("from a version", func(t *testing.T) {
		s := serve(t, configMap("a"))
		from := s.version()
		s.add("b")
		s.relabel("a", "x")
		s.remove("b")
		want := []string{"ADDED b", "MODIFIED a", "DELETED b"}
		if diff := cmp.Diff(want, s.watch(3, "resourceVersion="+from)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("with a selector objects come and go", func(t *testing.T) {
		s := serve(t, configMap("a"))
		from := s.version()
		s.relabel("a", "x")
		s.relabel("a", "y")
		s.relabel("a", "x")
		want := []string{"ADDED a", "DELETED a", "ADDED a"}
		if diff := cmp.Diff(want, s.watch(3, "resourceVersion="+from+"&labelSelector="+url.QueryEscape("name=x"))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("everything first, and a mark behind it", func(t *testing.T) {
		s := serve(t, configMap("a"))
		want := []string{"ADDED a", "BOOKMARK true"}
		if diff := cmp.Diff(want, s.watch(2, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("too old", func(t *testing.T) {
		s := serve(t, configMap("a"))
		from := s.version()
		for i := range remembered + 2 {
			s.relabel("a", fmt.Sprint("v", i))
		}
		if diff := cmp.Diff([]string{"ERROR 410"}, s.watch(1, "resourceVersion="+from)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("its time is over", func(t *testing.T) {
		s := serve(t, configMap("a"))
		want := []string{"ADDED a", "BOOKMARK"}
		if diff := cmp.Diff(want, s.watch(99, "timeoutSeconds=1&allowWatchBookmarks=true")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the future", func(t *testing.T) {
		s := serve(t, configMap("a"))
		if code, status := ask(t, s.Server, "GET", "/api/v1/configmaps?watch=1&resourceVersion=999999"); code != 504 {
			t.Errorf("%d %v", code, status)
		}
	})
}

// Many watch at once while much changes: each sees every change, in order.
func TestManyWatchers(t *testing.T) {
	s := serve(t, configMap("a"))
	from := s.version()
	const watchers, changes = 50, 500
	results := make(chan []string, watchers)
	for range watchers {
		go func() { results <- s.watch(changes, "resourceVersion="+from) }()
	}
	for i := range changes / 2 {
		s.add(fmt.Sprint("m", i))
		s.relabel("a", fmt.Sprint("v", i))
	}
	var want []string
	for i := range changes / 2 {
		want = append(want, fmt.Sprint("ADDED m", i), "MODIFIED a")
	}
	for range watchers {
		if got := <-results; !slices.Equal(got, want) {
			t.Fatalf("a watcher saw %d events: %s", len(got), cmp.Diff(want, got))
		}
	}
}

func TestListInParts(t *testing.T) {
	s := serve(t, configMap("a"), configMap("b"), configMap("c"), configMap("d"))
	page := func(query string) (names []string, next string, left any) {
		t.Helper()
		code, list := ask(t, s.Server, "GET", "/api/v1/configmaps?"+query)
		if code != 200 {
			return []string{fmt.Sprint(code)}, "", nil
		}
		for _, it := range list["items"].([]any) {
			names = append(names, it.(map[string]any)["metadata"].(map[string]any)["name"].(string))
		}
		meta := list["metadata"].(map[string]any)
		next, _ = meta["continue"].(string)
		return names, next, meta["remainingItemCount"]
	}
	names, next, left := page("limit=2")
	if !slices.Equal(names, []string{"a", "b"}) || left != 2.0 {
		t.Errorf("first part %v, %v left", names, left)
	}
	// What happens between the parts is not seen: the list is one picture.
	s.remove("c")
	s.add("bb")
	s.relabel("d", "x")
	if names, end, _ := page("limit=2&continue=" + next); !slices.Equal(names, []string{"c", "d"}) || end != "" {
		t.Errorf("second part %v, then %q", names, end)
	}
	if names, _, _ := page("limit=10"); !slices.Equal(names, []string{"a", "b", "bb", "d"}) {
		t.Errorf("afterwards %v", names)
	}
	for i := range remembered + 1 {
		s.relabel("a", fmt.Sprint("v", i))
	}
	if names, _, _ := page("limit=2&continue=" + next); !slices.Equal(names, []string{"410"}) {
		t.Errorf("a token that is too old gives %v", names)
	}
}
