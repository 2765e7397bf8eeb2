package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// A Deployment whose pods work grows, and shrinks again when there is nothing to do, beside its file; kubectl shows it as elsewhere, and when the autoscaler
// goes the file's number counts again.
func TestAutoscaler(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	dir := t.TempDir()
	busy := filepath.Join(dir, "busy")
	if err := os.WriteFile(busy, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// 60 thousandths of a processor at most, three times what it asks for.
	script := "while :; do if [ -e /h/busy ]; then i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; else sleep 1; fi; done"
	file := strings.Replace(writer("burn", script, fmt.Sprintf("volumes: [{name: h, hostPath: {path: %q}}],", dir),
		"resources: {requests: {cpu: 20m}, limits: {cpu: 60m}}, volumeMounts: [{name: h, mountPath: /h}], "), "spec:\n", "spec:\n  replicas: 2 # of the file\n", 1)
	file = strings.Replace(file, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 0", 1)
	b.Write("burn.yaml", file)
	b.Write("hpa.yaml", `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: burn}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: burn}
  minReplicas: 1
  maxReplicas: 3
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
`)
	up := b.Up()
	size := func(want int) {
		t.Helper()
		b.UntilWithin(2*time.Minute, fmt.Sprintf("%d pods", want), func() error {
			s, err := b.Look()
			if err != nil {
				return err
			}
			for _, w := range s.Workloads {
				if w.Name == "burn" && w.Desired == want && w.Ready == want {
					return nil
				}
			}
			return fmt.Errorf("%+v", s.Workloads)
		})
	}
	size(3)
	words := func(args ...string) string { return strings.Join(strings.Fields(b.MustKubectl(args...)), " ") }
	b.Until("the autoscaler to show what it found", func() error {
		if got := words("get", "hpa", "burn", "--no-headers"); !strings.Contains(got, "Deployment/burn cpu: ") || !strings.Contains(got, "%/50% 1 3 3 ") {
			return fmt.Errorf("kubectl get hpa: %s", got)
		}
		return nil
	})
	described := words("describe", "hpa", "burn")
	for _, want := range []string{
		"ScalingActive True ValidMetricFound", "AbleToScale True", "ScalingLimited True TooManyReplicas", "Deployment pods: 3 current / 3 desired",
		"SuccessfulRescale", "New size: 3; reason: cpu resource utilization (percentage of request) above target",
	} {
		if !strings.Contains(described, want) {
			t.Errorf("kubectl describe hpa has no %q: %s", want, described)
		}
	}
	if got := words("get", "deployment", "burn", "--no-headers"); !strings.HasPrefix(got, "burn 3/3 3 3") {
		t.Errorf("kubectl get deployment: %s", got)
	}
	b.MustKubectl("rollout", "status", "deployment/burn", "--timeout=20s")
	up.Kill()
	b.Up()
	size(3)
	if err := os.Remove(busy); err != nil {
		t.Fatal(err)
	}
	size(1)
	if text, err := os.ReadFile(filepath.Join(b.Manifests, "burn.yaml")); err != nil || string(text) != file {
		t.Errorf("the file has changed, %v:\n%s", err, text)
	}
	b.MustKubectl("delete", "hpa", "burn")
	size(2)
	b.MustKubectl("autoscale", "deployment", "burn", "--min=3", "--max=4", "--cpu-percent=50")
	size(3)
	b.MustKubectl("patch", "hpa", "burn", "--type=merge", "-p", `{"spec":{"maxReplicas":5}}`)
	shape := "jsonpath={.spec.metrics[0].resource.target.averageUtilization} {.spec.maxReplicas} {.status.desiredReplicas}"
	if got := words("get", "hpa", "burn", "-o", shape); got != "50 5 3" {
		t.Errorf("kubectl autoscale and patch made %q", got)
	}
}
