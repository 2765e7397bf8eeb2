// Package certificate decides when an authority is asked for a certificate, and keeps the Secret that it goes into.
//
// Who wants one says so as for cert-manager: an Ingress with a secretName for its hosts and the annotation of an issuer. Whatever that is called, there
// is one authority here: the one whose terms the machine's owner has accepted. A Secret that a file states is left to the file.
package certificate

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/ingress"
	"berth/runtime"
)

// AnnotationIssuedBy is on a Secret that berth has made for a certificate: the address of the authority.
const AnnotationIssuedBy = reconcile.AnnotationPrefix + "issued-by"

// Reasons of events.
const (
	ReasonIssuing = "Issuing"
	ReasonIssued  = "CertificateIssued"
	ReasonFailed  = "CertificateFailed"
	ReasonPending = "CertificatePending"
	ReasonRefused = "CertificateRefused"
)

// Wish is a Secret that is to hold a certificate for hosts.
type Wish struct {
	Secret reconcile.Key
	// Hosts are in lower case, sorted, each once; Ingresses are who wants them.
	Hosts     []string
	Ingresses []reconcile.Key
}

// WishFor is what Ingresses want a Secret to hold, all of them together; false when none does.
func WishFor(secret reconcile.Key, list []*networkingv1.Ingress, classes []*networkingv1.IngressClass) (Wish, bool) {
	w := Wish{Secret: secret}
	for _, ing := range list {
		if ing.Namespace != secret.Namespace || !asks(ing) || !ingress.Served(ing, classes) {
			continue
		}
		for i := range ing.Spec.TLS {
			if tls := &ing.Spec.TLS[i]; tls.SecretName == secret.Name {
				for _, h := range tls.Hosts {
					w.Hosts = append(w.Hosts, strings.ToLower(h))
				}
				w.Ingresses = append(w.Ingresses, reconcile.KeyOf(ing))
			}
		}
	}
	slices.Sort(w.Hosts)
	w.Hosts, w.Ingresses = slices.Compact(w.Hosts), slices.Compact(w.Ingresses)
	return w, len(w.Ingresses) > 0
}

// asks tells whether an Ingress wants certificates, by the annotations of cert-manager and of those before it.
func asks(ing *networkingv1.Ingress) bool {
	a := ing.Annotations
	return a["cert-manager.io/cluster-issuer"] != "" || a["cert-manager.io/issuer"] != "" || a["kubernetes.io/tls-acme"] == "true"
}

// Input is all there is to know of one certificate. Nothing in it is changed.
type Input struct {
	// Wish is nil when nobody wants the certificate.
	Wish *Wish
	// Secret is the one of that name, nil for none; Stated tells that a file states it.
	Secret *corev1.Secret
	Stated bool
	// Kept is what is remembered of the certificate, nil for nothing.
	Kept *runtime.KeptCertificate
	// Tries are those of all certificates: hosts may be in several.
	Tries []runtime.CertificateTry
	// Authority is who is asked; "" for nobody.
	Authority string
	// Ways are those by which the hosts can be asked at this moment.
	Ways []runtime.ChallengeWay
	// Ordering tells that an order is under way.
	Ordering bool
	Now      time.Time
}

// Plan keeps the Secret as the newest certificate is, and orders another one when it is time. A Secret that nobody wants any more goes; the
// certificate is kept, and comes back with the wish.
func Plan(in Input) reconcile.Plan {
	var p reconcile.Plan
	if in.Stated || in.Secret != nil && in.Secret.Annotations[AnnotationIssuedBy] == "" {
		return p // a person's
	}
	if in.Wish == nil {
		if in.Secret != nil {
			p.Actions = []reconcile.Action{reconcile.DeleteObject{Key: reconcile.KeyOf(in.Secret), UID: in.Secret.UID, Reason: "no Ingress wants its certificate any more"}}
		}
		return p
	}
	if a := in.secret(); a != nil {
		p.Actions = append(p.Actions, a)
	}
	if in.refusal() != "" || in.Ordering {
		return p // what changes that makes it due
	}
	if due := in.due(); due.After(in.Now) {
		p.RequeueAfter = due.Sub(in.Now)
		return p
	}
	p.Actions = append(p.Actions, reconcile.ObtainCertificate{Secret: in.Wish.Secret, Hosts: in.Wish.Hosts, Ways: in.ways(), Ingresses: in.Wish.Ingresses})
	return p
}

// secret makes the Secret what the kept certificate is; nil for nothing to do.
func (in *Input) secret() reconcile.Action {
	if !in.has() {
		return nil
	}
	data := map[string][]byte{corev1.TLSCertKey: in.Kept.Issued.Cert, corev1.TLSPrivateKeyKey: in.Kept.Issued.Key}
	if in.Secret == nil {
		return reconcile.CreateObject{Object: &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindSecret},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: in.Wish.Secret.Namespace, Name: in.Wish.Secret.Name, Annotations: map[string]string{AnnotationIssuedBy: in.Kept.Authority},
			},
			Type: corev1.SecretTypeTLS, Data: data,
		}}
	}
	same := len(in.Secret.Data) == len(data) && in.Secret.Annotations[AnnotationIssuedBy] == in.Kept.Authority
	for name, content := range data {
		same = same && bytes.Equal(in.Secret.Data[name], content)
	}
	if same {
		return nil
	}
	n := in.Secret.DeepCopy()
	n.Data, n.Annotations[AnnotationIssuedBy] = data, in.Kept.Authority
	return reconcile.UpdateObject{Object: n, Reason: "a certificate was issued"}
}

// has tells whether there is a certificate at all.
func (in *Input) has() bool { return in.Kept != nil && len(in.Kept.Issued.Cert) > 0 }

// refusal is why nobody is asked whatever the time; "" when somebody may be.
func (in *Input) refusal() string {
	wildcard := slices.IndexFunc(in.Wish.Hosts, func(h string) bool { return strings.HasPrefix(h, "*.") })
	switch {
	case in.Authority == "":
		return "no authority may be asked for one: start berth with --acme-email"
	case len(in.Wish.Hosts) == 0:
		return "its entry in spec.tls names no hosts"
	case wildcard >= 0:
		return fmt.Sprintf("%q can only be proved by a record in the DNS (dns-01), which berth does not make: state the Secret yourself", in.Wish.Hosts[wildcard])
	case len(in.Ways) == 0:
		return "Ingresses are served neither on port 80 nor on port 443, where an authority would look"
	}
	return ""
}

// ways puts first by port 80 and by port 443 in turns: what hinders one way need not hinder the other.
func (in *Input) ways() []runtime.ChallengeWay {
	out := slices.Clone(in.Ways)
	if f := in.failing(); f != nil && f.Times%2 == 1 {
		slices.Reverse(out)
	}
	return out
}
