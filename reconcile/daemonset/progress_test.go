package daemonset_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"berth/reconcile/daemonset"
	"berth/reconcile/request"
)

func TestRestartAndProgress(t *testing.T) {
	w := settled(t)
	want := func(moment, words string, finished bool) {
		t.Helper()
		text, done, err := daemonset.Progress(w.in.DaemonSet)
		if text != words || done != finished || err != nil {
			t.Errorf("%s: %q, %t, %v, want %q", moment, text, done, err, words)
		}
	}
	const waiting = `Waiting for daemon set "agent" rollout to finish: `
	want("settled", `daemon set "agent" successfully rolled out`, true)
	w.spec()
	w.in.DaemonSet.Annotations = request.Restarted(nil, "now")
	want("asked for", "Waiting for daemon set spec update to be observed...", false)
	w.want(t, "delete a")
	want("begun", waiting+"0 out of 1 new pods have been updated...", false)
	w.drop("a")
	w.want(t, "create b")
	w.want(t)
	want("the pod is new", waiting+"0 of 1 updated pods are available...", false)
	if got := w.pod("b").Annotations["kubectl.kubernetes.io/restartedAt"]; got != "now" {
		t.Errorf("the new pod was restarted at %q", got)
	}
	w.spec().UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
	if _, _, err := daemonset.Progress(w.in.DaemonSet); err == nil {
		t.Error("a set that is rolled out by hand has a status")
	}
}
