package e2e

import (
	"fmt"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// berth why leads from the line of a file to the exit code and the system call, for what is there and for what is gone.
func TestWhy(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("app/crash.yaml", "# a comment\n---\n"+deployment("crash", 1, shell("echo going down; exit 3")+", terminationMessagePolicy: FallbackToLogsOnError").String())
	b.Write("good.yaml", deployment("good", 2, run("sleep")).String())
	b.Write("call.yaml", pod("call", run("sleep")+", command: [/bin/nothing]").String())
	b.Write("bad.yaml", strings.Replace(pod("bad", run("sleep")).String(), "containers", "container", 1))
	b.Up()
	tests := map[string]struct {
		args []string
		code int
		want []string
	}{
		"crash":  {[]string{"why", "deploy/crash"}, 1, []string{"0 of 1 ready: pod crash-", "exit code 3", "stated    app/crash.yaml:3", "revision 1", "create Pod/default/crash-", "! event"}},
		"good":   {[]string{"why", "good"}, 0, []string{"Deployment/default/good: it is as stated: 2 of 2 ready", "good.yaml:1"}},
		"a call": {[]string{"why", "pod/call"}, 1, []string{"call.yaml:1", "/bin/nothing", "no such file or directory"}},
		"a file": {[]string{"why", "bad"}, 1, []string{"it is not there: bad.yaml:4:", "unknown field"}},
		"none":   {[]string{"why", "deploy/none"}, 1, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b.Until("the account", func() error {
				r := b.CLI(tc.args...)
				for _, want := range tc.want {
					if !strings.Contains(r.Stdout, want) {
						return fmt.Errorf("no %q in\n%s%s", want, r.Stdout, r.Stderr)
					}
				}
				if r.Code != tc.code {
					return fmt.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
				}
				t.Logf("\n%s%s", r.Stdout, r.Stderr)
				return nil
			})
		})
	}
	b.Delete("app/crash.yaml")
	b.Until("the account of what is gone", func() error {
		r := b.CLI("why", "deploy/crash")
		for _, want := range []string{"it is gone: no file states it any more", "gone      Pod/default/crash-", "exit code 3", "delete Pod/default/crash-"} {
			if !strings.Contains(r.Stdout, want) {
				return fmt.Errorf("no %q in\n%s%s", want, r.Stdout, r.Stderr)
			}
		}
		t.Logf("\n%s", r.Stdout)
		return nil
	})
}
