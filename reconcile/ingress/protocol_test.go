package ingress_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"berth/reconcile"
	"berth/reconcile/ingress"
	"berth/runtime"
)

func TestWhatBackendsSpeak(t *testing.T) {
	for name, tt := range map[string]struct {
		app, nginx, traefik string
		want                runtime.BackendProtocol
		problems            int
	}{
		"nothing said":                {},
		"HTTP/2, by its port":         {app: "kubernetes.io/h2c", want: runtime.BackendH2C},
		"gRPC, by its port":           {app: "grpc", want: runtime.BackendH2C},
		"TLS, by its port":            {app: "https", want: runtime.BackendHTTPS},
		"WebSocket by TLS":            {app: "kubernetes.io/wss", want: runtime.BackendHTTPS},
		"what is nobody's":            {app: "example.com/own"},
		"gRPC, for nginx":             {nginx: "GRPC", want: runtime.BackendH2C},
		"gRPC by TLS, for nginx":      {nginx: "GRPCS", want: runtime.BackendHTTPS},
		"for traefik":                 {traefik: "h2c", want: runtime.BackendH2C},
		"the Ingress before the port": {nginx: "HTTP", app: "https"},
		"not spoken":                  {nginx: "FCGI", problems: 1},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(with(ing("web", "- / Prefix web:80"), func(i *networkingv1.Ingress) {
				i.Annotations = map[string]string{"nginx.ingress.kubernetes.io/backend-protocol": tt.nginx}
			}))
			svc := in.Services[reconcile.Key{Kind: "Service", Namespace: "shop", Name: "web"}]
			svc.Annotations = map[string]string{"traefik.ingress.kubernetes.io/service.serversscheme": tt.traefik}
			svc.Spec.Ports[0].AppProtocol = &tt.app
			got, problems := ingress.Rules(in)
			if len(got.Rules) != 1 || got.Rules[0].Protocol != tt.want || len(problems) != tt.problems {
				t.Errorf("got %+v, %v", got.Rules, problems)
			}
		})
	}
}
