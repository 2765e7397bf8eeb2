package api

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource is one row of what is served: a kind under its plural name.
type Resource struct {
	Group, Version string
	// Name is the plural of paths and RBAC, Singular that of messages.
	Name, Singular string
	Kind           string
	Namespaced     bool
	ShortNames     []string
	Categories     []string
	// Verbs are those on the objects themselves.
	Verbs        []string
	Subresources []Subresource
}

// Subresource is a part of an object, or something done with it, under a name of its own.
type Subresource struct {
	Name string
	// Kind and its group and version are of what is read and written there; the resource's own when empty.
	Group, Version, Kind string
	Verbs                []string
}

// GVK is the kind as an object says it.
func (r *Resource) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

// GroupResource names the resource in errors.
func (r *Resource) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Name}
}

func (r *Resource) serves(verb, subresource string) bool {
	if subresource == "" {
		return slices.Contains(r.Verbs, verb)
	}
	sub := r.subresource(subresource)
	return sub != nil && (verb == "connect" && connects(subresource) || slices.Contains(sub.Verbs, verb))
}

func (r *Resource) subresource(name string) *Subresource {
	for i := range r.Subresources {
		if r.Subresources[i].Name == name {
			return &r.Subresources[i]
		}
	}
	return nil
}

// connects tells the subresources that take a connection over. GET and POST mean the same there: a right to read is none to execute.
func connects(subresource string) bool {
	switch subresource {
	case "exec", "attach", "portforward", "proxy":
		return true
	}
	return false
}

var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// resources are all that is served, in the order of discovery.
func resources() []Resource { //nolint:funlen // a table
	var all []Resource
	group, version := "", "v1"
	add := func(namespaced bool, name, singular, kind string, short, categories []string, subs ...Subresource) {
		all = append(all, Resource{
			Group: group, Version: version, Name: name, Singular: singular, Kind: kind, Namespaced: namespaced,
			ShortNames: short, Categories: categories, Verbs: allVerbs, Subresources: subs,
		})
	}
	in := func(g, v string) { group, version = g, v }
	words := func(w ...string) []string { return w }
	every := words("all")
	status := Subresource{Name: "status", Verbs: words("get", "patch", "update")}
	scale := Subresource{Name: "scale", Group: "autoscaling", Version: "v1", Kind: "Scale", Verbs: words("get", "patch", "update")}
	connect := func(name, kind string) Subresource {
		return Subresource{Name: name, Version: "v1", Kind: kind, Verbs: words("create", "get")}
	}
	proxy := func(kind string) Subresource {
		return Subresource{Name: "proxy", Version: "v1", Kind: kind, Verbs: words("create", "delete", "get", "patch", "update")}
	}
	const namespaced, cluster = true, false

	add(cluster, "componentstatuses", "componentstatus", "ComponentStatus", words("cs"), nil)
	add(namespaced, "configmaps", "configmap", "ConfigMap", words("cm"), nil)
	add(namespaced, "endpoints", "endpoints", "Endpoints", words("ep"), nil)
	add(namespaced, "events", "event", "Event", words("ev"), nil)
	add(namespaced, "limitranges", "limitrange", "LimitRange", words("limits"), nil)
	add(cluster, "namespaces", "namespace", "Namespace", words("ns"), nil, status, Subresource{Name: "finalize", Verbs: words("update")})
	add(cluster, "nodes", "node", "Node", words("no"), nil, status)
	add(namespaced, "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", words("pvc"), nil, status)
	add(cluster, "persistentvolumes", "persistentvolume", "PersistentVolume", words("pv"), nil, status)
	add(namespaced, "pods", "pod", "Pod", words("po"), every, status,
		connect("attach", "PodAttachOptions"), connect("exec", "PodExecOptions"), connect("portforward", "PodPortForwardOptions"), proxy("PodProxyOptions"),
		Subresource{Name: "log", Verbs: words("get")}, Subresource{Name: "ephemeralcontainers", Verbs: words("get", "patch", "update")},
		Subresource{Name: "eviction", Group: "policy", Version: "v1", Kind: "Eviction", Verbs: words("create")},
		Subresource{Name: "resize", Verbs: words("get", "patch", "update")})
	add(namespaced, "podtemplates", "podtemplate", "PodTemplate", nil, nil)
	add(namespaced, "replicationcontrollers", "replicationcontroller", "ReplicationController", words("rc"), every, status, scale)
	add(namespaced, "resourcequotas", "resourcequota", "ResourceQuota", words("quota"), nil, status)
	add(namespaced, "secrets", "secret", "Secret", nil, nil)
	add(namespaced, "serviceaccounts", "serviceaccount", "ServiceAccount", words("sa"), nil,
		Subresource{Name: "token", Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest", Verbs: words("create")})
	add(namespaced, "services", "service", "Service", words("svc"), every, status, proxy("ServiceProxyOptions"))

	in("apps", "v1")
	add(namespaced, "controllerrevisions", "controllerrevision", "ControllerRevision", nil, nil)
	add(namespaced, "daemonsets", "daemonset", "DaemonSet", words("ds"), every, status)
	add(namespaced, "deployments", "deployment", "Deployment", words("deploy"), every, status, scale)
	add(namespaced, "replicasets", "replicaset", "ReplicaSet", words("rs"), every, status, scale)
	add(namespaced, "statefulsets", "statefulset", "StatefulSet", words("sts"), every, status, scale)

	in("events.k8s.io", "v1")
	add(namespaced, "events", "event", "Event", words("ev"), nil)

	in("autoscaling", "v2")
	add(namespaced, "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", words("hpa"), every, status)
	in("autoscaling", "v1")
	add(namespaced, "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", words("hpa"), every, status)

	in("batch", "v1")
	add(namespaced, "cronjobs", "cronjob", "CronJob", words("cj"), every, status)
	add(namespaced, "jobs", "job", "Job", nil, every, status)

	in("networking.k8s.io", "v1")
	add(cluster, "ingressclasses", "ingressclass", "IngressClass", nil, nil)
	add(namespaced, "ingresses", "ingress", "Ingress", words("ing"), nil, status)
	add(cluster, "ipaddresses", "ipaddress", "IPAddress", words("ip"), nil)
	add(namespaced, "networkpolicies", "networkpolicy", "NetworkPolicy", words("netpol"), nil)
	add(cluster, "servicecidrs", "servicecidr", "ServiceCIDR", nil, nil, status)

	in("policy", "v1")
	add(namespaced, "poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget", words("pdb"), nil, status)

	in("rbac.authorization.k8s.io", "v1")
	add(cluster, "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding", nil, nil)
	add(cluster, "clusterroles", "clusterrole", "ClusterRole", nil, nil)
	add(namespaced, "rolebindings", "rolebinding", "RoleBinding", nil, nil)
	add(namespaced, "roles", "role", "Role", nil, nil)

	in("storage.k8s.io", "v1")
	add(cluster, "csidrivers", "csidriver", "CSIDriver", nil, nil)
	add(cluster, "csinodes", "csinode", "CSINode", nil, nil)
	add(namespaced, "csistoragecapacities", "csistoragecapacity", "CSIStorageCapacity", nil, nil)
	add(cluster, "storageclasses", "storageclass", "StorageClass", words("sc"), nil)
	add(cluster, "volumeattachments", "volumeattachment", "VolumeAttachment", nil, nil, status)
	add(cluster, "volumeattributesclasses", "volumeattributesclass", "VolumeAttributesClass", words("vac"), nil)

	in("scheduling.k8s.io", "v1")
	add(cluster, "priorityclasses", "priorityclass", "PriorityClass", words("pc"), nil)
	in("coordination.k8s.io", "v1")
	add(namespaced, "leases", "lease", "Lease", nil, nil)
	in("node.k8s.io", "v1")
	add(cluster, "runtimeclasses", "runtimeclass", "RuntimeClass", nil, nil)
	in("discovery.k8s.io", "v1")
	add(namespaced, "endpointslices", "endpointslice", "EndpointSlice", nil, nil)

	in("authentication.k8s.io", "v1")
	add(cluster, "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", nil, nil)
	in("authorization.k8s.io", "v1")
	add(cluster, "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview", nil, nil)
	add(cluster, "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview", nil, nil)

	in(metricsGroup, "v1beta1")
	add(cluster, "nodes", "", "NodeMetrics", nil, nil)
	add(namespaced, "pods", "", "PodMetrics", nil, nil)

	for i := range all {
		restrict(&all[i])
		slices.SortFunc(all[i].Subresources, func(a, b Subresource) int { return strings.Compare(a.Name, b.Name) })
	}
	return all
}

// restrict takes away the verbs that make no sense here: this machine is the only node, and what berth itself tells is not for others to write.
func restrict(r *Resource) {
	switch r.Kind {
	case "ComponentStatus", "NodeMetrics", "PodMetrics":
		r.Verbs = []string{"get", "list"}
	case "SelfSubjectReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview":
		r.Verbs = []string{"create"}
	case "Node":
		r.Verbs = []string{"get", "list", "patch", "update", "watch"}
	case "Namespace": // nobody ends all of them at once
		r.Verbs = slices.DeleteFunc(slices.Clone(allVerbs), func(v string) bool { return v == "deletecollection" })
	}
}

type resourceName struct{ group, version, name string }

// registry finds resources.
type registry struct {
	all      []Resource
	byName   map[resourceName]*Resource
	versions map[schema.GroupVersion]bool
	// several are the kinds that two resources show, each in its own version.
	several map[string]bool
}

func newRegistry() *registry {
	g := &registry{all: resources(), byName: map[resourceName]*Resource{}, versions: map[schema.GroupVersion]bool{}, several: map[string]bool{}}
	seen := map[string]bool{}
	for i := range g.all {
		r := &g.all[i]
		g.byName[resourceName{r.Group, r.Version, r.Name}] = r
		g.several[r.Kind] = seen[r.Kind]
		seen[r.Kind] = true
		g.versions[schema.GroupVersion{Group: r.Group, Version: r.Version}] = true
	}
	return g
}
