package e2e

import (
	"fmt"
	"strings"

	"berth/e2e/images"
)

// manifest is a Deployment or, without replicas, a Pod.
type manifest struct {
	name     string
	replicas int // -1 for a Pod
	// main is the content of the first container beside its name, a YAML flow mapping without braces.
	main string
	// more are further containers, init further init containers, flow mappings with braces.
	more, init []string
	// pod is the rest of the pod's spec and spec the rest of the Deployment's, flow mappings without braces.
	pod, spec string
}

func (m manifest) String() string {
	fields := []string{fmt.Sprintf("containers: [%s]", strings.Join(append([]string{"{name: main, " + m.main + "}"}, m.more...), ", "))}
	if len(m.init) > 0 {
		fields = append(fields, fmt.Sprintf("initContainers: [%s]", strings.Join(m.init, ", ")))
	}
	if m.pod != "" {
		fields = append(fields, m.pod)
	}
	if !strings.Contains(m.pod, "terminationGracePeriodSeconds") {
		fields = append(fields, "terminationGracePeriodSeconds: 5")
	}
	pod := "{" + strings.Join(fields, ", ") + "}"
	if m.replicas < 0 {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: %s}}\nspec: %s\n", m.name, m.name, pod)
	}
	spec := m.spec
	if spec != "" {
		spec = "  " + spec + "\n"
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
%[3]s  template:
    metadata: {labels: {app: %[1]s}}
    spec: %[4]s
`, m.name, m.replicas, spec, pod)
}

// run is the content of a container that runs the test program with these arguments.
func run(args ...string) string {
	return fmt.Sprintf("image: %q, args: [%s]", images.Ref(images.Tool), quoted(args))
}

// shell is the content of a container that runs a script.
func shell(script string) string {
	return fmt.Sprintf("image: %q, command: [sh, -c, %q]", images.Ref(images.Tool), script)
}

func quoted(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, fmt.Sprintf("%q", w))
	}
	return strings.Join(out, ", ")
}

func pod(name, main string) manifest { return manifest{name: name, replicas: -1, main: main} }

func deployment(name string, replicas int, main string) manifest {
	return manifest{name: name, replicas: replicas, main: main}
}
