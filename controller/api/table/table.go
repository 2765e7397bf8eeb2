// Package table shows Kubernetes objects as rows of the columns that users of kubectl know. Which columns a kind has, and what stands in them, is as in a Kubernetes
// API server of the release berth follows.
package table

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Columns are those of a kind. A name that begins with "+" is shown by `-o wide` only; one that ends in "#" holds numbers, in "?" truths.
func Columns(kind string) []metav1.TableColumnDefinition {
	names, ok := columns()[kind]
	if !ok {
		names = "Name,Age"
	}
	var out []metav1.TableColumnDefinition
	for name := range strings.SplitSeq(names, ",") {
		c := metav1.TableColumnDefinition{Type: "string"}
		switch {
		case strings.HasSuffix(name, "#"):
			c.Type = "integer"
		case strings.HasSuffix(name, "?"):
			c.Type = "boolean"
		}
		if strings.HasPrefix(name, "+") {
			c.Priority = 1
		}
		c.Name = strings.Trim(name, "+#?")
		if c.Name == "Name" {
			c.Format = "name"
		}
		c.Description = description(kind, c.Name)
		out = append(out, c)
	}
	return out
}

func columns() map[string]string {
	return map[string]string{
		"Pod":                     "Name,Ready,Status,Restarts,Age,+IP,+Node,+Nominated Node,+Readiness Gates",
		"PodTemplate":             "Name,Containers,Images,Pod Labels",
		"PodDisruptionBudget":     "Name,Min Available,Max Unavailable,Allowed Disruptions#,Age",
		"ReplicationController":   "Name,Desired#,Current#,Ready#,Age,+Containers,+Images,+Selector",
		"ReplicaSet":              "Name,Desired#,Current#,Ready#,Age,+Containers,+Images,+Selector",
		"DaemonSet":               "Name,Desired#,Current#,Ready#,Up-to-date#,Available#,Node Selector,Age,+Containers,+Images,+Selector",
		"Job":                     "Name,Status,Completions,Duration,Age,+Containers,+Images,+Selector",
		"CronJob":                 "Name,Schedule,Timezone,Suspend?,Active#,Last Schedule,Age,+Containers,+Images,+Selector",
		"Service":                 "Name,Type,Cluster-IP,External-IP,Port(s),Age,+Selector",
		"Ingress":                 "Name,Class,Hosts,Address,Ports,Age",
		"IngressClass":            "Name,Controller,Parameters,Age",
		"StatefulSet":             "Name,Ready,Age,+Containers,+Images",
		"Endpoints":               "Name,Endpoints,Age",
		"EndpointSlice":           "Name,AddressType,Ports,Endpoints,Age",
		"Node":                    "Name,Status,Roles,Age,Version,+Internal-IP,+External-IP,+OS-Image,+Kernel-Version,+Container-Runtime",
		"Event":                   "Last Seen,Type,Reason,Object,+Subobject,+Source,Message,+First Seen,+Count,+Name",
		"Namespace":               "Name,Status,Age",
		"Secret":                  "Name,Type,Data,Age",
		"ServiceAccount":          "Name,Age",
		"PersistentVolume":        "Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age,+VolumeMode",
		"PersistentVolumeClaim":   "Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,+VolumeMode",
		"ComponentStatus":         "Name,Status,Message,Error",
		"Deployment":              "Name,Ready,Up-to-date,Available,Age,+Containers,+Images,+Selector",
		"HorizontalPodAutoscaler": "Name,Reference,Targets,MinPods,MaxPods,Replicas,Age",
		"ConfigMap":               "Name,Data,Age",
		"NetworkPolicy":           "Name,Pod-Selector,Age",
		"Role":                    "Name,Created At",
		"ClusterRole":             "Name,Created At",
		"Scale":                   "Name,Desired#,Available#,Age",
		"RoleBinding":             "Name,Role,Age,+Users,+Groups,+ServiceAccounts",
		"ClusterRoleBinding":      "Name,Role,Age,+Users,+Groups,+ServiceAccounts",
		"Lease":                   "Name,Holder,Age",
		"StorageClass":            "Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age",
		"VolumeAttributesClass":   "Name,DriverName,Age",
		"ControllerRevision":      "Name,Controller,Revision,Age",
		"ResourceQuota":           "Name,Request,Limit,Age",
		"LimitRange":              "Name,Created At",
		"PriorityClass":           "Name,Value#,Global-Default?,Age,PreemptionPolicy",
		"RuntimeClass":            "Name,Handler,Age",
		"VolumeAttachment":        "Name,Attacher,PV,Node,Attached?,Age",
		"CSINode":                 "Name,Drivers#,Age",
		"CSIDriver":               "Name,AttachRequired?,PodInfoOnMount?,StorageCapacity?,TokenRequests,RequiresRepublish?,Modes,Age",
		"CSIStorageCapacity":      "Name,StorageClassName,Capacity",
		"ServiceCIDR":             "Name,CIDRs,Age",
		"IPAddress":               "Name,ParentRef,Age",
	}
}

// description says what the columns hold that say it less by their name.
func description(kind, column string) string {
	switch {
	case column == "Name":
		return "Name must be unique within a namespace."
	case column == "Age" || column == "Created At":
		return "The time since the object was created."
	case kind == "Pod" && column == "Ready":
		return "The aggregate readiness state of this pod for accepting traffic."
	case kind == "Pod" && column == "Status":
		return "The aggregate status of the containers in this pod."
	case kind == "Pod" && column == "Restarts":
		return "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."
	}
	return ""
}

// Object is what a row is made of.
type Object interface{ metav1.Object }

// Row is an object as the cells of its kind's columns, at a moment, and what is special about the row.
func Row(obj Object, now time.Time) ([]any, []metav1.TableRowCondition) {
	t := at{now}
	if p, ok := obj.(*corev1.Pod); ok {
		return t.pod(p), podConditions(p)
	}
	return t.cells(obj), nil
}

// at shows objects as of a moment.
type at struct{ now time.Time }

func (t at) since(m metav1.Time) string {
	if m.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(t.now.Sub(m.Time))
}

func (t at) age(obj Object) string { return t.since(obj.GetCreationTimestamp()) }

// cells dispatches by type: one case per kind that has more to show than its age.
func (t at) cells(obj Object) []any { //nolint:funlen // one case per kind
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return t.deployment(o)
	case *appsv1.ReplicaSet:
		return t.replicaSet(o)
	case *appsv1.StatefulSet:
		return t.statefulSet(o)
	case *appsv1.DaemonSet:
		return t.daemonSet(o)
	case *appsv1.ControllerRevision:
		return t.controllerRevision(o)
	case *corev1.ReplicationController:
		return t.replicationController(o)
	case *batchv1.Job:
		return t.job(o)
	case *batchv1.CronJob:
		return t.cronJob(o)
	case *corev1.Service:
		return t.service(o)
	case *corev1.Endpoints: // deprecated, and still served
		return t.endpoints(o)
	case *discoveryv1.EndpointSlice:
		return t.endpointSlice(o)
	case *networkingv1.Ingress:
		return t.ingress(o)
	case *networkingv1.IngressClass:
		return t.ingressClass(o)
	case *networkingv1.NetworkPolicy:
		return []any{o.Name, metav1.FormatLabelSelector(&o.Spec.PodSelector), t.age(o)}
	case *networkingv1.IPAddress:
		return []any{o.Name, parentOf(o.Spec.ParentRef), t.age(o)}
	case *networkingv1.ServiceCIDR:
		return []any{o.Name, strings.Join(o.Spec.CIDRs, ","), t.age(o)}
	case *autoscalingv2.HorizontalPodAutoscaler:
		return t.autoscaler(o)
	case *autoscalingv1.Scale:
		return []any{o.Name, o.Spec.Replicas, o.Status.Replicas, t.age(o)}
	case *policyv1.PodDisruptionBudget:
		return t.disruptionBudget(o)
	case *rbacv1.RoleBinding:
		return t.binding(o, &o.RoleRef, o.Subjects)
	case *rbacv1.ClusterRoleBinding:
		return t.binding(o, &o.RoleRef, o.Subjects)
	case *rbacv1.Role, *rbacv1.ClusterRole, *corev1.LimitRange:
		return []any{obj.GetName(), obj.GetCreationTimestamp().UTC().Format(time.RFC3339)}
	case *coordinationv1.Lease:
		return []any{o.Name, deref(o.Spec.HolderIdentity, ""), t.age(o)}
	case *nodev1.RuntimeClass:
		return []any{o.Name, o.Handler, t.age(o)}
	case *schedulingv1.PriorityClass:
		return []any{o.Name, o.Value, o.GlobalDefault, t.age(o), string(deref(o.PreemptionPolicy, ""))}
	case *storagev1.StorageClass, *storagev1.VolumeAttributesClass, *storagev1.VolumeAttachment, *storagev1.CSINode, *storagev1.CSIDriver,
		*storagev1.CSIStorageCapacity, *corev1.PersistentVolume, *corev1.PersistentVolumeClaim:
		return t.storage(obj)
	}
	return t.core(obj)
}

func deref[T any](p *T, or T) T {
	if p == nil {
		return or
	}
	return *p
}

// some joins at most three, and says how many more there are.
func some(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ",")
	}
	return strings.Join(list[:most], ",") + more(len(list)-most)
}
