package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"berth/cmd/berth/internal/daemon"
	"berth/controller"
)

// picture is the status from a running berth, or what the records tell without one.
func (a *app) picture(ctx context.Context) (*controller.Status, error) {
	data, err := daemon.Status(ctx, a.stateDir, a.runDir)
	if errors.Is(err, daemon.ErrNotRunning) {
		return daemon.Offline(a.runDir)
	}
	if err != nil {
		return nil, err
	}
	s := &controller.Status{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("cannot read berth's answer: %w", err)
	}
	return s, nil
}

// findPod resolves NAME, pod/NAME, or KIND/NAME of a workload (its first running pod), as kubectl does.
func findPod(s *controller.Status, namespace, name string) (*controller.PodRow, error) {
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		switch kind := strings.ToLower(ns); kind {
		case "pod", "pods", "po":
			name = rest
		case "deploy", "deployment", "deployments":
			return firstPod(s, namespace, "Deployment/"+rest)
		case "rs", "replicaset", "replicasets":
			return firstPod(s, namespace, "ReplicaSet/"+rest)
		}
	}
	var prefixed []*controller.PodRow
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.Namespace != namespace {
			continue
		}
		if p.Name == name {
			return p, nil
		}
		if strings.HasPrefix(p.Name, name) {
			prefixed = append(prefixed, p)
		}
	}
	if len(prefixed) == 1 {
		return prefixed[0], nil
	}
	if len(prefixed) > 1 {
		return nil, fmt.Errorf("cannot tell which pod %q is: %d begin so", name, len(prefixed))
	}
	return nil, fmt.Errorf("cannot find pod %q in namespace %q; `berth status` lists what there is", name, namespace)
}

func firstPod(s *controller.Status, namespace, owner string) (*controller.PodRow, error) {
	var found *controller.PodRow
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.Namespace == namespace && p.Owner == owner && (found == nil || found.Reason != "Running" && p.Reason == "Running") {
			found = p
		}
	}
	if found == nil {
		return nil, fmt.Errorf("cannot find a pod of %s in namespace %q", owner, namespace)
	}
	return found, nil
}

// findContainer resolves a container of a pod; without a name the first that is not an init container.
func findContainer(p *controller.PodRow, name string) (*controller.ContainerRow, error) {
	var names []string
	for i := range p.Containers {
		c := &p.Containers[i]
		names = append(names, c.Name)
		if c.Name == name || name == "" && !c.Init {
			return c, nil
		}
	}
	return nil, fmt.Errorf("cannot find container %q of pod %s: it has %s", name, p.Name, cmp.Or(strings.Join(names, ", "), "none yet"))
}

// eventLine is an event as people read it.
func eventLine(e controller.Event) string {
	times := ""
	if e.Count > 1 {
		times = fmt.Sprintf(" (%d times)", e.Count)
	}
	return fmt.Sprintf("%s %-7s %s: %s: %s%s", e.Last.Local().Format(time.TimeOnly), e.Type, e.Name, e.Reason, e.Message, times)
}
