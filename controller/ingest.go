package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// fuse is how many top-level objects may vanish within one delay whatever their share: small directories are emptied on purpose.
const fuse = 5

// ingest turns snapshots into wishes. What a snapshot states is a wish at once. What it does not state any more is removed only after a delay,
// and not at all without consent when it is most of everything; what its file may still state, but cannot be read, is never removed.
type ingest struct {
	c     *Controller
	clock clock.WithDelayedExecution
	delay time.Duration

	mu       sync.Mutex // held during a whole snapshot; the store's locks are taken inside
	last     manifests.Snapshot
	seen     bool                              // a snapshot has come
	wishes   map[reconcile.Key]bool            // the objects of the last snapshot
	vanished map[reconcile.Key]time.Time       // since when; not those that are held or unreadable
	problems map[reconcile.Key]manifests.Fault // wishes that cannot be followed
	reported map[reconcile.Key]manifests.Fault // those of the snapshot before
	asides   map[reconcile.Key]*aside          // what comes with the next words of files
	timer    clock.Timer
	patience clock.Timer // for lost owners
	stopped  bool
	down     bool // everything is to go: snapshots do not count any more
}

func newIngest(c *Controller) *ingest {
	return &ingest{
		c: c, clock: c.opts.Clock, delay: c.opts.PruneDelay,
		wishes: map[reconcile.Key]bool{}, vanished: map[reconcile.Key]time.Time{}, problems: map[reconcile.Key]manifests.Fault{},
		asides: map[reconcile.Key]*aside{},
	}
}

// apply takes a snapshot. Applying the same one again changes nothing.
func (in *ingest) apply(s manifests.Snapshot) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped || in.down {
		return
	}
	in.last, in.seen = s, true
	clear(in.wishes)
	in.reported, in.problems = in.problems, map[reconcile.Key]manifests.Fault{}
	in.c.references.hold()
	for _, first := range []bool{true, false} { // what pods are made of is there before who makes pods of it
		for i := range s.Objects {
			key := KeyOf(s.Objects[i].Key)
			if first != configures(key.Kind) {
				continue
			}
			in.wishes[key] = true
			delete(in.vanished, key)
			in.put(key, &s.Objects[i])
		}
		if first {
			in.c.allocate()
		}
	}
	in.c.references.release()
	in.mark()
	in.arm()
	in.expectLost()
	in.c.notify.notify()
}

// configures tells of kinds that pods take a part of their environment from, or are judged by from their start.
func configures(kind string) bool {
	return kind == reconcile.KindConfigMap || kind == reconcile.KindSecret || kind == reconcile.KindService ||
		kind == reconcile.KindNetworkPolicy || kind == reconcile.KindNamespace
}

// KeyOf is the name of a stated object in the store: a stated Pod is the wish for one, and kinds of foreign API groups carry their group.
func KeyOf(k manifests.Key) reconcile.Key {
	kind := k.Kind
	switch {
	case k.Group == "" && k.Kind == reconcile.KindPod:
		kind = reconcile.KindBarePod
	case strings.Contains(k.Group, ".") && !strings.HasSuffix(k.Group, ".k8s.io"):
		kind += "." + k.Group
	}
	return reconcile.Key{Kind: kind, Namespace: k.Namespace, Name: k.Name}
}

// put makes one stated object the wish.
func (in *ingest) put(key reconcile.Key, o *manifests.Object) {
	src := &store.Source{Origin: o.Origin, Hash: o.Hash}
	old, ok := in.c.store.Get(key)
	if ok && old.Source != nil && *old.Source == *src {
		return
	}
	if ok && gives(&old) {
		in.c.store.Delete(key, old.Object.GetUID())
		old, ok = store.Item{}, false
	}
	obj, isObject := o.Object.DeepCopyObject().(store.Object)
	if !isObject {
		in.problem(key, o, "", fmt.Sprintf("%T is no Kubernetes object", o.Object), "")
		return
	}
	obj = modern(obj)
	if err := in.c.unfit(obj, old.Object); err != nil {
		in.problem(key, o, err.Field, err.ErrorBody(), "give the Service the families of this machine; both are there with `berth up --ipv6`")
		return
	}
	if !ok {
		in.c.withAllocation(obj, nil)
		obj.SetUID(in.c.lost.uid(key))
		obj.SetResourceVersion("")
		obj.SetGeneration(0)
		in.failed(key, o, in.c.store.Create(key, in.withAside(key, withBeside(obj, nil)), src))
		in.c.lost.found(key)
		return
	}
	if owner := metav1.GetControllerOfNoCopy(old.Object); owner != nil && old.Source == nil {
		in.problem(key, o, "metadata.name", fmt.Sprintf("the name is taken by what %s %s has made", owner.Kind, owner.Name), "give it another name")
		return
	}
	if field := immutable(old.Object, obj); field != "" {
		in.problem(key, o, field, "this field cannot be changed; the object goes on as it was",
			"take the object out of its file until it is gone and put it back, or give the new one another name")
		return
	}
	in.failed(key, o, in.c.store.Update(key, func(it store.Item) (store.Item, error) {
		if it.Source != nil && it.Source.Hash == src.Hash && src.Hash != "" {
			return store.Item{Object: it.Object, Source: src}, nil // it has moved, or is back
		}
		n := carryOver(it.Object, obj)
		in.c.withAllocation(n, it.Object)
		return store.Item{Object: in.withAside(key, n), Source: src}, nil
	}))
}

// again makes a stated object the wish that could not become it while an old one of its name was ending.
func (in *ingest) again(key reconcile.Key) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped || in.down || !in.wishes[key] {
		return
	}
	for i := range in.last.Objects {
		if KeyOf(in.last.Objects[i].Key) == key {
			delete(in.problems, key)
			in.put(key, &in.last.Objects[i])
		}
	}
}

func (in *ingest) failed(key reconcile.Key, o *manifests.Object, err error) {
	if err != nil {
		in.problem(key, o, "", err.Error(), "")
	}
}

func (in *ingest) problem(key reconcile.Key, o *manifests.Object, field, text, remedy string) {
	f := manifests.Fault{
		File: o.Origin.File, Line: o.Origin.Line, Severity: manifests.Error,
		Object: o.Key.Kind + "/" + o.Key.Name, Field: field, Text: text, Remedy: remedy,
	}
	in.problems[key] = f
	if in.reported[key] == f {
		return
	}
	in.c.opts.Log.Info("cannot follow a manifest", "fault", f.String())
	in.c.events.add(reconcile.RecordEvent{Key: key, Warning: true, Reason: "FailedUpdate", Message: f.String()})
}

// immutable names the field that differs and must not, as a Kubernetes API server would.
func immutable(old, n store.Object) string {
	switch o := old.(type) {
	case *appsv1.Deployment:
		if d, ok := n.(*appsv1.Deployment); ok && !apiequality.Semantic.DeepEqual(o.Spec.Selector, d.Spec.Selector) {
			return "spec.selector"
		}
	case *appsv1.ReplicaSet:
		if rs, ok := n.(*appsv1.ReplicaSet); ok && !apiequality.Semantic.DeepEqual(o.Spec.Selector, rs.Spec.Selector) {
			return "spec.selector"
		}
	case *appsv1.StatefulSet, *appsv1.DaemonSet:
		return immutableOfSet(old, n)
	case *corev1.ConfigMap:
		if m, ok := n.(*corev1.ConfigMap); ok {
			return frozenConfigMap(o, m)
		}
	case *corev1.Secret:
		if s, ok := n.(*corev1.Secret); ok {
			return frozenSecret(o, s)
		}
	case *batchv1.Job:
		if j, ok := n.(*batchv1.Job); ok {
			return immutableOfJob(o, j)
		}
	}
	return immutableStorage(old, n)
}

// carryOver puts what is not the file's into the new version: the status, what is kept beside it, and the bindings of storage.
func carryOver(old, n store.Object) store.Object {
	n.SetManagedFields(old.GetManagedFields())
	return withBinding(withBeside(withStatus(n, old), old.GetAnnotations()), old)
}

// mark notes which stated objects are absent, since when, and which are not known to be gone.
func (in *ingest) mark() {
	now := in.clock.Now()
	in.c.store.Each(func(it store.Item) {
		if it.Source == nil || in.wishes[it.Key] {
			return
		}
		if covered(in.last.Incomplete, it.Source.Origin.File) {
			delete(in.vanished, it.Key)
			return
		}
		if _, ok := in.vanished[it.Key]; !ok && !it.Source.Held {
			in.vanished[it.Key] = now
		}
	})
}

// covered tells whether a file is among what could not be read as a whole. Where an object came from may be unknown: then any such file counts.
func covered(incomplete []string, file string) bool {
	return slices.ContainsFunc(incomplete, func(p string) bool { return file == "" || under(file, p) })
}

// blows tells whether so many of all objects vanish at once that somebody must be asked.
func blows(vanished, total int) bool { return vanished > fuse && 2*vanished > total }

// under tells whether a file is named by a path: itself, a directory with a slash at its end, or "/" for everything.
func under(file, path string) bool {
	return path == "/" || file == path || strings.HasSuffix(path, "/") && strings.HasPrefix(file, path)
}

// arm sets the timer to when the first vanished object is due.
func (in *ingest) arm() {
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
	if len(in.vanished) == 0 || in.stopped {
		return
	}
	var first time.Time
	for _, since := range in.vanished {
		if first.IsZero() || since.Before(first) {
			first = since
		}
	}
	in.timer = in.clock.AfterFunc(first.Add(in.delay).Sub(in.clock.Now()), in.prune)
}

// prune removes what has been absent for the delay, unless most of everything vanished within it.
func (in *ingest) prune() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped || in.down {
		return
	}
	if total := in.stated(); !in.c.opts.AllowPrune && blows(len(in.vanished), total) {
		in.hold(total)
		return
	}
	now := in.clock.Now()
	for _, key := range in.sortedVanished() {
		if !in.vanished[key].Add(in.delay).After(now) {
			in.remove(key, "no file states it any more")
		}
	}
	in.arm()
	in.c.notify.notify()
}

// hold makes everything that has vanished wait for consent. The store remembers it for the next controller.
func (in *ingest) hold(total int) {
	for _, key := range in.sortedVanished() {
		in.setHeld(key, true)
		delete(in.vanished, key)
		in.c.events.add(reconcile.RecordEvent{
			Key: key, Warning: true, Reason: "RemovalWaits",
			Message: fmt.Sprintf("most of the %d objects vanished at once: nothing is removed until `berth allow`", total),
		})
	}
	in.c.opts.Log.Info("most objects vanished at once: nothing is removed until `berth allow`", "stated", total)
	in.c.notify.notify()
}

func (in *ingest) setHeld(key reconcile.Key, held bool) {
	err := in.c.store.Update(key, func(it store.Item) (store.Item, error) {
		if it.Source == nil || it.Source.Held == held {
			return it, nil
		}
		src := *it.Source
		src.Held = held
		return store.Item{Object: it.Object, Source: &src}, nil
	})
	if ignoreGone(err) != nil {
		in.c.opts.Log.Error(err, "cannot hold a removal", "key", key.String())
	}
}

// remove ends a wish; what was made from it follows, as garbage, unless somebody wants it to stay.
func (in *ingest) remove(key reconcile.Key, why string) {
	delete(in.vanished, key)
	delete(in.problems, key)
	in.c.opts.Log.Info("removing", "key", key.String(), "reason", why)
	in.c.events.add(reconcile.RecordEvent{Key: key, Reason: "Removed", Message: why})
	end := func() { in.c.deleteObject(key, "") }
	if it, ok := in.c.store.Get(key); ok && it.Source != nil && it.Source.Alone {
		in.c.leave(it, end)
		return
	}
	end()
}

// expectLost gives lost owners the prune delay after the first whole snapshot to come back.
func (in *ingest) expectLost() {
	if in.patience != nil || len(in.last.Incomplete) > 0 {
		return
	}
	in.patience = in.clock.AfterFunc(in.delay, func() {
		if in.c.lost.giveUp() {
			in.c.enqueueAll()
		}
	})
}

// stated is the number of objects that a source states, those that have vanished included.
func (in *ingest) stated() int {
	n := 0
	in.c.store.Each(func(it store.Item) {
		if it.Source != nil {
			n++
		}
	})
	return n
}

func (in *ingest) sortedVanished() []reconcile.Key {
	keys := make([]reconcile.Key, 0, len(in.vanished))
	for key := range in.vanished {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b reconcile.Key) int { return cmp.Compare(a.String(), b.String()) })
	return keys
}

func (in *ingest) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopped = true
	for _, t := range []clock.Timer{in.timer, in.patience} {
		if t != nil {
			t.Stop()
		}
	}
}
