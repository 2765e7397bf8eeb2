package pod_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// A Pod with a volume of an image has no sandbox before the image is there, and says what it waits for.
func TestImageVolume(t *testing.T) {
	in := fresh()
	in.Pod.Spec.Volumes = []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "model:1", PullPolicy: corev1.PullIfNotPresent}}}}
	in.Images["model:1"] = reconcile.ImageState{}
	var pulled string
	for _, a := range pod.Plan(in).Actions {
		switch a := a.(type) {
		case reconcile.PullImage:
			pulled = a.Ref
		case reconcile.RunSandbox:
			t.Error("the sandbox does not wait for the image")
		case reconcile.UpdateStatus:
			if w := a.Object.(*corev1.Pod).Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != "ContainerCreating" {
				t.Errorf("the container waits for %+v", w)
			}
		}
	}
	if pulled != "model:1" {
		t.Errorf("pulled %q", pulled)
	}
	in.Images["model:1"] = reconcile.ImageState{Image: &runtime.Image{ID: "sha256:2"}}
	for _, a := range pod.Plan(in).Actions {
		if run, ok := a.(reconcile.RunSandbox); ok {
			if len(run.Config.Volumes) != 1 || run.Config.Volumes[0].Image != "sha256:2" {
				t.Errorf("volumes %+v", run.Config.Volumes)
			}
			return
		}
	}
	t.Error("no sandbox although the image is there")
}
