package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/controller"
	"berth/manifests"
	"berth/runtime"
	"berth/runtime/cgroup"
	"berth/runtime/native"
)

// Offline is what the records of a run directory tell while no berth looks after it.
func Offline(runDir string) (*controller.Status, error) {
	pods, err := native.Read(runDir)
	if err != nil {
		return nil, err
	}
	s := &controller.Status{
		Time: time.Now(), Workloads: []controller.Workload{}, Pods: []controller.PodRow{}, Waiting: []controller.Waiting{},
		Faults: []manifests.Fault{}, Pulls: []controller.PullStatus{}, Events: []controller.Event{}, Warnings: []string{},
		Problems: []controller.Problem{}, Published: []controller.Published{},
	}
	for i := range pods {
		s.Pods = append(s.Pods, row(&pods[i]))
	}
	return s, nil
}

func row(p *runtime.PodStatus) controller.PodRow {
	r := controller.PodRow{
		Namespace: p.Namespace, Name: p.Name, UID: p.UID, IP: p.Sandbox.IP, Created: p.Sandbox.CreatedAt,
		Phase: string(corev1.PodUnknown), Reason: string(corev1.PodUnknown), Containers: []controller.ContainerRow{},
	}
	var object corev1.Pod
	inits := map[string]bool{}
	if json.Unmarshal(p.Object, &object) == nil {
		for i := range object.Spec.InitContainers {
			inits[object.Spec.InitContainers[i].Name] = true
		}
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		if i+1 < len(p.Containers) && p.Containers[i+1].Name == c.Name {
			continue // an earlier attempt
		}
		r.Containers = append(r.Containers, controller.ContainerRow{
			Name: c.Name, State: map[runtime.State]string{runtime.Running: "Running", runtime.Created: "Waiting", runtime.Exited: "Exited"}[c.State],
			PID: c.PID, Image: c.Image, LogPath: c.LogPath, Restarts: int32(c.Attempt), Init: inits[c.Name], //nolint:gosec // counts restarts
		})
		r.Restarts += int32(c.Attempt) //nolint:gosec // counts restarts
		if c.State == runtime.Running {
			r.Reason = "Running"
			if !inits[c.Name] {
				r.Ready++
			}
		}
	}
	return r
}

// Visit opens the runtime beside the berth that looks after it, for programs to be run inside containers.
func Visit(ctx context.Context, stateDir, runDir string) (*native.Runtime, error) {
	id, err := InstanceID(stateDir, runDir)
	if err != nil {
		return nil, err
	}
	tree, err := cgroup.Open(id)
	if err != nil {
		return nil, fmt.Errorf("cannot open the cgroups: %w", err)
	}
	return native.Visit(ctx, native.Options{StateDir: stateDir, RunDir: runDir, Cgroups: tree})
}
