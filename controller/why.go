package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// Why tells about the object that target names: KIND/NAME, KIND/NAMESPACE/NAME or a name alone, of a pod also its beginning. Kinds may be written as
// kubectl knows them. What is gone is known as long as berth runs. An error says that nothing is known of it.
func (c *Controller) Why(target, namespace string) (Account, error) {
	w := whyTarget(target, namespace)
	if it, ok := c.whyFind(w); ok {
		return c.account(it), nil
	}
	if a, ok := c.accountOfPast(w); ok {
		return a, nil
	}
	if a, ok := c.accountOfFault(w); ok {
		return a, nil
	}
	return Account{}, fmt.Errorf("nothing is known of %q: no file states it, and it has not been there since berth started at %s",
		target, c.started.Format(time.DateTime))
}

// wanted is what a target names; parts that it does not name are empty.
type wanted struct{ kind, namespace, name string }

func whyTarget(target, namespace string) wanted {
	parts := strings.Split(target, "/")
	switch len(parts) {
	case 1:
		return wanted{"", namespace, parts[0]}
	case 2:
		return wanted{kindOf(parts[0]), namespace, parts[1]}
	}
	return wanted{kindOf(parts[0]), parts[1], strings.Join(parts[2:], "/")}
}

// kindOf is the kind that a word of kubectl's means.
func kindOf(word string) string {
	word, _, _ = strings.Cut(strings.ToLower(word), ".")
	short := map[string]string{
		"deploy": "deployment", "rs": "replicaset", "rc": "replicationcontroller", "sts": "statefulset", "ds": "daemonset", "po": "pod", "cj": "cronjob",
		"svc": "service", "cm": "configmap", "pvc": "persistentvolumeclaim", "pv": "persistentvolume", "sc": "storageclass", "ing": "ingress",
		"ingresses": "ingress", "storageclasses": "storageclass", "ep": "endpoints", "eps": "endpointslice",
	}
	if long, ok := short[word]; ok {
		return long
	}
	return strings.TrimSuffix(word, "s")
}

// means tells how well a key fits: 0 not at all, 1 by the beginning of a pod's name, 2 exactly.
func (w wanted) means(key reconcile.Key) int {
	kind := strings.ToLower(key.Kind)
	if key.Kind == reconcile.KindBarePod {
		kind = "pod"
	}
	switch {
	case w.kind != "" && kind != w.kind && kind != w.kind+"s" || key.Namespace != "" && key.Namespace != w.namespace:
		return 0
	case key.Name == w.name:
		return 2
	case kind == "pod" && w.name != "" && strings.HasPrefix(key.Name, w.name+"-"):
		return 1
	}
	return 0
}

// whyFind is the object that is meant. Among several, what a file states comes before what is made, and the exact name before the beginning of one.
func (c *Controller) whyFind(w wanted) (best store.Item, ok bool) {
	rank := 0
	for _, it := range c.store.List("") {
		r := 2 * w.means(it.Key)
		if r > 0 && it.Source != nil {
			r++
		}
		if r > rank {
			best, rank = it, r
		}
	}
	return best, rank > 0
}

// account tells of an object that is there.
func (c *Controller) account(it store.Item) Account {
	a := Account{Object: stated(it.Key)}
	top := it
	for above := metav1.GetControllerOfNoCopy(top.Object); above != nil; above = metav1.GetControllerOfNoCopy(top.Object) {
		owner, ok := c.store.Get(reconcile.Key{Kind: above.Kind, Namespace: it.Key.Namespace, Name: above.Name})
		if !ok {
			break
		}
		top = owner
	}
	if it.Key.Kind == reconcile.KindPod && top.Key == it.Key { // of a pod that a file states, the wish is another object
		if wish, ok := c.store.Get(reconcile.Key{Kind: reconcile.KindBarePod, Namespace: it.Key.Namespace, Name: it.Key.Name}); ok {
			top = wish
		}
	}
	c.tellStated(&a, top)
	keys := []reconcile.Key{it.Key}
	for _, set := range c.store.OwnedBy(it.Object.GetUID()) {
		if set.Key.Kind == reconcile.KindReplicaSet {
			keys = append(keys, set.Key)
			c.tellRevision(&a, set)
		}
	}
	pods := c.podsOf(it)
	for i, p := range pods {
		if it.Key.Kind == reconcile.KindPod || it.Key.Kind == reconcile.KindBarePod || i == 0 && rankPod(p) == 0 {
			keys = append(keys, reconcile.KeyOf(p))
		}
	}
	if ing, ok := it.Object.(*networkingv1.Ingress); ok {
		keys = append(keys, certificatesOf(ing)...)
	}
	for _, d := range c.diary.about(whyDecisions, keys...) {
		a.decision(d)
	}
	for _, key := range keys {
		if text := c.stuckOn(key); text != "" {
			a.add("decided", key.String(), time.Time{}, "cannot get on, and tries again: "+text, true)
		}
	}
	c.tellPods(&a, it, pods)
	c.tellGone(&a, it.Key)
	for _, p := range pods {
		keys = append(keys, reconcile.KeyOf(p))
	}
	c.tellEvents(&a, keys)
	a.Answer, a.Well = c.answer(it, pods)
	return a
}

// podsOf are the pods that an object is or makes, those with trouble first.
func (c *Controller) podsOf(of store.Item) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, it := range c.store.List(reconcile.KindPod) {
		p, ok := it.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		owner := metav1.GetControllerOfNoCopy(p)
		direct := owner != nil && owner.UID == of.Object.GetUID()
		if it.Key == of.Key || direct || c.workloadOf(p) == of.Key {
			pods = append(pods, p)
		}
	}
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(rankPod(a), rankPod(b)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods
}

func rankPod(p *corev1.Pod) int {
	switch {
	case problem([]*corev1.Pod{p}) != "":
		return 0
	case !ready(p) && p.Status.Phase != corev1.PodSucceeded:
		return 1
	}
	return 2
}

// answer is the whole account in one sentence.
func (c *Controller) answer(it store.Item, pods []*corev1.Pod) (text string, well bool) {
	trouble := cmp.Or(problem(pods), c.stuckOn(it.Key), c.problemOf(it.Key), c.stuckPod(pods), c.unready(pods))
	switch it.Key.Kind {
	case reconcile.KindPod:
		if len(pods) == 0 {
			return "it is not there", false
		}
		reason, _ := summary(pods[0])
		return cmp.Or(trouble, "it is "+reason), trouble == ""
	case reconcile.KindDeployment, reconcile.KindReplicaSet, reconcile.KindReplicationController, reconcile.KindStatefulSet, reconcile.KindDaemonSet,
		reconcile.KindBarePod, reconcile.KindJob, reconcile.KindCronJob:
		w := c.workload(it, pods)
		state := fmt.Sprintf("%d of %d ready", w.Ready, w.Desired)
		switch {
		case w.Problem != "" || !w.Done && trouble != "":
			return state + ": " + cmp.Or(w.Problem, trouble), false
		case w.Note != "":
			return state + ": " + w.Note, w.Done
		case w.Done:
			return "it is as stated: " + state, true
		}
		return "it is under way: " + state, true
	}
	return cmp.Or(trouble, "it is there"), trouble == ""
}

// unready is why a container that runs is not ready, as its probe told last.
func (c *Controller) unready(pods []*corev1.Pod) string {
	for _, p := range pods {
		if ready(p) || p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
			continue
		}
		for _, e := range slices.Backward(c.Events(0)) {
			if e.Object == reconcile.KeyOf(p) && e.Reason == "Unhealthy" {
				return fmt.Sprintf("pod %s is not ready: %s", p.Name, e.Message)
			}
		}
	}
	return ""
}
