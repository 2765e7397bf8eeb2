package manifests

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// AddEphemeral says what a server has against the ephemeral containers that wish has and old has not, and fills in their defaults in wish. Those that are
// there already must stay as they are.
func AddEphemeral(old, wish *corev1.Pod) field.ErrorList {
	Scheme().Default(wish)
	var both [2]*core.Pod
	for i, p := range []*corev1.Pod{old, wish} {
		both[i] = &core.Pod{}
		if err := Scheme().Convert(p.DeepCopy(), both[i], nil); err != nil {
			return field.ErrorList{field.InternalError(nil, fmt.Errorf("cannot convert Pod/%s: %w", p.Name, err))}
		}
		both[i].ResourceVersion = "1" // the server has compared them
	}
	return corevalidation.ValidatePodEphemeralContainersUpdate(both[1], both[0], pod.GetValidationOptionsFromPodSpecAndMeta(&both[1].Spec, &both[0].Spec, &both[1].ObjectMeta, &both[0].ObjectMeta))
}
