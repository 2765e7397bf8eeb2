package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"berth/e2e/images"
)

// parts reads from a manifest what the images that it names have to do.
func parts(manifest []byte) (map[string]*images.StandIn, error) {
	out := map[string]*images.StandIn{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var doc map[string]any
		if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		kind, _ := doc["kind"].(string)
		find(doc, kind, out)
	}
}

// find looks for pod specs at any depth.
func find(v any, kind string, out map[string]*images.StandIn) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			find(item, kind, out)
		}
	case map[string]any:
		if own, ok := v["kind"].(string); ok && v["apiVersion"] != nil {
			kind = own // an item of a List
		}
		if _, ok := v["containers"].([]any); ok {
			var spec corev1.PodSpec
			if data, err := json.Marshal(v); err == nil && json.Unmarshal(data, &spec) == nil {
				addSpec(&spec, kind, out)
				return
			}
		}
		for _, item := range v {
			find(item, kind, out)
		}
	}
}

func addSpec(spec *corev1.PodSpec, kind string, out map[string]*images.StandIn) {
	nonRoot := func(c *corev1.Container) bool {
		own, pod := c.SecurityContext, spec.SecurityContext
		asked := own != nil && own.RunAsNonRoot != nil && *own.RunAsNonRoot || pod != nil && pod.RunAsNonRoot != nil && *pod.RunAsNonRoot
		named := own != nil && own.RunAsUser != nil || pod != nil && pod.RunAsUser != nil
		return asked && !named
	}
	add := func(c *corev1.Container, ends bool) {
		s := out[c.Image]
		if s == nil {
			s = &images.StandIn{}
			out[c.Image] = s
		}
		if len(c.Command) > 0 {
			s.Commands = append(s.Commands, c.Command[0])
		}
		if line := slices.Concat(c.Command, c.Args); ends && len(line) > 0 {
			s.Ends = append(s.Ends, line)
		} else if ends {
			s.Ends = append(s.Ends, []string{"/standin"})
		}
		if c.WorkingDir != "" {
			s.WorkDir = c.WorkingDir
		}
		if nonRoot(c) {
			s.User = "65532"
		}
		for _, p := range c.Ports {
			s.Ports = append(s.Ports, int(p.ContainerPort))
		}
		addHandlers(c, s)
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		add(c, c.RestartPolicy == nil)
	}
	for i := range spec.Containers {
		add(&spec.Containers[i], kind == "Job" || kind == "CronJob")
	}
}

// addHandlers adds what probes and hooks ask for.
func addHandlers(c *corev1.Container, s *images.StandIn) {
	command := func(e *corev1.ExecAction) {
		if e != nil && len(e.Command) > 0 {
			s.Commands, s.Ends = append(s.Commands, e.Command[0]), append(s.Ends, e.Command)
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		command(p.Exec)
		switch {
		case p.HTTPGet != nil:
			s.Ports = append(s.Ports, p.HTTPGet.Port.IntValue())
		case p.TCPSocket != nil:
			s.Ports = append(s.Ports, p.TCPSocket.Port.IntValue())
		case p.GRPC != nil:
			s.Ports = append(s.Ports, int(p.GRPC.Port))
		}
	}
	if l := c.Lifecycle; l != nil {
		for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
			if h != nil {
				command(h.Exec)
				if h.HTTPGet != nil {
					s.Ports = append(s.Ports, h.HTTPGet.Port.IntValue())
				}
			}
		}
	}
	s.Ports = slices.DeleteFunc(s.Ports, func(p int) bool { return p == 0 })
	slices.Sort(s.Ports)
	s.Ports = slices.Compact(s.Ports)
}
