package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"berth/manifests"
	"berth/runtime"
)

// why is an account as lines: LINK TEXT, bad ones with a "!".
func (w *world) why(t *testing.T, target string) (Account, string) {
	t.Helper()
	a, err := w.c.Why(target, "shop")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range a.Lines {
		mark := " "
		if l.Bad {
			mark = "!"
		}
		fmt.Fprintf(&b, "%s %s %s %s\n", mark, l.Link, l.Of, l.Text)
	}
	return a, b.String()
}

func wantLines(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in\n%s", p, text)
		}
	}
}

// The chain goes from the line of the file to the exit code, and to the system call or the registry that failed.
func TestWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.OnPull("pulled:1", pullFault{Err: errors.New("registry.example: unauthorized")})
		w.fake.OnStart(func(_ string, cfg runtime.ContainerConfig) error {
			if cfg.Image == "started:1" {
				return &runtime.StartError{Reason: runtime.ReasonCannotRun, Step: "execve /bin/app", Err: errors.New("no such file or directory")}
			}
			return nil
		})
		w.start()
		w.write(web("good", "good:1", 2), web("pulled", "pulled:1", 1), web("started", "started:1", 1), web("ended", "ended:1", 1), barePod("bare", "bare:1"))
		w.settle()
		for _, p := range w.c.Status().Pods {
			if p.Owner == "Deployment/ended" {
				w.fake.Exit(p.UID, "main", 3)
			}
		}
		w.settle()

		a, text := w.why(t, "deploy/good")
		if !a.Well || a.Answer != "it is as stated: 2 of 2 ready" {
			t.Errorf("good: %+v", a)
		}
		wantLines(t, text, "  stated  good.yaml:1\n", "  revision ReplicaSet/shop/good-", "revision 1: 2 of 2 pods ready", "  decided ReplicaSet/shop/good-", "create Pod/shop/good-", "  pod Pod/shop/good-")

		a, text = w.why(t, "pulled")
		if a.Well || !strings.Contains(a.Answer, "registry.example: unauthorized") {
			t.Errorf("pulled: %s", a.Answer)
		}
		wantLines(t, text, "! container Pod/shop/pulled-", "registry.example: unauthorized", "! event Pod/shop/pulled-")

		a, text = w.why(t, "Deployment/shop/started")
		if a.Well || !strings.Contains(a.Answer, "cannot execve /bin/app: no such file or directory") {
			t.Errorf("started: %s", a.Answer)
		}
		wantLines(t, text, "! container Pod/shop/started-", "exit code 128")

		_, text = w.why(t, "po/ended") // by the beginning of its name
		wantLines(t, text, "  stated Deployment/shop/ended ended.yaml:1\n", "ended with exit code 3 (Error)", "started again 1 times")

		a, text = w.why(t, "pod/bare")
		if !a.Well || a.Object != "Pod/shop/bare" {
			t.Errorf("bare: %+v", a)
		}
		wantLines(t, text, "  stated  bare.yaml:1\n", "main (bare:1): running\n")
		if _, err := w.c.Why("deploy/none", "shop"); err == nil {
			t.Error("something is known of nothing")
		}
	})
}

// What is gone is told of, and what never came to be.
func TestWhyOfWhatIsNotThere(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2))
		w.settle()
		var name string
		for _, p := range w.c.Status().Pods {
			name = p.Name
			w.fake.Exit(p.UID, "main", 9)
			break
		}
		w.settle()
		w.write(web("web", "web:1", 1), web("other", "o:1", 1))
		w.settle()
		w.write(web("other", "o:1", 1))
		w.pass(time.Minute)
		w.settle()
		a, text := w.why(t, "pod/"+name)
		if !a.Gone || !strings.HasPrefix(a.Answer, "it is gone since ") {
			t.Errorf("%+v", a)
		}
		wantLines(t, text, "delete Pod/shop/"+name, "ended with exit code 9 (Error)")
		a, text = w.why(t, "deploy/web")
		if !a.Gone {
			t.Errorf("%+v", a)
		}
		wantLines(t, text, "gone Pod/shop/web-")

		w.snapshot(manifests.Snapshot{Source: "test", Faults: []manifests.Fault{
			{File: "bad.yaml", Line: 4, Severity: manifests.Error, Object: "Deployment/bad", Field: "spec.container", Text: "unknown field"},
		}, Objects: []manifests.Object{web("other", "o:1", 1)}})
		w.settle()
		if a, _ := w.why(t, "deploy/bad"); !a.Gone || a.Answer != "it is not there: bad.yaml:4: error: Deployment/bad spec.container: unknown field" {
			t.Errorf("%+v", a)
		}
	})
}
