package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Status is what `berth status -o json` says. Whatever the product calls its fields is written in this file only.
type Status struct {
	Ready     bool       `json:"ready"`
	Converged bool       `json:"converged"`
	Workloads []Workload `json:"workloads"`
	Pods      []Pod      `json:"pods"`
	Faults    []Fault    `json:"faults"`
	Waiting   []Waiting  `json:"waiting"`
	Warnings  []string   `json:"warnings"`
	Events    []Event    `json:"events"`
}

// Event is something that happened, as often as Count says.
type Event struct {
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Count   int    `json:"count"`
}

// Workload is a Deployment, ReplicaSet or bare Pod of the files.
type Workload struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Desired   int    `json:"desired"`
	Ready     int    `json:"ready"`
	Updated   int    `json:"updated"`
	Done      bool   `json:"done"`
	Problem   string `json:"problem"`
	Note      string `json:"note"`
}

// Pod is one pod with its containers.
type Pod struct {
	Namespace  string      `json:"namespace"`
	Name       string      `json:"name"`
	UID        string      `json:"uid"`
	Phase      string      `json:"phase"`
	IP         string      `json:"ip"`
	Reason     string      `json:"reason"`
	Message    string      `json:"message"`
	ReadyCount int         `json:"ready"`
	Created    time.Time   `json:"created"`
	Containers []Container `json:"containers"`

	// Ready and Ending follow from the rest: all containers are ready; the pod is on its way out.
	Ready, Ending bool `json:"-"`
}

// Container is the newest attempt of a container.
type Container struct {
	Name  string `json:"name"`
	Init  bool   `json:"init"`
	State string `json:"state"`
	// Reason is the same as State: "Running", or why it is not.
	Reason   string `json:"-"`
	PID      int    `json:"pid"`
	Restarts int    `json:"restarts"`
	// ExitCode and LastReason tell how the last attempt ended, Message what there is to say.
	ExitCode   int    `json:"exitCode"`
	LastReason string `json:"lastReason"`
	Message    string `json:"message"`
}

// Fault is something wrong in a file.
type Fault struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Severity string `json:"severity"`
	Object   string `json:"object"`
	Field    string `json:"field"`
	Text     string `json:"text"`
}

// Waiting is a removal that waits for consent or time.
type Waiting struct {
	Object string `json:"object"`
	File   string `json:"file"`
	Why    string `json:"why"`
}

func (s *Status) complete() {
	for i := range s.Pods {
		p := &s.Pods[i]
		want := 0
		for k := range p.Containers {
			c := &p.Containers[k]
			c.Reason = c.State
			if !c.Init {
				want++
			}
		}
		p.Ending = p.Reason == "Terminating"
		p.Ready = p.ReadyCount == want && want > 0 && p.Phase == "Running"
	}
}

// Look asks for the status once.
func (b *Berth) Look() (Status, error) {
	cmd := b.Command("status", "-o", "json")
	out, err := cmd.Output()
	if err != nil {
		return Status{}, fmt.Errorf("berth status: %w", err)
	}
	var s Status
	if err := json.Unmarshal(out, &s); err != nil {
		return Status{}, fmt.Errorf("berth status -o json: %w: %s", err, out)
	}
	s.complete()
	return s, nil
}

// UntilStatus waits until check is content with the status.
func (b *Berth) UntilStatus(what string, check func(Status) error) Status {
	b.Helper()
	var last Status
	b.Until(what, func() error {
		s, err := b.Look()
		if err != nil {
			return err
		}
		last = s
		return check(s)
	})
	return last
}

// UntilReady waits until exactly n pods whose names begin with prefix exist, and all are ready.
func (b *Berth) UntilReady(prefix string, n int) []Pod {
	b.Helper()
	var pods []Pod
	b.UntilStatus(fmt.Sprintf("%d ready pods of %s", n, prefix), func(s Status) error {
		pods = s.PodsOf(prefix)
		ready := 0
		for _, p := range pods {
			if p.Ready {
				ready++
			}
		}
		if len(pods) != n || ready != n {
			return fmt.Errorf("%d pods, %d ready: %s", len(pods), ready, describe(pods))
		}
		return nil
	})
	return pods
}

// UntilPod waits until check is content with the one pod of this name or prefix.
func (b *Berth) UntilPod(prefix, what string, check func(Pod) error) Pod {
	b.Helper()
	var last Pod
	b.UntilStatus(prefix+": "+what, func(s Status) error {
		pods := s.PodsOf(prefix)
		if len(pods) != 1 {
			return fmt.Errorf("%d pods: %s", len(pods), describe(pods))
		}
		last = pods[0]
		if err := check(last); err != nil {
			return fmt.Errorf("%w: %s", err, describe(pods))
		}
		return nil
	})
	return last
}

// PodsOf are the pods whose names begin with prefix.
func (s Status) PodsOf(prefix string) []Pod {
	var out []Pod
	for _, p := range s.Pods {
		if strings.HasPrefix(p.Name, prefix) {
			out = append(out, p)
		}
	}
	return out
}

// Container is the container of this name; the zero value when there is none.
func (p Pod) Container(name string) Container {
	for _, c := range p.Containers {
		if c.Name == name {
			return c
		}
	}
	return Container{}
}

// PIDs are the first processes of all containers, sorted by pod and container.
func PIDs(pods []Pod) map[string]int {
	out := map[string]int{}
	for _, p := range pods {
		for _, c := range p.Containers {
			if c.PID > 0 {
				out[p.Name+"/"+c.Name] = c.PID
			}
		}
	}
	return out
}

func describe(pods []Pod) string {
	text, _ := json.Marshal(pods)
	return tail(string(text), 3000)
}

// podDirs are the directories of the state that belong to pods: nothing is left in them when all is down. Images, volumes, the
// instance's id and what was last good stay or go by their own rules.
func (b *Berth) podDirs() []string {
	return []string{filepath.Join(b.State, "pods"), filepath.Join(b.State, "containers"), filepath.Join(b.State, "logs")}
}

// InstanceID is the eight hex digits of the instance.
func (b *Berth) InstanceID() string {
	id, err := os.ReadFile(filepath.Join(b.State, "id"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
