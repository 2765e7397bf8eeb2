package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/manifests"
	"berth/reconcile"
)

func configMap(name string, pairs ...string) manifests.Object {
	m := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Data: map[string]string{},
	}
	for i := 0; i < len(pairs); i += 2 {
		m.Data[pairs[i]] = pairs[i+1]
	}
	return object(manifests.Key{Kind: "ConfigMap", Namespace: "shop", Name: name}, m)
}

// frozen makes a ConfigMap immutable.
func frozen(o manifests.Object) manifests.Object {
	m, _ := o.Object.(*corev1.ConfigMap)
	m.Immutable = new(true)
	return object(o.Key, m)
}

// mounting gives a Pod a volume of the ConfigMap conf.
func mounting(o manifests.Object) manifests.Object {
	p, _ := o.Object.(*corev1.Pod)
	p.Spec.Volumes = []corev1.Volume{{Name: "conf", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}},
	}}}
	return object(o.Key, p)
}

func reading(o manifests.Object, name, key string) manifests.Object {
	p, _ := o.Object.(*corev1.Pod)
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key},
	}}}
	return object(o.Key, p)
}

// TestPodsWaitForTheirConfiguration holds that the order of files does not matter: pods say what they wait for and start when it comes, at once.
func TestPodsWaitForTheirConfiguration(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		mount, read := mounting(barePod("mount", "app:1")), reading(barePod("read", "app:1"), "conf", "key")
		w.write(mount, read)
		w.wantRunning(0)
		want := map[string]string{
			"mount": `ContainerCreating: MountVolume.SetUp failed for volume "conf" : configmap "conf" not found`,
			"read":  `CreateContainerConfigError: configmap "conf" not found`,
		}
		for _, p := range w.settle().Pods {
			if got := p.Reason + ": " + p.Containers[0].Message; got != want[p.Name] {
				t.Errorf("%s waits for %q", p.Name, got)
			}
		}
		began := time.Now()
		w.write(mount, read, configMap("conf", "other", "x"))
		if got := w.running(); !slices.Equal(got, []string{"mount"}) {
			t.Errorf("with the object there run %v", got)
		}
		w.write(mount, read, configMap("conf", "key", "x"))
		w.wantRunning(2)
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %s", took)
		}
	})
}

// TestFilesFollowTheirObject holds that mounted files change under the running container, once, and not again after a restart.
func TestFilesFollowTheirObject(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		p := mounting(barePod("mount", "app:1"))
		w.write(p, configMap("conf", "key", "old"), configMap("other", "key", "old"))
		w.settle()
		pids, uid := w.pids(), w.c.Status().Pods[0].UID
		w.write(p, configMap("conf", "key", "new", "more", "x"), configMap("other", "key", "new"))
		if diff := cmp.Diff(map[string]string{"key": "new", "more": "x"}, w.fake.Files(uid, "conf")); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		w.restart()
		w.c.enqueueAll()
		w.settle()
		w.write(p, configMap("other", "key", "new")) // it vanishes; what is mounted stays
		w.pass(time.Minute)
		if n := strings.Count(strings.Join(w.fake.Calls(), "\n"), "update files"); n != 1 {
			t.Errorf("files were updated %d times: %v", n, w.fake.Calls())
		}
		if got := w.fake.Files(uid, "conf")["key"]; got != "new" {
			t.Errorf("the key is %q", got)
		}
		w.wantPids(pids, "after other files of its volume")
	})
}

func TestImmutableConfigMap(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		p := mounting(barePod("mount", "app:1"))
		w.write(p, frozen(configMap("conf", "key", "old")))
		w.settle()
		for field, changed := range map[string]manifests.Object{
			"data": frozen(configMap("conf", "key", "new")), "immutable": configMap("conf", "key", "new"),
		} {
			w.write(p, changed)
			s := w.settle()
			if len(s.Faults) != 1 || s.Faults[0].Field != field || s.Faults[0].File != "conf.yaml" || s.Faults[0].Line != 1 {
				t.Errorf("faults: %v, want one at %s", s.Faults, field)
			}
			if got := w.fake.Files(s.Pods[0].UID, "conf")["key"]; got != "old" {
				t.Errorf("%s: the key is %q", field, got)
			}
		}
	})
}

// TestReferences holds that the index makes due exactly who uses what changes, and that it forgets who is gone.
func TestReferences(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		a, b := mounting(barePod("a", "app:1")), reading(barePod("b", "app:1"), "other", "key")
		w.write(a, b, configMap("conf"), configMap("other", "key", "x"))
		w.settle()
		r := w.c.references
		var due []reconcile.Key
		r.enqueue = func(keys ...reconcile.Key) { due = append(due, keys...) }
		w.write(a, b, configMap("conf", "key", "new"), configMap("other", "key", "x"), configMap("unused", "key", "x"))
		if diff := cmp.Diff([]reconcile.Key{{Kind: reconcile.KindPod, Namespace: "shop", Name: "a"}}, due); diff != "" {
			t.Errorf("due (-want +got):\n%s", diff)
		}
		r.enqueue = w.c.queue.Add
		w.write(a)
		w.pass(time.Minute)
		if len(r.uses) != 1 || len(r.users) != 1 || len(r.contents) != 0 {
			t.Errorf("the index keeps %v, %v, %v", r.uses, r.users, r.contents)
		}
	})
}

// configured makes a Deployment read a key of a ConfigMap.
func configured(d *deploymentType) {
	d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{
		ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}},
	}}
}

// TestConfigurationRollsOut holds that a change of what a Deployment uses replaces its pods, together with all else that the same snapshot
// changes, and that nothing else does.
func TestConfigurationRollsOut(t *testing.T) {
	off := func(d *deploymentType) { d.Annotations = map[string]string{"berth.dev/rollout-on-config": "false"} }
	steps := []struct {
		name  string
		write []manifests.Object
		sets  int // ReplicaSets that there have been so far
	}{
		{"the pods wait", []manifests.Object{web("web", "web:1", 2, configured)}, 1},
		{"it comes", []manifests.Object{web("web", "web:1", 2, configured), configMap("conf", "a", "1")}, 1},
		{"it changes", []manifests.Object{web("web", "web:1", 2, configured), configMap("conf", "a", "2")}, 2},
		{"it and the image change", []manifests.Object{web("web", "web:2", 2, configured), configMap("conf", "a", "3")}, 3},
		{"it vanishes", []manifests.Object{web("web", "web:2", 2, configured)}, 3},
		{"it comes back", []manifests.Object{web("web", "web:2", 2, configured), configMap("conf", "a", "3")}, 3},
		{"another one changes", []manifests.Object{web("web", "web:2", 2, configured), configMap("conf", "a", "3"), configMap("other", "a", "1")}, 3},
		{"it changes, switched off", []manifests.Object{web("web", "web:2", 2, configured, off), configMap("conf", "a", "4")}, 3},
		{"switched on again", []manifests.Object{web("web", "web:2", 2, configured), configMap("conf", "a", "4")}, 4},
	}
	inWorld(t, func(w *world) {
		w.start()
		for i, s := range steps {
			w.write(s.write...)
			w.pass(time.Minute)
			if n := w.c.store.Len(reconcile.KindReplicaSet); n != s.sets {
				t.Fatalf("%s: there are %d ReplicaSets, want %d", s.name, n, s.sets)
			}
			if i > 0 {
				w.wantRunning(2)
			}
			w.restart()
			w.pass(time.Minute)
			if n := w.c.store.Len(reconcile.KindReplicaSet); n != s.sets {
				t.Fatalf("%s: after a restart there are %d ReplicaSets, want %d", s.name, n, s.sets)
			}
		}
	})
}
