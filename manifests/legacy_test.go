package manifests

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

// A workload of a removed version runs once when it does not say how often, as it always did.
func TestRemovedVersionsRunOnce(t *testing.T) {
	for _, what := range []string{
		"extensions/v1beta1 Deployment", "extensions/v1beta1 ReplicaSet", "apps/v1beta1 Deployment", "apps/v1beta1 StatefulSet",
		"apps/v1beta2 Deployment", "apps/v1beta2 ReplicaSet", "apps/v1beta2 StatefulSet",
	} {
		for stated, want := range map[string]int32{"": 1, "replicas: 0, ": 0, "replicas: 3, ": 3} {
			t.Run(what+" "+stated, func(t *testing.T) {
				var version, kind string
				if _, err := fmt.Sscan(what, &version, &kind); err != nil {
					t.Fatal(err)
				}
				d := Decode("old.yaml", fmt.Appendf(nil, `
apiVersion: %s
kind: %s
metadata: {name: old}
spec: {%sselector: {matchLabels: {app: old}}, template: {metadata: {labels: {app: old}}, spec: {containers: [{name: c, image: x}]}}}
`, version, kind, stated))
				if len(d.Objects) != 1 {
					t.Fatalf("%d objects: %v", len(d.Objects), d.Faults)
				}
				var got *int32
				switch o := d.Objects[0].Object.(type) {
				case *appsv1.Deployment:
					got = o.Spec.Replicas
				case *appsv1.ReplicaSet:
					got = o.Spec.Replicas
				case *appsv1.StatefulSet:
					got = o.Spec.Replicas
				}
				if got == nil || *got != want {
					t.Errorf("replicas are %v, want %d", got, want)
				}
			})
		}
	}
}
