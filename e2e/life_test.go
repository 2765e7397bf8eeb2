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

// A rollout to pods that never get ready stops, and the old pods serve on; over kills of the controller, too: nothing that was ready is
// seen unready, and nothing that never was is taken for ready.
func TestUnreadyRollout(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	web := func(path string) string {
		m := deployment("web", 3, run("serve")+", readinessProbe: {httpGet: {path: "+path+", port: 8080}, periodSeconds: 1, timeoutSeconds: 20}")
		m.spec = "progressDeadlineSeconds: 600"
		return m.String()
	}
	b.Write("web.yaml", web("/status/200"))
	up := b.Up()
	old := harness.PIDs(b.UntilReady("web-", 3))
	b.Write("web.yaml", web("/status/503"))
	b.UntilStatus("a new pod", func(s harness.Status) error {
		if n := len(harness.PIDs(s.PodsOf("web-"))); n != 4 {
			return fmt.Errorf("%d pods run", n)
		}
		return nil
	})
	same := func() error {
		s, err := b.Look()
		if err != nil || !s.Ready {
			return nil //nolint:nilerr // no controller, or it does not know yet
		}
		now, ready := harness.PIDs(s.PodsOf("web-")), 0
		for _, p := range s.PodsOf("web-") {
			if p.Ready && old[p.Name+"/main"] != 0 {
				ready++
			}
		}
		for name, pid := range old {
			if now[name] != pid {
				return fmt.Errorf("%s is gone", name)
			}
		}
		if ready != 3 || len(now) != 4 {
			return fmt.Errorf("%d old pods are ready, %d run", ready, len(now))
		}
		return nil
	}
	b.For(time.Second, "the old pods", same)
	for range 2 {
		up.Kill()
		up = b.StartUp()
		b.For(2*time.Second, "the old pods", same)
	}
	b.Write("web.yaml", web("/status/204"))
	for name, pid := range harness.PIDs(b.UntilReady("web-", 3)) {
		if old[name] == pid {
			t.Errorf("%s is still the old one", name)
		}
	}
}

// seen are the events of a pod with a reason.
func seen(s harness.Status, pod, reason string) []string {
	var out []string
	for _, e := range s.Events {
		if e.Object == "Pod/default/"+pod && e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}

// A container that fails its liveness probe is started anew, and its owner is told; a slow starter is protected by its startup probe.
func TestLiveness(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	// A busy machine may need a while for an answer: that is no failure here.
	const probe = "{httpGet: {path: /get, port: 8080}, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: %d}"
	b.Write("sick.yaml", pod("sick", run("serve")+", livenessProbe: "+fmt.Sprintf(probe, 2)).String())
	b.Write("slow.yaml", pod("slow", run("serve", "3000")+", livenessProbe: "+fmt.Sprintf(probe, 1)+", startupProbe: "+fmt.Sprintf(probe, 30)).String())
	b.Write("hasty.yaml", pod("hasty", run("serve", "3000")+", livenessProbe: "+fmt.Sprintf(probe, 1)).String())
	b.Up()
	b.UntilPod("sick", "to run", running)
	if slow := b.UntilPod("slow", "to have started", running); slow.Container("main").Restarts != 0 {
		t.Errorf("the slow starter was restarted: %+v", slow.Container("main"))
	}
	b.UntilPod("hasty", "to be ended by its liveness probe", func(p harness.Pod) error {
		if p.Container("main").Restarts == 0 {
			return fmt.Errorf("no restarts")
		}
		return nil
	})
	p := b.UntilPod("sick", "still to run", running)
	if p.Container("main").Restarts != 0 {
		t.Fatalf("it was restarted without a reason: %+v", p.Container("main"))
	}
	b.Until("the server to hear of it", func() error {
		_, err := fetch("http://" + p.IP + ":8080/set/500")
		return err
	})
	p = b.UntilPod("sick", "to be restarted", func(p harness.Pod) error {
		if c := p.Container("main"); c.Restarts != 1 || !p.Ready {
			return fmt.Errorf("container %+v", c)
		}
		return nil
	})
	b.UntilStatus("the events", func(s harness.Status) error {
		unhealthy, killing := strings.Join(seen(s, "sick", "Unhealthy"), "\n"), strings.Join(seen(s, "sick", "Killing"), "\n")
		if unhealthy != "Liveness probe failed: HTTP probe failed with statuscode: 500" || killing != "Container main failed liveness probe, will be restarted" {
			return fmt.Errorf("unhealthy: %q, killing: %q", unhealthy, killing)
		}
		return nil
	})
}

// shared is a directory of the machine that pods write to, and what they have written.
func shared(t *testing.T, b *harness.Berth) (volumes, mount string, read func(name string) string) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(b.Manifests), "shared")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("volumes: [{name: h, hostPath: {path: %q}}]", dir), "volumeMounts: [{name: h, mountPath: /h}]", func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err.Error()
		}
		return strings.Join(strings.Fields(string(text)), " ")
	}
}

// until waits for what is written.
func until(b *harness.Berth, read func(string) string, name, want string) {
	b.Helper()
	b.Until(fmt.Sprintf("%s to say %q", name, want), func() error {
		if got := read(name); got != want {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	})
}

func noPods(s harness.Status) error {
	if len(s.Pods) > 0 {
		return fmt.Errorf("%d pods", len(s.Pods))
	}
	return nil
}

// The hook runs before the signal, and both within the grace; a hook that takes longer is given up. A postStart hook that fails ends its container.
func TestLifecycleHooks(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	volumes, mount, read := shared(t, b)
	script := func(name string) string {
		return shell("trap 'echo signal >> /h/"+name+"; exit 0' TERM; echo start >> /h/"+name+"; while :; do sleep 0.05; done") + ", " + mount
	}
	hooks := func(name, end string) string {
		return fmt.Sprintf(", lifecycle: {postStart: {exec: {command: [sh, -c, 'until grep -q start /h/%[1]s; do sleep 0.02; done; echo begin >> /h/%[1]s']}}, preStop: {%[2]s}}", name, end)
	}
	polite := pod("polite", script("polite")+hooks("polite", "exec: {command: [sh, -c, 'echo leave >> /h/polite; sleep 1; echo left >> /h/polite']}"))
	polite.pod = volumes
	asleep := pod("asleep", script("asleep")+hooks("asleep", "sleep: {seconds: 1}"))
	asleep.pod = volumes
	endless := pod("endless", script("endless")+hooks("endless", "exec: {command: [sh, -c, 'echo leave >> /h/endless; sleep 1000; echo left >> /h/endless']}"))
	endless.pod = volumes + ", terminationGracePeriodSeconds: 2"
	b.Write("a.yaml", polite.String())
	b.Write("b.yaml", asleep.String())
	b.Write("c.yaml", endless.String())
	b.Write("d.yaml", pod("failing", run("sleep")+", lifecycle: {postStart: {exec: {command: ['false']}}}").String())
	up := b.Up()
	for _, name := range []string{"polite", "asleep", "endless"} {
		b.UntilPod(name, "to run", running)
		until(b, read, name, "start begin")
	}
	b.UntilPod("failing", "to fail", func(p harness.Pod) error {
		if c := p.Container("main"); c.Restarts < 1 || c.State != "CrashLoopBackOff" {
			return fmt.Errorf("container %+v", c)
		}
		return nil
	})
	b.UntilStatus("the event", func(s harness.Status) error {
		if got := seen(s, "failing", "FailedPostStartHook"); len(got) != 1 || got[0] != "PostStartHook failed" {
			return fmt.Errorf("events %q", got)
		}
		return nil
	})
	// Another controller runs no hook again that is done.
	up.Kill()
	b.Up()
	b.UntilPod("polite", "to run", running)
	if got := read("polite"); got != "start begin" {
		t.Errorf("after a restart of the controller: %q", got)
	}
	start := time.Now()
	for _, name := range []string{"a.yaml", "b.yaml", "c.yaml", "d.yaml"} {
		b.Delete(name)
	}
	b.Must("allow")
	b.UntilStatus("the end of all", noPods)
	took := time.Since(start)
	until(b, read, "polite", "start begin leave left signal")
	until(b, read, "asleep", "start begin signal")
	until(b, read, "endless", "start begin leave signal")
	if took < 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Sidecars start in their order, each when the one before it has started, end after the others in reverse order, and do not keep a pod
// from coming to its end.
func TestSidecars(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	volumes, mount, read := shared(t, b)
	side := func(name, more string) string {
		script := "trap 'echo end-" + name + " >> /h/log; exit 0' TERM; echo start-" + name + " >> /h/log; sleep 0.3; touch /h/up-" + name + "; while :; do sleep 0.05; done"
		return "{name: " + name + ", restartPolicy: Always, " + shell(script) + ", " + mount + more + "}"
	}
	started := func(name string) string {
		return ", startupProbe: {exec: {command: [test, -e, /h/up-" + name + "]}, periodSeconds: 1, failureThreshold: 30}"
	}
	m := manifest{
		name: "job", replicas: -1, pod: "restartPolicy: Never, " + volumes,
		init: []string{
			side("one", started("one")),
			"{name: plain, " + shell("echo plain >> /h/log") + ", " + mount + "}",
			side("two", started("two")),
		},
		main: shell("ls /h | grep -c up- >> /h/log; sleep 0.5; echo done >> /h/log") + ", " + mount,
	}
	b.Write("job.yaml", m.String())
	b.Up()
	p := b.UntilPod("job", "to have ended", func(p harness.Pod) error {
		if p.Phase != "Succeeded" {
			return fmt.Errorf("%s %s", p.Phase, p.Reason)
		}
		return nil
	})
	if got, want := read("log"), "start-one plain start-two 2 done end-two end-one"; got != want {
		t.Errorf("it went %q, want %q", got, want)
	}
	for _, c := range p.Containers {
		if c.Restarts != 0 || c.State != "Completed" {
			t.Errorf("container %+v", c)
		}
	}
}

// A pod that is active for too long is ended, and fails with the reason.
func TestActiveDeadline(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := pod("late", run("graceful", "0"))
	m.pod = "activeDeadlineSeconds: 5" // from the pod's start, which on a busy machine is a while before the program's
	b.Write("late.yaml", m.String())
	b.Up()
	p := b.UntilPod("late", "to fail", func(p harness.Pod) error {
		if p.Phase != "Failed" {
			return fmt.Errorf("%s %s", p.Phase, p.Reason)
		}
		return nil
	})
	if p.Reason != "DeadlineExceeded" || p.Message != "Pod was active on the node longer than the specified deadline" {
		t.Errorf("it failed with %q: %q", p.Reason, p.Message)
	}
	if log := b.Must("logs", "late"); !strings.Contains(log, "ended gracefully") {
		t.Errorf("it was not asked to end: %q", log)
	}
}
