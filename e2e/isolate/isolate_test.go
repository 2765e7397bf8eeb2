package isolate

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	os.Exit(Main(nil, m.Run))
}

func TestInsideEverythingIsOwn(t *testing.T) {
	if !Inside() || os.Getenv(SwitchVar) == "0" {
		t.Fatal("not isolated")
	}
	if os.Getpid() > 100 {
		t.Errorf("pid %d: not in a pid namespace of its own", os.Getpid())
	}
	links, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(links), "\n"); n != 3 { // two lines of heading, and lo
		t.Errorf("not an empty network namespace:\n%s", links)
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.TrimSpace(string(groups))) {
		if path := line[strings.LastIndex(line, ":")+1:]; strings.TrimSpace(path) != "/" && strings.TrimSpace(path) != "/e2e-runner" {
			t.Errorf("cgroup %q is not the root of what is seen", line)
		}
	}
	for _, h := range hierarchies() {
		if err := os.Mkdir(h+"/probe", 0o755); err != nil {
			t.Error(err)
		}
		defer os.Remove(h + "/probe")
	}
}
