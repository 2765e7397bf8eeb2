package controller

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// What nobody states and clients of the Kubernetes API expect all the same: the namespaces that objects are in, with a ServiceAccount each, and the one node.

// keyNamespaces names the work of keeping namespaces: all of them, by one worker at a time.
var keyNamespaces = reconcile.Key{Kind: "Namespaces"}

// inhabited counts the objects in each namespace that keep it.
type inhabited struct {
	mu    sync.Mutex
	count map[string]int
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
	if n == 0 || n == 1 {
		c.queue.Add(keyNamespaces)
	}
}

// countNamespaces counts what was there before the first change.
func (c *Controller) countNamespaces() {
	c.inhabited.mu.Lock()
	defer c.inhabited.mu.Unlock()
	for _, it := range c.store.List("") {
		if it.Key.Namespace != "" && (it.Key.Kind != reconcile.KindServiceAccount || it.Key.Name != defaultAccount) {
			c.inhabited.count[it.Key.Namespace]++
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
	for _, it := range c.store.List(reconcile.KindNamespace) {
		switch {
		case it.Source != nil || wanted[it.Key.Name] || asked(it.Object):
			wanted[it.Key.Name] = true
		default:
			c.store.Delete(accountKey(it.Key.Name), "")
			c.store.Delete(it.Key, it.Object.GetUID())
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		errs = append(errs, c.keepNamespace(name), c.keepAccount(name))
	}
	return errors.Join(errs...)
}

// asked tells of a namespace that somebody has made through the API: it stays until somebody removes it.
func asked(obj store.Object) bool { return obj.GetAnnotations()[annotationMade] != "true" }

// annotationMade is on what is kept here, and goes by itself.
const annotationMade = reconcile.AnnotationPrefix + "made"

func accountKey(namespace string) reconcile.Key {
	return reconcile.Key{Kind: reconcile.KindServiceAccount, Namespace: namespace, Name: defaultAccount}
}

func (c *Controller) keepNamespace(name string) error {
	key := reconcile.Key{Kind: reconcile.KindNamespace, Name: name}
	it, ok := c.store.Get(key)
	if !ok {
		return ignoreTaken(c.store.Create(key, active(&corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindNamespace},
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationMade: "true"}},
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
	if n.Status.Phase == "" {
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

// ShowNode makes the Node object say how this machine is at this moment. Without Options.NodeStatus there is none.
func (c *Controller) ShowNode(ctx context.Context) error {
	if c.opts.NodeStatus == nil {
		return nil
	}
	key := reconcile.Key{Kind: reconcile.KindNode, Name: c.opts.Node.Name}
	status := c.opts.NodeStatus(ctx)
	fresh := &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindNode},
		ObjectMeta: metav1.ObjectMeta{Name: c.opts.Node.Name, Labels: map[string]string{
			corev1.LabelHostname: c.opts.Node.Name, corev1.LabelOSStable: status.NodeInfo.OperatingSystem, corev1.LabelArchStable: status.NodeInfo.Architecture,
		}},
		Status: status,
	}
	if _, ok := c.store.Get(key); !ok {
		return ignoreTaken(c.store.Create(key, fresh, nil))
	}
	return ignoreGone(c.store.Update(key, func(it store.Item) (store.Item, error) {
		old, ok := it.Object.(*corev1.Node)
		if !ok {
			return it, nil
		}
		n := *old
		n.Status = status
		for i := range n.Status.Conditions {
			since(&n.Status.Conditions[i], old.Status.Conditions)
		}
		if !apiequality.Semantic.DeepEqual(&n, old) {
			it.Object = &n
		}
		return it, nil
	}))
}

// since keeps when a condition came to be what it is.
func since(now *corev1.NodeCondition, before []corev1.NodeCondition) {
	for i := range before {
		if before[i].Type == now.Type && before[i].Status == now.Status {
			now.LastTransitionTime = before[i].LastTransitionTime
		}
	}
}
