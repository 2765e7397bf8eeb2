package e2e

import (
	"fmt"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// A program that tells of its work with client-go's recorder sees its events where it would on a cluster; who deletes them deletes them, berth's own, too.
func TestKubectlEventsOfClients(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("p.yaml", manifest{name: "p", replicas: -1, main: run("sleep")}.String())
	b.Up()
	p := b.UntilPod("p", "to run", running)
	told := fmt.Sprintf(`{"metadata":{"name":"p.1","namespace":"default"},"involvedObject":{"kind":"Pod","namespace":"default","name":"p","uid":%q,"apiVersion":"v1"},`+
		`"reason":"Synced","message":"twice as good","type":"Warning","count":1,"firstTimestamp":"2026-01-02T03:04:05Z","lastTimestamp":"2026-01-02T03:04:05Z","source":{"component":"mine"}}`, p.UID)
	if r := b.KubectlWithInput(told, "create", "--raw", "/api/v1/namespaces/default/events", "-f", "-"); r.Code != 0 {
		t.Fatalf("%s%s", r.Stdout, r.Stderr)
	}
	b.MustKubectl("patch", "event", "p.1", "--type=strategic", "-p", `{"count":2,"series":{"count":2,"lastObservedTime":"2026-01-02T03:05:05.000000Z"}}`)
	for _, words := range [][]string{{"get", "events"}, {"events", "--for", "pod/p"}, {"describe", "pod", "p"}, {"get", "events.events.k8s.io", "-o", "wide"}} {
		if out := b.MustKubectl(words...); !strings.Contains(out, "twice as good") {
			t.Errorf("kubectl %s says\n%s", strings.Join(words, " "), out)
		}
	}
	b.MustKubectl("delete", "events", "--all")
	if out := b.MustKubectl("get", "events", "-o", "name"); out != "" {
		t.Errorf("there are still\n%s", out)
	}
	b.MustKubectl("delete", "pod", "p", "--wait=false")
	b.Until("an event of berth's own", func() error {
		if out := b.MustKubectl("get", "events"); !strings.Contains(out, "Killing") {
			return fmt.Errorf("kubectl get events says\n%s", out)
		}
		return nil
	})
}

// What pods serve is reached by way of the API, by pod and by Service.
func TestKubectlProxies(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", manifest{name: "web", replicas: 2, main: run("web", "8080", "shop") + ", readinessProbe: {tcpSocket: {port: 8080}}"}.String()+
		"---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}\n")
	up := b.Up()
	pods := b.UntilReady("web", 2)
	get := func(path string) string { return b.MustKubectl("get", "--raw", "/api/v1/namespaces/default/"+path) }
	for _, p := range pods {
		b.Until("an answer of "+p.Name, func() error {
			if out := get("pods/" + p.Name + ":8080/proxy/"); out != "shop "+p.Name+"\n" {
				return fmt.Errorf("it is %q", out)
			}
			return nil
		})
	}
	b.Until("an answer of the service", func() error {
		r := b.Kubectl("get", "--raw", "/api/v1/namespaces/default/services/web:http/proxy/slow?lines=2")
		if r.Stdout != "line 0\nline 1\n" {
			return fmt.Errorf("it is %s%s", r.Stdout, r.Stderr)
		}
		return nil
	})
	up.UntilLine("verb=connect resource=services/proxy object=default/web:http")
	for path, want := range map[string]string{
		"services/web:81/proxy/":              "no service port 81 found for service",
		"services/none:80/proxy/":             `services "none" not found`,
		"pods/" + pods[0].Name + ":81/proxy/": "error trying to reach service: dial tcp " + pods[0].IP + ":81: connect: connection refused",
	} {
		if r := b.Kubectl("get", "--raw", "/api/v1/namespaces/default/"+path); r.Code == 0 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s says %s%s, want %s", path, r.Stdout, r.Stderr, want)
		}
	}
}
