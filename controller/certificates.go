package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/certificate"
	"berth/reconcile/ingress"
	"berth/runtime"
)

// kindCertificate names in the queue what is decided about one certificate; it has the name of its Secret.
const kindCertificate = "Certificate"

// ordersAtOnce keeps many Ingresses that come together from asking an authority all at the same moment.
const ordersAtOnce = 3

// certificates is what is known of those that an authority issues: what is kept, what is under way, and what the hosts show for that.
type certificates struct {
	runtime runtime.Certificates // nil for a machine that cannot
	under   sync.WaitGroup
	slots   chan struct{}

	mu       sync.Mutex
	kept     map[reconcile.Key]*runtime.KeptCertificate // by Secret, as the rest; never changed
	ordering map[reconcile.Key]bool
	shown    map[reconcile.Key][]runtime.Challenge
	ways     []runtime.ChallengeWay // of the table that holds
}

// newCertificates reads what is kept.
func newCertificates(r runtime.Certificates, warn func(string)) *certificates {
	cs := &certificates{
		runtime: r, slots: make(chan struct{}, ordersAtOnce), kept: map[reconcile.Key]*runtime.KeptCertificate{},
		ordering: map[reconcile.Key]bool{}, shown: map[reconcile.Key][]runtime.Challenge{},
	}
	if r == nil {
		return cs
	}
	list, err := r.Kept()
	if err != nil {
		warn(firstLine(err))
	}
	for i := range list {
		cs.kept[reconcile.Key{Kind: reconcile.KindSecret, Namespace: list[i].Namespace, Name: list[i].Name}] = &list[i]
	}
	return cs
}

// certificateOf is the key in the queue of the certificate for a Secret, and secretOf the way back.
func certificateOf(secret reconcile.Key) reconcile.Key {
	return reconcile.Key{Kind: kindCertificate, Namespace: secret.Namespace, Name: secret.Name}
}

func secretOf(cert reconcile.Key) reconcile.Key {
	return reconcile.Key{Kind: reconcile.KindSecret, Namespace: cert.Namespace, Name: cert.Name}
}

// certificatesChanged makes due the certificates that a change concerns.
func (c *Controller) certificatesChanged(ch store.Change) {
	switch ch.Key.Kind {
	case reconcile.KindIngress:
		for _, obj := range []store.Object{ch.Old, ch.New} {
			if ing, ok := obj.(*networkingv1.Ingress); ok {
				c.queue.Add(certificatesOf(ing)...)
			}
		}
	case reconcile.KindIngressClass:
		c.queue.Add(c.allCertificates()...)
	case reconcile.KindSecret:
		if c.traffic.uses(ch.Key) || isMade(ch.Old) || isMade(ch.New) {
			c.queue.Add(certificateOf(ch.Key))
		}
	}
}

// certificatesOf are those that an Ingress may want.
func certificatesOf(list ...*networkingv1.Ingress) []reconcile.Key {
	keys := ingress.Secrets(list)
	for i := range keys {
		keys[i] = certificateOf(keys[i])
	}
	return keys
}

// isMade tells of a Secret that berth has made for a certificate.
func isMade(obj store.Object) bool {
	s, ok := obj.(*corev1.Secret)
	return ok && s.Annotations[certificate.AnnotationIssuedBy] != ""
}

// allCertificates are those that Ingresses may want, and those that nobody may want any more.
func (c *Controller) allCertificates() []reconcile.Key {
	keys := certificatesOf(all[*networkingv1.Ingress](c.store, reconcile.KindIngress)...)
	for _, it := range c.store.List(reconcile.KindSecret) {
		if isMade(it.Object) {
			keys = append(keys, certificateOf(it.Key))
		}
	}
	return keys
}

func (c *Controller) planCertificate(key reconcile.Key) reconcile.Plan {
	if c.certificates.runtime == nil {
		return reconcile.Plan{}
	}
	return certificate.Plan(c.certificateInput(secretOf(key)))
}

// certificateInput is what there is to know of the certificate for a Secret.
func (c *Controller) certificateInput(secret reconcile.Key) certificate.Input {
	in := certificate.Input{Now: c.opts.Clock.Now()}
	list, classes := all[*networkingv1.Ingress](c.store, reconcile.KindIngress), all[*networkingv1.IngressClass](c.store, reconcile.KindIngressClass)
	if w, ok := certificate.WishFor(secret, list, classes); ok {
		in.Wish = &w
	}
	if it, ok := c.store.Get(secret); ok {
		in.Secret, _ = it.Object.(*corev1.Secret)
		in.Stated = it.Source != nil
	}
	cs := c.certificates
	if cs.runtime != nil {
		in.Authority = cs.runtime.Authority()
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	in.Kept, in.Ordering, in.Ways = cs.kept[secret], cs.ordering[secret], cs.ways
	for _, k := range cs.kept {
		in.Tries = append(in.Tries, k.Tries...)
	}
	return in
}

// absentCertificates says of Secrets that are to be filled by an authority, and are not there yet, why not.
func (c *Controller) absentCertificates(secrets []reconcile.Key) map[reconcile.Key]ingress.Absence {
	out := map[reconcile.Key]ingress.Absence{}
	for _, key := range secrets {
		if _, ok := c.store.Get(key); ok {
			continue
		}
		in := c.certificateInput(key)
		if in.Wish == nil {
			continue
		}
		if len(in.Ways) == 0 {
			in.Ways = []runtime.ChallengeWay{runtime.ByHTTP, runtime.ByTLS} // it is this table that opens the ports; what is another's is said apart
		}
		out[key] = certificate.Absent(in)
	}
	return out
}

// certificateProblems are of certificates that should have been replaced by others. Those that are not there at all are problems of the table.
func (c *Controller) certificateProblems() (out []Problem) {
	for _, key := range c.keptCertificates() {
		in := c.certificateInput(key)
		text := certificate.Trouble(in)
		if text == "" {
			continue
		}
		for _, ing := range in.Wish.Ingresses {
			out = append(out, Problem{Object: ing.String(), Reason: certificate.ReasonFailed, Message: text})
		}
	}
	return out
}

func (c *Controller) keptCertificates() []reconcile.Key {
	cs := c.certificates
	cs.mu.Lock()
	defer cs.mu.Unlock()
	keys := make([]reconcile.Key, 0, len(cs.kept))
	for key := range cs.kept {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b reconcile.Key) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// ordersUnderWay tells whether an authority is being asked.
func (cs *certificates) ordersUnderWay() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.ordering) > 0
}

// waysChanged makes the certificates due when the table that holds lets hosts be asked by other ways than the one before.
func (c *Controller) waysChanged(t *runtime.Ingress) {
	var ways []runtime.ChallengeWay
	if t != nil && t.HTTP != 0 {
		ways = append(ways, runtime.ByHTTP)
	}
	if t != nil && t.HTTPS != 0 {
		ways = append(ways, runtime.ByTLS)
	}
	cs := c.certificates
	cs.mu.Lock()
	same := slices.Equal(cs.ways, ways)
	cs.ways = ways
	cs.mu.Unlock()
	if !same {
		c.queue.Add(c.allCertificates()...)
	}
}

// challenges are what the hosts show now.
func (cs *certificates) challenges() []runtime.Challenge {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var out []runtime.Challenge
	for _, list := range cs.shown {
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b runtime.Challenge) int { return strings.Compare(a.Host+a.Path, b.Host+b.Path) })
	return out
}

// obtain begins an order and returns at once. It is on the disk before anybody is asked.
func (c *Controller) obtain(ctx context.Context, a reconcile.ObtainCertificate) error {
	if ctx.Err() != nil {
		return ctx.Err() // what was cut short by berth's end is not begun again by it
	}
	cs := c.certificates
	cs.mu.Lock()
	if cs.ordering[a.Secret] {
		cs.mu.Unlock()
		return nil
	}
	k := certificate.Begun(cs.kept[a.Secret], a, cs.runtime.Authority(), c.opts.Clock.Now())
	cs.ordering[a.Secret] = true
	cs.mu.Unlock()
	err := cs.runtime.Keep(k)
	cs.mu.Lock()
	if err != nil {
		delete(cs.ordering, a.Secret)
		cs.mu.Unlock()
		return fmt.Errorf("cannot order a certificate without remembering it: %w", err)
	}
	cs.kept[a.Secret] = &k
	cs.mu.Unlock()
	cs.under.Go(func() { c.order(ctx, a, k) })
	c.notify.notify()
	return nil
}

// order is one order from its beginning to its end.
func (c *Controller) order(ctx context.Context, a reconcile.ObtainCertificate, k runtime.KeptCertificate) {
	cs := c.certificates
	authority := cs.runtime.Authority()
	var issued runtime.Issued
	var err error
	select {
	case cs.slots <- struct{}{}:
		c.tellOf(a, false, certificate.ReasonIssuing, fmt.Sprintf("Ordering a certificate for %s from %s", strings.Join(a.Hosts, ", "), certificate.Name(authority)))
		issued, err = cs.runtime.Issue(ctx, a.Hosts, a.Ways, func(ctx context.Context, list []runtime.Challenge) error { return c.show(ctx, a.Secret, list) })
		<-cs.slots
	case <-ctx.Done():
		err = ctx.Err()
	}
	var why *runtime.IssueError
	if err != nil && !errors.As(err, &why) {
		why = &runtime.IssueError{Message: firstLine(err)}
	}
	switch {
	case err == nil:
		k = certificate.Done(k, issued, authority)
		c.tellOf(a, false, certificate.ReasonIssued, certificate.IssuedText(authority, a.Secret, &issued))
	case ctx.Err() != nil: // berth ends, and it was nobody's fault
		k = certificate.Cut(k, why.Looked)
	default:
		k = certificate.Failed(k, why, a, authority, c.opts.Clock.Now(), c.opts.Nonce())
		c.tellOf(a, true, certificate.ReasonFailed, certificate.FailureText(k.Failing))
	}
	if err := cs.runtime.Keep(k); err != nil {
		c.opts.Log.Error(err, "what came of an order for a certificate is known until berth ends", "secret", a.Secret.String())
	}
	cs.mu.Lock()
	delete(cs.ordering, a.Secret)
	delete(cs.shown, a.Secret)
	cs.kept[a.Secret] = &k
	cs.mu.Unlock()
	c.queue.Add(certificateOf(a.Secret))
	c.queue.AddAfter(keyTraffic, c.traffic.ask())
	c.notify.notify()
}

// tellOf tells who wants a certificate of it.
func (c *Controller) tellOf(a reconcile.ObtainCertificate, warning bool, reason, message string) {
	for _, key := range a.Ingresses {
		e := reconcile.RecordEvent{Key: key, Warning: warning, Reason: reason, Message: message}
		if it, ok := c.store.Get(key); ok {
			e.UID = it.Object.GetUID()
		}
		c.events.add(e)
	}
}

// show has the hosts of an order show challenges, and returns when they do.
func (c *Controller) show(ctx context.Context, secret reconcile.Key, list []runtime.Challenge) error {
	cs := c.certificates
	cs.mu.Lock()
	cs.shown[secret] = list
	cs.mu.Unlock()
	changes, cancel := c.Changes()
	defer cancel()
	c.queue.AddAfter(keyTraffic, c.traffic.ask())
	asked := c.traffic.lastAsked()
	for !c.traffic.holdsSince(asked) {
		select {
		case <-changes:
		case <-ctx.Done():
			return fmt.Errorf("cannot show what the authority looks for: %w", context.Cause(ctx))
		}
	}
	return nil
}

// lastAsked is the change that was noted last, and holdsSince tells that the table that holds is made of all up to one.
func (t *traffic) lastAsked() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked
}

func (t *traffic) holdsSince(asked uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known && t.done >= asked
}
