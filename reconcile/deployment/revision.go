package deployment

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/request"
)

// Annotations of ReplicaSets, with the names and meanings of Kubernetes.
const (
	AnnotationRevision = request.AnnotationRevision
	annotationHistory  = "deployment.kubernetes.io/revision-history"
	annotationDesired  = "deployment.kubernetes.io/desired-replicas"
	annotationMax      = "deployment.kubernetes.io/max-replicas"
)

// annotationReady is on ReplicaSets and berth's own: the number of the revision as which it was last complete, all its pods available. It is how a
// Deployment knows, also after a reboot, what it can go back to.
const annotationReady = reconcile.AnnotationPrefix + "ready-revision"

// historyLength bounds the list of former revisions of one ReplicaSet, in characters, as Kubernetes does.
const historyLength = 2000

// hashLength is the number of characters of a template's hash: 27^10 values, so that even a Deployment with thousands of templates has
// no collision in practice. One is still survived, by CollisionCount.
const hashLength = 10

// alphabet is that of Kubernetes' generated names.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

// templateHash names a template with what it uses. Equal ones have equal hashes for as long as their JSON form stays the same.
func templateHash(t *corev1.PodTemplateSpec, uses config.Fingerprint, collisions *int32) string {
	h := sha256.New()
	// The types of the API always marshal; a failure would only make hashes collide, which CollisionCount resolves.
	_ = json.NewEncoder(h).Encode(t)
	_, _ = io.WriteString(h, uses.String())
	if collisions != nil {
		_, _ = fmt.Fprintf(h, "%d", *collisions)
	}
	sum := h.Sum(nil)[:hashLength]
	for i, b := range sum {
		sum[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(sum)
}

// sameTemplate compares what the pods would be, ignoring the label that carries the hash.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	return sameImages(a.Spec.Containers, b.Spec.Containers) && sameLabels(a.Labels, b.Labels) &&
		same(&a.Spec, &b.Spec) && sameMeta(&a.ObjectMeta, &b.ObjectMeta)
}

// same is semantic equality. Most comparisons are of what is equal to the last bit, which is found ten times faster.
func same[T any](a, b *T) bool {
	return reflect.DeepEqual(a, b) || apiequality.Semantic.DeepEqual(a, b)
}

// sameImages tells most revisions apart at once.
func sameImages(a, b []corev1.Container) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.Container) bool { return x.Image == y.Image })
}

// sameMeta compares all metadata but the labels. Templates mostly have nothing else.
func sameMeta(a, b *metav1.ObjectMeta) bool {
	if onlyLabels(a) && onlyLabels(b) {
		return true
	}
	x, y := *a, *b
	x.Labels, y.Labels = nil, nil
	return same(&x, &y)
}

func onlyLabels(m *metav1.ObjectMeta) bool {
	return m.Name == "" && m.GenerateName == "" && m.Namespace == "" && m.SelfLink == "" && //nolint:staticcheck // a template may have it all the same
		m.UID == "" && m.ResourceVersion == "" &&
		m.Generation == 0 && m.CreationTimestamp.IsZero() && m.DeletionTimestamp == nil && m.DeletionGracePeriodSeconds == nil &&
		len(m.Annotations) == 0 && len(m.OwnerReferences) == 0 && len(m.Finalizers) == 0 && len(m.ManagedFields) == 0
}

func sameLabels(a, b map[string]string) bool {
	return len(a)-countHash(a) == len(b)-countHash(b) && labelsIn(a, b)
}

func countHash(labels map[string]string) int {
	if _, ok := labels[appsv1.DefaultDeploymentUniqueLabelKey]; ok {
		return 1
	}
	return 0
}

func labelsIn(a, b map[string]string) bool {
	for k, v := range a {
		if k == appsv1.DefaultDeploymentUniqueLabelKey {
			continue
		}
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// create adds the revision of the template that shall run, with no pods yet.
func (r *rollout) create() {
	hash, name := r.freeName()
	template := r.template // shared but for the labels; so it is found to be the same at once
	template.Labels = withLabel(template.Labels, hash)
	selector := r.d.Spec.Selector.DeepCopy()
	if selector == nil {
		selector = &metav1.LabelSelector{}
	}
	selector.MatchLabels = withLabel(selector.MatchLabels, hash)
	none := int32(0)
	rs := &appsv1.ReplicaSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: reconcile.KindReplicaSet},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: r.d.Namespace,
			Labels:            maps.Clone(template.Labels),
			CreationTimestamp: metav1.NewTime(r.now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(r.d, appsv1.SchemeGroupVersion.WithKind(reconcile.KindDeployment))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &none, MinReadySeconds: r.d.Spec.MinReadySeconds, Selector: selector, Template: template},
	}
	r.newest = &revision{rs: rs, fresh: true, minReady: rs.Spec.MinReadySeconds}
	r.annotate(r.newest)
	r.begin(reasonNewReplicaSet, "Created new replica set "+quote(name))
}

// freeName gives the hash and the name of the new revision; a name that another template has already counts as a collision.
func (r *rollout) freeName() (hash, name string) {
	template := withoutHash(&r.template)
	for {
		hash = templateHash(&template, r.config, r.collision)
		name = shortened(r.d.Name, 253-1-len(hash)) + "-" + hash
		if !slices.ContainsFunc(r.others, func(v *revision) bool { return v.rs.Name == name }) {
			return hash, name
		}
		next := int32(1)
		if r.collision != nil {
			next = *r.collision + 1
		}
		r.collision = &next
	}
}

// withoutHash is a template as a file could state it: that of a revision carries the revision's label.
func withoutHash(t *corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	out := *t
	if countHash(t.Labels) > 0 {
		out.Labels = maps.Clone(t.Labels)
		delete(out.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	}
	return out
}

func withLabel(labels map[string]string, hash string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return out
}

func shortened(name string, most int) string {
	if len(name) <= most {
		return name
	}
	return strings.TrimRight(name[:most], "-.")
}

// number gives the revision that shall run a number above all others.
func (r *rollout) number(v *revision) {
	number := r.highestOther() + 1
	if had := revisionNumber(v.rs); had < number {
		if old, ok := v.current()[AnnotationRevision]; ok {
			v.set(annotationHistory, appendHistory(v.current()[annotationHistory], old))
		}
		v.set(AnnotationRevision, strconv.FormatInt(number, 10))
	}
}

// ownAnnotation tells which annotations of a Deployment are not handed on to its revisions.
func ownAnnotation(key string) bool {
	switch key {
	case AnnotationRevision, annotationHistory, annotationDesired, annotationMax,
		corev1.LastAppliedConfigAnnotation, appsv1.DeprecatedRollbackTo:
		return true
	}
	return strings.HasPrefix(key, reconcile.AnnotationPrefix)
}

func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	history += "," + revision
	for len(history) > historyLength {
		_, rest, found := strings.Cut(history, ",")
		if !found {
			return history
		}
		history = rest
	}
	return history
}

func (r *rollout) highestOther() int64 {
	var highest int64
	for _, v := range r.others {
		highest = max(highest, revisionNumber(v.rs))
	}
	return highest
}

func revisionNumber(rs *appsv1.ReplicaSet) int64 { return numberIn(rs.Annotations[AnnotationRevision]) }

// numberIn is the number that an annotation holds, 0 for none: most have none, and an error costs more than the number.
func numberIn(text string) int64 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// readyAs is the number of the revision as which it was last complete, 0 for never.
func (v *revision) readyAs() int64 { return numberIn(v.current()[annotationReady]) }

// proven tells that its rollout was complete once: what happens to it later is no failure of the rollout.
func (v *revision) proven() bool {
	return v.readyAs() > 0 && v.current()[annotationReady] == v.current()[AnnotationRevision]
}

// current is the set of annotations that this pass has come to.
func (v *revision) current() map[string]string {
	if v.annotations != nil {
		return v.annotations
	}
	return v.rs.Annotations
}

// set gives the revision an annotation, in a set of its own, if it does not have it yet.
func (v *revision) set(name, value string) {
	if had, ok := v.current()[name]; ok && had == value {
		return
	}
	if v.annotations == nil {
		v.annotations = make(map[string]string, len(v.rs.Annotations)+1)
		maps.Copy(v.annotations, v.rs.Annotations)
	}
	v.annotations[name] = value
}

// resize gives a revision a size and records which wish of the Deployment led to it.
func (r *rollout) resize(v *revision, size int32, reason string) {
	if v.size != size {
		v.size, v.reason = size, reason
	}
	v.set(annotationDesired, strconv.FormatInt(int64(r.desired()), 10))
	v.set(annotationMax, strconv.FormatInt(int64(r.desired()+r.surge()), 10))
}

// wishedFor returns the number of replicas that the Deployment stated when the revision was last sized.
func (v *revision) wishedFor() (int32, bool) { return v.count(annotationDesired) }

func (v *revision) count(annotation string) (int32, bool) {
	n, err := strconv.ParseUint(v.current()[annotation], 10, 32)
	if err != nil || n > math.MaxInt32 {
		return 0, false
	}
	return int32(n), true
}
