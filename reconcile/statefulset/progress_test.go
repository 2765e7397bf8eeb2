package statefulset_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"berth/reconcile/request"
	"berth/reconcile/statefulset"
)

func TestRestartAndProgress(t *testing.T) {
	w := settled(t)
	want := func(moment, words string, finished bool) {
		t.Helper()
		text, done, err := statefulset.Progress(w.in.StatefulSet)
		if text != words || done != finished || err != nil {
			t.Errorf("%s: %q, %t, %v, want %q", moment, text, done, err, words)
		}
	}
	want("settled", "partitioned roll out complete: 3 new pods have been updated...", true)
	w.spec()
	w.in.StatefulSet.Annotations = request.Restarted(nil, "now")
	want("asked for", "Waiting for statefulset spec update to be observed...", false)
	w.want(t, "delete Pod/shop/db-2")
	want("begun", "Waiting for partitioned roll out to finish: 0 out of 3 new pods have been updated...", false)
	w.drop("db-2")
	w.step()
	want("one is new", "Waiting for 1 pods to be ready...", false)
	if got := w.pod("db-2").Annotations["kubectl.kubernetes.io/restartedAt"]; got != "now" {
		t.Errorf("the new pod was restarted at %q", got)
	}
	w.spec().UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	if _, _, err := statefulset.Progress(w.in.StatefulSet); err == nil {
		t.Error("a set that is rolled out by hand has a status")
	}
}
