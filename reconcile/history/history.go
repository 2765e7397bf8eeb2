// Package history keeps the revisions of workloads that have no ReplicaSets: each template that their pods were made of, as a
// ControllerRevision, with what the ConfigMaps and Secrets in use said then.
package history

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/request"
)

// Input is a workload and the revisions it has. Nothing in it is changed.
type Input struct {
	Owner    reconcile.Object
	Kind     schema.GroupVersionKind // the owner's
	Template *corev1.PodTemplateSpec
	// Revisions are all that the workload owns.
	Revisions []*appsv1.ControllerRevision
	// Collisions is the workload's collisionCount: part of the names of revisions.
	Collisions *int32
	// Config is what the ConfigMaps and Secrets of the template say now; nil for a workload that is not rolled out to it.
	Config config.Fingerprint
	// HashLabel is on revisions: the hash of their name.
	HashLabel string
	Now       time.Time
}

// History is the revisions of a workload, and what has to be done about them.
type History struct {
	// Newest is the revision of the workload's template, as it is in the store or will be after Actions.
	Newest *appsv1.ControllerRevision
	// Collisions is the new collisionCount; nil while there never was a collision.
	Collisions *int32
	Actions    []reconcile.Action

	revisions []*appsv1.ControllerRevision // the oldest first, the newest last
}

// Of finds the revision of a workload's template, or plans to make it. One that the workload goes back to becomes the newest.
func Of(in Input) History {
	h := History{Collisions: in.Collisions, revisions: slices.Clone(in.Revisions)}
	slices.SortFunc(h.revisions, older)
	data := encode(in.Template)
	for i, r := range slices.Backward(h.revisions) {
		if !states(r, in.Template, data) || !config.Matches(recorded(r), in.Config) {
			continue
		}
		h.Newest = h.refresh(r, in.Config)
		h.revisions = append(slices.Delete(h.revisions, i, i+1), h.Newest)
		return h
	}
	h.Newest = h.create(in, data)
	h.revisions = append(h.revisions, h.Newest)
	return h
}

func older(a, b *appsv1.ControllerRevision) int {
	return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// states tells whether a revision is of a template. Most comparisons are of the same bytes; others may come of another version of berth.
func states(r *appsv1.ControllerRevision, t *corev1.PodTemplateSpec, data []byte) bool {
	if bytes.Equal(r.Data.Raw, data) {
		return true
	}
	was, err := Template(r)
	return err == nil && apiequality.Semantic.DeepEqual(was, t)
}

func recorded(r *appsv1.ControllerRevision) config.Fingerprint {
	return config.Parse(r.Annotations[config.AnnotationRecord])
}

// refresh makes a revision the newest, and completes what it knows of the configuration.
func (h *History) refresh(r *appsv1.ControllerRevision, now config.Fingerprint) *appsv1.ControllerRevision {
	had := recorded(r)
	known, number := config.Merge(had, now), r.Revision
	reason := ""
	if last := h.revisions[len(h.revisions)-1]; last != r {
		number, reason = last.Revision+1, "its template is the current one again"
	}
	if number == r.Revision && len(known) == len(had) {
		return r
	}
	n := *r // what stays is shared: nobody writes into an object
	n.Revision = number
	n.Annotations = withRecord(r.Annotations, known)
	h.Actions = append(h.Actions, reconcile.UpdateObject{Object: &n, Reason: reason})
	return &n
}

func withRecord(annotations map[string]string, f config.Fingerprint) map[string]string {
	text := f.String()
	if annotations[config.AnnotationRecord] == text {
		return annotations
	}
	n := maps.Clone(annotations)
	if n == nil {
		n = map[string]string{}
	}
	n[config.AnnotationRecord] = text
	return n
}

// handedOn are a workload's annotations without those that are about the workload itself.
func handedOn(annotations map[string]string) map[string]string {
	n := maps.Clone(annotations)
	maps.DeleteFunc(n, func(k, _ string) bool { return request.Beside(k) || k == corev1.LastAppliedConfigAnnotation })
	return n
}

func (h *History) create(in Input, data []byte) *appsv1.ControllerRevision {
	hash, name := h.freeName(in, data)
	labels := maps.Clone(in.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[in.HashLabel] = hash
	r := &appsv1.ControllerRevision{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: reconcile.KindControllerRevision},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: in.Owner.GetNamespace(), Labels: labels,
			Annotations:       withRecord(handedOn(in.Owner.GetAnnotations()), in.Config),
			CreationTimestamp: metav1.NewTime(in.Now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(in.Owner, in.Kind)},
		},
		Data:     kruntime.RawExtension{Raw: data},
		Revision: 1,
	}
	if n := len(h.revisions); n > 0 {
		r.Revision = h.revisions[n-1].Revision + 1
	}
	h.Actions = append(h.Actions, reconcile.CreateObject{Object: r})
	return r
}

// hashLength is the number of characters of a hash: 27^10 values, so that a collision is for ever unlikely. One is still survived, by Collisions.
const hashLength = 10

// alphabet is that of Kubernetes' generated names.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

// freeName gives the hash and the name of a new revision. The template names it, so that a lost history gives the same names to what runs; only a
// template that is there already, with another configuration, is told apart by that.
func (h *History) freeName(in Input, data []byte) (hash, name string) {
	for salt := ""; ; {
		hash = hashOf(in.Kind.Kind, data, salt, h.Collisions)
		name = shortened(in.Owner.GetName(), 253-1-hashLength) + "-" + hash
		if !slices.ContainsFunc(h.revisions, func(r *appsv1.ControllerRevision) bool { return r.Name == name }) {
			return hash, name
		}
		if text := in.Config.String(); text != salt {
			salt = text
			continue
		}
		next := int32(1)
		if h.Collisions != nil {
			next = *h.Collisions + 1
		}
		h.Collisions = &next
	}
}

func hashOf(kind string, data []byte, salt string, collisions *int32) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\n%s\n%s\n", kind, data, salt) // a hash never fails
	if collisions != nil && *collisions > 0 {
		_, _ = fmt.Fprintf(h, "%d", *collisions)
	}
	sum := h.Sum(nil)[:hashLength]
	for i, b := range sum {
		sum[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(sum)
}

func shortened(name string, most int) string {
	if len(name) <= most {
		return name
	}
	return strings.TrimRight(name[:most], "-.")
}

// Find returns the revision of a name, nil for none.
func (h *History) Find(name string) *appsv1.ControllerRevision {
	for _, r := range h.revisions {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// Trim plans the end of the oldest revisions beyond the limit. Those in use do not count, and stay.
func (h *History) Trim(limit *int32, used func(*appsv1.ControllerRevision) bool) []reconcile.Action {
	if limit == nil || *limit < 0 {
		return nil
	}
	idle := slices.DeleteFunc(slices.Clone(h.revisions), func(r *appsv1.ControllerRevision) bool { return r == h.Newest || used(r) })
	var actions []reconcile.Action
	for _, r := range idle[:max(0, len(idle)-int(*limit))] {
		actions = append(actions, reconcile.DeleteObject{Key: reconcile.KeyOf(r), UID: r.UID, Reason: "beyond the revision history limit"})
	}
	return actions
}
