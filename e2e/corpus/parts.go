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
	out, stay := map[string]*images.StandIn{}, map[string][][]string{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var doc map[string]any
		if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
			for image, s := range out {
				s.Stays = stay[image]
			}
			return out, nil
		} else if err != nil {
			return nil, err
		}
		find(doc, owner{}, out, stay)
	}
}

// owner is the object that a pod specification stands in. The hosts of its pods are called after it.
type owner struct{ kind, name string }

// find looks for pod specs at any depth.
func find(v any, of owner, out map[string]*images.StandIn, stay map[string][][]string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			find(item, of, out, stay)
		}
	case map[string]any:
		if own, ok := v["kind"].(string); ok && v["apiVersion"] != nil { // the object, or an item of a List
			of.kind = own
			meta, _ := v["metadata"].(map[string]any)
			of.name, _ = meta["name"].(string)
		}
		if _, ok := v["containers"].([]any); ok {
			var spec corev1.PodSpec
			if data, err := json.Marshal(v); err == nil && json.Unmarshal(data, &spec) == nil {
				addSpec(&spec, of, out, stay)
				return
			}
		}
		for _, item := range v {
			find(item, of, out, stay)
		}
	}
}

func addSpec(spec *corev1.PodSpec, of owner, out map[string]*images.StandIn, stay map[string][][]string) {
	add := func(c *corev1.Container, init, ends bool) {
		s := out[c.Image]
		if s == nil {
			s = &images.StandIn{First: map[string][][]string{}}
			out[c.Image] = s
		}
		if _, known := s.First[of.name]; !known {
			s.First[of.name] = nil // so that it is told from one that is called nearly the same
		}
		if len(c.Command) > 0 {
			s.Commands = append(s.Commands, c.Command[0])
		}
		line := slices.Concat(c.Command, c.Args)
		if len(line) == 0 {
			line = []string{"/standin"}
		}
		switch {
		case ends && init:
			s.First[of.name] = append(s.First[of.name], line)
		case ends:
			s.Ends = append(s.Ends, line)
		default:
			stay[c.Image] = append(stay[c.Image], line)
		}
		if c.WorkingDir != "" {
			s.WorkDir = c.WorkingDir
		}
		if nonRoot(spec, c) {
			s.User = "65532"
		}
		for _, p := range c.Ports {
			s.Ports = append(s.Ports, int(p.ContainerPort))
		}
		addHandlers(c, s)
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		add(c, true, c.RestartPolicy == nil)
	}
	for i := range spec.Containers {
		add(&spec.Containers[i], false, of.kind == "Job" || of.kind == "CronJob")
	}
}

// nonRoot tells that a container must not run as root, and leaves the user to the image.
func nonRoot(spec *corev1.PodSpec, c *corev1.Container) bool {
	own, pod := c.SecurityContext, spec.SecurityContext
	asked := own != nil && own.RunAsNonRoot != nil && *own.RunAsNonRoot || pod != nil && pod.RunAsNonRoot != nil && *pod.RunAsNonRoot
	named := own != nil && own.RunAsUser != nil || pod != nil && pod.RunAsUser != nil
	return asked && !named
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
