package controller

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/ingress"
	"berth/reconcile/service"
)

// The ports of HTTP and HTTPS, where Ingresses are served.
const (
	portHTTP  = 80
	portHTTPS = 443
)

// withIngress adds to a table what the HTTP ports do.
func (c *Controller) withIngress(table *service.Table, services []*corev1.Service) {
	list := all[*networkingv1.Ingress](c.store, reconcile.KindIngress)
	if len(list) == 0 {
		c.traffic.setSecrets(nil)
		return
	}
	in := ingress.Input{
		Ingresses: list, Classes: all[*networkingv1.IngressClass](c.store, reconcile.KindIngressClass), Table: table, HTTP: portHTTP, HTTPS: portHTTPS,
		Services: make(map[reconcile.Key]*corev1.Service, len(services)), Secrets: map[reconcile.Key]*corev1.Secret{},
	}
	for _, svc := range services {
		in.Services[reconcile.KeyOf(svc)] = svc
	}
	secrets := ingress.Secrets(list)
	c.traffic.setSecrets(secrets) // before they are read: a change after that makes the table due
	for _, key := range secrets {
		if s, ok := store.Get[*corev1.Secret](c.store, key); ok {
			in.Secrets[key] = s
		}
	}
	in.Absent = c.absentCertificates(secrets)
	rules, problems := ingress.Rules(in)
	if rules != nil {
		rules.Challenges = c.certificates.challenges()
	}
	table.Traffic.Ingress = rules
	table.Problems = append(table.Problems, problems...)
}

func (t *traffic) setSecrets(keys []reconcile.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secrets = keys
}

// uses tells whether a Secret is a part of the table.
func (t *traffic) uses(secret reconcile.Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.secrets, secret)
}

// planIngress keeps what is told of an Ingress as the table that holds has it.
func (c *Controller) planIngress(_ context.Context, it store.Item) (reconcile.Plan, error) {
	ing, ok := it.Object.(*networkingv1.Ingress)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	served := ingress.Served(ing, all[*networkingv1.IngressClass](c.store, reconcile.KindIngressClass))
	known, failing := c.traffic.failing(it.Key)
	if !known {
		return reconcile.Plan{}, nil // the first table makes it due
	}
	return ingress.Plan(ing, served && !failing, c.opts.Node.HostIP), nil
}

// failing tells whether something of an object cannot be done, as far as that is known.
func (t *traffic) failing(key reconcile.Key) (known, failing bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.problems {
		failing = failing || p.Owner == key.String()
	}
	return t.known, failing
}
