package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// of is a workload of another kind than the file says, with the same template.
func (m manifest) of(kind string) string {
	text := strings.Replace(m.String(), "kind: Deployment", "kind: "+kind, 1)
	switch kind {
	case "DaemonSet":
		text = strings.Replace(text, fmt.Sprintf("  replicas: %d\n", m.replicas), "", 1)
	case "ReplicationController":
		text = strings.Replace(text, "apps/v1", "v1", 1)
		text = strings.Replace(text, "{matchLabels: {app: "+m.name+"}}", "{app: "+m.name+"}", 1)
	}
	return text
}

// redisSet is redis, each with a claim; flags are more arguments.
func redisSet(replicas, partition int, flags ...string) string {
	args := quoted(append([]string{"redis-server", "--protected-mode", "no", "--appendonly", "yes", "--appendfsync", "always"}, flags...))
	m := deployment("redis", replicas, fmt.Sprintf("image: %q, command: [%s], volumeMounts: [{name: data, mountPath: /data}], "+
		"readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}", images.Ref(images.Redis), args))
	m.pod = "securityContext: {fsGroup: 101}"
	m.spec = fmt.Sprintf("serviceName: redis\n  updateStrategy: {rollingUpdate: {partition: %d}}\n", partition) +
		"  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]"
	return m.of("StatefulSet")
}

// Redis as a StatefulSet: its pods come up in order, and each keeps its name and its data, whatever ends it: kill, a smaller and a greater size, a rolling
// update with a partition, kill -9 of berth, down.
func TestRedisAsAStatefulSet(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Redis)
	b.Write("redis.yaml", redisSet(3, 0))
	up := b.Up()
	pods := b.UntilReady("redis-", 3)
	slices.SortFunc(pods, func(x, y harness.Pod) int { return x.Created.Compare(y.Created) })
	for n, p := range pods {
		if p.Name != fmt.Sprintf("redis-%d", n) {
			t.Errorf("pod %d to come is %s", n, p.Name)
		}
		b.Must("exec", p.Name, "--", "redis-cli", "set", "me", p.Name)
	}
	remembers := func(names ...string) {
		t.Helper()
		for _, name := range names {
			reads(b, name, name+"\n", "redis-cli", "get", "me")
			reads(b, name, name+"\n", "hostname")
		}
	}
	remembers("redis-0", "redis-1", "redis-2")

	if err := syscall.Kill(harness.PIDs(pods)["redis-1/main"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	remembers("redis-1")
	b.Write("redis.yaml", redisSet(1, 0))
	before := harness.PIDs(b.UntilReady("redis-", 1))
	b.Write("redis.yaml", redisSet(3, 0))
	b.UntilReady("redis-", 3)
	remembers("redis-0", "redis-1", "redis-2")

	b.Write("redis.yaml", redisSet(3, 2, "--timeout", "77"))
	timeouts := func(want ...string) {
		t.Helper()
		for n, s := range want {
			reads(b, fmt.Sprintf("redis-%d", n), "timeout\n"+s+"\n", "redis-cli", "config", "get", "timeout")
		}
	}
	timeouts("0", "0", "77")
	if now := harness.PIDs(b.UntilReady("redis-", 3)); now["redis-0/main"] != before["redis-0/main"] {
		t.Errorf("redis-0 is process %d, was %d", now["redis-0/main"], before["redis-0/main"])
	}
	up.Kill()
	b.Write("redis.yaml", redisSet(3, 0, "--timeout", "77"))
	b.Up()
	timeouts("77", "77", "77")
	remembers("redis-0", "redis-1", "redis-2")

	b.Must("down")
	b.Up()
	b.UntilReady("redis-", 3)
	remembers("redis-0", "redis-1", "redis-2")
	b.Must("down", "--volumes")
}

// A pod of a StatefulSet waits for the one before it, and a set that is broken by its new template keeps the pods below.
func TestOrderOfAStatefulSet(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	const probe = ", readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}"
	m := deployment("db", 2, run("sleep")+probe)
	b.Write("db.yaml", m.of("StatefulSet"))
	b.Up()
	runs := func(p harness.Pod) error {
		if p.Container("main").State != "Running" {
			return fmt.Errorf("%s", p.Reason)
		}
		return nil
	}
	b.UntilPod("db-", "to run", runs)
	b.For(time.Second, "nothing but db-0 to be there", func() error {
		s, err := b.Look()
		if err == nil && len(s.PodsOf("db-")) != 1 {
			err = fmt.Errorf("%+v", s.Pods)
		}
		return err
	})
	b.Must("exec", "db-0", "--", "touch", "/tmp/ready")
	b.UntilPod("db-1", "to run", runs)
	b.Must("exec", "db-1", "--", "touch", "/tmp/ready")
	pids := harness.PIDs(b.UntilReady("db-", 2))
	m.main = shell("exit 3") // without a probe: it is ready for a moment, again and again
	b.Write("db.yaml", m.of("StatefulSet"))
	b.UntilPod("db-1", "to crash", func(p harness.Pod) error {
		if p.Container("main").Restarts == 0 {
			return fmt.Errorf("%s", p.Reason)
		}
		return nil
	})
	if err := samePIDs(b, "db-0", map[string]int{"db-0/main": pids["db-0/main"]})(); err != nil {
		t.Error(err)
	}
}

// A DaemonSet has one pod here, wherever its template wants it; a new template replaces it, or comes first and then replaces it.
func TestDaemonSetOnThisMachine(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := deployment("agent", 1, run("web", "8080", "first"))
	m.pod = "nodeSelector: {disk: of-another-machine}, tolerations: [{operator: Exists}]"
	b.Write("agent.yaml", m.of("DaemonSet"))
	b.Up()
	first := b.UntilReady("agent-", 1)[0]
	for _, spec := range []string{"", "updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"} {
		m.main, m.spec = run("web", "8080", "after "+first.Name), spec
		b.Write("agent.yaml", m.of("DaemonSet"))
		least := 1
		b.UntilStatus("another pod", func(s harness.Status) error {
			pods, ready := s.PodsOf("agent-"), 0
			for _, p := range pods {
				if p.Ready {
					ready++
				}
			}
			least = min(least, ready)
			if len(pods) != 1 || pods[0].UID == first.UID || !pods[0].Ready {
				return fmt.Errorf("%+v", pods)
			}
			return nil
		})
		if spec != "" && least == 0 {
			t.Error("with a surge there was a moment without a ready pod")
		}
		first = b.UntilReady("agent-", 1)[0]
	}
	b.Delete("agent.yaml")
	b.UntilReady("agent-", 0)
}

// A ReplicationController keeps as many pods as its file says.
func TestReplicationControllerFromAFile(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("old.yaml", deployment("old", 2, run("web")).of("ReplicationController"))
	b.Up()
	pods := b.UntilReady("old-", 2)
	if err := syscall.Kill(pods[0].Container("main").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.UntilPod(pods[0].Name, "to be started again", func(p harness.Pod) error {
		if p.Container("main").Restarts != 1 || !p.Ready {
			return fmt.Errorf("%+v", p.Containers)
		}
		return nil
	})
	b.Write("old.yaml", deployment("old", 1, run("web")).of("ReplicationController"))
	b.UntilReady("old-", 1)
	b.Delete("old.yaml")
	b.UntilReady("old-", 0)
}
