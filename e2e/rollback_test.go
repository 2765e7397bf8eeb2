package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// hasty is a Deployment whose rollouts have so many seconds; none of its pods may be missing meanwhile.
func hasty(seconds int, main string) manifest {
	m := deployment("web", 3, main)
	m.spec = fmt.Sprintf("progressDeadlineSeconds: %d\n  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}", seconds)
	return m
}

// pulledFromNowhere is a container whose image exists in no registry and in no store.
const pulledFromNowhere = `image: "127.0.0.1:1/nowhere:1", imagePullPolicy: Always`

// whole is the row of the only workload.
func whole(s harness.Status) harness.Workload {
	if len(s.Workloads) != 1 {
		return harness.Workload{}
	}
	return s.Workloads[0]
}

// untilHeld waits until the status says that the Deployment is held at an earlier revision, all its pods ready.
func untilHeld(b *harness.Berth, n int) harness.Status {
	b.Helper()
	return b.UntilStatus("to be back at the earlier revision", func(s harness.Status) error {
		w, pods := whole(s), s.PodsOf("web-")
		if !strings.Contains(w.Problem, "was not ready within") || !strings.Contains(w.Problem, "until web.yaml:1 changes") || len(pods) != n {
			return fmt.Errorf("%+v, %d pods", w, len(pods))
		}
		return nil
	})
}

// A rollout that is not done in time goes back to what was ready before. The old pods run on all the while, also if berth is killed in the middle of
// it; the status says why and until when, and another file goes on.
func TestFailedRolloutGoesBack(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", hasty(5, run("web", "8080", "first")).String())
	up := b.Up()
	b.Must("rollout", "status", "deployment/web") // ready is not enough to be gone back to
	before := harness.PIDs(b.UntilReady("web-", 3))
	same := func(moment string) {
		t.Helper()
		s, err := b.Look()
		if err != nil {
			t.Fatal(err)
		}
		now := harness.PIDs(s.PodsOf("web-"))
		for name, pid := range before {
			if now[name] != pid || !harness.Running(pid) {
				t.Errorf("%s: %s was process %d and is %d", moment, name, pid, now[name])
			}
		}
	}
	b.Write("web.yaml", hasty(5, pulledFromNowhere).String())
	s := untilHeld(b, 3)
	same("back")
	if p := whole(s).Problem; !strings.Contains(p, "ErrImagePull") && !strings.Contains(p, "ImagePullBackOff") {
		t.Errorf("the status does not say what the pods died of: %s", p)
	}
	r := b.CLI("rollout", "status", "deployment/web")
	if r.Code != 1 || !strings.Contains(r.Stderr, `deployment "web" exceeded its progress deadline`) {
		t.Errorf("rollout status: %+v", r)
	}
	up.Kill()
	b.Up()
	untilHeld(b, 3)
	same("after a kill")

	// The size of the file counts all the same.
	m := hasty(5, pulledFromNowhere)
	m.replicas = 4
	b.Write("web.yaml", m.String())
	b.UntilReady("web-", 4)
	untilHeld(b, 4)
	same("scaled")

	b.Write("web.yaml", hasty(60, run("web", "8080", "second")).String())
	pods := b.UntilReady("web-", 3)
	for name, pid := range harness.PIDs(pods) {
		if before[name] == pid {
			t.Errorf("%s is still an old one", name)
		}
	}
	b.UntilStatus("all to be well", func(s harness.Status) error {
		if w := whole(s); !w.Done || w.Problem != "" {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
	if body, err := fetch("http://" + pods[0].IP + ":8080/"); err != nil || !strings.HasPrefix(body, "second ") {
		t.Errorf("it says %q, %v", body, err)
	}
}

// A program that crashes at its start fails its rollout, however often it is started again.
func TestCrashingRolloutGoesBack(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	proving := func(main string) string {
		m := hasty(12, main)
		m.spec = "minReadySeconds: 2\n  " + m.spec
		return m.String()
	}
	b.Write("web.yaml", proving(run("web")))
	b.Up()
	b.Must("rollout", "status", "deployment/web") // ready is not enough to be gone back to
	before := harness.PIDs(b.UntilReady("web-", 3))
	b.Write("web.yaml", proving(run("exit", "1")))
	s := untilHeld(b, 3)
	if now := harness.PIDs(s.PodsOf("web-")); !maps.Equal(before, now) {
		t.Errorf("going back changed the pods: %v, then %v", before, now)
	}
	if p := whole(s).Problem; !strings.Contains(p, "exit code 1") {
		t.Errorf("the status does not say what the pods died of: %s", p)
	}
}

// Switched off, a failed rollout stays as Kubernetes leaves it.
func TestFailedRolloutStays(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", hasty(1, run("web")).String())
	b.Up()
	b.UntilReady("web-", 3)
	off := strings.Replace(hasty(1, pulledFromNowhere).String(), "{name: web}", `{name: web, annotations: {berth.dev/auto-rollback: "false"}}`, 1)
	b.Write("web.yaml", off)
	b.UntilStatus("the deadline", func(s harness.Status) error {
		if w := whole(s); !strings.Contains(w.Problem, "has timed out progressing") {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
	b.For(2*time.Second, "four pods", func() error {
		s, err := b.Look()
		if err == nil && len(s.PodsOf("web-")) != 4 {
			err = fmt.Errorf("%d pods", len(s.PodsOf("web-")))
		}
		return err
	})
}

// What kubectl asks of a rollout can be asked of berth: it holds until the file changes.
func TestRolloutCommands(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	says := func(text string) {
		t.Helper()
		b.UntilStatus("pods that say "+text, func(s harness.Status) error {
			pods := s.PodsOf("web-")
			if w := whole(s); len(pods) != 3 || !w.Done {
				return fmt.Errorf("%+v", w)
			}
			for _, p := range pods {
				if body, err := fetch("http://" + p.IP + ":8080/"); err != nil || !strings.HasPrefix(body, text+" ") {
					return fmt.Errorf("%s says %q, %w", p.Name, body, err)
				}
			}
			return nil
		})
	}
	want := func(text string, args ...string) {
		t.Helper()
		if out := b.Must(append([]string{"rollout"}, args...)...); !strings.Contains(out, text) {
			t.Errorf("rollout %v: %q, want %q", args, out, text)
		}
	}
	refused := func(text string, args ...string) {
		t.Helper()
		if r := b.CLI(append([]string{"rollout"}, args...)...); r.Code != 1 || !strings.Contains(r.Stderr, text) {
			t.Errorf("rollout %v: %+v, want %q", args, r, text)
		}
	}
	b.Write("web.yaml", hasty(60, run("web", "8080", "first")).String())
	b.Up()
	want(`deployment "web" successfully rolled out`, "status", "deployment/web")
	says("first")
	b.Write("web.yaml", hasty(60, run("web", "8080", "second")).String())
	says("second")

	want("deployment.apps/web rolled back", "undo", "deployment/web")
	want("successfully rolled out", "status", "deployment", "web")
	says("first")
	if out := b.Must("status"); !strings.Contains(out, "which was revision 1, as asked for by undo, until web.yaml:1 changes.") {
		t.Errorf("the status does not say what is held:\n%s", out)
	}
	want("REVISION  CHANGE-CAUSE\n2         <none>\n3         <none>\n", "history", "deploy/web")
	refused("unable to find specified revision 9 in history", "undo", "deploy/web", "--to-revision", "9")

	s, err := b.Look()
	if err != nil {
		t.Fatal(err)
	}
	before := harness.PIDs(s.PodsOf("web-"))
	want("deployment.apps/web restarted", "restart", "deployment/web")
	want("successfully rolled out", "status", "deployment/web")
	says("first")
	s, err = b.Look()
	if err != nil {
		t.Fatal(err)
	}
	for name := range maps.Keys(harness.PIDs(s.PodsOf("web-"))) {
		if before[name] != 0 {
			t.Errorf("%s was not restarted", name)
		}
	}

	want("deployment.apps/web paused", "pause", "deployment/web")
	refused("already paused", "pause", "deployment/web")
	b.Write("web.yaml", hasty(60, run("web", "8080", "third")).String())
	b.For(2*time.Second, "nothing", func() error {
		s, err := b.Look()
		if err == nil && (len(s.PodsOf("web-")) != 3 || !strings.Contains(whole(s).Note, "rollout resume deployment/web")) {
			err = fmt.Errorf("%d pods, %+v", len(s.PodsOf("web-")), whole(s))
		}
		return err
	})
	says("first")
	want("deployment.apps/web resumed", "resume", "deployment/web")
	says("third")
	refused(`deployments.apps "nobody" not found`, "undo", "deployment/nobody")
	refused("name a workload", "undo", "pod/web")
}

// A restart exchanges the pods of the other workloads, too, and its end can be waited for.
func TestRestartOfSets(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	for _, kind := range []string{"StatefulSet", "DaemonSet"} {
		replicas := "replicas: 2, serviceName: none, "
		if kind == "DaemonSet" {
			replicas = ""
		}
		name := strings.ToLower(kind)
		b.Write(name+".yaml", fmt.Sprintf(`apiVersion: apps/v1
kind: %s
metadata: {name: %[2]s}
spec: {%[3]sselector: {matchLabels: {app: %[2]s}}, template: {metadata: {labels: {app: %[2]s}}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, %[4]s}]}}}
`, kind, name, replicas, run("sleep")))
	}
	b.Up()
	for name, n := range map[string]int{"statefulset": 2, "daemonset": 1} {
		before := harness.PIDs(b.UntilReady(name+"-", n))
		if out := b.Must("rollout", "restart", name+"/"+name); out != name+".apps/"+name+" restarted\n" {
			t.Errorf("it says %q", out)
		}
		b.Must("rollout", "status", name+"/"+name)
		for pod, pid := range harness.PIDs(b.UntilReady(name+"-", n)) {
			if before[pod] == pid {
				t.Errorf("%s was not restarted", pod)
			}
		}
	}
	if r := b.CLI("rollout", "undo", "sts/statefulset"); r.Code != 1 || !strings.Contains(r.Stderr, "only status and restart") {
		t.Errorf("undo of a StatefulSet: %+v", r)
	}
}
