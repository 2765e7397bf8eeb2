package ingress_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"berth/reconcile"
	"berth/reconcile/ingress"
	"berth/runtime"
)

func TestWhatBackendsSpeak(t *testing.T) {
	for word, want := range map[string]runtime.BackendProtocol{
		"": "", "http": "", "kubernetes.io/ws": "", "example.com/own": "",
		"kubernetes.io/h2c": runtime.BackendH2C, "grpc": runtime.BackendH2C, "HTTPS": runtime.BackendHTTPS, "kubernetes.io/wss": runtime.BackendHTTPS,
	} {
		t.Run(word, func(t *testing.T) {
			in := input(with(ing("web", "- / Prefix web:80"), func(i *networkingv1.Ingress) {
				i.Annotations = map[string]string{"nginx.ingress.kubernetes.io/backend-protocol": "GRPCS"} // somebody else's word
			}))
			in.Services[reconcile.Key{Kind: "Service", Namespace: "shop", Name: "web"}].Spec.Ports[0].AppProtocol = &word
			got, problems := ingress.Rules(in)
			if len(got.Rules) != 1 || got.Rules[0].Protocol != want || len(problems) != 0 {
				t.Errorf("got %+v, %v", got.Rules, problems)
			}
		})
	}
}
