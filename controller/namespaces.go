package controller

import (
	"errors"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/request"
)

// A namespace is there because objects are in it, or because somebody states it. Each has a ServiceAccount.

// keyNamespaces names the work of keeping namespaces: all of them, by one worker at a time.
var keyNamespaces = reconcile.Key{Kind: "Namespaces"}

// inhabited counts the objects in each namespace that keep it, and knows the namespaces that are ending.
type inhabited struct {
	mu     sync.Mutex
	count  map[string]int
	ending map[string]bool
}

// namespacesChanged counts, and makes the namespaces due when one has got its first object or lost its last.
func (c *Controller) namespacesChanged(ch store.Change) {
	switch ch.Key.Kind {
	case reconcile.KindEvent:
		return
	case reconcile.KindNamespace:
		c.queue.Add(keyNamespaces)
		return
	case reconcile.KindServiceAccount:
		if ch.Key.Name == defaultAccount {
			c.queue.Add(keyNamespaces)
			return
		}
	}
	if ch.Key.Namespace == "" || ch.New != nil && ch.Old != nil {
		return
	}
	c.inhabited.mu.Lock()
	defer c.inhabited.mu.Unlock()
	n := c.inhabited.count[ch.Key.Namespace]
	if ch.Deleted {
		n--
	} else {
		n++
	}
	c.inhabited.count[ch.Key.Namespace] = n
	if n == 0 || n == 1 || c.inhabited.ending[ch.Key.Namespace] {
		c.queue.Add(keyNamespaces)
	}
}

// countNamespaces counts what was there before the first change.
func (c *Controller) countNamespaces() {
	c.inhabited.mu.Lock()
	defer c.inhabited.mu.Unlock()
	for _, it := range c.store.List("") {
		if it.Key.Namespace != "" && it.Key.Kind != reconcile.KindEvent && it.Key != accountKey(it.Key.Namespace) {
			c.inhabited.count[it.Key.Namespace]++
		}
	}
	for _, it := range c.store.List(reconcile.KindNamespace) {
		if it.Object.GetDeletionTimestamp() != nil {
			c.inhabited.ending[it.Key.Name] = true
		}
	}
}

// defaultAccount is the name of the ServiceAccount that every namespace has.
const defaultAccount = "default"

// keepNamespaces makes the namespaces that objects are in, and removes those that nobody states and nothing is in any more.
func (c *Controller) keepNamespaces() error {
	c.ingest.mu.Lock()
	down := c.ingest.down
	c.ingest.mu.Unlock()
	if down {
		return nil
	}
	wanted := map[string]bool{metav1.NamespaceDefault: true}
	c.inhabited.mu.Lock()
	for name, n := range c.inhabited.count {
		if n > 0 {
			wanted[name] = true
		} else {
			delete(c.inhabited.count, name)
		}
	}
	c.inhabited.mu.Unlock()
	var errs []error
	for _, it := range c.store.List(reconcile.KindNamespace) {
		switch {
		case it.Object.GetDeletionTimestamp() != nil && !c.emptied(it.Key.Name):
			delete(wanted, it.Key.Name)
			errs = append(errs, c.keepNamespace(it.Key.Name))
		case it.Object.GetDeletionTimestamp() != nil: // it is made anew if it is wanted
			c.forgetNamespace(it)
		case it.Source != nil || wanted[it.Key.Name] || asked(it.Object):
			wanted[it.Key.Name] = true
		default:
			c.forgetNamespace(it)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		errs = append(errs, c.keepNamespace(name), c.keepAccount(name))
	}
	return errors.Join(errs...)
}

// endNamespace begins the end of a namespace, and ends all that is in it: what no file states any more and what files never state. Pods have their own
// grace; until they are gone the namespace is Terminating. What a file goes on stating in it keeps it, as a new one of that name. The caller holds the
// ingest's lock.
func (c *Controller) endNamespace(key reconcile.Key, uid types.UID) error {
	in, now := c.ingest, metav1.NewTime(c.opts.Clock.Now())
	c.inhabited.mu.Lock()
	c.inhabited.ending[key.Name] = true
	c.inhabited.mu.Unlock()
	err := c.store.Update(key, func(it store.Item) (store.Item, error) {
		ns, ok := it.Object.(*corev1.Namespace)
		if !ok || uid != "" && ns.UID != uid || ns.DeletionTimestamp != nil {
			return it, nil
		}
		n := *ns
		n.DeletionTimestamp, n.Annotations = &now, request.With(ns.Annotations, reconcile.AnnotationMade, "true")
		return store.Item{Object: active(&n)}, nil
	})
	if err != nil {
		return ignoreGone(err)
	}
	for _, it := range c.store.List("") {
		switch {
		case it.Key.Namespace != key.Name || in.wishes[it.Key] || metav1.GetControllerOfNoCopy(it.Object) != nil:
		case it.Source != nil:
			in.remove(it.Key, "its namespace was deleted")
		case it.Key.Kind == reconcile.KindPod && store.Orphan(it): // others go with their wish
			if err := c.deletePod(reconcile.DeletePod{Key: it.Key, UID: it.Object.GetUID()}); err != nil {
				return err
			}
		case it.Key.Kind != reconcile.KindPod && it.Key.Kind != reconcile.KindEvent:
			c.deleteObject(it.Key, it.Object.GetUID())
		}
	}
	in.arm()
	c.queue.Add(keyNamespaces)
	c.notify.notify()
	return nil
}

// emptied tells whether nothing is left in a namespace but what files state and what follows from that.
func (c *Controller) emptied(name string) bool {
	for _, it := range c.store.List("") {
		if it.Key.Namespace != name || it.Key.Kind == reconcile.KindEvent || it.Key == accountKey(name) {
			continue
		}
		if it.Object.GetDeletionTimestamp() != nil || !c.followsFile(it) {
			return false
		}
	}
	return true
}

// followsFile tells whether a file states an object, or what it was made for.
func (c *Controller) followsFile(it store.Item) bool {
	for it.Source == nil {
		key := it.Key
		if owner := metav1.GetControllerOfNoCopy(it.Object); owner != nil {
			key, _ = c.store.ByUID(owner.UID)
		} else if key.Kind == reconcile.KindPod {
			key.Kind = reconcile.KindBarePod
		}
		next, ok := c.store.Get(key)
		if !ok || key == it.Key {
			return false
		}
		it = next
	}
	return true
}

func (c *Controller) forgetNamespace(ns store.Item) {
	c.store.Delete(accountKey(ns.Key.Name), "")
	for _, it := range c.store.List(reconcile.KindEvent) {
		if it.Key.Namespace == ns.Key.Name && ns.Object.GetDeletionTimestamp() != nil {
			c.store.Delete(it.Key, "")
		}
	}
	c.store.Delete(ns.Key, ns.Object.GetUID())
	c.inhabited.mu.Lock()
	delete(c.inhabited.ending, ns.Key.Name)
	c.inhabited.mu.Unlock()
}

// asked tells of a namespace that somebody has made through the API: it stays until somebody removes it.
func asked(obj store.Object) bool { return obj.GetAnnotations()[reconcile.AnnotationMade] != "true" }

func accountKey(namespace string) reconcile.Key {
	return reconcile.Key{Kind: reconcile.KindServiceAccount, Namespace: namespace, Name: defaultAccount}
}

func (c *Controller) keepNamespace(name string) error {
	key := reconcile.Key{Kind: reconcile.KindNamespace, Name: name}
	it, ok := c.store.Get(key)
	if !ok {
		return ignoreTaken(c.store.Create(key, active(&corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindNamespace},
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{reconcile.AnnotationMade: "true"}},
		}), nil))
	}
	ns, ok := it.Object.(*corev1.Namespace)
	if !ok || apiequality.Semantic.DeepEqual(ns, active(ns)) {
		return nil
	}
	return ignoreGone(c.store.Update(key, func(it store.Item) (store.Item, error) {
		if ns, ok := it.Object.(*corev1.Namespace); ok {
			it.Object = active(ns)
		}
		return it, nil
	}))
}

// active is a namespace as it is in use.
func active(ns *corev1.Namespace) *corev1.Namespace {
	n := *ns
	if n.Labels[corev1.LabelMetadataName] != n.Name {
		n.Labels = maps.Clone(n.Labels)
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[corev1.LabelMetadataName] = n.Name
	}
	switch {
	case n.DeletionTimestamp != nil:
		n.Status.Phase = corev1.NamespaceTerminating
	case n.Status.Phase == "":
		n.Status.Phase = corev1.NamespaceActive
	}
	if len(n.Spec.Finalizers) == 0 {
		n.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
	}
	return &n
}

func (c *Controller) keepAccount(namespace string) error {
	key := accountKey(namespace)
	if _, ok := c.store.Get(key); ok {
		return nil
	}
	return ignoreTaken(c.store.Create(key, &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindServiceAccount},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: defaultAccount},
	}, nil))
}

// ignoreTaken takes what is there already for made.
func ignoreTaken(err error) error {
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	return err
}
