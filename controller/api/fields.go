package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"

	"berth/controller/store"
)

// fieldSelector is a list of requirements on fields; all must hold.
type fieldSelector []fieldRequirement

type fieldRequirement struct {
	value func(store.Object) string
	equal bool
	want  string
}

func (s fieldSelector) matches(obj store.Object) bool {
	for i := range s {
		if (s[i].value(obj) == s[i].want) != s[i].equal {
			return false
		}
	}
	return true
}

func parseFields(r *Request) (fieldSelector, error) {
	text := r.Query.Get("fieldSelector")
	if text == "" {
		return nil, nil
	}
	parsed, err := fields.ParseSelector(text)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var out fieldSelector
	for _, q := range parsed.Requirements() {
		name := q.Field
		if !knownField(r.Resource, name) {
			return nil, unknownField(r.Resource, name)
		}
		out = append(out, fieldRequirement{
			value: func(o store.Object) string { return fieldValue(o, name) }, equal: !strings.Contains(string(q.Operator), "!"), want: q.Value,
		})
	}
	return out, nil
}

// knownField tells the fields that can be selected by: the two of all kinds, and those that a Kubernetes API server knows of a kind.
func knownField(r *Resource, name string) bool {
	return name == "metadata.name" || name == "metadata.namespace" && r.Namespaced || slices.Contains(ownFields(r), name)
}

func unknownField(r *Resource, name string) error {
	if ownFields(r) == nil {
		return apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", name))
	}
	return apierrors.NewBadRequest("field label not supported: " + name)
}

// ownFields are those that a kind can be selected by beside its name.
func ownFields(r *Resource) []string {
	var known []string
	switch r.Kind {
	case "Pod":
		known = []string{
			"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase",
			"status.podIP", "status.podIPs", "status.nominatedNodeName",
		}
	case "Event":
		known = []string{
			"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
			"involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
		}
		if r.Group != "" {
			known = append(known, "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
				"regarding.resourceVersion", "regarding.fieldPath", "reportingController")
		}
	case "Namespace":
		known = []string{"status.phase"}
	case "Node":
		known = []string{"spec.unschedulable"}
	case "Secret":
		known = []string{"type"}
	case "Service":
		known = []string{"spec.clusterIP", "spec.type"}
	case "ReplicationController":
		known = []string{"status.replicas"}
	case "Job":
		known = []string{"status.successful"}
	}
	return known
}

func fieldValue(obj store.Object, name string) string {
	switch name {
	case "metadata.name":
		return obj.GetName()
	case "metadata.namespace":
		return obj.GetNamespace()
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		return podField(o, name)
	case *corev1.Event:
		return eventField(o, name)
	case *corev1.Namespace:
		return string(o.Status.Phase)
	case *corev1.Node:
		return strconv.FormatBool(o.Spec.Unschedulable)
	case *corev1.Secret:
		return string(o.Type)
	case *corev1.Service:
		if name == "spec.type" {
			return string(o.Spec.Type)
		}
		return o.Spec.ClusterIP
	case *corev1.ReplicationController:
		return strconv.Itoa(int(o.Status.Replicas))
	case *batchv1.Job:
		return strconv.Itoa(int(o.Status.Succeeded))
	}
	return ""
}

func podField(p *corev1.Pod, name string) string {
	switch name {
	case "spec.nodeName":
		return p.Spec.NodeName
	case "spec.restartPolicy":
		return string(p.Spec.RestartPolicy)
	case "spec.schedulerName":
		return p.Spec.SchedulerName
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName
	case "spec.hostNetwork":
		return strconv.FormatBool(p.Spec.HostNetwork)
	case "status.phase":
		return string(p.Status.Phase)
	case "status.podIP", "status.podIPs":
		return p.Status.PodIP
	case "status.nominatedNodeName":
		return p.Status.NominatedNodeName
	}
	return ""
}

func eventField(e *corev1.Event, name string) string {
	about := &e.InvolvedObject
	switch strings.TrimPrefix(strings.TrimPrefix(name, "involvedObject."), "regarding.") {
	case "kind":
		return about.Kind
	case "namespace":
		return about.Namespace
	case "name":
		return about.Name
	case "uid":
		return string(about.UID)
	case "apiVersion":
		return about.APIVersion
	case "resourceVersion":
		return about.ResourceVersion
	case "fieldPath":
		return about.FieldPath
	case "reason":
		return e.Reason
	case "reportingComponent", "reportingController":
		return e.ReportingController
	case "source":
		if e.Source.Component != "" {
			return e.Source.Component
		}
		return e.ReportingController
	case "type":
		return e.Type
	}
	return ""
}
