package table

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (t at) core(obj Object) []any {
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		return []any{o.Name, len(o.Data) + len(o.BinaryData), t.age(o)}
	case *corev1.Secret:
		return []any{o.Name, string(o.Type), len(o.Data), t.age(o)}
	case *corev1.Namespace:
		return []any{o.Name, string(o.Status.Phase), t.age(o)}
	case *corev1.PodTemplate:
		names, images := containers(&o.Template.Spec)
		return []any{o.Name, names, images, labelsOf(o.Template.Labels)}
	case *corev1.ResourceQuota:
		return t.quota(o)
	case *corev1.Node:
		return t.node(o)
	case *corev1.Event:
		return t.event(o)
	case *corev1.ComponentStatus: // deprecated, and still asked for
		return component(o)
	}
	return []any{obj.GetName(), t.age(obj)}
}

func labelsOf(l map[string]string) string {
	var list []string
	for k, v := range l {
		list = append(list, k+"="+v)
	}
	return orNone(strings.Join(sorted(list), ","))
}

func component(o *corev1.ComponentStatus) []any {
	for _, c := range o.Conditions {
		if c.Type == corev1.ComponentHealthy {
			status := "Unhealthy"
			if c.Status == corev1.ConditionTrue {
				status = "Healthy"
			}
			return []any{o.Name, status, c.Message, c.Error}
		}
	}
	return []any{o.Name, "Unknown", "", ""}
}

func (t at) quota(o *corev1.ResourceQuota) []any {
	var names []string
	for n := range o.Status.Hard {
		names = append(names, string(n))
	}
	slices.Sort(names)
	var requests, limits []string
	for _, n := range names {
		hard, used := o.Status.Hard[corev1.ResourceName(n)], o.Status.Used[corev1.ResourceName(n)]
		text := fmt.Sprintf("%s: %s/%s", n, used.String(), hard.String())
		if strings.HasPrefix(n, "limits.") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{o.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), t.age(o)}
}

func (t at) node(o *corev1.Node) []any {
	status := "Unknown"
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "NotReady"
			if c.Status == corev1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if o.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	var roles []string
	for k, v := range o.Labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if k == "kubernetes.io/role" && v != "" {
			roles = append(roles, v)
		}
	}
	address := func(kind corev1.NodeAddressType) string {
		for _, a := range o.Status.Addresses {
			if a.Type == kind {
				return a.Address
			}
		}
		return "<none>"
	}
	info := &o.Status.NodeInfo
	kernel := cmp.Or(info.KernelVersion, "<unknown>")
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		o.Name, status, orNone(strings.Join(sorted(roles), ",")), t.age(o), info.KubeletVersion, address(corev1.NodeInternalIP), address(corev1.NodeExternalIP),
		cmp.Or(info.OSImage, "<unknown>"), kernel, cmp.Or(info.ContainerRuntimeVersion, "<unknown>"),
	}
}

func (t at) event(o *corev1.Event) []any {
	first := t.since(o.FirstTimestamp)
	if o.FirstTimestamp.IsZero() {
		first = t.since(metav1.Time(o.EventTime))
	}
	last, count := t.since(o.LastTimestamp), o.Count
	if o.LastTimestamp.IsZero() {
		last = first
	}
	if o.Series != nil {
		last, count = t.since(metav1.Time(o.Series.LastObservedTime)), o.Series.Count
	}
	about := strings.ToLower(o.InvolvedObject.Kind)
	if o.InvolvedObject.Name != "" {
		about += "/" + o.InvolvedObject.Name
	}
	source := cmp.Or(o.Source.Component, o.ReportingController)
	if host := cmp.Or(o.Source.Host, o.ReportingInstance); host != "" {
		source += ", " + host
	}
	return []any{last, o.Type, o.Reason, about, o.InvolvedObject.FieldPath, source, strings.TrimSpace(o.Message), first, max(count, 1), o.Name}
}

func (t at) storage(obj Object) []any {
	switch o := obj.(type) {
	case *corev1.PersistentVolume:
		return t.volume(o)
	case *corev1.PersistentVolumeClaim:
		return t.claim(o)
	case *storagev1.StorageClass:
		name := o.Name
		if o.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" || o.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
			name += " (default)"
		}
		return []any{
			name, o.Provisioner, string(deref(o.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
			string(deref(o.VolumeBindingMode, storagev1.VolumeBindingImmediate)), deref(o.AllowVolumeExpansion, false), t.age(o),
		}
	case *storagev1.VolumeAttributesClass:
		return []any{o.Name, o.DriverName, t.age(o)}
	case *storagev1.VolumeAttachment:
		return []any{o.Name, o.Spec.Attacher, deref(o.Spec.Source.PersistentVolumeName, ""), o.Spec.NodeName, o.Status.Attached, t.age(o)}
	case *storagev1.CSINode:
		return []any{o.Name, len(o.Spec.Drivers), t.age(o)}
	case *storagev1.CSIStorageCapacity:
		capacity := "<unset>"
		if o.Capacity != nil {
			capacity = o.Capacity.String()
		}
		return []any{o.Name, o.StorageClassName, capacity}
	case *storagev1.CSIDriver:
		return t.driver(o)
	}
	return []any{obj.GetName(), t.age(obj)}
}

func (t at) driver(o *storagev1.CSIDriver) []any {
	tokens := "<unset>"
	if o.Spec.TokenRequests != nil {
		var audiences []string
		for _, r := range o.Spec.TokenRequests {
			audiences = append(audiences, r.Audience)
		}
		tokens = strings.Join(audiences, ",")
	}
	var modes []string
	for _, m := range o.Spec.VolumeLifecycleModes {
		modes = append(modes, string(m))
	}
	return []any{
		o.Name, deref(o.Spec.AttachRequired, true), deref(o.Spec.PodInfoOnMount, false), deref(o.Spec.StorageCapacity, false), tokens,
		deref(o.Spec.RequiresRepublish, false), orNone(strings.Join(modes, ",")), t.age(o),
	}
}

func (t at) volume(o *corev1.PersistentVolume) []any {
	claim := ""
	if r := o.Spec.ClaimRef; r != nil {
		claim = r.Namespace + "/" + r.Name
	}
	phase := string(o.Status.Phase)
	if o.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	class := cmp.Or(o.Annotations[corev1.BetaStorageClassAnnotation], o.Spec.StorageClassName)
	size := o.Spec.Capacity[corev1.ResourceStorage]
	return []any{
		o.Name, size.String(), modes(o.Spec.AccessModes), string(o.Spec.PersistentVolumeReclaimPolicy), phase, claim, class,
		deref(o.Spec.VolumeAttributesClassName, "<unset>"), o.Status.Reason, t.age(o), string(deref(o.Spec.VolumeMode, "<unset>")),
	}
}

func (t at) claim(o *corev1.PersistentVolumeClaim) []any {
	phase, capacity, access := string(o.Status.Phase), "", ""
	if o.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	if o.Spec.VolumeName != "" {
		size := o.Status.Capacity[corev1.ResourceStorage]
		capacity, access = size.String(), modes(o.Status.AccessModes)
	}
	class := cmp.Or(o.Annotations[corev1.BetaStorageClassAnnotation], deref(o.Spec.StorageClassName, ""))
	return []any{
		o.Name, phase, o.Spec.VolumeName, capacity, access, class, deref(o.Spec.VolumeAttributesClassName, "<unset>"), t.age(o),
		string(deref(o.Spec.VolumeMode, "<unset>")),
	}
}

// modes are access modes in the letters that everybody knows, in their order.
func modes(list []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode    corev1.PersistentVolumeAccessMode
		letters string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(list, m.mode) {
			out = append(out, m.letters)
		}
	}
	return strings.Join(out, ",")
}
