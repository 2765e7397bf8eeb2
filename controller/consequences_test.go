package controller

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/manifests"
)

func settings(data map[string]string) manifests.Object {
	return object(manifests.Key{Kind: "ConfigMap", Namespace: "shop", Name: "settings"}, &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "settings"}, Data: data,
	})
}

// using makes a Deployment's container take one key of the settings.
func using(key string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: key,
		}}}}
	}
}

// A plan names the field that makes new pods, and who is rolled out because of what it uses: by the key, and not where it asked not to be.
func TestDryRunNamesConsequences(t *testing.T) {
	deaf := func(d *appsv1.Deployment) { d.Annotations = map[string]string{"berth.dev/rollout-on-config": "false"} }
	inWorld(t, func(w *world) {
		w.start()
		same := []manifests.Object{web("user", "u:1", 1, using("a")), web("other", "o:1", 1, using("b")), web("deaf", "d:1", 1, using("a"), deaf)}
		w.write(append(slices.Clone(same), settings(map[string]string{"a": "1", "b": "1"}), web("scaled", "s:1", 1), web("new", "n:1", 1), barePod("bare", "b:1"))...)
		w.settle()
		var got []string
		for _, c := range w.c.DryRun(manifests.Snapshot{Objects: append(slices.Clone(same),
			settings(map[string]string{"a": "2", "b": "1"}), web("scaled", "s:1", 3), web("new", "n:2", 1), barePod("bare", "b:2"))}) {
			got = append(got, c.Verb+" "+c.Object+": "+c.Reason)
		}
		slices.Sort(got)
		want := []string{
			"roll out Deployment/shop/user: its pods are exchanged, for ConfigMap/shop/settings",
			"update ConfigMap/shop/settings: ",
			"update Deployment/shop/new: its pods are exchanged, for spec.template.spec.containers[main].image",
			"update Deployment/shop/scaled: ",
			"update Pod/shop/bare: the pod is replaced, for spec.containers[main].image",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}
