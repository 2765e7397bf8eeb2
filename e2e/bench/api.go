package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"berth/e2e/harness"
)

const (
	apiPods     = 1000
	apiWatchers = 100
	apiGets     = 2000
	apiLists    = 100
	apiChanges  = 200
	podsPath    = "/api/v1/namespaces/default/pods"
	tables      = "application/json;as=Table;v=v1;g=meta.k8s.io"
)

// apiServer is one of those that are compared.
type apiServer struct {
	*harness.Server
	name   string
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	memory func() (held, string) // of all its processes, and of each
	client *http.Client          // one connection, as a program that goes on asking has
	pods   []string
	sizes  map[string]int // of the answers to a list, by what was accepted
	rows   map[string]sample
	held   strings.Builder // a line for each moment
}

// benchAPI: a get, a list of 1,000 pods, 100 watchers on them and the memory all that takes, beside another berth and a kube-apiserver with the very same pods when
// there are such. The pods wait for a ConfigMap: they are as many objects as real ones, and cost the machine no processes.
func benchAPI(r *harness.Runner, o options) {
	section(r, fmt.Sprintf("(h) the API with %d pods, over TLS", apiPods), func() {
		var all []*apiServer
		var list podList
		if o.other != "" {
			r.Run(func() { all = append(all, benchOwnAPI(r, "the other berth", o.other, &list)) })
		}
		r.Run(func() { all = append(all, benchOwnAPI(r, "berth", "", &list)) })
		if other := otherAPIServer(r, o); other != nil {
			other.fill(r, list)
			defer other.empty(r)
			other.measure(r)
			all = append(all, other)
		}
		for _, row := range []string{"get a pod", "list 1,000 pods: JSON", "list 1,000 pods: table", "change -> each of 100 watchers", "change -> the last of 100 watchers"} {
			var samples []sample
			for _, s := range all {
				samples = append(samples, s.rows[row])
			}
			table(samples...)
		}
		for _, s := range all {
			fmt.Printf("%s, bytes of a list: %v; PSS in MiB:\n%s", s.name, s.sizes, s.held.String())
		}
	})
}

// benchOwnAPI measures a binary of berth, or the one of this bench, and lists the pods it had.
func benchOwnAPI(r *harness.Runner, name, binary string, list *podList) *apiServer {
	b := harness.New(r)
	b.Binary = binary
	up := b.Up()
	b.Write("crowd.yaml", crowd(0))
	s := newAPIServer(r, name, filepath.Join(b.Run, "kubeconfig"), (&net.Dialer{}).DialContext)
	s.memory = func() (held, string) { return heldByAll(b, up) }
	s.note("no pods")
	b.Write("crowd.yaml", crowd(apiPods))
	settled(b, apiPods)
	s.note("1,000 pods")
	*list = podList{}
	s.read(r, podsPath, list)
	for i := range list.Items {
		s.pods = append(s.pods, list.Items[i]["metadata"].(map[string]any)["name"].(string))
	}
	s.measure(r)
	return s
}

// crowd is a Deployment of pods as people write them.
func crowd(n int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: %d
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd, tier: web}, annotations: {example.com/team: shop}}
    spec:
      volumes: [{name: config, configMap: {name: not-yet}}, {name: tmp, emptyDir: {}}]
      containers:
        - name: main
          image: registry.example/web:1
          args: [--port, "8080"]
          env: [{name: MODE, value: production}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          ports: [{name: http, containerPort: 8080}]
          resources: {requests: {cpu: 1m, memory: 4Mi}, limits: {memory: 128Mi}}
          readinessProbe: {httpGet: {path: /ready, port: http}}
          volumeMounts: [{name: config, mountPath: /etc/web}, {name: tmp, mountPath: /tmp}]
`, n)
}

func newAPIServer(r *harness.Runner, name, kubeconfig string, dial func(context.Context, string, string) (net.Conn, error)) *apiServer {
	server, err := harness.ReadKubeconfig(kubeconfig)
	if err != nil {
		r.Fatalf("%v", err)
	}
	s := &apiServer{Server: server, name: name, dial: dial, sizes: map[string]int{}, rows: map[string]sample{}}
	s.client = s.connection()
	return s
}

// connection is a client with a connection of its own.
func (s *apiServer) connection() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: s.TLS.Clone(), DialContext: s.dial, ForceAttemptHTTP2: true}}
}

// otherAPIServer is the one that a kubeconfig leads to; nil when none does.
func otherAPIServer(r *harness.Runner, o options) *apiServer {
	if os.Getenv(besideVar) == "" {
		fmt.Println("no API server to compare with: name its kubeconfig with -kubeconfig or " + kubeconfigVar)
		return nil
	}
	s := newAPIServer(r, "kube-apiserver", o.kubeconfig, dialBeside)
	s.memory = func() (h held, each string) {
		c, err := askBeside(context.Background(), "memory")
		if err != nil {
			return held{}, ""
		}
		defer c.Close()
		_, _ = fmt.Fscan(c, &h.pss, &h.anonymous)
		return h, ""
	}
	return s
}

type podList struct {
	Items []map[string]any `json:"items"`
}

// fill makes the very pods of another server here, status included.
func (s *apiServer) fill(r *harness.Runner, list podList) {
	s.empty(r)
	s.note("no pods")
	for _, pod := range list.Items {
		meta := pod["metadata"].(map[string]any)
		status := pod["status"]
		for _, name := range []string{"uid", "resourceVersion", "creationTimestamp", "ownerReferences", "generation", "namespace"} {
			delete(meta, name)
		}
		delete(pod, "status")
		pod["apiVersion"], pod["kind"] = "v1", "Pod"
		delete(pod["spec"].(map[string]any), "nodeName") // there is no node
		s.write(r, http.MethodPost, podsPath, "application/json", pod)
		pod["status"] = status
		name := meta["name"].(string)
		s.write(r, http.MethodPut, podsPath+"/"+name+"/status", "application/json", pod)
		s.pods = append(s.pods, name)
	}
	s.note("1,000 pods")
}

// empty removes all pods.
func (s *apiServer) empty(r *harness.Runner) {
	s.write(r, http.MethodDelete, podsPath+"?gracePeriodSeconds=0", "application/json", nil)
}

func (s *apiServer) note(when string) {
	all, each := s.memory()
	fmt.Fprintf(&s.held, "  %-24s %v\t%s\n", when, all, each)
}

func (s *apiServer) request(ctx context.Context, method, path, accept string, body io.Reader) *http.Request {
	hr, err := http.NewRequestWithContext(ctx, method, s.URL+path, body)
	if err != nil {
		panic(err) // the URLs are ours
	}
	s.Authorize(hr)
	hr.Header.Set("Accept", accept)
	return hr
}

func (s *apiServer) write(r *harness.Runner, method, path, media string, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		r.Fatalf("%v", err)
	}
	hr := s.request(context.Background(), method, path, "application/json", bytes.NewReader(data))
	hr.Header.Set("Content-Type", media)
	resp, err := s.client.Do(hr)
	if err != nil {
		r.Fatalf("%s: %s %s: %v", s.name, method, path, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		r.Fatalf("%s: %s %s: %s: %.500s", s.name, method, path, resp.Status, text)
	}
}

// fetch reads an answer to its end and returns its size.
func (s *apiServer) fetch(r *harness.Runner, path, accept string) int {
	resp, err := s.client.Do(s.request(context.Background(), http.MethodGet, path, accept, nil))
	if err != nil {
		r.Fatalf("%s: GET %s: %v", s.name, path, err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.Fatalf("%s: GET %s: %s %v", s.name, path, resp.Status, err)
	}
	return int(n)
}

func (s *apiServer) read(r *harness.Runner, path string, into any) {
	resp, err := s.client.Do(s.request(context.Background(), http.MethodGet, path, "application/json", nil))
	if err != nil {
		r.Fatalf("%s: GET %s: %v", s.name, path, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		r.Fatalf("%s: GET %s: %v", s.name, path, err)
	}
}

func (s *apiServer) measure(r *harness.Runner) {
	s.repeat("get a pod", apiGets, func(i int) { s.fetch(r, podsPath+"/"+s.pods[i%len(s.pods)], "application/json") })
	s.repeat("list 1,000 pods: JSON", apiLists, func(int) { s.sizes["JSON"] = s.fetch(r, podsPath, "application/json") })
	s.repeat("list 1,000 pods: table", apiLists, func(int) { s.sizes["table"] = s.fetch(r, podsPath, tables) })
	s.note("gets and lists")
	s.describe(r)
	s.note("OpenAPI of all groups")
	s.watchers(r)
	time.Sleep(10 * time.Second)
	s.note("10 s later")
}

func (s *apiServer) repeat(row string, n int, call func(i int)) {
	took := sample{name: s.name + ": " + row}
	for i := range n {
		t := time.Now()
		call(i)
		took.us = append(took.us, us(time.Since(t)))
	}
	s.rows[row] = took
}

// describe reads what a kubectl without a cache reads before its first apply, of every group.
func (s *apiServer) describe(r *harness.Runner) {
	var index struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	s.read(r, "/openapi/v3", &index)
	size := 0
	for _, p := range index.Paths {
		size += s.fetch(r, p.URL, "application/json")
	}
	s.sizes["OpenAPI"] = size
}

// watchers counts from the moment in which a change is sent until each has read it.
func (s *apiServer) watchers(r *harness.Runner) { //nolint:gocognit // one measurement, from its beginning to its end
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var list struct {
		Metadata struct {
			Version string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	s.read(r, podsPath+"?limit=1", &list)
	type seen struct {
		i  string
		at time.Time
	}
	news := make(chan seen, apiWatchers)
	var ended sync.WaitGroup
	for range apiWatchers {
		c := s.connection()
		resp, err := c.Do(s.request(ctx, http.MethodGet, podsPath+"?watch=true&allowWatchBookmarks=true&resourceVersion="+list.Metadata.Version, "application/json", nil))
		if err != nil || resp.StatusCode != http.StatusOK {
			r.Fatalf("%s: cannot watch: %v", s.name, err)
		}
		ended.Go(func() {
			defer c.CloseIdleConnections()
			defer resp.Body.Close()
			for lines := bufio.NewReaderSize(resp.Body, 64<<10); ; {
				line, err := lines.ReadSlice('\n')
				if err != nil {
					return
				}
				if _, rest, ok := bytes.Cut(line, []byte(`"bench":"`)); ok {
					n, _, _ := bytes.Cut(rest, []byte{'"'})
					news <- seen{string(n), time.Now()}
				}
			}
		})
	}
	each, last := sample{name: s.name + ": change -> each of 100 watchers"}, sample{name: s.name + ": change -> the last of 100 watchers"}
	for i := range apiChanges {
		mark := fmt.Sprint(i)
		began := time.Now()
		s.write(r, http.MethodPatch, podsPath+"/"+s.pods[i], "application/merge-patch+json", map[string]any{"metadata": map[string]any{"annotations": map[string]string{"bench": mark}}})
		for left := apiWatchers; left > 0; {
			select {
			case e := <-news:
				if e.i != mark {
					continue
				}
				each.us = append(each.us, us(e.at.Sub(began)))
				if left--; left == 0 {
					last.us = append(last.us, us(e.at.Sub(began)))
				}
			case <-time.After(10 * time.Second):
				r.Fatalf("%s: change %d: %d of %d watchers have not seen it", s.name, i, left, apiWatchers)
			}
		}
	}
	s.rows["change -> each of 100 watchers"], s.rows["change -> the last of 100 watchers"] = each, last
	s.note("100 watchers")
	cancel()
	go func() {
		for range news { // who is late is not waited for
		}
	}()
	ended.Wait()
	close(news)
}
