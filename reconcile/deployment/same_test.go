package deployment

import (
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSameStatusSeesEveryField holds that no field is forgotten, also none that the API gets later.
func TestSameStatusSeesEveryField(t *testing.T) {
	for i := range reflect.TypeFor[appsv1.DeploymentStatus]().NumField() {
		var a, b appsv1.DeploymentStatus
		differ(t, reflect.ValueOf(&a).Elem().Field(i))
		if sameStatus(&a, &b) || !sameStatus(&a, a.DeepCopy()) {
			t.Errorf("field %s is not compared", reflect.TypeFor[appsv1.DeploymentStatus]().Field(i).Name)
		}
	}
	for i := range reflect.TypeFor[appsv1.DeploymentCondition]().NumField() {
		var a, b appsv1.DeploymentCondition
		differ(t, reflect.ValueOf(&a).Elem().Field(i))
		if sameCondition(a, b) || !sameCondition(a, *a.DeepCopy()) {
			t.Errorf("field %s of a condition is not compared", reflect.TypeFor[appsv1.DeploymentCondition]().Field(i).Name)
		}
	}
}

func TestOnlyLabelsSeesEveryField(t *testing.T) {
	kind := reflect.TypeFor[metav1.ObjectMeta]()
	for i := range kind.NumField() {
		var m metav1.ObjectMeta
		differ(t, reflect.ValueOf(&m).Elem().Field(i))
		if onlyLabels(&m) != (kind.Field(i).Name == "Labels") {
			t.Errorf("field %s is not looked at", kind.Field(i).Name)
		}
	}
}

func differ(t *testing.T, v reflect.Value) {
	t.Helper()
	switch {
	case v.Type() == reflect.TypeFor[metav1.Time]():
		v.Set(reflect.ValueOf(metav1.Unix(1, 0)))
	case v.Kind() == reflect.String:
		v.SetString("x")
	case v.CanInt():
		v.SetInt(1)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x"), reflect.ValueOf("x"))
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	default:
		t.Fatalf("no value of another %s is known", v.Type())
	}
}
