// Package barepod decides about a Pod that a file states: at most one Pod of that name exists, made from the file's words.
package barepod

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// Input is the wish and what there is of it. Nothing in it is changed.
type Input struct {
	// Wish is the Pod as its file states it; nil when no file does.
	Wish *corev1.Pod
	// Pods are those of that namespace and name that no controller owns, ending ones included.
	Pods []*corev1.Pod
	Now  time.Time
}

// Plan makes the Pod, or ends the one that a former wish led to; its successor is made when it is gone. A change of labels or annotations
// alone changes the Pod and does not end a running program. A Pod that has finished stays: it did what was wished. A Pod that was made for no wish
// has lost its owner, and stays until a file states one of its name.
func Plan(in Input) reconcile.Plan {
	if in.Wish == nil {
		stated := slices.DeleteFunc(slices.Clone(in.Pods), func(p *corev1.Pod) bool { return p.Annotations[reconcile.AnnotationWish] == "" })
		return reconcile.Plan{Actions: end(stated, "no file states it any more")}
	}
	wish := Hash(in.Wish)
	if len(in.Pods) == 0 {
		return reconcile.Plan{Actions: []reconcile.Action{reconcile.CreatePod{Pod: newPod(in.Wish, wish, in.Now)}}}
	}
	var outdated []*corev1.Pod
	var actions []reconcile.Action
	for _, p := range in.Pods {
		switch {
		case p.Annotations[reconcile.AnnotationWish] != wish:
			outdated = append(outdated, p)
		case p.DeletionTimestamp == nil:
			actions = append(actions, relabel(p, in.Wish, wish)...)
		}
	}
	return reconcile.Plan{Actions: append(actions, end(outdated, "its file has changed")...)}
}

// relabel gives a Pod the labels and annotations of its wish, and what is known of who wrote them.
func relabel(p, wish *corev1.Pod, hash string) []reconcile.Action {
	annotations := annotated(wish, hash)
	if maps.Equal(p.Labels, wish.Labels) && maps.Equal(p.Annotations, annotations) && apiequality.Semantic.DeepEqual(p.ManagedFields, wish.ManagedFields) {
		return nil
	}
	n := *p // what stays is shared: nobody writes into an object
	n.Labels, n.Annotations, n.ManagedFields = maps.Clone(wish.Labels), annotations, wish.ManagedFields
	return []reconcile.Action{reconcile.UpdateObject{Object: &n, Reason: "its labels or annotations have changed"}}
}

// annotated is what the Pod of a wish has as annotations.
func annotated(wish *corev1.Pod, hash string) map[string]string {
	annotations := maps.Clone(wish.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[reconcile.AnnotationWish] = hash
	return annotations
}

// Hash identifies what the wish says about the running Pod: its spec and nothing else.
func Hash(wish *corev1.Pod) string {
	h := sha256.New()
	// A PodSpec always marshals.
	_ = json.NewEncoder(h).Encode(&wish.Spec)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func newPod(wish *corev1.Pod, hash string, now time.Time) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPod},
		ObjectMeta: metav1.ObjectMeta{
			Name: wish.Name, Namespace: wish.Namespace,
			Labels:            maps.Clone(wish.Labels),
			Annotations:       annotated(wish, hash),
			ManagedFields:     wish.ManagedFields,
			CreationTimestamp: metav1.NewTime(now),
		},
		Spec:   *wish.Spec.DeepCopy(),
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	return pod
}

func end(pods []*corev1.Pod, reason string) []reconcile.Action {
	var actions []reconcile.Action
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		key := reconcile.Key{Kind: reconcile.KindPod, Namespace: p.Namespace, Name: p.Name}
		actions = append(actions, reconcile.DeletePod{Key: key, UID: p.UID, Reason: reason})
	}
	return actions
}
