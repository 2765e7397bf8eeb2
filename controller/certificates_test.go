package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/runtime"
	"berth/runtime/runtimetest"
)

// issuer is an authority that issues what hosts show challenges for, one after the other, and keeps it over restarts.
type issuer struct {
	fake *runtimetest.Fake

	mu     sync.Mutex
	kept   map[string]runtime.KeptCertificate
	refuse string
	hangs  bool
	issued int
	asked  []time.Time
}

func (i *issuer) Authority() string { return "https://ca.test/directory" }

func (i *issuer) Kept() ([]runtime.KeptCertificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Collect(maps.Values(i.kept)), nil
}

func (i *issuer) Keep(k runtime.KeptCertificate) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kept[k.Namespace+"/"+k.Name] = k
	return nil
}

func (i *issuer) Issue(ctx context.Context, hosts []string, ways []runtime.ChallengeWay, show func(context.Context, []runtime.Challenge) error) (runtime.Issued, error) {
	i.mu.Lock()
	i.asked = append(i.asked, time.Now())
	n, refuse, hangs := len(i.asked), i.refuse, i.hangs
	i.mu.Unlock()
	var list []runtime.Challenge
	for _, h := range hosts {
		list = append(list, runtime.Challenge{Host: h, Path: fmt.Sprint("/", n), Answer: string(ways[0])})
	}
	if err := show(ctx, list); err != nil {
		return runtime.Issued{}, err
	}
	if diff := cmp.Diff(list, i.fake.Traffic().Ingress.Challenges); diff != "" {
		refuse = "the hosts do not show what they are to: " + diff
	}
	if hangs {
		<-ctx.Done()
		return runtime.Issued{}, &runtime.IssueError{Message: ctx.Err().Error(), Looked: true}
	}
	if refuse != "" {
		return runtime.Issued{}, &runtime.IssueError{Message: refuse, Looked: true}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issued++
	return runtime.Issued{
		Cert: []byte(fmt.Sprint("CERT ", i.issued)), Key: []byte("KEY"), Hosts: hosts, From: time.Now(), Until: time.Now().Add(9 * time.Hour),
	}, nil
}

func (i *issuer) times() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

func (i *issuer) set(refuse string, hangs bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refuse, i.hangs = refuse, hangs
}

// secured is an Ingress that wants a certificate for hosts.
func secured(hosts ...string) manifests.Object {
	prefix := networkingv1.PathTypePrefix
	return object(manifests.Key{Group: "networking.k8s.io", Kind: "Ingress", Namespace: "shop", Name: "web"}, &networkingv1.Ingress{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{"cert-manager.io/cluster-issuer": "letsencrypt"}},
		Spec: networkingv1.IngressSpec{
			TLS: []networkingv1.IngressTLS{{Hosts: hosts, SecretName: "web-tls"}},
			Rules: []networkingv1.IngressRule{{IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{
					Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
				}}},
			}}}},
		},
	})
}

// withIssuer is a world with an authority.
func withIssuer(t *testing.T, test func(w *world, ca *issuer)) {
	t.Helper()
	inWorld(t, func(w *world) {
		ca := &issuer{fake: w.fake, kept: map[string]runtime.KeptCertificate{}}
		w.opts = func(o *Options) { ca.fake, o.Certificates = w.fake, ca }
		w.start()
		test(w, ca)
	})
}

// certificate is what is shown for the Ingress, and what its Secret says.
func (w *world) certificate() (shown, secret string) {
	if in := w.fake.Traffic().Ingress; in != nil && len(in.Certificates) == 1 {
		shown = string(in.Certificates[0].Cert)
	}
	if s, ok := store.Get[*corev1.Secret](w.c.store, reconcile.Key{Kind: "Secret", Namespace: "shop", Name: "web-tls"}); ok {
		secret = string(s.Data["tls.crt"])
	}
	return shown, secret
}

func (w *world) wantCertificate(want string) {
	w.t.Helper()
	if shown, secret := w.certificate(); shown != want || secret != want {
		w.t.Errorf("%q is shown, the secret has %q, want %q", shown, secret, want)
	}
}

// told are the events of the Ingress, each by its reason.
func (w *world) told() []string {
	var out []string
	for _, e := range w.c.Events(0) {
		if e.Object.Kind == reconcile.KindIngress {
			out = append(out, e.Type+" "+e.Reason)
		}
	}
	return out
}

func TestACertificateIsOrderedOnceAndRenewed(t *testing.T) {
	withIssuer(t, func(w *world, ca *issuer) {
		others := []manifests.Object{web("web", "web:1", 1), svc("web")}
		w.write(append(others, secured("a.test", "b.test"))...)
		w.settle()
		w.wantCertificate("CERT 1")
		if diff := cmp.Diff([]string{"Normal Issuing", "Normal CertificateIssued"}, w.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if in := w.fake.Traffic().Ingress; len(in.Challenges) != 0 || in.HTTPS != 443 {
			t.Errorf("routed: %+v", in)
		}

		// A restart, a lost journal, a vanished and returned Ingress and a deleted Secret cost no other order.
		w.restart()
		w.settle()
		w.wantCertificate("CERT 1")
		w.end()
		w.dir = t.TempDir()
		w.start()
		w.settle()
		w.wantCertificate("CERT 1")
		w.write(others...)
		time.Sleep(DefaultPruneDelay)
		w.settle()
		w.wantCertificate("")
		w.write(append(others, secured("a.test"))...)
		w.settle()
		w.wantCertificate("CERT 1")
		if err := w.c.Delete(reconcile.Key{Kind: "Secret", Namespace: "shop", Name: "web-tls"}, "", nil, false); err != nil {
			t.Fatal(err)
		}
		w.settle()
		w.wantCertificate("CERT 1")
		if ca.times() != 1 {
			t.Errorf("asked %d times", ca.times())
		}

		// One more host is another certificate; and so are two thirds of a life.
		w.write(append(others, secured("a.test", "c.test"))...)
		w.settle()
		w.wantCertificate("CERT 2")
		time.Sleep(359 * time.Minute)
		synctest.Wait()
		w.wantCertificate("CERT 2")
		time.Sleep(2 * time.Minute)
		w.settle()
		w.wantCertificate("CERT 3")
		if ca.times() != 3 {
			t.Errorf("asked %d times", ca.times())
		}
	})
}

func TestACertificateIsNotIssued(t *testing.T) {
	withIssuer(t, func(w *world, ca *issuer) {
		ca.set("unauthorized: 404", false)
		w.write(web("web", "web:1", 1), svc("web"), secured("a.test"))
		s := w.settle()
		said := "ca.test was asked once in vain for a.test: unauthorized: 404; it is asked again at "
		if len(s.Problems) != 1 || s.Problems[0].Object != "Ingress/shop/web" || s.Problems[0].Reason != "CertificateFailed" || !strings.Contains(s.Problems[0].Message, said) {
			t.Errorf("problems: %+v", s.Problems)
		}
		if diff := cmp.Diff([]string{"Normal Issuing", "Warning CertificateFailed"}, w.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if a, err := w.c.Why("ingress/web", "shop"); err != nil || a.Well || !strings.Contains(a.Answer, said) {
			t.Errorf("why: %v, %s", err, a.Answer)
		}
		w.restart()
		w.settle()
		if ca.times() != 1 {
			t.Errorf("a restart has asked again: %d times", ca.times())
		}
		time.Sleep(7 * time.Minute)
		w.settle()
		if ca.times() != 2 {
			t.Errorf("asked %d times after the first pause", ca.times())
		}
		ca.set("", false)
		time.Sleep(13 * time.Minute)
		if s := w.settle(); len(s.Problems) != 0 {
			t.Errorf("problems: %+v", s.Problems)
		}
		w.wantCertificate("CERT 1")

		// One that is there goes on being shown while it cannot be renewed, and somebody hears of it.
		ca.set("badGateway", false)
		time.Sleep(7 * time.Hour)
		s = w.settle()
		w.wantCertificate("CERT 1")
		if len(s.Problems) != 1 || s.Problems[0].Object != "Ingress/shop/web" || !strings.HasPrefix(s.Problems[0].Message, `the certificate of secret "web-tls", which counts until`) {
			t.Errorf("problems: %+v", s.Problems)
		}
		if a, err := w.c.Why("ingress/web", "shop"); err != nil || a.Well || !strings.Contains(a.Answer, "badGateway") {
			t.Errorf("why: %v, %s", err, a.Answer)
		}
	})
}

func TestAnOrderIsCutShort(t *testing.T) {
	withIssuer(t, func(w *world, ca *issuer) {
		ca.set("", true)
		w.write(web("web", "web:1", 1), svc("web"), secured("a.test"))
		synctest.Wait()
		time.Sleep(time.Second)
		if w.c.Converged() {
			t.Error("settled while an order is under way")
		}
		if n := len(w.fake.Traffic().Ingress.Challenges); n != 1 {
			t.Errorf("%d challenges are shown", n)
		}
		ca.set("", false)
		w.restart()
		w.settle()
		w.wantCertificate("CERT 1")
		if n := len(w.fake.Traffic().Ingress.Challenges); n != 0 {
			t.Errorf("%d challenges are shown", n)
		}
		if ca.times() != 2 {
			t.Errorf("asked %d times", ca.times())
		}
	})
}

func TestACertificateIsLeftToItsFile(t *testing.T) {
	withIssuer(t, func(w *world, ca *issuer) {
		stated := object(manifests.Key{Kind: "Secret", Namespace: "shop", Name: "web-tls"}, &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-tls"},
			Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": []byte("MINE"), "tls.key": []byte("key")},
		})
		others := []manifests.Object{web("web", "web:1", 1), svc("web"), secured("a.test")}
		w.write(append(others, stated)...)
		w.settle()
		w.wantCertificate("MINE")
		if ca.times() != 0 {
			t.Errorf("asked %d times", ca.times())
		}
		w.write(others...)
		time.Sleep(DefaultPruneDelay)
		w.settle()
		w.wantCertificate("CERT 1")
		w.write(append(others, stated)...)
		w.settle()
		w.wantCertificate("MINE")
	})
}

func TestNobodyIsAskedWithoutAnAuthority(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 1), svc("web"), secured("a.test"))
		if s := w.settle(); len(s.Problems) != 1 || s.Problems[0].Reason != "CertificateRefused" || !strings.Contains(s.Problems[0].Message, "--acme-email") {
			t.Errorf("problems: %+v", s.Problems)
		}
		if diff := cmp.Diff([]string{"Warning CertificateRefused"}, w.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}
