package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// mirror keeps the ConfigMaps of a berth by listing once and watching from there, as the informers of every client do.
type mirror struct {
	patience int // events after which it breaks a watch off and resumes it; 0 for never

	mu                           sync.Mutex
	have                         map[string]kept
	version                      string // "" when it has to list
	spans                        []span // what it saw since each list
	faults                       []string
	lists, watches, events, life int
}

// kept is an object as a mirror has it.
type kept struct{ version, round string }

// span is a time without a gap: after a list, up to what was heard last.
type span struct {
	from, to int
	seen     map[int]string
}

type mirrored struct {
	Metadata struct {
		Name    string `json:"name"`
		Version string `json:"resourceVersion"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
	Code int               `json:"code"` // of a Status
}

func (o *mirrored) kept() kept { return kept{o.Metadata.Version, o.Data["round"]} }

const configMaps = "/api/v1/namespaces/default/configmaps"

func newMirror(patience int) *mirror { return &mirror{patience: patience, have: map[string]kept{}} }

// newLife begins to count events anew.
func (m *mirror) newLife() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life = m.events
}

func (m *mirror) inThisLife() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events - m.life
}

func (m *mirror) equals(now *mirror) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !maps.Equal(m.have, now.have) {
		return fmt.Errorf("has %v, there is %v; %v", m.have, now.have, m.faults)
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
	m.have = map[string]kept{}
	for i := range list.Items {
		o := &list.Items[i]
		m.have[o.Metadata.Name] = o.kept()
	}
	m.version = list.Metadata.Version
	at := number(m.version)
	m.spans = append(m.spans, span{from: at, to: at, seen: map[int]string{}})
	return true
}

// watch reads until the connection breaks, or its patience does; it tells whether there was one.
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
	for n := 1; lines.Scan(); n++ {
		var e struct {
			Type   string   `json:"type"`
			Object mirrored `json:"object"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			m.fault("a line of the watch: %v in %q", err, lines.Text())
			return true
		}
		m.take(e.Type, &e.Object)
		if m.version == "" || n == m.patience {
			return true
		}
	}
	return true
}

func (m *mirror) take(kind string, o *mirrored) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kind == "ERROR" {
		if o.Code != http.StatusGone {
			m.faults = append(m.faults, fmt.Sprintf("the watch ended with %d", o.Code))
		}
		m.version = ""
		return
	}
	now := &m.spans[len(m.spans)-1]
	now.to = number(o.Metadata.Version)
	if kind == "BOOKMARK" {
		m.version = o.Metadata.Version
		return
	}
	m.events++
	name := o.Metadata.Name
	now.seen[now.to] = kind + " " + name
	if now.to <= number(m.version) {
		m.faults = append(m.faults, fmt.Sprintf("%s %s at version %s after %s", kind, name, o.Metadata.Version, m.version))
	}
	m.version = o.Metadata.Version
	_, there := m.have[name]
	switch kind {
	case "ADDED", "MODIFIED":
		if there != (kind == "MODIFIED") {
			m.faults = append(m.faults, fmt.Sprintf("%s of %s, which was there: %t", kind, name, there))
		}
		m.have[name] = o.kept()
	case "DELETED":
		if !there {
			m.faults = append(m.faults, "DELETED of what was not there: "+name)
		}
		delete(m.have, name)
	}
}

func (m *mirror) fault(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// missed tells what one mirror has seen, and another one has not that watched at that time; and where two have seen different things.
func missed(mirrors []*mirror) (faults []string) {
	history := map[int]string{}
	for _, m := range mirrors {
		for _, s := range m.spans {
			for version, what := range s.seen {
				if other, ok := history[version]; ok && other != what {
					faults = append(faults, fmt.Sprintf("version %d is %q and %q", version, what, other))
				}
				history[version] = what
			}
		}
	}
	for i, m := range mirrors {
		for _, s := range m.spans {
			for version, what := range history {
				if version > s.from && version <= s.to && s.seen[version] == "" {
					faults = append(faults, fmt.Sprintf("client %d watched from %d to %d and has not seen %s at %d", i, s.from, s.to, what, version))
				}
			}
		}
	}
	return faults
}

func number(version string) int {
	n, err := strconv.Atoi(version)
	if err != nil {
		return 0
	}
	return n
}
