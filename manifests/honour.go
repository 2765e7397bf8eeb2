package manifests

import "strconv"

// laterKind tells of kinds that berth reads, checks and keeps, and does not act on yet. Those that only pods use (ConfigMap, Secret,
// claims) are not among them: a pod that uses one waits and says so.
func laterKind(name string) bool {
	switch name {
	case "Service", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController", "Ingress", "NetworkPolicy", "PodDisruptionBudget",
		"EndpointSlice", "Endpoints":
		return true
	}
	return false
}

// unhonoured is a field of a pod's spec that berth takes and does not do what it says.
type unhonoured struct {
	path []string // "*" is every item of a list
	text string
}

func unhonouredFields() []unhonoured {
	const one = "is not enforced: there is one machine"
	var all []unhonoured
	for _, list := range []string{"containers", "initContainers"} {
		for name, text := range map[string]string{
			"livenessProbe":  "is not honoured yet: the container is not restarted by it",
			"readinessProbe": "is not honoured yet: the container counts as ready while it runs",
			"startupProbe":   "is not honoured yet: the container counts as started at once",
			"lifecycle":      "is not honoured yet: its hooks are not run",
			"resizePolicy":   "is not honoured: a change of resources replaces the pod",
		} {
			all = append(all, unhonoured{[]string{list, "*", name}, text})
		}
		all = append(all, unhonoured{[]string{list, "*", "ports", "*", "hostPort"}, "is not honoured yet: the port is reached at the pod's address only"})
	}
	for _, name := range []string{"nodeSelector", "nodeName", "affinity", "tolerations", "topologySpreadConstraints", "schedulerName", "priorityClassName"} {
		all = append(all, unhonoured{[]string{name}, one})
	}
	return append(all, unhonoured{[]string{"readinessGates"}, "is not honoured yet: nobody sets these conditions"})
}

// honour warns of what the object states and berth does not do.
func (o *objectReader) honour() {
	line, col := o.firstLine()
	if laterKind(o.kind.name) {
		o.warn(line, col, "", "is kept, and not acted on yet: berth runs Deployments, ReplicaSets and Pods", "")
		return
	}
	path, spec := "spec", o.root.value("spec")
	if o.kind.name != "Pod" {
		path, spec = "spec.template.spec", spec.value("template").value("spec")
	}
	for _, f := range unhonouredFields() {
		o.warnFields(spec, path, f.path, f.text)
	}
}

// warnFields warns at each place below a node that the steps lead to.
func (o *objectReader) warnFields(n *node, path string, steps []string, text string) {
	if steps[0] == "*" {
		if n != nil {
			for i, item := range n.items {
				o.warnFields(item, path+"["+strconv.Itoa(i)+"]", steps[1:], text)
			}
		}
		return
	}
	e := n.get(steps[0])
	if e == nil || e.value.shape == nullShape {
		return
	}
	path += "." + steps[0]
	if len(steps) > 1 {
		o.warnFields(e.value, path, steps[1:], text)
		return
	}
	line, col := e.place()
	o.warn(line, col, path, text, "")
}
