package statefulset

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// hashLabel is on the revisions of StatefulSets.
const hashLabel = "controller.kubernetes.io/hash"

var kind = appsv1.SchemeGroupVersion.WithKind(reconcile.KindStatefulSet)

// create makes the pod of an ordinal, its claims first. It waits for claims that are on their way out.
func (s *pass) create(ordinal int) {
	if s.claimsGoing(ordinal) {
		return
	}
	s.makeClaims(ordinal)
	p := s.newPod(ordinal)
	s.do(reconcile.CreatePod{Pod: p})
	s.tell("SuccessfulCreate", "Create Pod %s in StatefulSet %s successful", p.Name, s.set.Name)
}

func (s *pass) end(p *corev1.Pod, reason string) {
	s.do(reconcile.DeletePod{Key: reconcile.KeyOf(p), UID: p.UID, Reason: reason})
	s.tell("SuccessfulDelete", "Delete Pod %s in StatefulSet %s successful", p.Name, s.set.Name)
}

func (s *pass) do(a reconcile.Action) { s.plan.Actions = append(s.plan.Actions, a) }

func (s *pass) tell(reason, format string, args ...any) {
	s.do(reconcile.RecordEvent{Key: reconcile.KeyOf(s.set), UID: s.set.UID, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return set.Name + "-" + strconv.Itoa(ordinal)
}

// newPod is the pod of an ordinal, of the revision that belongs there. The executor adds its UID.
func (s *pass) newPod(ordinal int) *corev1.Pod {
	set, template, revision := s.set, &s.template, s.update
	if s.before != nil && s.belowPartition(ordinal) {
		template, revision = s.before, s.current
	}
	t := template.DeepCopy()
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPod},
		ObjectMeta: metav1.ObjectMeta{
			Name: podName(set, ordinal), GenerateName: set.Name + "-", Namespace: set.Namespace,
			Labels:            t.Labels,
			Annotations:       t.Annotations,
			CreationTimestamp: metav1.NewTime(s.now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)},
		},
		Spec:   t.Spec,
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	maps.Copy(p.Labels, map[string]string{
		appsv1.StatefulSetPodNameLabel: p.Name, appsv1.PodIndexLabel: strconv.Itoa(ordinal), appsv1.ControllerRevisionHashLabelKey: revision,
	})
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, set.Spec.ServiceName
	p.Spec.Volumes = s.volumes(p.Spec.Volumes, ordinal)
	return p
}

// belowPartition tells which pods an update leaves alone.
func (s *pass) belowPartition(ordinal int) bool {
	u := s.set.Spec.UpdateStrategy.RollingUpdate
	return u != nil && u.Partition != nil && ordinal < start(s.set)+int(*u.Partition)
}

// volumes adds those of the claims, which take the place of the template's of the same name.
func (s *pass) volumes(stated []corev1.Volume, ordinal int) []corev1.Volume {
	var volumes []corev1.Volume
	for i := range s.set.Spec.VolumeClaimTemplates {
		t := &s.set.Spec.VolumeClaimTemplates[i]
		volumes = append(volumes, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(s.set, t, ordinal)},
		}})
	}
	own := len(volumes)
	for i := range stated {
		if !slices.ContainsFunc(volumes[:own], func(v corev1.Volume) bool { return v.Name == stated[i].Name }) {
			volumes = append(volumes, stated[i])
		}
	}
	return volumes
}
