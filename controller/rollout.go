package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/daemonset"
	"berth/reconcile/deployment"
	"berth/reconcile/request"
	"berth/reconcile/statefulset"
)

// What a user asks of a rollout is written beside the object in the store; the planner does the rest. So it survives whatever happens in between.

// Revision is one entry of a Deployment's history.
type Revision = deployment.Revision

// Undo makes a Deployment run another revision than the one that runs, the one before it or the one of a number, until its file changes.
func (c *Controller) Undo(key reconcile.Key, number int64) (Revision, error) {
	var back Revision
	err := c.request(key, func(in deployment.Input) (annotations map[string]string, err error) {
		annotations, back, err = deployment.Undo(in, number)
		return annotations, err
	})
	if err == nil {
		c.events.add(reconcile.RecordEvent{
			Key: key, Reason: "DeploymentRollback", Message: fmt.Sprintf("Rolled back deployment %q to revision %d", key.Name, back.Number),
		})
	}
	return back, err
}

// Pause keeps the rollout of a Deployment as it is, whatever its file says, until Resume.
func (c *Controller) Pause(key reconcile.Key) error {
	return c.request(key, func(in deployment.Input) (map[string]string, error) {
		if in.Deployment.Spec.Paused || request.Paused(in.Deployment.Annotations) {
			return nil, fmt.Errorf("deployments.apps %q is already paused", key.Name)
		}
		return request.With(in.Deployment.Annotations, request.AnnotationPaused, "true"), nil
	})
}

// Resume ends what Pause began. What a file pauses only the file can resume.
func (c *Controller) Resume(key reconcile.Key) error {
	file := c.origin(key).String()
	return c.request(key, func(in deployment.Input) (map[string]string, error) {
		switch {
		case in.Deployment.Spec.Paused:
			return nil, fmt.Errorf("deployments.apps %q is paused by its manifest: remove spec.paused from %s", key.Name, file)
		case !request.Paused(in.Deployment.Annotations):
			return nil, fmt.Errorf("deployments.apps %q is not paused", key.Name)
		}
		return request.With(in.Deployment.Annotations, request.AnnotationPaused, ""), nil
	})
}

// Restart exchanges the pods of a Deployment, a StatefulSet or a DaemonSet for new ones of the same revision, by a rollout.
func (c *Controller) Restart(key reconcile.Key) error {
	at := c.opts.Clock.Now().UTC().Format(time.RFC3339)
	if key.Kind == reconcile.KindStatefulSet || key.Kind == reconcile.KindDaemonSet {
		err := c.store.Update(key, func(it store.Item) (store.Item, error) {
			it.Object = annotated(it.Object, request.Restarted(it.Object.GetAnnotations(), at))
			return it, nil
		})
		if errors.Is(err, store.ErrNotFound) {
			return missing(key)
		}
		return err
	}
	return c.request(key, func(in deployment.Input) (map[string]string, error) {
		if in.Deployment.Spec.Paused || request.Paused(in.Deployment.Annotations) {
			return nil, fmt.Errorf("deployments.apps %q can't restart paused deployment (run rollout resume first)", key.Name)
		}
		return request.Restarted(in.Deployment.Annotations, at), nil
	})
}

// History lists the revisions of a Deployment, oldest first.
func (c *Controller) History(key reconcile.Key) ([]Revision, error) {
	d, err := c.deployment(key)
	if err != nil {
		return nil, err
	}
	return deployment.History(c.deploymentInput(d)), nil
}

// Progress tells how the rollout of a Deployment, a StatefulSet or a DaemonSet gets on, as soon as that is something else than what was seen last. An error tells that the rollout
// has failed, or that there is none.
func (c *Controller) Progress(ctx context.Context, key reconcile.Key, seen string) (text string, done bool, err error) {
	changes, cancel := c.Changes()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return "", false, context.Cause(ctx)
		case <-changes:
		}
		text, done, err := c.progress(key)
		if err != nil || done || text != seen {
			return text, done, err
		}
	}
}

func (c *Controller) progress(key reconcile.Key) (text string, done bool, err error) {
	it, _ := c.store.Get(key)
	switch o := it.Object.(type) {
	case *appsv1.Deployment:
		return deployment.Progress(c.deploymentInput(o))
	case *appsv1.StatefulSet:
		return statefulset.Progress(o)
	case *appsv1.DaemonSet:
		return daemonset.Progress(o)
	}
	return "", false, missing(key)
}

// request puts what is asked for beside a Deployment. When that changes meanwhile it is asked anew.
func (c *Controller) request(key reconcile.Key, decide func(deployment.Input) (map[string]string, error)) error {
	for written := false; !written; {
		d, err := c.deployment(key)
		if err != nil {
			return err
		}
		annotations, err := decide(c.deploymentInput(d))
		if err != nil {
			return err
		}
		err = c.store.Update(key, func(now store.Item) (store.Item, error) {
			if written = now.Object == store.Object(d); written {
				now.Object = annotated(now.Object, annotations)
			}
			return now, nil
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) { // what is gone is not found the next time
			return err
		}
	}
	return nil
}

func (c *Controller) deployment(key reconcile.Key) (*appsv1.Deployment, error) {
	d, ok := store.Get[*appsv1.Deployment](c.store, key)
	if !ok {
		return nil, missing(key)
	}
	return d, nil
}

func missing(key reconcile.Key) error {
	return fmt.Errorf("%ss.apps %q not found in namespace %q", strings.ToLower(key.Kind), key.Name, key.Namespace)
}

func (c *Controller) origin(key reconcile.Key) manifests.Origin {
	if it, ok := c.store.Get(key); ok && it.Source != nil {
		return it.Source.Origin
	}
	return manifests.Origin{}
}

func (c *Controller) deploymentInput(d *appsv1.Deployment) deployment.Input {
	sets := owned[*appsv1.ReplicaSet](c.store, d.UID)
	in := deployment.Input{
		Deployment: d, ReplicaSets: sets, Config: c.templateConfig(reconcile.KeyOf(d), d, &d.Spec.Template.Spec), Now: c.opts.Clock.Now(),
	}
	if deployment.Overdue(d, in.Now) {
		in.Trouble, in.Pulling = c.trouble(sets), c.pulling(sets)
	}
	if rollsOut(sets) {
		in.Fresh = make(map[string]deployment.Fresh, len(sets))
		for _, rs := range sets {
			in.Fresh[rs.Name] = deployment.FreshOf(owned[*corev1.Pod](c.store, rs.UID), in.Now)
		}
	}
	return in
}

// rollsOut tells whether more than one revision has pods.
func rollsOut(sets []*appsv1.ReplicaSet) bool {
	n := 0
	for _, rs := range sets {
		if rs.Status.Replicas > 0 {
			n++
		}
	}
	return n > 1
}

// trouble is what keeps pods from being ready, by ReplicaSet.
func (c *Controller) trouble(sets []*appsv1.ReplicaSet) map[string]string {
	found := map[string]string{}
	for _, rs := range sets {
		if text := problem(owned[*corev1.Pod](c.store, rs.UID)); text != "" {
			found[rs.Name] = text
		}
	}
	return found
}

// pulling names the ReplicaSets with pods that wait for an image which is on its way.
func (c *Controller) pulling(sets []*appsv1.ReplicaSet) map[string]bool {
	images := map[string]bool{}
	for _, p := range c.images.pulling() {
		images[p.Image] = true
	}
	found := map[string]bool{}
	for _, rs := range sets {
		found[rs.Name] = len(images) > 0 && slices.ContainsFunc(owned[*corev1.Pod](c.store, rs.UID), func(p *corev1.Pod) bool {
			wants := func(k corev1.Container) bool { return images[k.Image] }
			return !ready(p) && (slices.ContainsFunc(p.Spec.InitContainers, wants) || slices.ContainsFunc(p.Spec.Containers, wants))
		})
	}
	return found
}

// rolloutStatus says in a workload's row what keeps its rollout from being the file's: a problem, or a user's own wish.
func (w *Workload) rolloutStatus(d *appsv1.Deployment) {
	hold, held := request.ReadHold(d.Annotations)
	for _, cond := range d.Status.Conditions {
		switch {
		case cond.Type == appsv1.DeploymentProgressing && cond.Status == corev1.ConditionFalse && w.Problem == "",
			cond.Type == deployment.ConditionRolledBack && cond.Status == corev1.ConditionFalse:
			w.Problem = cond.Message
		case cond.Type == deployment.ConditionRolledBack && hold.Cause == request.CauseUndo:
			w.Note = hold.Text(w.File)
		case cond.Type == deployment.ConditionRolledBack && held:
			w.Problem, w.Done = hold.Text(w.File), false
		}
	}
	switch {
	case d.Spec.Paused:
		w.Note = "Its rollout is paused by " + w.File
	case request.Paused(d.Annotations):
		w.Note = "Its rollout is paused; `berth rollout resume deployment/" + d.Name + " -n " + d.Namespace + "` goes on with it"
	}
}

// withBeside is an object, as its file states it, with what was kept beside the version before. A file has no say in that.
func withBeside(obj store.Object, before map[string]string) store.Object {
	annotations := obj.GetAnnotations()
	for name := range annotations {
		if request.Beside(name) {
			annotations = request.With(annotations, name, before[name])
		}
	}
	for name, value := range before {
		if request.Beside(name) {
			annotations = request.With(annotations, name, value)
		}
	}
	obj = annotated(obj, annotations)
	request.Scaled(obj)
	return obj
}

// annotated is an object with a set of annotations, in a copy if that differs.
func annotated(obj store.Object, annotations map[string]string) store.Object {
	if maps.Equal(obj.GetAnnotations(), annotations) {
		return obj
	}
	n := shallow(obj)
	n.SetAnnotations(annotations)
	return n
}

// setAnnotation changes one annotation, if it still is what the planner has seen.
func (c *Controller) setAnnotation(a reconcile.SetAnnotation) error {
	return ignoreGone(c.store.Update(a.Key, func(it store.Item) (store.Item, error) {
		had := it.Object.GetAnnotations()
		if it.Object.GetUID() == a.UID && had[a.Name] == a.Old {
			it.Object = annotated(it.Object, request.With(had, a.Name, a.New))
		}
		return it, nil
	}))
}
