package statefulset

import (
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

func claimName(set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, ordinal int) string {
	return template.Name + "-" + set.Name + "-" + strconv.Itoa(ordinal)
}

// ClaimNames are the names of all claims that the pods of a set use or used: those of the wished ordinals and of the pods there are.
func ClaimNames(set *appsv1.StatefulSet, pods []*corev1.Pod) []string {
	templates := set.Spec.VolumeClaimTemplates
	if len(templates) == 0 {
		return nil
	}
	ordinals := map[int]bool{}
	for at := range wished(set) {
		ordinals[start(set)+at] = true
	}
	for _, p := range pods {
		if n, ok := ordinalOf(set, p); ok {
			ordinals[n] = true
		}
	}
	names := make([]string, 0, len(ordinals)*len(templates))
	for _, n := range slices.Sorted(maps.Keys(ordinals)) {
		for i := range templates {
			names = append(names, claimName(set, &templates[i], n))
		}
	}
	return names
}

// makeClaims makes the claims of an ordinal that do not exist.
func (s *pass) makeClaims(ordinal int) {
	for i := range s.set.Spec.VolumeClaimTemplates {
		t := &s.set.Spec.VolumeClaimTemplates[i]
		name := claimName(s.set, t, ordinal)
		if s.claims[name] != nil {
			continue
		}
		s.do(reconcile.CreateObject{Object: s.newClaim(t, name)})
		s.tell("SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", name, podName(s.set, ordinal), s.set.Name)
	}
}

func (s *pass) newClaim(t *corev1.PersistentVolumeClaim, name string) *corev1.PersistentVolumeClaim {
	t = t.DeepCopy()
	c := &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPersistentVolumeClaim},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: s.set.Namespace, Labels: t.Labels, Annotations: t.Annotations, CreationTimestamp: metav1.NewTime(s.now),
		},
		Spec:   t.Spec,
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	if selector := s.set.Spec.Selector; selector != nil && len(selector.MatchLabels) > 0 {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, selector.MatchLabels)
	}
	if s.policy().WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
		c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(s.set, kind)}
	}
	return c
}

// claimsGoing tells whether a claim of an ordinal is on its way out: it is ending, or belongs to an earlier set of the name or to the pod that had
// the ordinal before the set was made smaller, and goes with them. Its successor waits.
func (s *pass) claimsGoing(ordinal int) bool {
	for i := range s.set.Spec.VolumeClaimTemplates {
		c := s.claims[claimName(s.set, &s.set.Spec.VolumeClaimTemplates[i], ordinal)]
		if c == nil {
			continue
		}
		if c.DeletionTimestamp != nil || !s.stated[c.Name] && slices.ContainsFunc(c.OwnerReferences, func(r metav1.OwnerReference) bool {
			return r.UID != s.set.UID && s.named(&r, podName(s.set, ordinal))
		}) {
			return true
		}
	}
	return false
}

// named tells whether a reference is to something of the set's name or of its pod's.
func (s *pass) named(r *metav1.OwnerReference, pod string) bool {
	return r.Kind == kind.Kind && r.Name == s.set.Name || r.Kind == reconcile.KindPod && r.Name == pod
}

// settleClaims lets the claims of a pod belong to who takes them along: nobody when they are to be kept, the set when they go with it, the pod when
// they go because the set was made smaller. Claims that another controller owns, or an earlier set or pod of the name, are left alone.
func (s *pass) settleClaims(p *corev1.Pod) {
	ordinal, _ := ordinalOf(s.set, p)
	for i := range s.set.Spec.VolumeClaimTemplates {
		c := s.claims[claimName(s.set, &s.set.Spec.VolumeClaimTemplates[i], ordinal)]
		if c == nil || s.stated[c.Name] {
			continue
		}
		owners, ok := s.owners(c, p, ordinal)
		if !ok || apiequality.Semantic.DeepEqual(owners, c.OwnerReferences) {
			continue
		}
		n := *c // what stays is shared: nobody writes into an object
		n.OwnerReferences = owners
		s.do(reconcile.UpdateObject{Object: &n, Reason: "persistentVolumeClaimRetentionPolicy"})
	}
}

// owners are what a claim's ownerReferences shall be; false when they are not ours to change.
func (s *pass) owners(c *corev1.PersistentVolumeClaim, p *corev1.Pod, ordinal int) ([]metav1.OwnerReference, bool) {
	var others []metav1.OwnerReference
	for _, r := range c.OwnerReferences {
		switch {
		case r.UID == s.set.UID || r.UID == p.UID:
		case s.named(&r, p.Name), r.Controller != nil && *r.Controller:
			return nil, false
		default:
			others = append(others, r)
		}
	}
	policy := s.policy()
	const remove = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	at := ordinal - start(s.set)
	switch unwished := at < 0 || at >= len(s.replicas); {
	case policy.WhenScaled == remove && unwished:
		others = append(others, *metav1.NewControllerRef(p, corev1.SchemeGroupVersion.WithKind(reconcile.KindPod)))
	case policy.WhenDeleted == remove:
		others = append(others, *metav1.NewControllerRef(s.set, kind))
	}
	return others, true
}

func (s *pass) policy() appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	if p := s.set.Spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		return *p
	}
	return appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
}
