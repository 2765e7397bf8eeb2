package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"berth/e2e/harness"
)

// readiness is whether the pod's container is ready. That it is not counts only when it has had its time.
func readiness(b *harness.Berth, pod string) (string, error) {
	return after(b, pod, 3*time.Second, func(p harness.Pod) string {
		if p.ReadyCount > 0 {
			return "ready"
		}
		return ""
	}, "unready")
}

// ended is whether the pod's container was ended by somebody.
func ended(b *harness.Berth, pod string) (string, error) {
	return after(b, pod, 5*time.Second, func(p harness.Pod) string {
		if p.Container("main").Restarts > 0 {
			return "ended"
		}
		return ""
	}, "left alone")
}

// wholly is whether the pod itself is ready, not only its containers.
func wholly(b *harness.Berth, pod string) (string, error) {
	s, err := b.Look()
	for _, w := range s.Workloads {
		if w.Name == pod && w.Ready == 1 {
			return "ready", err
		}
	}
	for _, p := range s.Pods {
		if p.Name == pod && p.ReadyCount == 1 && harness.Age(p.Container("main").PID) > 2*time.Second {
			return "unready", err
		}
	}
	return "", fmt.Errorf("it does not run yet: %w", err)
}

// after is what is seen of a pod, or otherwise when its container runs for so long and nothing is.
func after(b *harness.Berth, pod string, d time.Duration, seen func(harness.Pod) string, otherwise string) (string, error) {
	s, err := b.Look()
	if err != nil {
		return "", err
	}
	for _, p := range s.Pods {
		if p.Name != pod {
			continue
		}
		if text := seen(p); text != "" {
			return text, nil
		}
		if harness.Age(p.Container("main").PID) > d {
			return otherwise, nil
		}
	}
	return "", fmt.Errorf("it is too early to tell")
}

func lifeCases(port string) map[string]fieldCase {
	serve := run("serve")
	// One pod has this handler of a readiness probe and is ready, one the other.
	ready := func(with, without string) fieldCase {
		probe := func(handler string) string { return "readinessProbe: {periodSeconds: 1, " + handler + "}" }
		return fieldCase{bothMain: serve + ", ports: [{name: web, containerPort: 8080}]", see: readiness, main: probe(with), instead: probe(without), with: "ready", without: "unready"}
	}
	// One pod has this liveness probe and is ended, one the other.
	alive := func(with, without string) fieldCase {
		probe := func(rest string) string { return `livenessProbe: {exec: {command: ["false"]}, ` + rest + "}" }
		return fieldCase{bothMain: run("stubborn"), see: ended, main: probe(with), instead: probe(without), with: "ended", without: "left alone"}
	}
	hook := func(handler string) string { return "lifecycle: {postStart: {" + handler + "}}" }
	const never = `exec: {command: ["false"]}`
	return map[string]fieldCase{
		"readinessProbe": {bothMain: serve, see: readiness, main: "readinessProbe: {" + never + "}", with: "unready", without: "*"},
		"startupProbe":   {bothMain: serve, see: readiness, main: "startupProbe: {" + never + "}", with: "unready", without: "*"},
		"livenessProbe":  {bothMain: serve, see: ended, main: "livenessProbe: {periodSeconds: 1, failureThreshold: 1, " + never + "}", with: "ended", without: "left alone"},

		"exec":                ready("exec: {command: ['true']}", never),
		"httpGet":             ready("httpGet: {path: /status/200, port: 8080}", "httpGet: {path: /status/500, port: 8080}"),
		"httpGet.path":        ready("httpGet: {path: /status/302, port: 8080}", "httpGet: {port: 8080}"),
		"httpGet.port":        ready("httpGet: {path: /status/200, port: web}", "httpGet: {path: /status/200, port: 1}"),
		"httpGet.host":        ready("httpGet: {port: "+port+", host: 127.0.0.1}", "httpGet: {port: "+port+"}"),
		"httpGet.scheme":      ready("httpGet: {path: /status/200, port: 8443, scheme: HTTPS}", "httpGet: {path: /status/200, port: 8443}"),
		"httpGet.httpHeaders": ready("httpGet: {path: /if/X-Good, port: 8080, httpHeaders: [{name: X-Good, value: 'yes'}]}", "httpGet: {path: /if/X-Good, port: 8080}"),
		"tcpSocket":           ready("tcpSocket: {port: 8080}", "tcpSocket: {port: 1}"),
		"tcpSocket.host":      ready("tcpSocket: {port: "+port+", host: 127.0.0.1}", "tcpSocket: {port: "+port+"}"),
		"grpc":                ready("grpc: {port: 8080, service: up}", "grpc: {port: 1, service: up}"),
		"grpc.service":        ready("grpc: {port: 8080, service: up}", "grpc: {port: 8080}"),

		"initialDelaySeconds": ready("exec: {command: ['true']}", "initialDelaySeconds: 1000, exec: {command: ['true']}"),
		"successThreshold":    ready("exec: {command: ['true']}", "successThreshold: 1000, exec: {command: ['true']}"),
		"timeoutSeconds":      ready("timeoutSeconds: 5, exec: {command: [sleep, '1.5']}", "exec: {command: [sleep, '1.5']}"),
		"periodSeconds":       alive("failureThreshold: 1, periodSeconds: 1, terminationGracePeriodSeconds: 1", "failureThreshold: 1, periodSeconds: 1000, terminationGracePeriodSeconds: 1"),
		"failureThreshold":    alive("failureThreshold: 1, periodSeconds: 1, terminationGracePeriodSeconds: 1", "failureThreshold: 1000, periodSeconds: 1, terminationGracePeriodSeconds: 1"),
		"terminationGracePeriodSeconds": alive("failureThreshold: 1, periodSeconds: 1, terminationGracePeriodSeconds: 1",
			"failureThreshold: 1, periodSeconds: 1, terminationGracePeriodSeconds: 1000"),

		"postStart": {script: "for i in $(seq 50); do test -e /hooked && break; sleep 0.1; done; cat /hooked || echo none", main: hook("exec: {command: [sh, -c, 'echo hooked > /hooked']}"), with: "hooked", without: "*"},
		"postStart.httpGet": {
			see: requests, script: "sleep 1000", main: hook("httpGet: {port: 8080, path: /hook}"), with: "GET /hook", without: "none",
			// A hook is not tried again: what it asks must be there before.
			bothPod: "initContainers: [{name: server, restartPolicy: Always, " + run("serve") + ", startupProbe: {periodSeconds: 1, tcpSocket: {port: 8080}}}]",
		},

		"stopSignal": {
			see: lastExit, bothMain: shell("trap 'exit 7' USR1; trap 'exit 8' TERM; while :; do sleep 0.05; done") + ", livenessProbe: {periodSeconds: 1, failureThreshold: 1, terminationGracePeriodSeconds: 5, " + never + "}",
			bothPod: "os: {name: linux}", main: "lifecycle: {stopSignal: SIGUSR1}", with: "7", without: "8",
		},

		"restartPolicyRules.action": {
			see: othersToo, script: "test -e /v/again && exec tool sleep; sleep 1; touch /v/again; exit 42", more: "{name: other, " + run("sleep") + "}",
			bothMain: "restartPolicy: Never, volumeMounts: [{name: v, mountPath: /v}]", bothPod: "volumes: [{name: v, emptyDir: {}}]",
			main:    "restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]",
			instead: "restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]", with: "both", without: "only main",
		},

		"activeDeadlineSeconds": {see: reason, script: "sleep 1000", pod: "activeDeadlineSeconds: 1", with: "DeadlineExceeded", without: "*"},
		"readinessGates":        {see: wholly, script: "sleep 1000", pod: "readinessGates: [{conditionType: example.test/gate}]", with: "unready", without: "ready"},
		"subdomain":             {script: "grep -o 'h.sub.*' /etc/hosts || echo none", bothPod: "hostname: h", pod: "subdomain: sub", with: "h.sub.default.svc.cluster.local\th", without: "none"},
	}
}

// lastExit is how the attempt before this one ended.
func lastExit(b *harness.Berth, pod string) (string, error) {
	s, err := b.Look()
	for _, p := range s.Pods {
		if c := p.Container("main"); p.Name == pod && c.Restarts > 0 {
			return fmt.Sprint(c.ExitCode), err
		}
	}
	return "", fmt.Errorf("it has not ended yet: %w", err)
}

// othersToo is whether the container beside main was started anew when main was.
func othersToo(b *harness.Berth, pod string) (string, error) {
	return after(b, pod, 4*time.Second, func(p harness.Pod) string {
		switch other := p.Container("other").Restarts; {
		case p.Container("main").Restarts == 1 && other == 1:
			return "both"
		case p.Container("main").Restarts == 1 && time.Since(p.Created) > 4*time.Second && other == 0:
			return "only main"
		}
		return ""
	}, "nothing")
}

// requests are those that the pod's server was asked.
func requests(b *harness.Berth, pod string) (string, error) {
	return after(b, pod, 2*time.Second, func(harness.Pod) string {
		if r := b.CLI("logs", pod, "-c", "server"); len(r.Stdout) > len("serving\n") {
			return r.Stdout[len("serving\n"):]
		}
		return ""
	}, "none")
}

// reason is the pod's, in one word.
func reason(b *harness.Berth, pod string) (string, error) {
	s, err := b.Look()
	for _, p := range s.Pods {
		if p.Name == pod {
			return p.Reason, err
		}
	}
	return "", fmt.Errorf("there is no pod: %w", err)
}

// Each field of probes and hooks makes a difference.
func TestLifeFields(t *testing.T) {
	machine := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer machine.Close()
	u, err := url.Parse(machine.URL)
	if err != nil {
		t.Fatal(err)
	}
	showFields(t, lifeCases(u.Port()))
}
