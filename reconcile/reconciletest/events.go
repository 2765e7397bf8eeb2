package reconciletest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/reconcile/request"
	"berth/runtime"
)

// pick draws one of several.
func pick[T any](w *world, of ...T) T { return of[w.rng.IntN(len(of))] }

// happenSomething draws one event: somebody edits a file, or something breaks.
func (w *world) happenSomething() {
	w.happened++
	switch n := w.rng.IntN(100); {
	case n < 44:
		w.edit()
	case n < 54:
		w.ask()
	case n < 58:
		w.editWishes()
	case n < 61:
		w.editStorage()
	case n < 63:
		w.editConfig()
	case n < 69:
		w.crash()
	case n < 71:
		if len(w.pods) > 0 {
			w.userEnds(w.pods[w.rng.IntN(len(w.pods))])
		}
	case n < 75:
		w.loseSandbox()
	case n < 78:
		w.quirks.pullsFail = !w.quirks.pullsFail
		w.say("EVENT pulls fail: %v", w.quirks.pullsFail)
	case n < 82:
		w.quirks.startsFail = 1 + w.rng.IntN(4)
		w.say("EVENT the next %d starts fail", w.quirks.startsFail)
	case n < 84:
		w.quirks.sandboxFail = 1 + w.rng.IntN(3)
		w.say("EVENT the next %d sandboxes fail", w.quirks.sandboxFail)
	case n < 87:
		w.say("EVENT the controller is restarted")
		w.restart()
	case n < 93:
		w.killIn = 1 + w.rng.IntN(12)
		w.say("EVENT the controller will be killed after %d actions", w.killIn-1)
	case n < 96:
		w.setClock()
	case n < 97:
		w.reboot()
	default:
		w.say("EVENT everything is looked at again")
		w.enqueue(w.everything()...)
	}
}

// edit changes one workload, makes one, or deletes one.
func (w *world) edit() {
	n := w.workloads()
	if n == 0 || n < most && w.rng.IntN(12) == 0 {
		w.addWorkload()
		return
	}
	i := w.rng.IntN(n)
	if i >= len(w.deployments) {
		w.editWorkload(i - len(w.deployments))
		return
	}
	d := new(appsv1.Deployment)
	*d = *w.deployments[i]
	if w.rng.IntN(16) == 0 {
		w.say("EVENT delete Deployment %s", d.Name)
		w.dropDeployment(i)
		w.enqueue(gcKey, key(reconcile.KindDeployment, d.Name))
		return
	}
	switch w.rng.IntN(12) {
	case 0, 1, 2, 3:
		w.remember(d)
		d.Spec.Template = w.template(d.Name)
	case 4, 5, 6:
		n := int32(w.rng.IntN(6))
		d.Spec.Replicas = &n
	case 7:
		w.setStrategy(d)
	case 8, 9:
		if old := w.former[string(d.UID)]; len(old) > 0 {
			d.Spec.Template = *old[w.rng.IntN(len(old))].DeepCopy()
		}
	case 10:
		d.Spec.MinReadySeconds = pick(w, int32(0), 0, 3, 10)
		w.familyOf(d).disturbed = true
	case 11:
		d.Spec.Paused = !d.Spec.Paused
	}
	if d.Spec.Replicas == w.deployments[i].Spec.Replicas {
		w.tried(d.UID)
	}
	w.replace(i, d)
}

func (w *world) replace(i int, d *appsv1.Deployment) {
	d.Generation++
	w.putDeployment(i, d)
	w.wished(d)
	if w.tracing {
		w.say("EVENT edit Deployment %s: %s", d.Name, summary(d))
	}
	w.enqueue(key(reconcile.KindDeployment, d.Name))
}

func summary(d *appsv1.Deployment) string {
	s := fmt.Sprintf("%d × %s, %s", *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image, d.Spec.Strategy.Type)
	if u := d.Spec.Strategy.RollingUpdate; u != nil {
		s += fmt.Sprintf(" surge %s unavailable %s", u.MaxSurge, u.MaxUnavailable)
	}
	return s + fmt.Sprintf(", min ready %d s, paused %v", d.Spec.MinReadySeconds, isPaused(d))
}

func (w *world) remember(d *appsv1.Deployment) {
	id := string(d.UID)
	w.former[id] = append(w.former[id], d.Spec.Template)
}

func (w *world) addDeployment() {
	w.named++
	name := "d" + strconv.Itoa(w.named%6)
	if _, i := find(w.deployments, name); i >= 0 {
		return
	}
	replicas, history, deadline := int32(1+w.rng.IntN(5)), int32(w.rng.IntN(3)), int32(60)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: w.newUID(), Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, RevisionHistoryLimit: &history, ProgressDeadlineSeconds: &deadline,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: w.template(name),
		},
	}
	w.setStrategy(d)
	if w.rng.IntN(8) == 0 {
		d.Annotations = map[string]string{request.AnnotationAuto: "false"}
	}
	w.tried(d.UID)
	w.newDeployment(d)
	w.familyOf(d)
	if w.tracing {
		w.say("EVENT add Deployment %s: %s", name, summary(d))
	}
	w.enqueue(key(reconcile.KindDeployment, name))
}

func (w *world) setStrategy(d *appsv1.Deployment) {
	if w.rng.IntN(4) == 0 {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		return
	}
	surge := pick(w, intstr.FromInt32(0), intstr.FromInt32(1), intstr.FromInt32(2), intstr.FromString("25%"), intstr.FromString("50%"))
	unavailable := pick(w, intstr.FromInt32(0), intstr.FromInt32(1), intstr.FromInt32(2), intstr.FromString("25%"), intstr.FromString("34%"))
	if surge.IntVal == 0 && surge.Type == intstr.Int && unavailable.IntVal == 0 && unavailable.Type == intstr.Int {
		surge = intstr.FromInt32(1) // validation refuses both zero
	}
	d.Spec.Strategy = appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
	}
}

func (w *world) template(app string) corev1.PodTemplateSpec {
	w.tags++
	kind := pick(w, imageGood, imageGood, imageGood, imageGood, imageSlow, imageSlow, imageNever, imageCrash, imageBad, imageMissing, imageDone, imageSick)
	t := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       w.podSpec(fmt.Sprintf("%s:%d", kind, w.tags)),
	}
	t.Spec.RestartPolicy = corev1.RestartPolicyAlways
	return t
}

func (w *world) podSpec(image string) corev1.PodSpec {
	grace := pick(w, int64(0), 1, 5, 30)
	spec := corev1.PodSpec{
		RestartPolicy:                 pick(w, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever),
		TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{
			Name: "main", Image: image, Command: []string{"stubborn"}, ImagePullPolicy: pick(w, corev1.PullIfNotPresent, corev1.PullIfNotPresent, corev1.PullAlways),
		}},
	}
	always := corev1.ContainerRestartPolicyAlways
	if w.rng.IntN(5) == 0 {
		spec.InitContainers = append(spec.InitContainers, corev1.Container{Name: "init", Image: imageDone + ":0", Command: []string{"stubborn"}})
	}
	if w.rng.IntN(6) == 0 {
		spec.InitContainers = append(spec.InitContainers, corev1.Container{Name: "side", Image: imageGood + ":0", Command: []string{"stubborn"}, RestartPolicy: &always})
	}
	w.addHooks(&spec)
	return spec
}

// editWishes adds, changes or removes a Pod of a file.
func (w *world) editWishes() {
	name := "p" + strconv.Itoa(w.rng.IntN(2))
	w.tags++
	kind := pick(w, imageGood, imageSlow, imageCrash, imageDone)
	wish := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: w.podSpec(fmt.Sprintf("%s:%d", kind, w.tags))}
	w.withStorage(wish)
	w.configure(&wish.Spec)
	switch had, i := find(w.wishes, name); {
	case i < 0:
		w.wishes = append(w.wishes, wish)
	case w.rng.IntN(3) == 0:
		w.wishes = slices.Delete(w.wishes, i, i+1)
	case w.rng.IntN(3) == 0:
		had = had.DeepCopy()
		had.Labels = map[string]string{"n": strconv.Itoa(w.tags)}
		w.wishes[i] = had
	default:
		w.wishes[i] = wish
	}
	w.say("EVENT the file of Pod %s changes", name)
	w.enqueue(key(reconcile.KindBarePod, name))
}

// crash ends a running container from outside.
func (w *world) crash() {
	if len(w.pods) == 0 {
		return
	}
	p := w.pods[w.rng.IntN(len(w.pods))]
	name := "main"
	if n := len(p.Spec.InitContainers); n > 0 && w.rng.IntN(3) == 0 {
		name = p.Spec.InitContainers[w.rng.IntN(n)].Name
	}
	if !pick(w, w.fake.Crash, w.fake.OOM)(string(p.UID), name) {
		return
	}
	w.say("EVENT container %s of %s is killed from outside", name, describe(p))
	w.ended(p.UID, name)
	w.disturb(p.UID)
}

func (w *world) loseSandbox() {
	if len(w.pods) == 0 {
		return
	}
	p := w.pods[w.rng.IntN(len(w.pods))]
	if _, there := w.machine(p.UID); !there {
		return
	}
	w.say("EVENT the sandbox of %s is lost", describe(p))
	w.fake.LoseSandbox(string(p.UID))
	for _, c := range append(slices.Clone(p.Spec.InitContainers), p.Spec.Containers...) {
		w.ended(p.UID, c.Name)
		if l := w.lives[lifeID{p.UID, c.Name}]; l != nil {
			l.excused = true
		}
	}
	w.disturb(p.UID)
}

func (w *world) setClock() {
	w.setClockBy(pick(w, -2*time.Hour, -30*time.Second, 30*time.Second, 3*time.Hour))
}

// healClock sets a clock right that was set back: who waits for a time on the wall waits for no more hours than stated.
func (w *world) healClock() {
	if behind := w.clock.latest.Sub(w.clock.wall); behind > 0 {
		w.setClockBy(behind)
	}
}

func (w *world) setClockBy(by time.Duration) {
	w.say("EVENT the clock is set by %s", by)
	if w.clock.wall.After(w.clock.latest) {
		w.clock.latest = w.clock.wall
	}
	w.clock.wall = w.clock.wall.Add(by)
	w.clock.jumps++
	for _, l := range w.lives {
		if l.readySince.After(w.clock.wall) {
			l.readySince, l.readyFor = w.clock.wall, w.clock.since // nobody can tell any more
		}
	}
	w.disturbAll()
	w.enqueue(w.everything()...)
}

// restart forgets everything that a controller has in memory. Pods come back from what the machine carries, and are looked at before
// anything is decided above them, as the controller does.
func (w *world) restart() {
	w.killIn = 0
	memory := w.memory
	w.images, w.memory, w.timers, w.due = map[string]reconcile.ImageState{}, map[types.UID]*reconcile.PodMemory{}, map[reconcile.Key]time.Duration{}, nil
	w.ends, w.asked = map[types.UID]ending{}, map[string]asked{}
	w.keepHooks(memory)
	w.pods, w.stale = nil, true
	for _, m := range w.fake.Pods() {
		p := w.carried(m)
		if p == nil {
			return
		}
		w.newPod(p)
		for _, c := range m.Containers {
			if img, err := w.fake.Image(background, c.Image); err == nil {
				w.images[c.Image] = reconcile.ImageState{Image: &img}
			}
			if l := w.lives[lifeID{p.UID, c.Name}]; l != nil && c.State == runtime.Exited {
				l.excused = true
			} else if l != nil && l.probed {
				l.readySince, l.readyFor = w.clock.wall, w.clock.since // nobody knows any more since when its probes said so
			} else if l != nil {
				l.doubtful = w.born[p.UID] != w.clock.jumps
			}
		}
	}
	if w.rng.IntN(2) == 0 {
		w.forgetStatuses()
	}
	w.disturbAll()
	w.trafficRestarted()
	w.enqueue(w.everything()...)
	for _, p := range slices.Clone(w.pods) {
		w.pass(podKey(p))
	}
}

// reboot takes away what lives for one boot: every pod. What was counted, and images, stay.
func (w *world) reboot() {
	w.say("EVENT the machine is rebooted")
	w.fake.Reboot()
	clear(w.lives)
	w.restart()
}

// carried reads the Pod that the machine carries. The same label was read before, mostly.
func (w *world) carried(m runtime.PodStatus) *corev1.Pod {
	if p := w.labels[&m.Object[0]]; p != nil {
		return p
	}
	p := &corev1.Pod{}
	if err := json.Unmarshal(m.Object, p); err != nil {
		w.fail("the label of pod %s cannot be read: %v", m.UID, err)
		return nil
	}
	w.labels[&m.Object[0]] = p
	return p
}

func (w *world) forgetStatuses() {
	for i, d := range w.deployments {
		n := *d
		n.Status = appsv1.DeploymentStatus{}
		w.putDeployment(i, &n)
	}
	for i, s := range w.sets {
		n := *s
		n.Status = appsv1.ReplicaSetStatus{}
		w.putSet(i, &n)
	}
	w.forgetObjects()
}
