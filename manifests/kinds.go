package manifests

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is what berth knows about one kind of the Kubernetes API. What it does with it stands in package fields.
type kind struct {
	group, version string
	name           string
	cluster        bool // has no namespace
	opaque         bool // its fields are not looked at: berth links no types for it
}

func (k kind) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.group, Version: k.version, Kind: k.name}
}

// servedKinds are the kinds a 1.36 API server stores, in the versions it serves.
func servedKinds() []kind {
	var all []kind
	add := func(group, version string, flags kind, names ...string) {
		for _, n := range names {
			flags.group, flags.version, flags.name = group, version, n
			all = append(all, flags)
		}
	}
	named, cluster := kind{}, kind{cluster: true}
	other, otherCluster := kind{opaque: true}, kind{opaque: true, cluster: true}

	add("", "v1", named, "Pod", "ReplicationController", "Service", "ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim", "Endpoints",
		"PodTemplate", "Event", "LimitRange", "ResourceQuota")
	add("", "v1", cluster, "Namespace", "PersistentVolume", "Node")
	add("apps", "v1", named, "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ControllerRevision")
	add("batch", "v1", named, "Job", "CronJob")
	add("networking.k8s.io", "v1", named, "Ingress", "NetworkPolicy")
	add("networking.k8s.io", "v1", cluster, "IngressClass", "IPAddress", "ServiceCIDR")
	add("policy", "v1", named, "PodDisruptionBudget")
	add("autoscaling", "v1", named, "HorizontalPodAutoscaler")
	add("autoscaling", "v2", named, "HorizontalPodAutoscaler")
	add("discovery.k8s.io", "v1", named, "EndpointSlice")
	add("storage.k8s.io", "v1", cluster, "StorageClass", "VolumeAttachment", "CSINode", "CSIDriver", "VolumeAttributesClass")
	add("storage.k8s.io", "v1", named, "CSIStorageCapacity")
	add("rbac.authorization.k8s.io", "v1", named, "Role", "RoleBinding")
	add("rbac.authorization.k8s.io", "v1", cluster, "ClusterRole", "ClusterRoleBinding")
	add("scheduling.k8s.io", "v1", cluster, "PriorityClass")
	add("coordination.k8s.io", "v1", named, "Lease")
	add("node.k8s.io", "v1", cluster, "RuntimeClass")
	add("apiextensions.k8s.io", "v1", otherCluster, "CustomResourceDefinition")
	add("apiregistration.k8s.io", "v1", otherCluster, "APIService")
	add("admissionregistration.k8s.io", "v1", otherCluster, "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
	add("certificates.k8s.io", "v1", otherCluster, "CertificateSigningRequest")
	add("flowcontrol.apiserver.k8s.io", "v1", otherCluster, "FlowSchema", "PriorityLevelConfiguration")
	add("events.k8s.io", "v1", other, "Event")
	add("resource.k8s.io", "v1", other, "ResourceClaim", "ResourceClaimTemplate")
	add("resource.k8s.io", "v1", otherCluster, "DeviceClass", "ResourceSlice")
	return all
}

// removedVersion is an API version that 1.36 no longer serves, and the one its kinds are read as.
type removedVersion struct {
	group, version string // what the file says
	as             schema.GroupVersion
	kinds          []string
}

func removedVersions() []removedVersion {
	gv := func(g, v string) schema.GroupVersion { return schema.GroupVersion{Group: g, Version: v} }
	hpa := []string{"HorizontalPodAutoscaler"}
	rbacKinds := []string{"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
	flow, flowKinds := gv("flowcontrol.apiserver.k8s.io", "v1"), []string{"FlowSchema", "PriorityLevelConfiguration"}
	hooks := []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}
	return []removedVersion{
		{"extensions", "v1beta1", gv("apps", "v1"), []string{"Deployment", "DaemonSet", "ReplicaSet"}},
		{"extensions", "v1beta1", gv("networking.k8s.io", "v1"), []string{"Ingress", "NetworkPolicy"}},
		{"apps", "v1beta1", gv("apps", "v1"), []string{"Deployment", "StatefulSet", "ControllerRevision"}},
		{"apps", "v1beta2", gv("apps", "v1"), []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ControllerRevision"}},
		{"batch", "v1beta1", gv("batch", "v1"), []string{"CronJob"}},
		{"batch", "v2alpha1", gv("batch", "v1"), []string{"CronJob"}},
		{"networking.k8s.io", "v1beta1", gv("networking.k8s.io", "v1"), []string{"Ingress", "IngressClass"}},
		{"policy", "v1beta1", gv("policy", "v1"), []string{"PodDisruptionBudget"}},
		{"autoscaling", "v2beta1", gv("autoscaling", "v2"), hpa},
		{"autoscaling", "v2beta2", gv("autoscaling", "v2"), hpa},
		{"discovery.k8s.io", "v1beta1", gv("discovery.k8s.io", "v1"), []string{"EndpointSlice"}},
		{"storage.k8s.io", "v1beta1", gv("storage.k8s.io", "v1"), []string{"StorageClass", "CSIDriver", "CSINode", "VolumeAttachment", "CSIStorageCapacity"}},
		{"rbac.authorization.k8s.io", "v1beta1", gv("rbac.authorization.k8s.io", "v1"), rbacKinds},
		{"rbac.authorization.k8s.io", "v1alpha1", gv("rbac.authorization.k8s.io", "v1"), rbacKinds},
		{"scheduling.k8s.io", "v1beta1", gv("scheduling.k8s.io", "v1"), []string{"PriorityClass"}},
		{"coordination.k8s.io", "v1beta1", gv("coordination.k8s.io", "v1"), []string{"Lease"}},
		{"node.k8s.io", "v1beta1", gv("node.k8s.io", "v1"), []string{"RuntimeClass"}},
		{"apiextensions.k8s.io", "v1beta1", gv("apiextensions.k8s.io", "v1"), []string{"CustomResourceDefinition"}},
		{"apiregistration.k8s.io", "v1beta1", gv("apiregistration.k8s.io", "v1"), []string{"APIService"}},
		{"flowcontrol.apiserver.k8s.io", "v1beta1", flow, flowKinds},
		{"flowcontrol.apiserver.k8s.io", "v1beta2", flow, flowKinds},
		{"flowcontrol.apiserver.k8s.io", "v1beta3", flow, flowKinds},
		{"certificates.k8s.io", "v1beta1", gv("certificates.k8s.io", "v1"), []string{"CertificateSigningRequest"}},
		{"events.k8s.io", "v1beta1", gv("events.k8s.io", "v1"), []string{"Event"}},
		{"admissionregistration.k8s.io", "v1beta1", gv("admissionregistration.k8s.io", "v1"), hooks},
	}
}

// sameToday are removed versions whose types are today's by another name: reading them needs no types of their own, which are large.
func sameToday(gvk schema.GroupVersionKind) bool {
	switch gvk.GroupVersion().String() {
	case "apps/v1beta2", "batch/v1beta1", "batch/v2alpha1", "policy/v1beta1", "autoscaling/v2beta2", "storage.k8s.io/v1beta1", "rbac.authorization.k8s.io/v1beta1",
		"scheduling.k8s.io/v1beta1", "coordination.k8s.io/v1beta1", "node.k8s.io/v1beta1":
		return true
	}
	return false
}

// catalog answers what a GroupVersionKind is.
type catalog struct {
	served  map[schema.GroupVersionKind]kind
	removed map[schema.GroupVersionKind]schema.GroupVersionKind
	groups  map[string]bool // Kubernetes' own
}

func newCatalog() *catalog {
	c := &catalog{served: map[schema.GroupVersionKind]kind{}, removed: map[schema.GroupVersionKind]schema.GroupVersionKind{}, groups: map[string]bool{}}
	for _, k := range servedKinds() {
		c.served[k.gvk()] = k
		c.groups[k.group] = true
	}
	for _, r := range removedVersions() {
		c.groups[r.group] = true
		for _, name := range r.kinds {
			c.removed[schema.GroupVersionKind{Group: r.group, Version: r.version, Kind: name}] = r.as.WithKind(name)
		}
	}
	for _, g := range []string{"authentication.k8s.io", "authorization.k8s.io", "storagemigration.k8s.io", "internal.apiserver.k8s.io"} {
		c.groups[g] = true
	}
	return c
}

// similar proposes an apiVersion and kind that exist, for a pair that does not.
func (c *catalog) similar(gvk schema.GroupVersionKind) string {
	best, bestCost := kind{}, 4
	for _, k := range servedKinds() {
		cost := editDistance(strings.ToLower(k.name), strings.ToLower(gvk.Kind), 3)
		switch {
		case k.name == gvk.Kind:
			cost = -2
		case strings.EqualFold(k.name, gvk.Kind), strings.EqualFold(k.name+"s", gvk.Kind):
			cost = 0
		}
		if k.group != gvk.Group {
			cost++
		}
		if cost < bestCost {
			best, bestCost = k, cost
		}
	}
	if best.name == "" {
		return ""
	}
	return "did you mean apiVersion: " + best.gvk().GroupVersion().String() + ", kind: " + best.name + "?"
}
