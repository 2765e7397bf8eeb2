package e2e

import (
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// alive wants a live process behind each pod, no two the same.
func alive(t *testing.T, pods []harness.Pod) {
	t.Helper()
	seen := map[int]string{}
	for name, pid := range harness.PIDs(pods) {
		if other, twice := seen[pid]; twice {
			t.Errorf("%s and %s are both process %d", name, other, pid)
		}
		seen[pid] = name
		if !harness.Running(pid) {
			t.Errorf("%s: process %d does not run", name, pid)
		}
	}
	if len(seen) < len(pods) {
		t.Errorf("%d processes for %d pods", len(seen), len(pods))
	}
}

// A Deployment has as many pods as its file says: none, three, thirty, one.
func TestScale(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 0, run("web")).String())
	b.Up()
	b.UntilStatus("the Deployment to be known", func(s harness.Status) error {
		if len(s.Workloads) != 1 || len(s.Pods) != 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	var before []harness.Pod
	for _, n := range []int{3, 30, 1} {
		b.Write("web.yaml", deployment("web", n, run("web")).String())
		pods := b.UntilReady("web-", n)
		alive(t, pods)
		addresses := map[string]bool{}
		for _, p := range pods {
			addresses[p.IP] = true
		}
		if len(addresses) != n {
			t.Errorf("%d addresses for %d pods", len(addresses), n)
		}
		if n == 30 {
			now := harness.PIDs(pods)
			for name, pid := range harness.PIDs(before) {
				if now[name] != pid {
					t.Errorf("scaling up touched %s: process %d was %d", name, now[name], pid)
				}
			}
		}
		before = pods
	}
	p := before[0]
	b.Until("the last one to answer", func() error {
		body, err := fetch("http://" + p.IP + ":8080/")
		if err == nil && body != "hello "+p.Name+"\n" {
			err = fmt.Errorf("it says %q", body)
		}
		return err
	})
}

// A program without a readiness probe is ready from its start to its crash. No such moment costs a pod that serves.
func TestAProgramThatCrashesTakesNoPodsPlace(t *testing.T) {
	const replicas, restarts = 3, 2
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", replicas, run("web")).String())
	b.Up()
	before := harness.PIDs(b.UntilReady("web-", replicas))
	b.Write("web.yaml", deployment("web", replicas, shell("sleep 0.3; exit 1")).String())
	b.UntilStatus("the new program to have crashed, and again", func(s harness.Status) error {
		for _, p := range s.PodsOf("web-") {
			if _, old := before[p.Name]; !old && p.Container("main").Restarts >= restarts {
				return nil
			}
		}
		return fmt.Errorf("it has not")
	})
	now := harness.PIDs(b.UntilStatus("the pods", func(harness.Status) error { return nil }).PodsOf("web-"))
	for name, pid := range before {
		if now[name] != pid || !harness.Running(pid) {
			t.Errorf("%s is gone, which served: process %d is %d", name, pid, now[name])
		}
	}
}

// While a new image rolls out, there are never fewer ready pods than the strategy allows, and never more pods than its surge.
func TestRollingUpdate(t *testing.T) {
	const replicas = 4
	b := harness.New(t)
	b.Load(images.Tool)
	second := loadVariant(t, b, "second")
	strategy := "strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"
	m := deployment("web", replicas, run("web", "8080", "first"))
	m.spec = strategy
	b.Write("web.yaml", m.String())
	b.Up()
	old := map[string]bool{}
	for _, p := range b.UntilReady("web-", replicas) {
		old[p.Name] = true
	}
	m.main = fmt.Sprintf("image: %q, args: [web, '8080', second]", second)
	b.Write("web.yaml", m.String())
	looks, least, most := 0, replicas, 0
	b.UntilStatus("the new image everywhere", func(s harness.Status) error {
		pods := s.PodsOf("web-")
		looks++
		ready, live, outdated := 0, 0, 0
		for _, p := range pods {
			if p.Ready {
				ready++
			}
			if !p.Ending {
				live++
			}
			if old[p.Name] {
				outdated++
			}
		}
		least, most = min(least, ready), max(most, live)
		if outdated > 0 || ready != replicas || len(pods) != replicas {
			return fmt.Errorf("%d old, %d ready of %d", outdated, ready, len(pods))
		}
		return nil
	})
	if least < replicas || most > replicas+1 {
		t.Errorf("in %d looks there were at least %d ready and at most %d pods", looks, least, most)
	}
	for _, p := range b.UntilReady("web-", replicas) {
		if body, err := fetch("http://" + p.IP + ":8080/"); err != nil || !strings.HasPrefix(body, "second ") {
			t.Errorf("%s says %q, %v", p.Name, body, err)
		}
	}
}

// An image that does not run never takes down the pods that do.
func TestBadRolloutKeepsTheOldPods(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := deployment("web", 3, run("web"))
	// Without a time to prove itself a program counts as ready from its start until it crashes, as in Kubernetes.
	m.spec = "minReadySeconds: 2\n  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"
	b.Write("web.yaml", m.String())
	b.Up()
	before := harness.PIDs(b.UntilReady("web-", 3))
	m.main = run("exit", "1")
	b.Write("web.yaml", m.String())
	b.UntilStatus("the new pod to fail", func(s harness.Status) error {
		for _, p := range s.PodsOf("web-") {
			if c := p.Container("main"); c.ExitCode == 1 && c.Restarts >= 1 {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.Pods)
	})
	s, err := b.Look()
	if err != nil {
		t.Fatal(err)
	}
	now := harness.PIDs(s.PodsOf("web-"))
	for name, pid := range before {
		if now[name] != pid || !harness.Running(pid) {
			t.Errorf("%s was process %d and is %d", name, pid, now[name])
		}
	}
	m.main = run("web")
	b.Write("web.yaml", m.String())
	after := harness.PIDs(b.UntilReady("web-", 3))
	if !maps.Equal(before, after) {
		t.Errorf("going back changed the pods: %v, then %v", before, after)
	}
}

// Recreate ends all old pods before it starts a new one.
func TestRecreate(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := deployment("web", 3, run("web", "8080", "first"))
	m.spec = "strategy: {type: Recreate}"
	b.Write("web.yaml", m.String())
	b.Up()
	old := harness.PIDs(b.UntilReady("web-", 3))
	m.main = run("web", "8080", "second")
	b.Write("web.yaml", m.String())
	b.UntilStatus("new pods", func(s harness.Status) error {
		fresh, stale := 0, 0
		for name, pid := range harness.PIDs(s.PodsOf("web-")) {
			if old[name] == pid {
				stale++
			} else {
				fresh++
			}
		}
		if fresh > 0 && stale > 0 {
			t.Fatalf("%d new and %d old pods run together", fresh, stale)
		}
		if fresh != 3 {
			return fmt.Errorf("%d new, %d old", fresh, stale)
		}
		return nil
	})
}

// A replica that somebody kills comes back.
func TestReplicaKilledFromOutside(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 3, run("web")).String())
	b.Up()
	pods := b.UntilReady("web-", 3)
	victim := pods[1].Container("main").PID
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.UntilStatus("three live processes", func(s harness.Status) error {
		pods := s.PodsOf("web-")
		ready := 0
		for _, p := range pods {
			if pid := p.Container("main").PID; p.Ready && pid != victim && harness.Running(pid) {
				ready++
			}
		}
		if ready != 3 || len(pods) != 3 {
			return fmt.Errorf("%d of %d", ready, len(pods))
		}
		return nil
	})
}

// A container that keeps crashing is started again, later and later, and says so.
func TestCrashLoop(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("crash.yaml", deployment("crash", 1, run("exit", "3")).String())
	b.Up()
	first := b.UntilPod("crash-", "the back-off", func(p harness.Pod) error {
		c := p.Container("main")
		if c.Reason != "CrashLoopBackOff" || c.Restarts < 1 || c.ExitCode != 3 {
			return fmt.Errorf("%+v", c)
		}
		return nil
	}).Container("main").Restarts
	// The second wait is 10 s: within three nothing is started.
	b.For(3*time.Second, "the pause", func() error {
		s, err := b.Look()
		if err != nil {
			return err
		}
		if n := s.PodsOf("crash-")[0].Container("main").Restarts; n != first {
			return fmt.Errorf("%d restarts, %d before", n, first)
		}
		return nil
	})
	b.Write("crash.yaml", deployment("crash", 1, run("web")).String())
	b.UntilReady("crash-", 1)
}

// SIGTERM gives a program time to end; one that does not is killed when the time is over, with all its children.
func TestGracefulEnd(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	grace := func(name string, seconds int, main string) string {
		m := pod(name, main)
		m.pod = fmt.Sprintf("terminationGracePeriodSeconds: %d", seconds)
		return m.String()
	}
	b.Write("polite.yaml", grace("polite", 10, run("graceful", "300")))
	b.Write("stubborn.yaml", grace("stubborn", 1, run("stubborn"))) // without a word it would have 30 s
	b.Write("rest.yaml", grace("rest", 1, run("sleep")))
	b.Up("--prune-delay", "10ms")
	polite := b.UntilPod("polite", "to run", running).Container("main").PID
	stubborn := b.UntilPod("stubborn", "to run", running).Container("main").PID
	b.UntilPod("rest", "to run", running)
	logHas(b, "polite", "ready")
	logHas(b, "stubborn", "ready")

	end := func(file, name string, pid int) time.Duration {
		b.Delete(file)
		start := time.Now()
		b.Until(name+" to end", func() error {
			if harness.Running(pid) {
				return fmt.Errorf("process %d runs", pid)
			}
			return nil
		})
		return time.Since(start)
	}
	if took := end("polite.yaml", "polite", polite); took < 250*time.Millisecond || took > 10*time.Second {
		t.Errorf("the polite one took %v: it works for 0.3 s after SIGTERM and has 10", took)
	}
	if took := end("stubborn.yaml", "stubborn", stubborn); took < 900*time.Millisecond || took > 20*time.Second {
		t.Errorf("the stubborn one took %v: it has 1 s", took)
	}
}

// A container that ran out of memory says OOMKilled, one that was killed otherwise does not.
func TestOOMKilled(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("hog.yaml", pod("hog", run("hog", "200")+", resources: {limits: {memory: 32Mi}}").String())
	b.Write("killed.yaml", pod("killed", shell("kill -9 $$")+", resources: {limits: {memory: 32Mi}}").String())
	b.Write("fits.yaml", pod("fits", run("hog", "8")+", resources: {limits: {memory: 64Mi, cpu: 500m}}").String())
	b.Up()
	b.UntilPod("hog", "to be OOMKilled", func(p harness.Pod) error {
		if c := p.Container("main"); c.LastReason != "OOMKilled" || c.ExitCode != 137 {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	b.UntilPod("killed", "to be killed", func(p harness.Pod) error {
		c := p.Container("main")
		if c.LastReason == "OOMKilled" {
			t.Fatal("kill -9 is taken for an OOM kill")
		}
		if c.Restarts < 1 {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	b.UntilPod("fits", "to run", running)
	logHas(b, "fits", "holding 8 MiB")
}
