package controller

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/request"
	"berth/runtime"
)

// execute does one action. again means that the rest of the plan rests on what has just turned out otherwise: plan anew. Every case may be
// executed twice.
func (c *Controller) execute(ctx context.Context, action reconcile.Action) (again bool, err error) { //nolint:funlen // one case for each action
	switch a := action.(type) {
	case reconcile.CreateObject:
		return c.createObject(a)
	case reconcile.UpdateObject:
		return c.updateObject(a)
	case reconcile.UpdateReplicaSet:
		return false, c.updateReplicaSet(a)
	case reconcile.DeleteObject:
		c.deleteObject(a.Key, a.UID)
	case reconcile.AdoptObject:
		return c.adoptObject(ctx, a)
	case reconcile.ReleaseObject:
		return c.releaseObject(a), nil
	case reconcile.ProvisionVolume:
		return false, c.provisionVolume(ctx, a)
	case reconcile.BindClaim:
		return c.bindClaim(ctx, a)
	case reconcile.UnbindVolume:
		return false, c.unbindVolume(a)
	case reconcile.RemoveClaim:
		c.removeClaim(a)
	case reconcile.RemoveVolume:
		return false, c.removeVolume(ctx, a)
	case reconcile.CreatePod:
		return c.createPod(a)
	case reconcile.DeletePod:
		return false, c.deletePod(a)
	case reconcile.UpdateStatus:
		return false, c.updateStatus(a)
	case reconcile.SetAnnotation:
		return false, c.setAnnotation(a)
	case reconcile.RecordEvent:
		if a.Routine {
			c.events.steps.put(a)
		} else {
			c.events.add(a)
		}
	case reconcile.PullImage:
		c.images.pull(ctx, a, c.credentials(a))
	case reconcile.ObtainCertificate:
		return false, c.obtain(ctx, a)
	case reconcile.RunSandbox:
		return c.runSandbox(ctx, a)
	case reconcile.UpdateFiles:
		return false, c.onMachine(a.Pod, a.UID, c.opts.Pods.UpdateFiles(ctx, string(a.UID), a.Volumes))
	case reconcile.StartContainer:
		return c.startContainer(ctx, a)
	case reconcile.RunHook:
		c.runHook(ctx, a)
	case reconcile.SignalContainer:
		return c.signalContainer(ctx, a)
	case reconcile.KillContainer:
		return false, c.killContainer(ctx, a)
	case reconcile.RemoveContainer:
		return false, c.onMachine(a.Pod, a.UID, c.opts.Containers.RemoveContainer(ctx, string(a.UID), a.Container, a.Attempt))
	case reconcile.StopSandbox:
		return false, c.onMachine(a.Pod, a.UID, c.opts.Pods.StopSandbox(ctx, string(a.UID), a.Empty))
	case reconcile.Scale:
		return false, c.scale(a)
	case reconcile.EvictPod:
		c.evict(a)
	case reconcile.RemoveSandbox:
		return false, c.onMachine(a.Pod, a.UID, c.opts.Pods.RemoveSandbox(ctx, string(a.UID)))
	case reconcile.ForgetPod:
		c.store.Delete(a.Pod, a.UID)
	default:
		return false, fmt.Errorf("cannot execute %T: %w", action, errTerminal)
	}
	return false, nil
}

// onMachine makes a pod due again after an effect: the machine is asked what came of it. What is gone is as good as ended.
func (c *Controller) onMachine(key reconcile.Key, uid types.UID, err error) error {
	c.observed.mark(string(uid))
	if err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return err
	}
	c.queue.Add(key)
	return nil
}

// createObject makes an object. One that came back from a lost state gets the UID it had, and so gets back what it owned.
func (c *Controller) createObject(a reconcile.CreateObject) (again bool, err error) {
	obj, ok := a.Object.DeepCopyObject().(store.Object)
	if !ok {
		return false, fmt.Errorf("cannot create a %T: %w", a.Object, errTerminal)
	}
	key := reconcile.KeyOf(a.Object)
	obj.SetUID(c.lost.uid(key))
	err = c.store.Create(key, obj, nil)
	c.lost.found(key)
	if errors.Is(err, store.ErrExists) {
		if there, ok := c.store.Get(key); ok && sameController(there.Object, obj) {
			return true, nil
		}
		return false, fmt.Errorf("cannot create %s: the name is taken by one of another owner", key)
	}
	return false, err
}

// updateObject puts a new version of a made object in the place of the old one; the status stays. One that has changed meanwhile, by somebody else's
// hand, is planned anew.
func (c *Controller) updateObject(a reconcile.UpdateObject) (again bool, err error) {
	err = c.store.Update(reconcile.KeyOf(a.Object), func(it store.Item) (store.Item, error) {
		if it.Object.GetUID() != a.Object.GetUID() || it.Object.GetResourceVersion() != a.Object.GetResourceVersion() {
			again = true
			return it, nil
		}
		if n, ok := a.Object.DeepCopyObject().(store.Object); ok {
			it.Object = withStatus(n, it.Object)
		}
		return it, nil
	})
	return again, ignoreGone(err)
}

func (c *Controller) updateReplicaSet(a reconcile.UpdateReplicaSet) error {
	err := c.store.Update(a.Key, func(it store.Item) (store.Item, error) {
		rs, ok := it.Object.(*appsv1.ReplicaSet)
		if !ok || rs.UID != a.UID {
			return it, nil
		}
		n := *rs
		n.Spec.Replicas = &a.Replicas
		n.Spec.MinReadySeconds = a.MinReadySeconds
		n.Annotations = a.Annotations
		it.Object = &n
		return it, nil
	})
	return ignoreGone(err)
}

func (c *Controller) createPod(a reconcile.CreatePod) (again bool, err error) {
	p := a.Pod.DeepCopy() // parts of it are the owner's
	key := reconcile.Key{Kind: reconcile.KindPod, Namespace: p.Namespace, Name: p.Name}
	if p.Spec.NodeName == "" {
		p.Spec.NodeName = c.opts.Node.Name // there is no other
	}
	if metav1.GetControllerOfNoCopy(p) != nil { // a template has not the defaults of a Pod: requests are the limits where none are stated
		manifests.Scheme().Default(p)
	}
	err = c.store.Create(key, p, nil)
	if errors.Is(err, store.ErrExists) {
		if there, ok := store.Get[*corev1.Pod](c.store, key); ok && sameController(there, p) {
			return false, nil
		}
		return false, fmt.Errorf("cannot create %s: the name is taken", key)
	}
	return false, err
}

// deletePod begins a graceful end, or shortens one. The order is in the journal before anybody sees it: a new controller goes on with it.
func (c *Controller) deletePod(a reconcile.DeletePod) error {
	p, ok := store.Get[*corev1.Pod](c.store, a.Key)
	if !ok || p.UID != a.UID {
		return nil
	}
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		grace = *s
	}
	if a.Grace != nil {
		grace = *a.Grace
	}
	at := metav1.NewTime(c.opts.Clock.Now().Add(time.Duration(grace) * time.Second))
	if p.DeletionTimestamp != nil && !at.Before(p.DeletionTimestamp) {
		return nil
	}
	c.store.SetEnding(p.UID, store.Ending{At: at.Time, Grace: grace})
	return ignoreGone(c.store.Update(a.Key, func(it store.Item) (store.Item, error) {
		old, ok := it.Object.(*corev1.Pod)
		if !ok || old.UID != a.UID {
			return it, nil
		}
		it.Object = ending(old, at, grace)
		return it, nil
	}))
}

// ending is a Pod with the order to end.
func ending(p *corev1.Pod, at metav1.Time, grace int64) *corev1.Pod {
	n := *p
	n.DeletionTimestamp, n.DeletionGracePeriodSeconds = &at, &grace
	return &n
}

func (c *Controller) updateStatus(a reconcile.UpdateStatus) error {
	obj, ok := a.Object.(store.Object)
	if !ok {
		return fmt.Errorf("cannot update the status of a %T: %w", a.Object, errTerminal)
	}
	return ignoreGone(c.store.Update(reconcile.KeyOf(obj), func(it store.Item) (store.Item, error) {
		if it.Object.GetUID() == obj.GetUID() {
			it.Object = withRecord(withStatus(it.Object, obj), obj)
		}
		return it, nil
	}))
}

// withStatus is old with the status of n, or old itself when that is the same. What is not of the status is shared.
func withStatus(old, n store.Object) store.Object {
	was, is := store.StatusOf(old), store.StatusOf(n)
	if !was.IsValid() || !is.IsValid() || was.Type() != is.Type() || apiequality.Semantic.DeepEqual(was.Interface(), is.Interface()) {
		return old
	}
	out := shallow(old)
	store.StatusOf(out).Set(is)
	return out
}

// shallow is a copy of a typed object that shares all its parts.
func shallow(obj store.Object) store.Object {
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	out, _ := reflect.TypeAssert[store.Object](c) // it is of obj's type
	return out
}

// withRecord is an object with the record of n, which is as much of a status as the rest.
func withRecord(obj, n store.Object) store.Object {
	return annotated(obj, request.With(obj.GetAnnotations(), reconcile.AnnotationRecord, n.GetAnnotations()[reconcile.AnnotationRecord]))
}

// runSandbox makes a sandbox. One that cannot be made is remembered, and the planner decides when to try again.
func (c *Controller) runSandbox(ctx context.Context, a reconcile.RunSandbox) (again bool, err error) {
	uid := types.UID(a.Config.UID)
	_, err = c.opts.Pods.RunSandbox(ctx, a.Config)
	c.observed.mark(a.Config.UID)
	switch {
	case err == nil:
		c.memory.sandboxRuns(uid)
		c.queue.Add(a.Pod)
		return false, nil
	case ctx.Err() != nil:
		return false, err
	}
	logr.FromContextOrDiscard(ctx).Error(err, "cannot make sandbox", "key", a.Pod.String())
	c.memory.sandboxFailed(uid, c.opts.Clock.Now(), firstLine(err))
	c.events.add(reconcile.RecordEvent{Key: a.Pod, UID: uid, Warning: true, Reason: "FailedCreatePodSandBox", Message: firstLine(err)})
	return true, nil
}

// startContainer starts a container. A start that failed is an outcome: it is remembered, and the planner decides when to try again.
func (c *Controller) startContainer(ctx context.Context, a reconcile.StartContainer) (again bool, err error) {
	if err := c.carryEphemeral(ctx, a); err != nil {
		return false, err
	}
	_, err = c.opts.Containers.StartContainer(ctx, string(a.UID), a.Config)
	c.observed.mark(string(a.UID))
	switch {
	case err == nil:
		c.memory.started(a.UID, a.Config.Name)
		c.queue.Add(a.Pod)
		c.tellStart(&a)
		return false, nil
	case ctx.Err() != nil:
		return false, err
	case errors.Is(err, runtime.ErrSandboxGone):
		return true, nil
	}
	if errors.Is(err, runtime.ErrNotFound) {
		c.images.expire(a.Config.Image)
	}
	reason := runtime.ReasonCreateError
	if start, ok := errors.AsType[*runtime.StartError](err); ok {
		reason = start.Reason
	}
	c.memory.failed(a.UID, a.Config.Name, reconcile.StartFailure{
		Attempt: a.Config.Attempt, Backoff: a.Config.Backoff, SpecHash: a.Config.SpecHash,
		Reason: reason, Message: err.Error(), At: c.opts.Clock.Now(),
	})
	c.events.add(reconcile.RecordEvent{
		Key: a.Pod, UID: a.UID, Warning: true, Reason: "Failed",
		Message: fmt.Sprintf("Error: container %q: %s", a.Config.Name, firstLine(err)),
	})
	return true, nil
}

func (c *Controller) signalContainer(ctx context.Context, a reconcile.SignalContainer) (again bool, err error) {
	attempt := c.observed.attempt(string(a.UID), a.Container)
	err = c.opts.Containers.SignalContainer(ctx, string(a.UID), a.Container, a.Signal)
	if err == nil || errors.Is(err, runtime.ErrNotFound) {
		c.memory.signalled(a.UID, a.Container, reconcile.Signalled{Attempt: attempt, At: c.opts.Clock.Now()})
	}
	return false, c.onMachine(a.Pod, a.UID, err)
}

// killContainer does not make the pod due, unless there is nothing to kill: the end does, and the planner looks again on its own if none comes.
// A process that hangs in the kernel would be killed over and over else.
func (c *Controller) killContainer(ctx context.Context, a reconcile.KillContainer) error {
	err := c.opts.Containers.KillContainer(ctx, string(a.UID), a.Container)
	if err == nil {
		c.observed.mark(string(a.UID))
		return nil
	}
	return c.onMachine(a.Pod, a.UID, err)
}

func sameController(a, b metav1.Object) bool {
	x, y := metav1.GetControllerOfNoCopy(a), metav1.GetControllerOfNoCopy(b)
	if x == nil || y == nil {
		return x == y
	}
	return x.UID == y.UID
}

// ignoreGone takes a change of what is no more for done.
func ignoreGone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
