package e2e

import (
	"fmt"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

const slicesText = `apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], trafficDistribution: PreferSameNode}
---
apiVersion: v1
kind: Service
metadata: {name: site, namespace: shop}
spec: {type: ExternalName, externalName: near.default.svc.cluster.local}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: site, namespace: shop}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: site, port: {number: 80}}}}]}}]}
`

// Who reads EndpointSlices, as controllers that run in pods do, finds what Kubernetes' own would have made: an empty one of a Service that nobody serves, one
// that mirrors Endpoints of a file, and whom hints are for. An Ingress reaches another namespace by a Service that is another one's name.
func TestSlicesForReaders(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("client.yaml", pod("client", run("sleep")).String())
	b.Write("web.yaml", deployment("web", 1, run("web", "8080", "site")).String())
	b.Write("services.yaml", slicesText)
	b.Up()
	b.UntilReady("client", 1)
	web := b.UntilReady("web-", 1)[0].IP
	until := func(service, path, want string) {
		t.Helper()
		b.Until("the slices of "+service, func() error {
			got := strings.TrimSpace(b.MustKubectl("get", "endpointslices", "-l", "kubernetes.io/service-name="+service, "-o", "jsonpath="+path))
			if got != want {
				return fmt.Errorf("%q, not %q", got, want)
			}
			return nil
		})
	}
	until("nobody", "{.items[*].addressType} {.items[*].ports} {.items[*].endpoints}", "IPv4 [] []")
	until("near", "{.items[*].endpoints[*].addresses[*]} {.items[*].endpoints[*].hints.forNodes[*].name}", web+" "+strings.TrimSpace(b.MustKubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")))

	b.Write("db.yaml", fmt.Sprintf("apiVersion: v1\nkind: Endpoints\nmetadata: {name: db}\nsubsets: [{addresses: [{ip: %s}], ports: [{port: 8080}]}]\n", web))
	until("db", `{.items[*].metadata.labels.endpointslice\.kubernetes\.io/managed-by} {.items[*].endpoints[*].addresses[*]}`, "endpointslicemirroring-controller.k8s.io "+web)
	b.Until("the Service to lead there", func() error {
		if r := b.CLI("exec", "client", "--", "wget", "-qO-", "http://db"); !strings.HasPrefix(r.Stdout, "site") {
			return fmt.Errorf("%q %s", r.Stdout, r.Stderr)
		}
		return nil
	})
	b.Delete("db.yaml")
	until("db", "{.items[*].metadata.name}", "")

	b.Until("the Ingress to answer", func() error {
		if got := said(clientOf(nil), "http://a.test/"); !strings.HasPrefix(got, "HTTP/1.1 200 site") {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
}
