package manifests

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
)

// reference is a name in one object that another object must have.
type reference struct {
	to        Key
	object    string // KIND/NAME that names it
	field     string
	line, col int
}

// collector gathers the references of one object.
type collector struct {
	object    *objectReader
	namespace string
	// claimed are volumes of the template that a StatefulSet's claims take the place of: what they name is not used.
	claimed []string
	found   []reference
}

func (c *collector) add(kind, name, field string) {
	if name == "" {
		return
	}
	line, col := c.object.placeOf(field)
	c.found = append(c.found, reference{to: Key{Kind: kind, Namespace: c.namespace, Name: name}, object: c.object.name, field: field, line: line, col: col})
}

func isTrue(b *bool) bool { return b != nil && *b }

// references lists what an object needs to work: the ConfigMaps, Secrets and claims of its pods, the Services of an Ingress.
func (o *objectReader) references(obj kruntime.Object) []reference {
	c := &collector{object: o, namespace: o.key.Namespace}
	switch t := obj.(type) {
	case *corev1.Pod:
		c.pod("spec", &t.Spec)
	case *corev1.ReplicationController:
		if t.Spec.Template != nil {
			c.pod("spec.template.spec", &t.Spec.Template.Spec)
		}
	case *appsv1.Deployment:
		c.pod("spec.template.spec", &t.Spec.Template.Spec)
	case *appsv1.ReplicaSet:
		c.pod("spec.template.spec", &t.Spec.Template.Spec)
	case *appsv1.DaemonSet:
		c.pod("spec.template.spec", &t.Spec.Template.Spec)
	case *appsv1.StatefulSet:
		for i := range t.Spec.VolumeClaimTemplates {
			c.claimed = append(c.claimed, t.Spec.VolumeClaimTemplates[i].Name)
		}
		c.pod("spec.template.spec", &t.Spec.Template.Spec)
	case *batchv1.Job:
		c.pod("spec.template.spec", &t.Spec.Template.Spec)
	case *batchv1.CronJob:
		c.pod("spec.jobTemplate.spec.template.spec", &t.Spec.JobTemplate.Spec.Template.Spec)
	case *networkingv1.Ingress:
		c.ingress(&t.Spec)
	}
	return c.found
}

func (c *collector) pod(at string, spec *corev1.PodSpec) {
	for i := range spec.Volumes {
		if slices.Contains(c.claimed, spec.Volumes[i].Name) {
			continue
		}
		c.volume(fmt.Sprintf("%s.volumes[%d]", at, i), &spec.Volumes[i].VolumeSource)
	}
	for i := range spec.InitContainers {
		c.container(fmt.Sprintf("%s.initContainers[%d]", at, i), &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		c.container(fmt.Sprintf("%s.containers[%d]", at, i), &spec.Containers[i])
	}
}

func (c *collector) volume(at string, v *corev1.VolumeSource) {
	if v.ConfigMap != nil && !isTrue(v.ConfigMap.Optional) {
		c.add("ConfigMap", v.ConfigMap.Name, at+".configMap.name")
	}
	if v.Secret != nil && !isTrue(v.Secret.Optional) {
		c.add("Secret", v.Secret.SecretName, at+".secret.secretName")
	}
	if v.PersistentVolumeClaim != nil {
		c.add("PersistentVolumeClaim", v.PersistentVolumeClaim.ClaimName, at+".persistentVolumeClaim.claimName")
	}
	if v.Projected == nil {
		return
	}
	for i, s := range v.Projected.Sources {
		src := fmt.Sprintf("%s.projected.sources[%d]", at, i)
		if s.ConfigMap != nil && !isTrue(s.ConfigMap.Optional) {
			c.add("ConfigMap", s.ConfigMap.Name, src+".configMap.name")
		}
		if s.Secret != nil && !isTrue(s.Secret.Optional) {
			c.add("Secret", s.Secret.Name, src+".secret.name")
		}
	}
}

func (c *collector) container(at string, k *corev1.Container) {
	for i, e := range k.EnvFrom {
		if e.ConfigMapRef != nil && !isTrue(e.ConfigMapRef.Optional) {
			c.add("ConfigMap", e.ConfigMapRef.Name, fmt.Sprintf("%s.envFrom[%d].configMapRef.name", at, i))
		}
		if e.SecretRef != nil && !isTrue(e.SecretRef.Optional) {
			c.add("Secret", e.SecretRef.Name, fmt.Sprintf("%s.envFrom[%d].secretRef.name", at, i))
		}
	}
	for i, e := range k.Env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil && !isTrue(r.Optional) {
			c.add("ConfigMap", r.Name, fmt.Sprintf("%s.env[%d].valueFrom.configMapKeyRef.name", at, i))
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil && !isTrue(r.Optional) {
			c.add("Secret", r.Name, fmt.Sprintf("%s.env[%d].valueFrom.secretKeyRef.name", at, i))
		}
	}
}

func (c *collector) ingress(spec *networkingv1.IngressSpec) {
	if b := spec.DefaultBackend; b != nil && b.Service != nil {
		c.add("Service", b.Service.Name, "spec.defaultBackend.service.name")
	}
	for i, r := range spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for j, p := range r.HTTP.Paths {
			if p.Backend.Service != nil {
				c.add("Service", p.Backend.Service.Name, fmt.Sprintf("spec.rules[%d].http.paths[%d].backend.service.name", i, j))
			}
		}
	}
}

// Check is Merge for `berth validate`: the faults of a closed world of files. Besides Merge's it warns of names that no file declares.
func Check(files []Decoded) []Fault {
	snap := Merge("", files, nil)
	declared := make(map[Key]bool, len(snap.Objects))
	for _, o := range snap.Objects {
		declared[o.Key] = true
	}
	for _, d := range files {
		for _, k := range d.Blocked {
			declared[k] = true
		}
		for _, r := range d.references {
			if !declared[r.to] {
				snap.Faults = append(snap.Faults, Fault{
					File: d.File, Line: r.line, Column: r.col, Severity: Warning, Object: r.object, Field: r.field,
					Text: fmt.Sprintf("names the %s %q, which is not in these files: it waits until there is one", r.to.Kind, r.to.Name),
				})
			}
		}
	}
	sortFaults(snap.Faults)
	return snap.Faults
}
