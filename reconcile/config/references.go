// Package config tells which ConfigMaps and Secrets pods use, what these say, and whether that is something else than before.
package config

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
)

// Object names a ConfigMap or a Secret in a pod's namespace.
type Object struct {
	Kind, Name string
}

// String is KIND/NAME.
func (o Object) String() string { return o.Kind + "/" + o.Name }

// Reference is all that a pod uses of one object.
type Reference struct {
	Kind, Name string
	// Optional is true if the pod can do without the object everywhere it is named.
	Optional bool
	// All means that the object is used as a whole; otherwise it is only its Keys that count.
	All bool
	// Keys are those that are named one by one, sorted.
	Keys []Key
}

// Key is one key of an object. Optional is true if the pod can do without it everywhere it is named.
type Key struct {
	Name     string
	Optional bool
}

// Object is what the reference names.
func (r *Reference) Object() Object { return Object{r.Kind, r.Name} }

// References lists what a pod uses in its environments and volumes, each object once, sorted by kind and name. The Secrets for pulling
// images are not among them: they change nothing in the pod.
func References(spec *corev1.PodSpec) []Reference {
	f := finder{}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			f.container(&list[i])
		}
	}
	for i := range spec.EphemeralContainers {
		f.container((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	for i := range spec.Volumes {
		f.volume(&spec.Volumes[i].VolumeSource)
	}
	refs := make([]Reference, 0, len(f))
	for _, r := range f {
		slices.SortFunc(r.Keys, func(a, b Key) int { return cmp.Compare(a.Name, b.Name) })
		refs = append(refs, *r)
	}
	slices.SortFunc(refs, func(a, b Reference) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return refs
}

// finder gathers references by the object they name.
type finder map[Object]*Reference

func (f finder) container(c *corev1.Container) {
	for _, from := range c.EnvFrom {
		if r := from.ConfigMapRef; r != nil {
			f.whole(reconcile.KindConfigMap, r.Name, r.Optional)
		}
		if r := from.SecretRef; r != nil {
			f.whole(reconcile.KindSecret, r.Name, r.Optional)
		}
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		if r := from.ConfigMapKeyRef; r != nil {
			f.key(reconcile.KindConfigMap, r.Name, r.Key, r.Optional)
		}
		if r := from.SecretKeyRef; r != nil {
			f.key(reconcile.KindSecret, r.Name, r.Key, r.Optional)
		}
	}
}

func (f finder) volume(v *corev1.VolumeSource) {
	if s := v.ConfigMap; s != nil {
		f.items(reconcile.KindConfigMap, s.Name, s.Items, s.Optional)
	}
	if s := v.Secret; s != nil {
		f.items(reconcile.KindSecret, s.SecretName, s.Items, s.Optional)
	}
	if v.Projected == nil {
		return
	}
	for i := range v.Projected.Sources {
		if s := v.Projected.Sources[i].ConfigMap; s != nil {
			f.items(reconcile.KindConfigMap, s.Name, s.Items, s.Optional)
		}
		if s := v.Projected.Sources[i].Secret; s != nil {
			f.items(reconcile.KindSecret, s.Name, s.Items, s.Optional)
		}
	}
}

func (f finder) items(kind, name string, items []corev1.KeyToPath, optional *bool) {
	if len(items) == 0 {
		f.whole(kind, name, optional)
	}
	for i := range items {
		f.key(kind, name, items[i].Key, optional)
	}
}

func (f finder) whole(kind, name string, optional *bool) { f.use(kind, name, optional).All = true }

func (f finder) key(kind, name, key string, optional *bool) {
	r := f.use(kind, name, optional)
	can := optional != nil && *optional
	if i := slices.IndexFunc(r.Keys, func(k Key) bool { return k.Name == key }); i >= 0 {
		r.Keys[i].Optional = r.Keys[i].Optional && can
		return
	}
	r.Keys = append(r.Keys, Key{Name: key, Optional: can})
}

func (f finder) use(kind, name string, optional *bool) *Reference {
	can := optional != nil && *optional
	r := f[Object{kind, name}]
	if r == nil {
		r = &Reference{Kind: kind, Name: name, Optional: can}
		f[r.Object()] = r
	}
	r.Optional = r.Optional && can
	return r
}
