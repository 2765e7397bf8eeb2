package controller

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/config"
)

// VerbRollout is what happens to a workload that stays as it is stated, because something that its pods use changes.
const VerbRollout = "roll out"

// consequences adds to planned changes what follows from them: which field makes pods be exchanged, and who is rolled out because a ConfigMap or a Secret
// changes.
func consequences(st *store.Store, s *manifests.Snapshot, changes []PlannedChange) []PlannedChange {
	at := map[string]int{}
	for i := range changes {
		at[changes[i].Object] = i
		if changes[i].Verb == VerbUpdate {
			changes[i].exchange()
		}
	}
	files := map[reconcile.Key]store.Object{}
	for i := range s.Objects {
		if obj, ok := s.Objects[i].Object.(store.Object); ok {
			files[KeyOf(s.Objects[i].Key)] = obj
		}
	}
	for i := range s.Objects {
		key := KeyOf(s.Objects[i].Key)
		old, ok := st.Get(key)
		spec := podSpecOf(files[key])
		if !ok || spec == nil || !config.RollsOut(files[key].GetAnnotations()) {
			continue
		}
		used := changedConfig(st, files, key.Namespace, podSpecOf(old.Object), spec)
		if len(used) == 0 {
			continue
		}
		reason := "its pods are exchanged, for " + strings.Join(used, ", ")
		if j, listed := at[stated(key)]; !listed {
			changes = append(changes, PlannedChange{Verb: VerbRollout, Object: stated(key), File: s.Objects[i].Origin.String(), Reason: reason})
		} else if changes[j].Verb == VerbUpdate && changes[j].Reason == "" {
			changes[j].Reason = reason
		}
	}
	return changes
}

// exchange names the fields of an update that make new pods of the old ones.
func (p *PlannedChange) exchange() {
	kind, _, _ := strings.Cut(p.Object, "/")
	below := ""
	switch kind {
	case reconcile.KindPod:
		below = "spec."
	case reconcile.KindDeployment, reconcile.KindStatefulSet, reconcile.KindDaemonSet:
		below = "spec.template."
	default:
		return
	}
	var fields []string
	for _, f := range p.Fields {
		if strings.HasPrefix(f.Path, below) {
			fields = append(fields, f.Path)
		}
	}
	switch {
	case len(fields) == 0:
	case kind == reconcile.KindPod:
		p.Reason = "the pod is replaced, for " + strings.Join(fields, ", ")
	default:
		p.Reason = "its pods are exchanged, for " + strings.Join(fields, ", ")
	}
}

// podSpecOf is what the pods of a workload that is rolled out are made of; nil for all others.
func podSpecOf(obj store.Object) *corev1.PodSpec {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template.Spec
	case *appsv1.StatefulSet:
		return &o.Spec.Template.Spec
	case *appsv1.DaemonSet:
		return &o.Spec.Template.Spec
	}
	return nil
}

// changedConfig are the ConfigMaps and Secrets of which pods have used a part that changes, and go on using it.
func changedConfig(st *store.Store, files map[reconcile.Key]store.Object, namespace string, old, n *corev1.PodSpec) []string {
	if old == nil {
		return nil
	}
	before, after := config.Contents{}, config.Contents{}
	refs := config.References(n)
	for i := range refs {
		key := reconcile.Key{Kind: refs[i].Kind, Namespace: namespace, Name: refs[i].Name}
		if it, ok := st.Get(key); ok {
			before[refs[i].Object()] = contentOf(it.Object)
		}
		after[refs[i].Object()] = contentOf(files[key])
	}
	had, has := config.Take(config.References(old), before), config.Take(refs, after)
	var changed []string
	for o, hash := range had {
		if now, known := has[o]; known && now != hash {
			changed = append(changed, fmt.Sprintf("%s/%s/%s", o.Kind, namespace, o.Name))
		}
	}
	slices.Sort(changed)
	return changed
}

func contentOf(obj store.Object) *config.Content {
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		return config.OfConfigMap(o)
	case *corev1.Secret:
		return config.OfSecret(o)
	}
	return nil
}
