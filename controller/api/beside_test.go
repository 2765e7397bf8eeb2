package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"berth/controller/store"
	"berth/reconcile"
)

// A Job is shown with the selector that Kubernetes writes into it, and can be changed all the same.
func TestJobSelects(t *testing.T) {
	p, s := newPlace(t)
	p.files["j.yaml"] = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec:\n  template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}\n"
	p.ingest()
	const path = "/apis/batch/v1/namespaces/default/jobs/j"
	_, out, _ := askTo(s, "GET", path, "", "")
	var job batchv1.Job
	if err := json.Unmarshal(mustJSON(t, out), &job); err != nil {
		t.Fatal(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(job.Spec.Template.Labels)) {
		t.Errorf("selector %v, labels %v, %v", job.Spec.Selector, job.Spec.Template.Labels, err)
	}
	before := p.files["j.yaml"]
	if code, out, _ := askTo(s, "PATCH", path, mergePatchType, `{"spec":{"suspend":true}}`); code != http.StatusOK {
		t.Errorf("%d %v", code, out)
	}
	if diff := cmp.Diff(before+"  suspend: true\n", p.files["j.yaml"]); diff != "" {
		t.Errorf("the file (-want +got)\n%s", diff)
	}
}

// What kubectl apply does when it goes over to the server: it looks for the owner of its annotation, gives the server that manager's fields, and
// applies. The field that is not said any more goes.
func TestApplyGoesOverToTheServer(t *testing.T) {
	_, s := newPlace(t)
	const note = `"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"key\":\"v\"}}"}`
	_, made, _ := askTo(s, "POST", configMaps+"?fieldManager=kubectl-client-side-apply", jsonType,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m",`+note+`},"data":{"key":"v","legacy":"v"}}`)
	want := map[string]any{
		"f:metadata": map[string]any{"f:annotations": map[string]any{"f:kubectl.kubernetes.io/last-applied-configuration": map[string]any{}}},
		"f:data":     map[string]any{"f:key": map[string]any{}, "f:legacy": map[string]any{}},
	}
	entries, _ := below(made, "metadata")["managedFields"].([]any)
	if len(entries) != 1 {
		t.Fatalf("managedFields are %v", entries)
	}
	if diff := cmp.Diff(want, entries[0].(map[string]any)["fieldsV1"]); diff != "" {
		t.Errorf("fields of who created it (-want +got):\n%s", diff)
	}
	for manager, want := range map[string]int{"other": 409, "kubectl": 200} {
		path := configMaps + "/m?dryRun=All&fieldManager=" + manager
		if code, answer, _ := askTo(s, "PATCH", path, applyType, "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {key: w}}"); code != want {
			t.Errorf("%s changes what it applied: %d %v", manager, code, answer)
		}
	}
	code, answer, _ := askTo(s, "PATCH", configMaps+"/m", jsonPatchType, `[{"op":"replace","path":"/metadata/managedFields","value":[{"manager":"kubectl",`+
		`"operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:key":{},"f:legacy":{}}}}]}]`)
	if code != 200 {
		t.Fatalf("%d %v", code, answer)
	}
	code, answer, _ = askTo(s, "PATCH", configMaps+"/m?fieldManager=kubectl", applyType, "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {key: v}}")
	if got := fmt.Sprint(code, answer["data"]); got != "200 map[key:v]" {
		t.Errorf("got %s: %v", got, answer)
	}
	notes, _ := below(answer, "metadata")["annotations"].(map[string]any)
	if diff := cmp.Diff(`{"apiVersion":"v1","data":{"key":"v"},"kind":"ConfigMap","metadata":{"name":"m","namespace":"default"}}`+"\n", notes[lastApplied]); diff != "" {
		t.Errorf("what was applied last (-want +got):\n%s", diff)
	}
}

// Berth's own notes are nobody's to read, and nothing that a client writes loses them or brings them into a file.
func TestHiddenNotes(t *testing.T) {
	p, s := newPlace(t)
	const text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {a: b}}\nspec: {containers: [{name: c, image: i}]}\n"
	p.files["p.yaml"] = text
	p.ingest()
	wish, _ := p.store.Get(reconcile.Key{Kind: reconcile.KindBarePod, Namespace: "default", Name: "p"})
	pod := wish.Object.DeepCopyObject().(*corev1.Pod)
	pod.UID, pod.Annotations = "pod", map[string]string{"a": "b", reconcile.AnnotationWish: "hash"}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{reconcile.AnnotationMade: "true"}}}
	for _, obj := range []store.Object{pod, namespace} {
		if err := p.store.Create(reconcile.KeyOf(obj), obj, nil); err != nil {
			t.Fatal(err)
		}
	}
	const path, space = "/api/v1/namespaces/default/pods/p", "/api/v1/namespaces/shop"
	for where, want := range map[string]map[string]any{path: {"a": "b"}, space: nil} {
		_, out, _ := askTo(s, "GET", where, "", "")
		if got, _ := below(out, "metadata")["annotations"].(map[string]any); !cmp.Equal(want, got) {
			t.Errorf("%s has the annotations %v, want %v", where, got, want)
		}
	}
	for name, notes := range map[string]string{"as read": `{"a":"b","c":"d"}`, "as read from an older berth": `{"a":"b","c":"d","berth.dev/wish":"hash"}`} {
		p.files["p.yaml"] = text
		p.ingest()
		_, out, _ := askTo(s, "GET", path, "", "")
		body := string(mustJSON(t, out))
		_, out, _ = askTo(s, "PUT", path, jsonType, strings.Replace(body, `{"a":"b"}`, notes, 1))
		if diff := cmp.Diff(strings.Replace(text, "a: b", "a: b, c: d", 1), p.files["p.yaml"]); diff != "" {
			t.Errorf("%s: %v\nthe file (-want +got)\n%s", name, out["message"], diff)
		}
	}
	askTo(s, "PATCH", space, mergePatchType, `{"metadata":{"labels":{"x":"y"}}}`)
	if it, _ := p.store.Get(reconcile.KeyOf(namespace)); it.Object.GetAnnotations()[reconcile.AnnotationMade] != "true" || it.Object.GetLabels()["x"] != "y" {
		t.Errorf("the namespace has the annotations %v and the labels %v", it.Object.GetAnnotations(), it.Object.GetLabels())
	}
}
