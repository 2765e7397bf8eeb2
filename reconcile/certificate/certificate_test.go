package certificate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/certificate"
	"berth/runtime"
)

const authority = "https://ca.test/directory"

var (
	born   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	secret = reconcile.Key{Kind: reconcile.KindSecret, Namespace: "shop", Name: "web-tls"}
	both   = []runtime.ChallengeWay{runtime.ByHTTP, runtime.ByTLS}
)

func wish(hosts ...string) *certificate.Wish {
	return &certificate.Wish{Secret: secret, Hosts: hosts, Ingresses: []reconcile.Key{{Kind: "Ingress", Namespace: "shop", Name: "web"}}}
}

// issued is one for 90 days.
func issued(hosts ...string) runtime.Issued {
	return runtime.Issued{Cert: []byte("CERT"), Key: []byte("KEY"), Hosts: hosts, From: born, Until: born.AddDate(0, 0, 90)}
}

func kept(hosts ...string) *runtime.KeptCertificate {
	return &runtime.KeptCertificate{Namespace: "shop", Name: "web-tls", Authority: authority, Issued: issued(hosts...)}
}

func made(cert string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-tls", Annotations: map[string]string{certificate.AnnotationIssuedBy: authority}},
		Type:       corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": []byte(cert), "tls.key": []byte("KEY")},
	}
}

func failing(times int, next time.Duration, hosts ...string) *runtime.KeptCertificate {
	return &runtime.KeptCertificate{Failing: &runtime.CertificateFailure{Authority: authority, Hosts: hosts, Times: times, Message: "unauthorized: 404", Next: born.Add(next)}}
}

// input is a wish that can be followed at once.
func input(change ...func(*certificate.Input)) certificate.Input {
	in := certificate.Input{Wish: wish("a.test"), Authority: authority, Ways: both, Now: born}
	for _, c := range change {
		c(&in)
	}
	return in
}

func lines(p reconcile.Plan) []string {
	var out []string
	for _, a := range p.Actions {
		line := a.String()
		switch a := a.(type) {
		case reconcile.ObtainCertificate:
			line += fmt.Sprint(" ", a.Ways)
		case reconcile.CreateObject:
			line += fmt.Sprint(" ", a.Object.(*corev1.Secret).Type)
		}
		out = append(out, line)
	}
	if p.RequeueAfter > 0 {
		out = append(out, "again after "+p.RequeueAfter.String())
	}
	return out
}

func tries(n int, every time.Duration) []runtime.CertificateTry {
	var out []runtime.CertificateTry
	for i := range n {
		out = append(out, runtime.CertificateTry{At: born.Add(-time.Duration(i+1) * every), Authority: authority, Hosts: []string{"a.test", "z.test"}})
	}
	return out
}

func TestPlan(t *testing.T) {
	const order = "obtain a certificate for a.test, for Secret/shop/web-tls [http-01 tls-alpn-01]"
	set := func(f func(*certificate.Input)) certificate.Input { return input(f) }
	for name, tt := range map[string]struct {
		in   certificate.Input
		want []string
		why  string // Absent without its beginning, where there is no certificate, else Trouble
	}{
		"wanted": {input(), []string{order}, "it is being ordered from ca.test"},
		"under way": {
			set(func(in *certificate.Input) { in.Ordering = true }), nil, "it is being ordered from ca.test",
		},
		"nobody may be asked": {
			set(func(in *certificate.Input) { in.Authority = "" }), nil, "no authority may be asked for one: start berth with --acme-email",
		},
		"no hosts": {
			set(func(in *certificate.Input) { in.Wish = wish() }), nil, "its entry in spec.tls names no hosts",
		},
		"a wildcard": {
			set(func(in *certificate.Input) { in.Wish = wish("*.a.test", "a.test") }), nil,
			`"*.a.test" can only be proved by a record in the DNS (dns-01), which berth does not make: state the Secret yourself`,
		},
		"no ports": {
			set(func(in *certificate.Input) { in.Ways = nil }), nil, "Ingresses are served neither on port 80 nor on port 443, where an authority would look",
		},
		"one port": {
			set(func(in *certificate.Input) { in.Ways = both[1:] }), []string{strings.Replace(order, "http-01 ", "", 1)}, "it is being ordered from ca.test",
		},
		"a file states the Secret": {
			set(func(in *certificate.Input) { in.Secret, in.Stated = made("MINE"), true }), nil, "-",
		},
		"somebody has made the Secret": {
			set(func(in *certificate.Input) { in.Secret = made("MINE"); in.Secret.Annotations = nil }), nil, "-",
		},
		"there again": {
			set(func(in *certificate.Input) { in.Kept = kept("a.test") }),
			[]string{"create Secret/shop/web-tls kubernetes.io/tls", "again after 1440h0m0s"},
			"",
		},
		"there": {
			set(func(in *certificate.Input) { in.Kept, in.Secret = kept("a.test"), made("CERT") }), []string{"again after 1440h0m0s"}, "",
		},
		"renewed": {
			set(func(in *certificate.Input) { in.Kept, in.Secret = kept("a.test"), made("OLD") }),
			[]string{"update Secret/shop/web-tls: a certificate was issued", "again after 1440h0m0s"},
			"",
		},
		"two thirds of its life are over": {
			set(func(in *certificate.Input) {
				in.Kept, in.Secret, in.Now = kept("a.test"), made("CERT"), born.AddDate(0, 0, 60)
			}), []string{order}, "",
		},
		"for more hosts than are wanted": {
			set(func(in *certificate.Input) { in.Kept, in.Secret = kept("a.test", "b.test"), made("CERT") }), []string{"again after 1440h0m0s"}, "",
		},
		"for other hosts": {
			set(func(in *certificate.Input) { in.Kept, in.Secret = kept("b.test"), made("CERT") }), []string{order}, "",
		},
		"by another authority": {
			set(func(in *certificate.Input) {
				in.Kept, in.Secret = kept("a.test"), made("CERT")
				in.Authority = "https://other.test"
			}), []string{order}, "",
		},
		"failed": {
			set(func(in *certificate.Input) { in.Kept = failing(2, time.Minute, "a.test") }),
			[]string{"again after 1m0s"},
			"ca.test was asked 2 times in vain for a.test: unauthorized: 404; it is asked again at 2026-01-01 00:01:00 UTC",
		},
		"failed, and it is time": {
			set(func(in *certificate.Input) { in.Kept = failing(1, 0, "a.test") }),
			[]string{strings.Replace(order, "http-01 tls-alpn-01", "tls-alpn-01 http-01", 1)},
			"ca.test was asked once in vain for a.test: unauthorized: 404; it is asked again at 2026-01-01 00:00:00 UTC",
		},
		"failed for other hosts": {
			set(func(in *certificate.Input) { in.Kept = failing(3, time.Hour, "a.test", "b.test") }), []string{order}, "it is being ordered from ca.test",
		},
		"looked at often": {
			set(func(in *certificate.Input) { in.Tries = tries(4, 10*time.Minute) }),
			[]string{"again after 20m0s"},
			"ca.test was asked for these hosts often enough within an hour, and is asked again at 2026-01-01 00:20:00 UTC",
		},
		"looked at often, but long ago": {
			set(func(in *certificate.Input) { in.Tries = tries(4, 20*time.Minute) }), []string{order}, "it is being ordered from ca.test",
		},
		"others looked at often": {
			set(func(in *certificate.Input) { in.Tries, in.Wish = tries(4, time.Minute), wish("c.test") }),
			[]string{"obtain a certificate for c.test, for Secret/shop/web-tls [http-01 tls-alpn-01]"},
			"it is being ordered from ca.test",
		},
		"not renewed": {
			set(func(in *certificate.Input) {
				in.Kept, in.Secret, in.Now = kept("a.test"), made("CERT"), born.AddDate(0, 0, 70)
				in.Kept.Failing = failing(1, 70*24*time.Hour+time.Hour, "a.test").Failing
			}),
			[]string{"again after 1h0m0s"},
			`the certificate of secret "web-tls", which counts until 2026-04-01 00:00:00 UTC, is not replaced by another: ` +
				"ca.test was asked once in vain for a.test: unauthorized: 404; it is asked again at 2026-03-12 01:00:00 UTC",
		},
		"not renewed in time, by nobody": {
			set(func(in *certificate.Input) {
				in.Kept, in.Secret, in.Now, in.Authority = kept("a.test"), made("CERT"), born.AddDate(0, 0, 90), ""
			}), nil,
			`the certificate of secret "web-tls", which has ended at 2026-04-01 00:00:00 UTC, is not replaced by another: no authority may be asked for one: start berth with --acme-email`,
		},
		"wanted no more": {
			set(func(in *certificate.Input) { in.Kept, in.Secret, in.Wish = kept("a.test"), made("CERT"), nil }),
			[]string{"delete Secret/shop/web-tls: no Ingress wants its certificate any more"},
			"",
		},
		"wanted no more, and never there": {set(func(in *certificate.Input) { in.Wish = nil }), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, lines(certificate.Plan(tt.in))); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			got := certificate.Trouble(tt.in)
			if tt.in.Wish != nil && tt.in.Kept == nil || tt.in.Kept != nil && len(tt.in.Kept.Issued.Cert) == 0 {
				got = strings.TrimPrefix(certificate.Absent(tt.in).Message, `secret "web-tls" does not exist yet, so its hosts have no certificate: `)
			}
			if tt.why != "-" && got != tt.why {
				t.Errorf("it says %q, want %q", got, tt.why)
			}
		})
	}
}

func TestWishes(t *testing.T) {
	ing := func(name string, annotations map[string]string, tls ...networkingv1.IngressTLS) *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: annotations}, Spec: networkingv1.IngressSpec{TLS: tls}}
	}
	tls := func(secret string, hosts ...string) networkingv1.IngressTLS {
		return networkingv1.IngressTLS{SecretName: secret, Hosts: hosts}
	}
	cluster, acme := map[string]string{"cert-manager.io/cluster-issuer": "le"}, map[string]string{"kubernetes.io/tls-acme": "true"}
	elsewhere := ing("a", cluster, tls("web-tls", "x.test"))
	elsewhere.Namespace = "other"
	foreign := ing("f", cluster, tls("web-tls", "f.test"))
	foreign.Spec.IngressClassName = new("nginx")
	list := []*networkingv1.Ingress{
		elsewhere, foreign, ing("b", map[string]string{"cert-manager.io/issuer": "le"}, tls("web-tls", "B.test", "a.test"), tls("other", "o.test"), tls("web-tls", "c.test")),
		ing("c", acme, tls("web-tls", "a.test", "d.test")), ing("d", nil, tls("web-tls", "no.test")), ing("e", map[string]string{"kubernetes.io/tls-acme": "false"}, tls("web-tls", "e.test")),
	}
	classes := []*networkingv1.IngressClass{{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}}}
	got, ok := certificate.WishFor(secret, list, classes)
	want := certificate.Wish{
		Secret: secret, Hosts: []string{"a.test", "b.test", "c.test", "d.test"},
		Ingresses: []reconcile.Key{{Kind: "Ingress", Namespace: "shop", Name: "b"}, {Kind: "Ingress", Namespace: "shop", Name: "c"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("%v (-want +got):\n%s", ok, diff)
	}
	if w, ok := certificate.WishFor(reconcile.Key{Kind: "Secret", Namespace: "shop", Name: "none"}, list, classes); ok {
		t.Errorf("nobody wants %v", w)
	}
}

// An authority that never issues anything is asked less and less often, never for a host more than four times within an hour, and is told the same by
// a berth that dies over each order, or whose owner changes the hosts all the time.
func TestNoStorm(t *testing.T) {
	for name, tt := range map[string]struct {
		end   func(k runtime.KeptCertificate, a reconcile.ObtainCertificate, now time.Time, n int) runtime.KeptCertificate
		hosts func(n int) []string
		most  int // orders in two days
	}{
		"refused": {
			func(k runtime.KeptCertificate, a reconcile.ObtainCertificate, now time.Time, n int) runtime.KeptCertificate {
				return certificate.Failed(k, &runtime.IssueError{Message: "no", Looked: true}, a, authority, now, uint64(n)*7919)
			}, func(int) []string { return []string{"a.test"} }, 11,
		},
		"not reached": {
			func(k runtime.KeptCertificate, a reconcile.ObtainCertificate, now time.Time, n int) runtime.KeptCertificate {
				return certificate.Failed(k, &runtime.IssueError{Message: "no"}, a, authority, now, uint64(n)*7919)
			}, func(int) []string { return []string{"a.test"} }, 54,
		},
		"too many": {
			func(k runtime.KeptCertificate, a reconcile.ObtainCertificate, now time.Time, _ int) runtime.KeptCertificate {
				return certificate.Failed(k, &runtime.IssueError{Message: "no", Wait: 36 * time.Hour}, a, authority, now, 0)
			}, func(int) []string { return []string{"a.test"} }, 2,
		},
		"killed": {
			func(k runtime.KeptCertificate, _ reconcile.ObtainCertificate, _ time.Time, _ int) runtime.KeptCertificate {
				return k
			},
			func(int) []string { return []string{"a.test"} }, 4 * 48,
		},
		"changed": {
			func(k runtime.KeptCertificate, a reconcile.ObtainCertificate, now time.Time, _ int) runtime.KeptCertificate {
				return certificate.Failed(k, &runtime.IssueError{Message: "no", Looked: true}, a, authority, now, 0)
			}, func(n int) []string { return []string{"a.test", fmt.Sprintf("n%d.test", n)} }, 4 * 48,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var k *runtime.KeptCertificate
			var asked []time.Time
			for now := born; now.Before(born.AddDate(0, 0, 2)); now = now.Add(30 * time.Second) {
				in := input(func(in *certificate.Input) { in.Now, in.Kept, in.Wish = now, k, wish(tt.hosts(len(asked))...) })
				if k != nil {
					in.Tries = k.Tries
				}
				for _, a := range certificate.Plan(in).Actions {
					order, ok := a.(reconcile.ObtainCertificate)
					if !ok {
						t.Fatalf("it does %s", a)
					}
					asked = append(asked, now)
					next := tt.end(certificate.Begun(k, order, authority, now), order, now, len(asked))
					k = &next
				}
			}
			if name != "not reached" {
				for i := 4; i < len(asked); i++ {
					if asked[i].Sub(asked[i-4]) < time.Hour {
						t.Errorf("asked five times within an hour: %v", asked[i-4:i+1])
					}
				}
			}
			if len(asked) > tt.most || len(asked) < 2 {
				t.Errorf("asked %d times, not up to %d", len(asked), tt.most)
			}
		})
	}
}

// A plan that is followed leaves nothing to do until the certificate is to be renewed.
func TestIssuedIsQuiet(t *testing.T) {
	in := input()
	order := certificate.Plan(in).Actions[0].(reconcile.ObtainCertificate)
	k := certificate.Done(certificate.Begun(nil, order, authority, born), issued("a.test"), authority)
	in.Kept, in.Tries = &k, k.Tries
	in.Secret = certificate.Plan(in).Actions[0].(reconcile.CreateObject).Object.(*corev1.Secret)
	if p := certificate.Plan(in); len(p.Actions) > 0 || p.RequeueAfter != 60*24*time.Hour {
		t.Errorf("plan: %v", lines(p))
	}
	if k := certificate.Cut(k, false); len(k.Tries) != 0 {
		t.Errorf("what nobody has looked at counts: %v", k.Tries)
	}
}
