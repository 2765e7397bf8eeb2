package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/registry"
)

// kills is how often something is killed; BERTH_E2E_KILLS changes it, BERTH_E2E_SEED repeats a run.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("BERTH_E2E_KILLS")); err == nil {
		return n
	}
	return 38
}

func seed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("BERTH_E2E_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(time.Now().UnixNano())
}

// chaos is one run of kills.
type chaos struct {
	*harness.Berth
	t    *testing.T
	rnd  *rand.Rand
	reg  *registry.Registry
	up   *harness.Up
	args []string
	// replicas is what the files state; text is what the programs say, which a rollout changes.
	replicas map[string]int
	text     int
	image    string
	hit      map[string]int
	// ending is true after an interrupted `down`, which may have asked the controller to end.
	ending bool
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	s := seed()
	t.Logf("seed %d (repeat with BERTH_E2E_SEED=%d)", s, s)
	c := &chaos{
		Berth: harness.New(t), t: t, rnd: rand.New(rand.NewPCG(s, 1)), reg: startRegistry(t), hit: map[string]int{}, image: images.Ref(images.Tool),
	}
	c.Load(images.Tool)
	c.args = []string{"--prune-delay", "50ms", "--allow-prune", "--registries", configFile(t, plainHTTP(c.reg))}
	return c
}

// round begins, kills, and wants everything to become as the files say, and `down` to leave nothing.
func (c *chaos) round(i int, kill func() string) {
	c.t.Helper()
	c.begin()
	what := kill()
	c.t.Logf("kill %d: %s", i, what)
	c.settle()
	c.up.Kill()
	c.Must("down")
	c.CheckLeaks()
	if c.t.Failed() {
		c.t.Fatalf("kill %d (%s) left something", i, what)
	}
}

// TestKilledAtAnyMoment kills the controller, the keeper or both, again and again: half of the time within 50 ms after a change and
// during a pull, a rollout, a removal or a `down`.
func TestKilledAtAnyMoment(t *testing.T) {
	c := newChaos(t)
	for i := range kills() {
		c.round(i, c.killSomewhere)
	}
}

// TestKilledWithinACall aims: a tracer holds the product within a given system call (before it has an effect, or after it had one that
// nobody knows of), and then it is killed. So each of clone, mount, cgroup, veth, rename and unlink was in flight.
func TestKilledWithinACall(t *testing.T) {
	if kills() < 2*len(steps) {
		t.Skip("BERTH_E2E_KILLS asks for fewer kills than there are calls to aim at")
	}
	c := newChaos(t)
	for i := range 2 * len(steps) {
		c.round(i, func() string { return c.killInside(steps[i/2], i%2 == 1) })
	}
	t.Logf("hit: %v", c.hit)
	for _, step := range steps {
		if c.hit[step.name] == 0 {
			t.Errorf("%s was never in flight", step.name)
		}
	}
}

// begin brings the instance to a start: two Deployments and a Pod, all running.
func (c *chaos) begin() {
	c.t.Helper()
	c.replicas = map[string]int{"a": 1 + c.rnd.IntN(3), "b": 1 + c.rnd.IntN(3)}
	c.image, c.ending = images.Ref(images.Tool), false
	files, _ := filepath.Glob(filepath.Join(c.Manifests, "*.yaml"))
	for _, f := range files {
		_ = os.Remove(f)
	}
	c.write()
	c.up = c.Up(c.args...)
	c.settle()
}

func (c *chaos) write() {
	c.t.Helper()
	for _, name := range []string{"a", "b"} {
		n, there := c.replicas[name]
		if !there {
			_ = os.Remove(filepath.Join(c.Manifests, name+".yaml"))
			continue
		}
		c.Write(name+".yaml", deployment(name, n, fmt.Sprintf("image: %q, args: [web, '8080', text%d], env: [{name: TEXT, value: '%d'}]", c.image, c.text, c.text)).String())
	}
}

// change edits the files in one of the ways that count.
func (c *chaos) change() string {
	c.t.Helper()
	name := []string{"a", "b"}[c.rnd.IntN(2)]
	switch c.rnd.IntN(5) {
	case 0, 1:
		c.replicas[name] = c.rnd.IntN(6)
		c.write()
		return fmt.Sprintf("scale %s to %d", name, c.replicas[name])
	case 2:
		c.text++
		c.write()
		return "rollout"
	case 3:
		delete(c.replicas, name)
		c.write()
		return "removal of " + name
	default:
		c.text++
		tag, _ := push(c.t, c.reg, fmt.Sprintf("app:%d", c.text), fmt.Sprint(c.text))
		c.reg.Delay(time.Duration(c.rnd.IntN(100)) * time.Millisecond)
		c.image = tag
		c.write()
		return "pull and rollout"
	}
}

// killSomewhere kills at a random moment after a change, or during a `down`.
func (c *chaos) killSomewhere() string {
	c.t.Helper()
	limit := 1000
	if c.rnd.IntN(2) == 0 {
		limit = 50
	}
	pause := time.Duration(c.rnd.IntN(limit*1000)) * time.Microsecond
	what := ""
	var down interface{ Kill() error }
	if c.rnd.IntN(6) == 0 {
		cmd := c.Command("down")
		if err := cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		defer func() { _ = cmd.Wait() }()
		what, down = "down", cmd.Process
	} else {
		what = c.change()
	}
	<-time.After(pause)
	targets := []string{"controller", "keeper", "both"}[c.rnd.IntN(3)]
	where := c.where()
	if down != nil {
		_ = down.Kill()
	}
	c.kill(targets)
	c.ending = down != nil
	c.revive()
	return fmt.Sprintf("%s, %v later %s killed; %s", what, pause, targets, where)
}

func (c *chaos) kill(targets string) {
	if targets != "controller" {
		if k := c.Keeper(); k != 0 {
			_ = syscall.Kill(k, syscall.SIGKILL)
		}
	}
	if targets != "keeper" {
		c.up.Kill()
	}
}

// revive starts the controller again where it is gone.
func (c *chaos) revive() {
	c.t.Helper()
	c.reg.Delay(0)
	if c.up.Ended() {
		c.up = c.Up(c.args...)
	}
}

// settle waits until exactly what the files say runs: as many ready pods, each with one live process, and no process beside them.
func (c *chaos) settle() {
	c.t.Helper()
	want := 0
	for _, n := range c.replicas {
		want += n
	}
	c.Until("what the files say", func() error {
		if c.ending { // whenever it does
			c.revive()
		}
		s, err := c.Look()
		if err != nil {
			return err
		}
		pids := map[int]bool{}
		for _, p := range s.Pods {
			n, stated := c.replicas[p.Name[:1]]
			if !p.Ready || !stated || n == 0 || !strings.HasPrefix(p.Name, p.Name[:1]+"-") {
				return fmt.Errorf("pod %s: ready %v, stated %v %s %s", p.Name, p.Ready, stated, p.Reason, p.Message)
			}
			pid := p.Container("main").PID
			if !harness.Running(pid) {
				return fmt.Errorf("pod %s: process %d does not run", p.Name, pid)
			}
			pids[pid] = true
		}
		if len(pids) != want || len(s.Pods) != want {
			return fmt.Errorf("%d pods and %d processes, want %d", len(s.Pods), len(pids), want)
		}
		texts := map[string]bool{}
		webs := 0
		for pid, line := range containerProcesses() {
			webs++
			texts[line] = true
			if !pids[pid] {
				return fmt.Errorf("process %d (%s) belongs to no pod", pid, line)
			}
		}
		if webs != want || len(texts) > 1 {
			return fmt.Errorf("%d processes of %v, want %d of one kind", webs, texts, want)
		}
		return nil
	})
}

// containerProcesses are the processes of test programs that serve.
func containerProcesses() map[int]string {
	out := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if text := strings.ReplaceAll(string(cmdline), "\x00", " "); err == nil && strings.HasPrefix(text, "/bin/tool web ") {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			out[pid] = text
		}
	}
	return out
}

// where says what both processes are doing: the system calls of threads that are not just waiting, and the controller's last line.
func (c *chaos) where() string {
	var out []string
	for role, pid := range map[string]int{"controller": c.up.PID(), "keeper": c.Keeper()} {
		var busy []string
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			number, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
			if name, known := callName(number); known {
				busy = append(busy, name)
			} else if number == "running" {
				busy = append(busy, "running")
			}
		}
		slices.Sort(busy)
		out = append(out, fmt.Sprintf("%s in %v", role, slices.Compact(busy)))
	}
	slices.Sort(out)
	lines := strings.Split(strings.TrimSpace(c.up.Output()), "\n")
	return strings.Join(out, ", ") + fmt.Sprintf(", last line %.120q", lines[len(lines)-1])
}
