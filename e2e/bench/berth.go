package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// mark is in the command line of every container of the bench, so that they can be counted from outside.
const mark = "7654321"

// replicas is a Deployment of sleeps without grace: ending them costs what killing costs.
func replicas(n int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: %d
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: %q, command: [/bin/sleep, "%s"]}]
`, n, images.Ref(images.Busybox), mark)
}

// start brings up a berth with an empty Deployment.
func start(r *harness.Runner) (*harness.Berth, *harness.Up) {
	b := harness.New(r)
	b.Load(images.Busybox)
	b.Write("many.yaml", replicas(0))
	up := b.Up("--prune-delay", "1ms", "--allow-prune")
	return b, up
}

// count is how many processes run the bench's payload.
func count() int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return -1
	}
	n := 0
	want := []byte("/bin/sleep\x00" + mark + "\x00")
	for _, e := range entries {
		if c := e.Name()[0]; c < '0' || c > '9' {
			continue
		}
		if text, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && bytes.Equal(text, want) {
			n++
		}
	}
	return n
}

// until waits for n payload processes and returns how long it took. It looks every 5 ms: the figure is late by that at most.
func until(r *harness.Runner, n int, since time.Time) time.Duration {
	deadline := time.Now().Add(10 * time.Minute)
	for count() != n {
		if time.Now().After(deadline) {
			r.Fatalf("%d of %d containers after ten minutes", count(), n)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(since)
}

// scale edits the file and waits until so many run.
func scale(r *harness.Runner, b *harness.Berth, n int) time.Duration {
	t := time.Now()
	b.Write("many.yaml", replicas(n))
	return until(r, n, t)
}

// effort is the CPU time of a process, and how often its threads were woken.
type effort struct {
	cpu   time.Duration
	wakes int64
}

func effortOf(pid int) effort {
	var e effort
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		stat, err := os.ReadFile(filepath.Join(task, "schedstat"))
		if f := strings.Fields(string(stat)); err == nil && len(f) > 0 {
			ns, _ := strconv.ParseInt(f[0], 10, 64)
			e.cpu += time.Duration(ns)
		}
		status, _ := os.ReadFile(filepath.Join(task, "status"))
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				e.wakes += n
			}
		}
	}
	return e
}

// efforts are those of an instance's processes, by role.
func efforts(b *harness.Berth, up *harness.Up) map[string]effort {
	out := map[string]effort{"controller": effortOf(up.PID())}
	for _, role := range []string{"keeper", "proxy"} {
		for _, pid := range b.Processes(role) {
			out[role] = effortOf(pid)
		}
	}
	return out
}

// since says what each process has done between two looks.
func since(before, after map[string]effort) string {
	var all []string
	for _, role := range slices.Sorted(maps.Keys(after)) {
		a, b := after[role], before[role]
		all = append(all, fmt.Sprintf("%s %v CPU, %d wake-ups", role, a.cpu-b.cpu, a.wakes-b.wakes))
	}
	return strings.Join(all, "; ")
}

// watch tells when a file appears in a directory.
type watch struct {
	fd  int
	buf [4096]byte
}

func newWatch(r *harness.Runner, dir string) *watch {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		r.Fatalf("cannot watch: %v", err)
	}
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_CREATE); err != nil {
		r.Fatalf("cannot watch: %v", err)
	}
	r.Cleanup(func() { _ = syscall.Close(fd) })
	return &watch{fd: fd}
}

// next returns when the next file has appeared.
func (w *watch) next(r *harness.Runner) time.Time {
	if _, err := syscall.Read(w.fd, w.buf[:]); err != nil {
		r.Fatalf("cannot read events: %v", err)
	}
	return time.Now()
}
