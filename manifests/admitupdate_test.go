package manifests_test

import (
	"strings"
	"testing"

	"berth/manifests"
)

func TestValidateUpdateOfAPod(t *testing.T) {
	pod := func(t *testing.T, container string) manifests.Object {
		t.Helper()
		text := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - " + container + "\n"
		r := manifests.Decode("a.yaml", []byte(text))
		if len(r.Objects) != 1 {
			t.Fatalf("%q gives %v", text, r)
		}
		return r.Objects[0]
	}
	tests := map[string]struct{ old, wish, want string }{
		"another image":                         {"{name: a, image: 'x:1'}", "{name: a, image: 'x:2'}", ""},
		"another image of another default":      {"{name: a, image: x}", "{name: a, image: 'x:2'}", ""},
		"another pull policy":                   {"{name: a, image: x}", "{name: a, image: x, imagePullPolicy: Never}", "may not change fields other than"},
		"another command":                       {"{name: a, image: x}", "{name: a, image: x, command: [run]}", "may not change fields other than"},
		"another image and a container beside":  {"{name: a, image: x}", "{name: a, image: 'x:2'}\n  - {name: b, image: x}", "may not add or remove containers"},
		"another container in place of the one": {"{name: a, image: x}", "{name: b, image: 'x:2'}", "may not change fields other than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := manifests.ValidateUpdate(pod(t, tt.old), pod(t, tt.wish)).ToAggregate()
			switch {
			case tt.want == "" && got != nil:
				t.Errorf("refused: %v", got)
			case tt.want != "" && (got == nil || !strings.Contains(got.Error(), tt.want)):
				t.Errorf("got %v, want an error with %q", got, tt.want)
			}
		})
	}
}

// A Service whose load balancer keeps clients' addresses need not state the port for health checks, as a server gives it one; what it states stays.
func TestHealthCheckNodePort(t *testing.T) {
	service := func(t *testing.T, rest string) manifests.Object {
		t.Helper()
		text := "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, type: LoadBalancer, ports: [{port: 80}], " + rest + "}\n"
		r := manifests.Decode("a.yaml", []byte(text))
		if len(r.Objects) != 1 {
			t.Fatalf("%q gives %v", text, r)
		}
		return r.Objects[0]
	}
	const cluster, local = "externalTrafficPolicy: Cluster", "externalTrafficPolicy: Local"
	const one, other = local + ", healthCheckNodePort: 31000", local + ", healthCheckNodePort: 31001"
	for name, tt := range map[string]struct {
		old, wish string
		refused   bool
	}{
		"it has to have one now": {cluster, local, false}, "no longer": {local, cluster, false}, "none is stated": {local, local, false},
		"one is stated now": {local, one, false}, "no longer stated": {one, local, false}, "another one": {one, other, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := manifests.ValidateUpdate(service(t, tt.old), service(t, tt.wish)); (len(got) > 0) != tt.refused {
				t.Errorf("got %v", got)
			}
		})
	}
}
