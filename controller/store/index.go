package store

import (
	"cmp"
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

func (s *Store) remember(it *Item) {
	s.items[it.Key] = it
	s.byUID[it.Object.GetUID()] = it.Key
	insert(s.byKind, it.Key.Kind, it.Key)
	if owner := metav1.GetControllerOfNoCopy(it.Object); owner != nil {
		insert(s.byOwner, owner.UID, it.Key)
	} else if Orphan(*it) {
		insert(s.byOwner, "", it.Key)
	}
	if s.opts.Guard {
		s.guard[it.Object] = it.Object.DeepCopyObject().(Object)
	}
}

func (s *Store) forget(it *Item) {
	s.check(it.Object)
	delete(s.items, it.Key)
	delete(s.byUID, it.Object.GetUID())
	delete(s.guard, it.Object)
	remove(s.byKind, it.Key.Kind, it.Key)
	if owner := metav1.GetControllerOfNoCopy(it.Object); owner != nil {
		remove(s.byOwner, owner.UID, it.Key)
	} else if Orphan(*it) {
		remove(s.byOwner, "", it.Key)
	}
}

// Orphan tells of what was made for an owner and has none any more: neither a controller nor a file.
func Orphan(it Item) bool {
	if it.Source != nil || metav1.GetControllerOfNoCopy(it.Object) != nil {
		return false
	}
	switch it.Key.Kind {
	case reconcile.KindPod:
		return it.Object.GetAnnotations()[reconcile.AnnotationWish] == ""
	case reconcile.KindReplicaSet, reconcile.KindControllerRevision, reconcile.KindJob:
		return true
	}
	return false
}

// sibling is an object of the kind with the same controller, nil when there is none.
func (s *Store) sibling(kind string, obj Object) Object {
	owner := metav1.GetControllerOfNoCopy(obj)
	if owner == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key := range s.byOwner[owner.UID] {
		if key.Kind == kind {
			return s.items[key].Object
		}
	}
	return nil
}

func (s *Store) check(obj Object) {
	if !s.opts.Guard {
		return
	}
	if was := s.guard[obj]; was != nil && !apiequality.Semantic.DeepEqual(was, obj) {
		panic(fmt.Sprintf("%T %s/%s was changed in place", obj, obj.GetNamespace(), obj.GetName()))
	}
}

func tell(watchers []func(Change), c Change) {
	obj := c.New
	if c.Deleted {
		obj = c.Old
	}
	c.UID = obj.GetUID()
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil {
		c.Owner = reconcile.Key{Kind: owner.Kind, Namespace: c.Key.Namespace, Name: owner.Name}
	}
	for _, w := range watchers {
		w(c)
	}
}

func insert[K comparable](m map[K]map[reconcile.Key]struct{}, k K, key reconcile.Key) {
	set := m[k]
	if set == nil {
		set = map[reconcile.Key]struct{}{}
		m[k] = set
	}
	set[key] = struct{}{}
}

func remove[K comparable](m map[K]map[reconcile.Key]struct{}, k K, key reconcile.Key) {
	delete(m[k], key)
	if len(m[k]) == 0 {
		delete(m, k)
	}
}

func compare(a, b reconcile.Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
