package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/leak"
)

// jobOf is a Job whose pods run a container; spec and main are flow mappings without braces.
func jobOf(name, spec, main string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s}\nspec: %s\n", name, jobSpec(spec, main, "restartPolicy: Never"))
}

func jobSpec(spec, main, pod string) string {
	if spec != "" {
		spec += ", "
	}
	return fmt.Sprintf("{%stemplate: {spec: {%s, terminationGracePeriodSeconds: 2, containers: [{name: main, %s}]}}}", spec, pod, main)
}

// noting is a container whose script finds a folder of the machine under /h, and the rest of its pod's spec.
func noting(dir, script string) (main, pod string) {
	return shell(script) + ", volumeMounts: [{name: h, mountPath: /h}]",
		fmt.Sprintf("restartPolicy: Never, volumes: [{name: h, hostPath: {path: %q}}]", dir)
}

func statusOfJob(s harness.Status, name string) harness.Workload {
	for _, w := range s.Workloads {
		if w.Kind == "Job" && w.Name == name {
			return w
		}
	}
	return harness.Workload{}
}

// untilDone waits until a Job has run well.
func untilDone(b *harness.Berth, name string) harness.Status {
	b.Helper()
	return b.UntilStatus("Job "+name+" to be done", func(s harness.Status) error {
		if w := statusOfJob(s, name); !w.Done {
			return fmt.Errorf("%+v; pods %+v", w, s.PodsOf(name))
		}
		return nil
	})
}

// Each pod of an Indexed Job knows its index, and what it said can be read when the Job has finished.
func TestIndexedJob(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("parts.yaml", jobOf("parts", "completions: 3, parallelism: 2, completionMode: Indexed", shell("echo part $JOB_COMPLETION_INDEX of $(cat /etc/hostname)")))
	up := b.StartUp("--once")
	if code := up.Wait(time.Minute); code != 0 {
		t.Fatalf("up --once: exit code %d: %s", code, up.Output())
	}
	if !strings.Contains(up.Output(), "Job/parts") || !strings.Contains(up.Output(), "3/3") {
		t.Errorf("it says %s", up.Output())
	}
	b.Up()
	s := untilDone(b, "parts")
	for i := range 3 {
		pods := s.PodsOf(fmt.Sprintf("parts-%d-", i))
		if len(pods) != 1 || pods[0].Reason != "Completed" {
			t.Fatalf("pods of index %d: %+v", i, pods)
		}
		if log, want := b.Must("logs", pods[0].Name), fmt.Sprintf("part %d of parts-%d\n", i, i); log != want {
			t.Errorf("pod %s said %q, want %q", pods[0].Name, log, want)
		}
	}
}

// Pods that have ended keep their records and what they said, and hold nothing else of the machine.
func TestEndedPodsHoldNothing(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("idle.yaml", jobOf("idle", "", shell("sleep 1000")))
	up := b.Up()
	b.UntilReady("idle-", 1)
	before := holdings(b)
	main := shell("echo said > /m/x; cat /m/x") + ", volumeMounts: [{name: m, mountPath: /m}]"
	pod := "restartPolicy: Never, volumes: [{name: m, emptyDir: {medium: Memory}}]"
	b.Write("many.yaml", fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: many}\nspec: %s\n", jobSpec("completions: 50, parallelism: 10", main, pod)))
	check := func() {
		t.Helper()
		s := untilDone(b, "many")
		b.Until("what ended pods held to be gone", func() error {
			more := slices.DeleteFunc(leak.Diff(before, holdings(b)), func(i leak.Item) bool { return i.Gone }) // as what berth tries its ways with
			if len(more) > 0 {
				return errors.New(leak.Text(more))
			}
			return nil
		})
		pods := s.PodsOf("many-")
		if len(pods) != 50 {
			t.Errorf("there are %d ended pods, want 50", len(pods))
		}
		for i, p := range pods {
			if p.Reason != "Completed" || p.IP == "" {
				t.Errorf("pod %+v", p)
			}
			if i%10 == 0 {
				if log := b.Must("logs", p.Name); log != "said\n" {
					t.Errorf("pod %s said %q", p.Name, log)
				}
			}
		}
	}
	check()
	up.Kill()
	b.Up()
	check()
}

// holdings is what the pods of this machine have of it.
func holdings(b *harness.Berth) leak.Snapshot {
	b.Helper()
	all, err := leak.Take(leak.Options{})
	if err != nil {
		b.Fatalf("%v", err)
	}
	of := leak.Snapshot{}
	for _, kind := range []leak.Kind{leak.Namespace, leak.Link, leak.Address, leak.Route, leak.Mount, leak.Cgroup} {
		of[kind] = all[kind]
	}
	return of
}

// A Job whose controller is killed again and again makes each of its completions once, and none when it has finished.
func TestJobSurvivesTheController(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	dir := t.TempDir()
	main, pod := noting(dir, "echo run >> /h/runs; sleep 0.4; echo end >> /h/ends")
	text := fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: work}\nspec: %s\n", jobSpec("completions: 6, parallelism: 2", main, pod))
	b.Write("work.yaml", text)
	kills := 0
	for ; len(lines(t, dir, "ends")) < 6; kills++ {
		up := b.Up()
		seen := len(lines(t, dir, "runs"))
		b.Until("another pod, or the end", func() error {
			if len(lines(t, dir, "runs")) > seen || len(lines(t, dir, "ends")) == 6 {
				return nil
			}
			return fmt.Errorf("%d runs", seen)
		})
		up.Kill()
	}
	up := b.Up()
	untilDone(b, "work")
	up.Kill()
	b.Up()
	untilDone(b, "work")
	if n := len(lines(t, dir, "runs")); n != 6 {
		t.Errorf("%d runs, want 6, the controller was killed %d times", n, kills)
	}
	b.Delete("work.yaml")
	b.UntilStatus("its pods to be gone", func(s harness.Status) error {
		if len(s.Pods)+len(s.Workloads) > 0 {
			return fmt.Errorf("%+v", s.Pods)
		}
		return nil
	})
	b.Write("work.yaml", text)
	untilDone(b, "work")
	if n := len(lines(t, dir, "runs")); n != 12 {
		t.Errorf("%d runs, want 12: its file was taken away and put back", n)
	}
}

func lines(t *testing.T, dir, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")[:strings.Count(string(data), "\n")]
}

// What takes its time is waited for together: a Job that fails twice (10 s apart), one that is suspended and resumed, one whose time after its
// end is over, and a CronJob of every minute. This scene takes about a minute, until the next one begins.
func TestJobsAndTime(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	dir := t.TempDir()
	b.Write("fails.yaml", jobOf("fails", "backoffLimit: 1", shell("echo no; exit 3")))
	b.Write("later.yaml", jobOf("later", "suspend: true", shell("echo at last")))
	b.Write("short.yaml", jobOf("short", "ttlSecondsAfterFinished: 2", shell("true")))
	main, pod := noting(dir, "[ -e /h/again ] && exit 0; touch /h/again; exit 1")
	b.Write("again.yaml", fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: again}\nspec: %s\n",
		jobSpec("backoffLimit: 2", main, strings.Replace(pod, "Never", "OnFailure", 1))))
	main, pod = noting(dir, "echo minute >> /h/minutes")
	b.Write("tick.yaml", fmt.Sprintf("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: tick}\nspec: {schedule: '* * * * *', concurrencyPolicy: Forbid, jobTemplate: {spec: %s}}\n",
		jobSpec("", main, pod)))
	minute := time.Now().Truncate(time.Minute)
	up := b.Up()

	untilDone(b, "short")
	b.UntilStatus("the pods of the Job whose time is over to be gone, and the Job to stay", func(s harness.Status) error {
		if w := statusOfJob(s, "short"); !w.Done || len(s.PodsOf("short-")) > 0 {
			return fmt.Errorf("%+v %+v", w, s.PodsOf("short-"))
		}
		return nil
	})
	if pods := untilDone(b, "again").PodsOf("again-"); len(pods) != 1 || pods[0].Container("main").Restarts != 1 {
		t.Errorf("a pod that is restarted in place: %+v", pods)
	}
	s, err := b.Look()
	if w := statusOfJob(s, "later"); err != nil || !w.Done || len(s.PodsOf("later-")) > 0 {
		t.Errorf("a suspended Job: %+v %+v %v", w, s.PodsOf("later-"), err)
	}
	b.Write("later.yaml", jobOf("later", "suspend: false", shell("echo at last")))
	b.UntilPod("later-", "to have run", func(p harness.Pod) error {
		if p.Reason != "Completed" {
			return fmt.Errorf("it is %s", p.Reason)
		}
		return nil
	})
	untilDone(b, "later")
	b.Write("later.yaml", jobOf("later", "suspend: false", shell("echo something else")))
	b.UntilStatus("the other template to be refused", func(s harness.Status) error {
		for _, f := range s.Faults {
			if f.File == "later.yaml" && f.Field == "spec.template" && f.Line > 0 {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.Faults)
	})

	s = b.UntilStatus("the Job that fails to give up", func(s harness.Status) error {
		if w := statusOfJob(s, "fails"); !strings.Contains(w.Problem, "BackoffLimitExceeded") {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
	if pods := s.PodsOf("fails-"); len(pods) != 2 {
		t.Errorf("%d pods of a Job that may fail once, want 2", len(pods))
	} else if log := b.Must("logs", pods[0].Name); log != "no\n" {
		t.Errorf("its log is %q", log)
	}

	b.UntilWithin(time.Minute+harness.Patience, "the CronJob to run", func() error {
		if len(lines(t, dir, "minutes")) == 0 {
			return fmt.Errorf("no minute yet")
		}
		return nil
	})
	up.Kill() // the next one must not run this minute again
	b.Up()
	b.For(2*time.Second, "one run a minute", func() error {
		if n, most := len(lines(t, dir, "minutes")), int(time.Since(minute)/time.Minute); n > most {
			return fmt.Errorf("%d runs in %d minutes", n, most)
		}
		return nil
	})
}
