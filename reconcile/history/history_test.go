package history_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/history"
)

var (
	now  = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	file = config.Object{Kind: "ConfigMap", Name: "c"}
)

func template(image string) *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image, Command: []string{"<a>"}}}},
	}
}

func input(image string, revisions ...*appsv1.ControllerRevision) history.Input {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "shop", UID: "set"}}
	return history.Input{
		Owner: set, Kind: appsv1.SchemeGroupVersion.WithKind("StatefulSet"), Template: template(image), Revisions: revisions, HashLabel: "hash", Now: now,
	}
}

// made lives through a template, and returns the revisions there are then.
func made(t *testing.T, in history.Input) (*appsv1.ControllerRevision, []*appsv1.ControllerRevision) {
	t.Helper()
	h := history.Of(in)
	revisions := in.Revisions
	for _, a := range h.Actions {
		switch a := a.(type) {
		case reconcile.CreateObject:
			revisions = append(revisions, a.Object.(*appsv1.ControllerRevision))
		case reconcile.UpdateObject:
			for i, r := range revisions {
				if r.Name == a.Object.GetName() {
					revisions = append(append(revisions[:i:i], revisions[i+1:]...), a.Object.(*appsv1.ControllerRevision))
				}
			}
		}
	}
	in.Revisions = revisions
	if again := history.Of(in); len(again.Actions) > 0 || again.Newest.Name != h.Newest.Name {
		t.Errorf("a second look plans %v", again.Actions)
	}
	return h.Newest, revisions
}

func TestTemplatesBecomeRevisions(t *testing.T) {
	one, list := made(t, input("db:1"))
	two, list := made(t, input("db:2", list...))
	if one.Revision != 1 || two.Revision != 2 || one.Name == two.Name || len(list) != 2 {
		t.Fatalf("revisions %d %s and %d %s of %d", one.Revision, one.Name, two.Revision, two.Name, len(list))
	}
	if owner := metav1.GetControllerOf(two); owner == nil || owner.UID != "set" || !strings.HasPrefix(two.Name, "db-") || two.Labels["app"] != "db" || "db-"+two.Labels["hash"] != two.Name {
		t.Errorf("the revision is %+v", two.ObjectMeta)
	}
	back, list := made(t, input("db:1", list...))
	if back.Name != one.Name || back.Revision != 3 || len(list) != 2 {
		t.Errorf("going back gives revision %d %s of %d, want 3 %s of 2", back.Revision, back.Name, len(list), one.Name)
	}
	got, err := history.Template(back)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(template("db:1"), got); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(back.Data.Raw), `"$patch":"replace"`) {
		t.Errorf("kubectl cannot read %s", back.Data.Raw)
	}
}

func TestAnotherFormOfTheSameTemplate(t *testing.T) {
	r, list := made(t, input("db:1"))
	list[0].Data.Raw = []byte(strings.Replace(string(r.Data.Raw), `{"spec"`, `{ "spec"`, 1))
	if again := history.Of(input("db:1", list...)); len(again.Actions) > 0 {
		t.Errorf("planned %v", again.Actions)
	}
}

func TestConfigurationIsPartOfARevision(t *testing.T) {
	in := input("db:1")
	in.Config = config.Fingerprint{file: "a"}
	a, list := made(t, in)
	in.Revisions, in.Config = list, config.Fingerprint{file: "b"}
	b, list := made(t, in)
	if a.Name == b.Name || b.Annotations[config.AnnotationRecord] != in.Config.String() || string(a.Data.Raw) != string(b.Data.Raw) {
		t.Errorf("revisions %s and %s with %q", a.Name, b.Name, b.Annotations)
	}
	in.Revisions, in.Config = list, nil
	if h := history.Of(in); len(h.Actions) > 0 || h.Newest.Name != b.Name {
		t.Errorf("a set that follows no configuration plans %v", h.Actions)
	}
	in.Config = config.Fingerprint{file: "a"}
	if back, _ := made(t, in); back.Name != a.Name {
		t.Errorf("the old configuration gives %s, want %s", back.Name, a.Name)
	}
}

func TestLateConfigurationIsAddedToTheRecord(t *testing.T) {
	first, list := made(t, input("db:1"))
	in := input("db:1", list...)
	in.Config = config.Fingerprint{file: "a"}
	later, list := made(t, in)
	if later.Name != first.Name || len(list) != 1 || later.Revision != 1 || list[0].Annotations[config.AnnotationRecord] != in.Config.String() {
		t.Errorf("revision %d %s records %q", later.Revision, later.Name, list[0].Annotations)
	}
}

func TestCollisionIsSurvived(t *testing.T) {
	other, list := made(t, input("db:1"))
	list[0].Data.Raw = []byte(`{"spec":{"template":{}}}`)
	h := history.Of(input("db:1", list...))
	if h.Newest.Name == other.Name || h.Collisions == nil || *h.Collisions != 1 {
		t.Errorf("revision %s after %s, collisions %v", h.Newest.Name, other.Name, h.Collisions)
	}
}

func TestTrim(t *testing.T) {
	var list []*appsv1.ControllerRevision
	var names []string
	for i := range 6 {
		var r *appsv1.ControllerRevision
		r, list = made(t, input("db:"+strconv.Itoa(i), list...))
		names = append(names, r.Name)
	}
	h := history.Of(input("db:5", list...))
	used := func(r *appsv1.ControllerRevision) bool { return r.Name == names[1] }
	for limit, want := range map[int32][]string{0: {names[0], names[2], names[3], names[4]}, 2: {names[0], names[2]}, 4: nil, 10: nil} {
		var got []string
		for _, a := range h.Trim(&limit, used) {
			got = append(got, a.(reconcile.DeleteObject).Key.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
}
