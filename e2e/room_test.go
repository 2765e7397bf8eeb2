package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// A pod that asks for more memory than the machine has left waits, says so in a scheduler's words, and begins when a pod that has it ends; what asks
// for nothing does not wait, and what runs goes on.
func TestPodsWaitForRoom(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	asking := func(percent int) string {
		return run("sleep") + fmt.Sprintf(", resources: {requests: {memory: %dKi}}", kibOfMemory(t)*percent/100)
	}
	waits := func(name string) {
		t.Helper()
		b.UntilPod(name, "to wait for memory", func(p harness.Pod) error {
			if p.Phase != "Pending" || !strings.Contains(p.Message, "0/1 nodes are available: 1 Insufficient memory.") {
				return fmt.Errorf("%s: %s", p.Phase, p.Message)
			}
			return nil
		})
	}
	b.Write("a.yaml", pod("first", asking(60)).String())
	up := b.Up()
	first := b.UntilReady("first", 1)[0]
	b.Write("b.yaml", pod("second", asking(60)).String())
	waits("second")
	b.Write("c.yaml", pod("small", asking(30)).String())
	b.Write("d.yaml", pod("none", run("sleep")).String())
	b.UntilReady("small", 1)
	b.UntilReady("none", 1)
	up.Kill()
	b.Up()
	waits("second")
	if again := b.UntilReady("first", 1)[0]; again.Containers[0].PID != first.Containers[0].PID {
		t.Errorf("the first was started anew: %+v", again)
	}
	b.Delete("a.yaml")
	b.UntilReady("second", 1)
	b.UntilStatus("the waiting to be told", func(s harness.Status) error {
		for _, e := range s.Events {
			if e.Reason == "FailedScheduling" && strings.HasSuffix(e.Object, "/second") {
				return nil
			}
		}
		return errors.New("there is no event FailedScheduling")
	})
}

func kibOfMemory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var kib int
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
