package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// writer is a Deployment of one pod whose script writes; pod and main are more of both, in flow style.
func writer(name, script, pod, main string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {terminationGracePeriodSeconds: 30, %[3]s containers: [{name: main, %[4]s %[2]s}]}
`, name, shell(script), pod, main)
}

// evictedPod waits for a pod that was evicted.
func evictedPod(b *harness.Berth, prefix string) harness.Pod {
	b.Helper()
	var found harness.Pod
	b.UntilStatus("a pod of "+prefix+" to be evicted", func(s harness.Status) error {
		for _, p := range s.PodsOf(prefix) {
			if p.Reason == "Evicted" && p.Phase == "Failed" {
				found = p
				return nil
			}
		}
		return fmt.Errorf("pods %+v", s.PodsOf(prefix))
	})
	return found
}

// A pod that writes more to the disk than it states is evicted in Kubernetes' words, gives back what it wrote, and is replaced; one that keeps to its limit,
// and one without any, go on.
func TestEphemeralStorage(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	flag := filepath.Join(t.TempDir(), "once")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	once := "if rm /h/once 2>/dev/null; then %s; fi; echo settled; sleep 1000"
	host := fmt.Sprintf("{name: h, hostPath: {path: %q}}", filepath.Dir(flag))
	limit := func(size string) string {
		return fmt.Sprintf("resources: {limits: {ephemeral-storage: %s}}, ", size)
	}
	const fill = "head -c 3145728 /dev/zero > "
	b.Write("own.yaml", writer("own", fmt.Sprintf(once, fill+"/file"), "volumes: ["+host+"],", limit("2Mi")+"volumeMounts: [{name: h, mountPath: /h}], "))
	b.Write("keeps.yaml", writer("keeps", fill+"/file; sleep 1000", "", limit("16Mi")))
	b.Write("free.yaml", writer("free", fill+"/file; sleep 1000", "", ""))
	b.Write("volume.yaml", writer("volume", fill+"/v/file; sleep 1000", "volumes: [{name: v, emptyDir: {sizeLimit: 2Mi}}],", "volumeMounts: [{name: v, mountPath: /v}], "))
	b.Write("log.yaml", writer("log", "head -c 3145728 /dev/zero | tr '\\0' x; sleep 1000", "", limit("2Mi")))
	b.Write("job.yaml", jobOf("job", "backoffLimit: 1", limit("2Mi")+shell(fill+"/file; sleep 1000")))
	b.Up()
	untouched := harness.PIDs(append(b.UntilReady("keeps-", 1), b.UntilReady("free-", 1)...))

	messages := map[string]string{
		"own-":    "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi.",
		"log-":    "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi.",
		"volume-": `Usage of EmptyDir volume "v" exceeds the limit "2Mi".`,
		"job-":    "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi.",
	}
	for prefix, message := range messages {
		p := evictedPod(b, prefix)
		described := strings.Join(strings.Fields(b.MustKubectl("describe", "pod", p.Name)), " ")
		for _, want := range []string{"Status: Failed", "Reason: Evicted", "Message: " + message, "Warning Evicted"} {
			if !strings.Contains(described, want) {
				t.Errorf("%s: no %q in\n%s", p.Name, want, described)
			}
		}
		if strings.Contains(described, "DisruptionTarget") {
			t.Errorf("%s breaks its own limit, which is no disruption:\n%s", p.Name, described)
		}
		if p.Container("main").ExitCode != 137 && p.Container("main").ExitCode != 143 {
			t.Errorf("%s: %+v", p.Name, p.Container("main"))
		}
		for _, dir := range []string{"containers", "pods"} {
			b.Until("what "+p.Name+" wrote to be gone", func() error { return smaller(filepath.Join(b.State, dir, p.UID), 1<<20) })
		}
	}
	// Its successor finds nothing to write, and runs.
	b.UntilStatus("own to run", func(s harness.Status) error {
		for _, p := range s.PodsOf("own-") {
			if p.Ready {
				return nil
			}
		}
		return fmt.Errorf("pods %+v", s.PodsOf("own-"))
	})
	b.UntilWithin(time.Minute, "the Job to fail", func() error {
		s, err := b.Look()
		if err == nil && !strings.Contains(statusOfJob(s, "job").Problem, "BackoffLimitExceeded") {
			err = fmt.Errorf("%+v", statusOfJob(s, "job"))
		}
		return err
	})
	s, err := b.Look()
	if err != nil {
		t.Fatal(err)
	}
	for name, pid := range untouched {
		if now := harness.PIDs(append(s.PodsOf("keeps-"), s.PodsOf("free-")...))[name]; now != pid {
			t.Errorf("%s was %d and is %d", name, pid, now)
		}
	}
}

// smaller tells whether the files below a directory hold less than a limit.
func smaller(dir string, limit int64) error {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			info, err := e.Info()
			if err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	if err == nil && sum >= limit {
		err = fmt.Errorf("%d bytes are in %s", sum, dir)
	}
	return err
}

// A controller that is killed again and again while a pod breaks its limit evicts it all the same, and only once.
func TestEvictionSurvivesTheController(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	flag := filepath.Join(t.TempDir(), "once")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.Write("own.yaml", writer("own", "trap '' TERM; if rm /h/once 2>/dev/null; then head -c 3145728 /dev/zero > /file; fi; echo settled; while :; do sleep 1; done",
		fmt.Sprintf("volumes: [{name: h, hostPath: {path: %q}}],", filepath.Dir(flag)),
		"resources: {limits: {ephemeral-storage: 2Mi}}, volumeMounts: [{name: h, mountPath: /h}], "))
	up := b.Up()
	b.UntilReady("own-", 1)
	first, err := b.Look()
	if err != nil {
		t.Fatal(err)
	}
	name := first.PodsOf("own-")[0].Name
	up.UntilLine("evict Pod/default/" + name) // decided, and in the journal or not
	up.Kill()
	for range 3 {
		up = b.Up()
		up.Kill()
	}
	b.Up()
	if p := evictedPod(b, "own-"); p.Name != name || p.Container("main").Restarts != 0 {
		t.Errorf("evicted is %+v, want %s", p, name)
	}
	b.UntilStatus("a successor to run", func(s harness.Status) error {
		list := s.PodsOf("own-")
		if len(list) != 2 {
			return fmt.Errorf("pods %+v", list)
		}
		for _, p := range list {
			if p.Name != name && p.Ready {
				return nil
			}
		}
		return errors.New("none is ready")
	})
}
