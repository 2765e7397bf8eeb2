package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// mirror keeps the ConfigMaps of a berth by listing once and watching from there, as the informers of every client do.
type mirror struct {
	mu                     sync.Mutex
	have                   map[string]string // name → round
	seen                   map[string]int    // resource version of each object
	version                string
	faults                 []string
	lists, watches, events int
}

type mirrored struct {
	Metadata struct {
		Name    string `json:"name"`
		Version string `json:"resourceVersion"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
	Code int               `json:"code"` // of a Status
}

func (m *mirror) want(n int, round string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.have) != n {
		return fmt.Errorf("%d objects, want %d; %v", len(m.have), n, m.faults)
	}
	for name, r := range m.have {
		if r != round {
			return fmt.Errorf("%s is of round %s, want %s", name, r, round)
		}
	}
	return nil
}

func (m *mirror) follow(ctx context.Context, k *kube) {
	client := &http.Client{Transport: k.client.Transport}
	for ctx.Err() == nil {
		if m.version == "" && !m.list(ctx, client, k.server) || !m.watch(ctx, client, k.server) {
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond): // berth is down
			}
		}
	}
}

const configMaps = "/api/v1/namespaces/default/configmaps"

func (m *mirror) list(ctx context.Context, client *http.Client, server string) bool {
	var list struct {
		Metadata struct {
			Version string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []mirrored `json:"items"`
	}
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, server+configMaps, nil)
	resp, err := client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists++
	m.have = map[string]string{}
	for _, o := range list.Items {
		m.have[o.Metadata.Name] = o.Data["round"]
		m.seen[o.Metadata.Name] = number(o.Metadata.Version)
	}
	m.version = list.Metadata.Version
	return true
}

// watch reads until the connection breaks; it tells whether there was one.
func (m *mirror) watch(ctx context.Context, client *http.Client, server string) bool {
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, server+configMaps+"?watch=true&allowWatchBookmarks=true&resourceVersion="+m.version, nil)
	resp, err := client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	m.watches++
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Type   string   `json:"type"`
			Object mirrored `json:"object"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			m.fault("a line of the watch: %v in %q", err, lines.Text())
			return true
		}
		m.take(e.Type, &e.Object)
		if m.version == "" {
			return true
		}
	}
	return true
}

func (m *mirror) take(kind string, o *mirrored) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events++
	if kind == "ERROR" {
		if o.Code != http.StatusGone {
			m.faults = append(m.faults, fmt.Sprintf("the watch ended with %d", o.Code))
		}
		m.version = ""
		return
	}
	if number(o.Metadata.Version) <= number(m.version) && kind != "BOOKMARK" {
		m.faults = append(m.faults, fmt.Sprintf("%s %s at version %s after %s", kind, o.Metadata.Name, o.Metadata.Version, m.version))
	}
	m.version = o.Metadata.Version
	_, there := m.have[o.Metadata.Name]
	switch kind {
	case "ADDED", "MODIFIED":
		if there != (kind == "MODIFIED") {
			m.faults = append(m.faults, fmt.Sprintf("%s of %s, which was there: %t", kind, o.Metadata.Name, there))
		}
		m.have[o.Metadata.Name] = o.Data["round"]
	case "DELETED":
		if !there {
			m.faults = append(m.faults, "DELETED of what was not there: "+o.Metadata.Name)
		}
		delete(m.have, o.Metadata.Name)
	}
}

func (m *mirror) fault(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

func number(version string) int {
	n, err := strconv.Atoi(version)
	if err != nil {
		return 0
	}
	return n
}
