package native

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

// A container with a target sees the target's processes under the numbers they have for themselves, and the files of these; its own namespaces otherwise.
// What runs in it ends with the target.
func TestTarget(t *testing.T) {
	for name, box := range map[string]runtime.SandboxConfig{"usual": {}, "in a user namespace": {UserNamespace: true}} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.sandbox(t, box)
			look := func(attempt uint32, text string) runtime.ContainerConfig {
				cfg := script(text)
				cfg.Name, cfg.Attempt, cfg.Target = "look", attempt, "main"
				return cfg
			}
			var start *runtime.StartError
			if _, err := m.StartContainer(t.Context(), "pod", look(0, "true")); !errors.As(err, &start) || start.Reason != runtime.ReasonCreateError {
				t.Errorf("without its target: %v", err)
			}
			main, err := m.StartContainer(t.Context(), "pod", script("echo mine > /tmp/mine; echo up; while :; do sleep 1000; done"))
			must(t, err)
			m.awaitLog(t, main.LogPath, "up")
			out, _ := m.output(t, look(0, `grep -c 'sleep 1000' /proc/1/cmdline; test $$ = 1 || echo beside; cat /proc/1/root/tmp/mine; ls /tmp; kill -0 1 && echo reached
				for ns in mnt net; do test $(readlink /proc/1/ns/$ns) = $(readlink /proc/self/ns/$ns) && echo one $ns; done`))
			if diff := cmp.Diff("1\nbeside\nmine\nreached\none net\n", out); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			beside, err := m.StartContainer(t.Context(), "pod", look(1, "echo up; sleep 1000"))
			must(t, err)
			m.awaitLog(t, beside.LogPath, "up")
			m.reopen(t) // it goes on without its controller
			var b strings.Builder
			if code, err := m.Exec(t.Context(), "pod", "look", runtime.ExecConfig{Command: []string{"sh", "-c", "cat /proc/1/root/tmp/mine"}, Stdout: &b}); err != nil || code != 0 || b.String() != "mine\n" {
				t.Errorf("Exec = %d, %v, %q", code, err, b.String())
			}
			must(t, m.KillContainer(t.Context(), "pod", "main"))
			if st := m.awaitEnd(t, "look", 1); st.Signal != 9 {
				t.Errorf("at the end of its target it is %+v", st)
			}
		})
	}
}
