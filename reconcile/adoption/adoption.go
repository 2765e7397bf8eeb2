// Package adoption decides who belongs to whom by labels, as the controllers of Kubernetes do: what matches a selector and is nobody's is adopted,
// and what does not match its owner's selector any more is let go and lives on alone.
package adoption

import (
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"berth/reconcile"
)

// Input is one owner, what it controls, and what nobody does. Nothing in it is changed.
type Input struct {
	Owner reconcile.Object
	Kind  schema.GroupVersionKind // the owner's
	// Selector is the owner's; one that is nil or empty selects nothing, and lets nothing go.
	Selector *metav1.LabelSelector
	// Numbered owners adopt only Pods that are called after them and a number: a StatefulSet is one.
	Numbered bool
	// Owned are controlled by Owner.
	Owned []reconcile.Object
	// Orphans were made for an owner that they do not have any more, in any namespace. What files state is not among them: it is as they say.
	Orphans []reconcile.Object
}

// Plan adopts and lets go. What is ending is left alone, and an owner that is ending takes nothing in.
func Plan(in Input) reconcile.Plan {
	var p reconcile.Plan
	if in.Selector == nil || len(in.Selector.MatchLabels)+len(in.Selector.MatchExpressions) == 0 || in.Owner.GetDeletionTimestamp() != nil {
		return p
	}
	matches, ok := matcher(in.Selector)
	if !ok {
		return p
	}
	for _, obj := range in.Owned {
		if obj.GetDeletionTimestamp() == nil && !matches(obj.GetLabels()) {
			p.Actions = append(p.Actions, reconcile.ReleaseObject{
				Key: reconcile.KeyOf(obj), UID: obj.GetUID(), Owner: in.Owner.GetUID(), Reason: "its labels do not match the selector any more",
			})
		}
	}
	for _, obj := range in.Orphans {
		switch key := reconcile.KeyOf(obj); {
		case obj.GetNamespace() != in.Owner.GetNamespace(), obj.GetDeletionTimestamp() != nil, metav1.GetControllerOfNoCopy(obj) != nil:
		case in.Numbered && key.Kind == reconcile.KindPod && !numbered(key.Name, in.Owner.GetName()), !matches(obj.GetLabels()):
		default:
			p.Actions = append(p.Actions, reconcile.AdoptObject{Key: key, UID: obj.GetUID(), Owner: *metav1.NewControllerRef(in.Owner, in.Kind)})
		}
	}
	return p
}

// matcher tells whether labels match a selector; not ok for one that cannot be read. It is asked for each pod at each look: the plain form is
// compared as it stands.
func matcher(s *metav1.LabelSelector) (matches func(map[string]string) bool, ok bool) {
	if len(s.MatchExpressions) > 0 {
		selector, err := metav1.LabelSelectorAsSelector(s)
		return func(have map[string]string) bool { return selector.Matches(labels.Set(have)) }, err == nil
	}
	return func(have map[string]string) bool {
		for name, want := range s.MatchLabels {
			if v, ok := have[name]; !ok || v != want {
				return false
			}
		}
		return true
	}, true
}

func numbered(name, owner string) bool {
	n, ok := strings.CutPrefix(name, owner+"-")
	i, err := strconv.ParseUint(n, 10, 31)
	return ok && err == nil && strconv.FormatUint(i, 10) == n
}
