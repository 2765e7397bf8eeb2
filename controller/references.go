package controller

import (
	"context"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/pod"
	"berth/runtime"
)

// references knows which ConfigMaps and Secrets are used by whom, so that a change of one makes due who uses it, and nobody else. A user is
// entered when it is planned, before what it uses is read: a change after that finds it.
type references struct {
	store   *store.Store
	enqueue func(...reconcile.Key)
	retry   func(image string)

	mu       sync.Mutex // the store is read inside
	uses     map[reconcile.Key]*use
	users    map[reconcile.Key]map[reconcile.Key]struct{} // by what is used
	contents map[reconcile.Key]stored
	holding  bool
	changed  map[reconcile.Key]struct{} // while holding
}

// use is what one Pod or one workload's template names, in one version of it.
type use struct {
	uid        types.UID
	generation int64
	refs       []config.Reference
	keys       []reconcile.Key
	// pulls holds the images that need one of the Secrets.
	pulls map[reconcile.Key][]string
	// fingerprint is that of refs; nil while it is not known.
	fingerprint config.Fingerprint
}

// stored is the content of an object as it was read last.
type stored struct {
	object  store.Object
	content *config.Content
}

func newReferences(s *store.Store, enqueue func(...reconcile.Key), retry func(image string)) *references {
	return &references{
		store: s, enqueue: enqueue, retry: retry,
		uses: map[reconcile.Key]*use{}, users: map[reconcile.Key]map[reconcile.Key]struct{}{},
		contents: map[reconcile.Key]stored{}, changed: map[reconcile.Key]struct{}{},
	}
}

// podConfig is what there is of the ConfigMaps and Secrets that a Pod names.
func (c *Controller) podConfig(key reconcile.Key, p *corev1.Pod) config.Contents {
	r := c.references
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read(key.Namespace, r.enter(key, p, &p.Spec).refs)
}

// envFiles reads the files that a pod's containers take variables from. What a pod has written may be anything: what cannot be read is as good
// as not there.
func (c *Controller) envFiles(ctx context.Context, p *corev1.Pod, observed *runtime.PodStatus) map[pod.EnvFile][]byte {
	if observed == nil || p.DeletionTimestamp != nil {
		return nil
	}
	var out map[pod.EnvFile][]byte
	for _, f := range pod.EnvFiles(&p.Spec) {
		data, err := c.opts.Pods.ReadFile(ctx, string(p.UID), f.Volume, f.Path)
		if err != nil {
			logr.FromContextOrDiscard(ctx).V(1).Info("no file of variables", "pod", p.Name, "volume", f.Volume, "path", f.Path, "reason", err.Error())
			continue
		}
		if out == nil {
			out = map[pod.EnvFile][]byte{}
		}
		out[f] = data
	}
	return out
}

// templateConfig is what the pods of a workload would find configured if they were made now; nil for a workload that does not follow it.
func (c *Controller) templateConfig(key reconcile.Key, workload metav1.Object, spec *corev1.PodSpec) config.Fingerprint {
	r := c.references
	r.mu.Lock()
	defer r.mu.Unlock()
	if !config.RollsOut(workload.GetAnnotations()) {
		r.drop(key)
		return nil
	}
	u := r.enter(key, workload, spec)
	if u.fingerprint == nil {
		u.fingerprint = config.Take(u.refs, r.read(key.Namespace, u.refs))
	}
	return u.fingerprint
}

// enter notes what a user names, unless it is known for this version of it.
func (r *references) enter(key reconcile.Key, user metav1.Object, spec *corev1.PodSpec) *use {
	u := r.uses[key]
	if u != nil && u.uid == user.GetUID() && u.generation == user.GetGeneration() {
		return u
	}
	r.drop(key)
	u = &use{uid: user.GetUID(), generation: user.GetGeneration(), refs: config.References(spec)}
	for i := range u.refs {
		u.keys = append(u.keys, reconcile.Key{Kind: u.refs[i].Kind, Namespace: key.Namespace, Name: u.refs[i].Name})
	}
	u.enterPulls(key.Namespace, spec)
	r.uses[key] = u
	for _, k := range u.keys {
		if r.users[k] == nil {
			r.users[k] = map[reconcile.Key]struct{}{}
		}
		r.users[k][key] = struct{}{}
	}
	return u
}

// enterPulls notes the Secrets for pulling images: they are used, and are no part of what is configured.
func (u *use) enterPulls(namespace string, spec *corev1.PodSpec) {
	for _, s := range spec.ImagePullSecrets {
		k := reconcile.Key{Kind: reconcile.KindSecret, Namespace: namespace, Name: s.Name}
		u.keys = append(u.keys, k)
		if u.pulls == nil {
			u.pulls = map[reconcile.Key][]string{}
		}
		for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			for i := range list {
				u.pulls[k] = append(u.pulls[k], list[i].Image)
			}
		}
	}
}

func (r *references) drop(key reconcile.Key) {
	u := r.uses[key]
	if u == nil {
		return
	}
	delete(r.uses, key)
	for _, k := range u.keys {
		delete(r.users[k], key)
		if len(r.users[k]) == 0 {
			delete(r.users, k)
			delete(r.contents, k)
		}
	}
}

// read finds the contents of objects; nil when there are none.
func (r *references) read(namespace string, refs []config.Reference) config.Contents {
	var out config.Contents
	for i := range refs {
		c := r.content(reconcile.Key{Kind: refs[i].Kind, Namespace: namespace, Name: refs[i].Name})
		if c == nil {
			continue
		}
		if out == nil {
			out = make(config.Contents, len(refs))
		}
		out[refs[i].Object()] = c
	}
	return out
}

func (r *references) content(key reconcile.Key) *config.Content {
	it, ok := r.store.Get(key)
	if !ok {
		return nil
	}
	if had := r.contents[key]; had.object == it.Object {
		return had.content
	}
	var c *config.Content
	switch o := it.Object.(type) {
	case *corev1.ConfigMap:
		c = config.OfConfigMap(o)
	case *corev1.Secret:
		c = config.OfSecret(o)
	}
	r.contents[key] = stored{it.Object, c}
	return c
}

// note takes in a change of the store: of something that may be used, or the end of a user.
func (r *references) note(ch store.Change) {
	used := ch.Key.Kind == reconcile.KindConfigMap || ch.Key.Kind == reconcile.KindSecret
	if !used && !ch.Deleted {
		return // most changes are of a status
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if ch.Deleted {
		r.drop(ch.Key)
		delete(r.contents, ch.Key)
	}
	if !used {
		return
	}
	r.changed[ch.Key] = struct{}{}
	if !r.holding {
		r.tell()
	}
}

// hold makes workloads see what they use as it was, until release: a snapshot is applied object by object, and nobody shall be rolled out to
// something between two of them.
func (r *references) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding = true
}

func (r *references) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding = false
	r.tell()
}

// tell makes the users of what has changed due.
func (r *references) tell() {
	for k := range r.changed {
		for user := range r.users[k] {
			u := r.uses[user]
			u.fingerprint = nil
			for _, image := range u.pulls[k] {
				r.retry(image)
			}
			r.enqueue(user)
		}
	}
	clear(r.changed)
}
