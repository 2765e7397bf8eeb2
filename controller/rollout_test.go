package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile/request"
)

func TestAChangedFileKeepsWhatIsBesideIt(t *testing.T) {
	deployment := func(annotations map[string]string) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	}
	old := deployment(map[string]string{request.AnnotationRevision: "3", request.AnnotationPaused: "true", "gone": "x"})
	old.Status.ReadyReplicas = 2
	file := deployment(map[string]string{"new": "y", request.AnnotationRevision: "7", request.AnnotationHold: "{}"})
	next := carryOver(old, file).(*appsv1.Deployment)
	want := map[string]string{"new": "y", request.AnnotationRevision: "3", request.AnnotationPaused: "true"}
	if diff := cmp.Diff(want, next.Annotations); diff != "" || next.Status.ReadyReplicas != 2 {
		t.Errorf("%d ready, annotations (-want +got):\n%s", next.Status.ReadyReplicas, diff)
	}
	if len(file.Annotations) != 3 || len(old.Annotations) != 3 {
		t.Errorf("an input was written into: %v, %v", file.Annotations, old.Annotations)
	}
}
