package replicaset

import (
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

// TestSameStatusSeesEveryField holds that no count is forgotten, also none that the API gets later. Conditions are handed on as they are.
func TestSameStatusSeesEveryField(t *testing.T) {
	kind := reflect.TypeFor[appsv1.ReplicaSetStatus]()
	for i := range kind.NumField() {
		a, b := appsv1.ReplicaSetStatus{TerminatingReplicas: new(int32)}, appsv1.ReplicaSetStatus{TerminatingReplicas: new(int32)}
		switch field := reflect.ValueOf(&a).Elem().Field(i); {
		case field.CanInt():
			field.SetInt(1)
		case field.Kind() == reflect.Pointer:
			*a.TerminatingReplicas = 1
		default:
			continue
		}
		if sameStatus(&a, &b) || !sameStatus(&a, a.DeepCopy()) {
			t.Errorf("field %s is not compared", kind.Field(i).Name)
		}
	}
	if sameStatus(&appsv1.ReplicaSetStatus{TerminatingReplicas: new(int32)}, &appsv1.ReplicaSetStatus{}) {
		t.Error("a count that was never written passes for 0")
	}
}
