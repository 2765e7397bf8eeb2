package controller

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/manifests"
	"berth/reconcile"
)

// accountOfPast tells of a pod that is gone.
func (c *Controller) accountOfPast(w wanted) (Account, bool) {
	gone := c.diary.past(func(g *gonePod) bool { return w.means(reconcile.KeyOf(g.pod)) > 0 })
	if len(gone) == 0 {
		return c.accountOfEvents(w)
	}
	g := gone[len(gone)-1]
	key := reconcile.KeyOf(g.pod)
	a := Account{Object: key.String(), Gone: true}
	if it, ok := c.store.Get(g.owner); ok {
		c.tellStated(&a, it)
	}
	for _, d := range c.diary.about(whyDecisions, key) {
		a.decision(d)
	}
	a.pod("gone", g.pod, g.at, true)
	c.tellEvents(&a, []reconcile.Key{key})
	a.Answer = "it is gone since " + g.at.Format(time.DateTime)
	for _, d := range c.diary.about(maxDecisions, key) {
		if _, reason, ok := strings.Cut(d.action, "delete "+key.String()+": "); ok {
			a.Answer += ": " + reason
		}
	}
	if text := problem([]*corev1.Pod{g.pod}); text != "" {
		a.Answer += "; before that, " + text
	}
	return a, true
}

// accountOfEvents tells of what is gone and was no pod.
func (c *Controller) accountOfEvents(w wanted) (Account, bool) {
	for _, e := range slices.Backward(c.Events(0)) {
		if w.means(e.Object) < 2 {
			continue
		}
		a := Account{Object: stated(e.Object), Gone: true, Answer: "it is gone"}
		for _, d := range c.diary.about(whyDecisions, e.Object) {
			a.decision(d)
		}
		c.tellGone(&a, e.Object)
		c.tellEvents(&a, []reconcile.Key{e.Object})
		if e.Reason == "Removed" {
			a.Answer += ": " + e.Message
		}
		return a, true
	}
	return Account{}, false
}

// accountOfFault tells of what a file states with a fault, so that it never came to be.
func (c *Controller) accountOfFault(w wanted) (Account, bool) {
	var s Status
	c.ingest.status(&s)
	var a Account
	for _, f := range s.Faults {
		kind, name, _ := strings.Cut(f.Object, "/")
		if f.Severity != manifests.Error || name != w.name || w.kind != "" && strings.ToLower(kind) != w.kind {
			continue
		}
		if a.Object == "" {
			a = Account{Object: kind + "/" + w.namespace + "/" + name, Gone: true, Answer: "it is not there: " + f.String()}
		}
		a.add("fault", "", time.Time{}, f.String(), true)
	}
	return a, a.Object != ""
}
