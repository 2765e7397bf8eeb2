package reconciletest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/runtime"
)

// Pods of files may read ConfigMaps, which come, change and go: by a variable V, or by a volume.
const configVolume = "config"

// configure lets a spec read a ConfigMap, or none.
func (w *world) configure(spec *corev1.PodSpec) {
	ref := corev1.LocalObjectReference{Name: "c" + strconv.Itoa(w.rng.IntN(2))}
	optional := w.rng.IntN(3) == 0
	switch w.rng.IntN(4) {
	case 0:
		spec.Containers[0].Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref, Key: "value", Optional: &optional},
		}}}
	case 1:
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: configVolume, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref, Optional: &optional},
		}})
	}
}

// editConfig writes or deletes a ConfigMap. Its users are due, and nobody else.
func (w *world) editConfig() {
	name := "c" + strconv.Itoa(w.rng.IntN(2))
	if w.configs[name] != "" && w.rng.IntN(3) == 0 {
		w.setConfig(name, "")
		w.say("EVENT ConfigMap %s is deleted", name)
		w.excuseUsers(name)
	} else {
		w.setConfig(name, strconv.Itoa(w.rng.IntN(3)+1))
		w.say("EVENT ConfigMap %s says %s", name, w.configs[name])
	}
	w.enqueueUsers(name)
}

// excuseUsers: what a pod cannot do without stands in the way of its next start.
func (w *world) excuseUsers(name string) {
	for id, l := range w.lives {
		if p := w.podByUID(id.uid); p != nil {
			if ref, ok := configOf(p); ok && ref.Name == name {
				l.excused = true
			}
		}
	}
}

func (w *world) enqueueUsers(name string) {
	for _, p := range w.pods {
		if ref, ok := configOf(p); ok && ref.Name == name {
			w.enqueue(podKey(p))
		}
	}
}

// healConfig lets everything be there that pods may wait for.
func (w *world) healConfig() {
	for _, name := range []string{"c0", "c1"} {
		if w.configs[name] == "" {
			w.setConfig(name, "1")
			w.enqueueUsers(name)
		}
	}
}

// setConfig lets a ConfigMap say something; nothing when it is deleted.
func (w *world) setConfig(name, value string) {
	object := config.Object{Kind: reconcile.KindConfigMap, Name: name}
	w.contents = maps.Clone(w.contents) // somebody may still look at the old ones
	if value == "" {
		delete(w.configs, name)
		delete(w.contents, object)
		return
	}
	w.configs[name], w.contents[object] = value, config.OfConfigMap(&corev1.ConfigMap{Data: map[string]string{"value": value}})
}

// configOf is the ConfigMap that a pod reads.
func configOf(p *corev1.Pod) (config.Reference, bool) {
	refs := config.References(&p.Spec)
	if len(refs) == 0 {
		return config.Reference{}, false
	}
	return refs[0], true
}

// checkConfigured holds that a container is started with what its ConfigMap says at that moment, and not without it.
func (w *world) checkConfigured(a reconcile.StartContainer) {
	p := w.podByUID(a.UID)
	if p == nil || a.Config.Name != "main" || len(p.Spec.Containers[0].Env) == 0 {
		return
	}
	ref, ok := configOf(p)
	value := w.configs[ref.Name]
	if has := slices.Contains(a.Config.Env, "V="+value); ok && (value != "" && !has || value == "" && (!ref.Optional || len(a.Config.Env) > 0)) {
		w.fail("pod %s is started with %q, ConfigMap %s says %q", describe(p), a.Config.Env, ref.Name, value)
	}
}

// checkIdleConfig holds that mounted files say what their ConfigMap does, and that nobody waits for one that is there.
func (w *world) checkIdleConfig(p *corev1.Pod) {
	ref, ok := configOf(p)
	if !ok || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return
	}
	for i := range p.Status.ContainerStatuses {
		if p.Status.ContainerStatuses[i].State.Terminated != nil {
			return // it has ended for good; its sidecars are on their way out
		}
	}
	value, there := w.configs[ref.Name]
	status, made := w.machine(p.UID)
	files := w.fake.Files(string(p.UID), configVolume)
	if made && status.Sandbox.Ready && files != nil && there && files["value"] != value {
		w.fail("pod %s has mounted %q, ConfigMap %s says %q", describe(p), files, ref.Name, value)
	}
	if made && status.Sandbox.Ready && files != nil && !there && ref.Optional && len(files) > 0 {
		w.fail("pod %s has mounted %q, there is no ConfigMap %s", describe(p), files, ref.Name)
	}
	for i := range p.Status.ContainerStatuses {
		wait := p.Status.ContainerStatuses[i].State.Waiting
		blocked := wait != nil && (wait.Reason == runtime.ReasonConfigError || wait.Reason == "ContainerCreating" && wait.Message != "")
		if blocked && (there || ref.Optional) {
			w.fail("pod %s waits (%s), ConfigMap %s says %q", describe(p), fmt.Sprint(*wait), ref.Name, value)
		}
	}
}
