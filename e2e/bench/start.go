package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"berth/e2e/harness"

	goruntime "runtime"
)

// benchStart: the start of one container, in turns with the limit, with and without resources and pauses.
func benchStart(r *harness.Runner, o options) {
	for _, resources := range []bool{false, true} {
		for _, pause := range []int{0, 100} {
			title := "(a) start of one container until its program is executed"
			if resources {
				title += ", with resources"
			}
			title += map[int]string{0: ", back to back", 100: ", 100 ms between two"}[pause]
			section(r, title, func() {
				f := newField(r)
				defer removeGroups()
				base := sample{name: "limit: namespaces, veth, mounts, one cgroup"}
				ours := sample{name: "berth: RunSandbox and StartContainer"}
				n := o.n
				if pause > 0 {
					n /= 2
				}
				const turns = 4
				for range turns {
					extra := append(append(groups(resources), f.veth()...), "-p", strconv.Itoa(pause))
					s, _ := f.limit(r, base.name, n/turns, extra...)
					base.us = append(base.us, s.us...)
					ours.us = append(ours.us, nativeStarts(r, f, n/turns, pause, resources)...)
				}
				table(base, ours)
			})
		}
	}
	section(r, "    the two limit programs on the parts they share (no veth)", func() { compareLimits(r, o) })
	section(r, "    other runtimes as commands, from start to the end of /bin/true", func() { others(r, o) })
}

// nativeStarts asks the runtime's own benchmark for n starts. It prints one JSON object: {"us": […]}.
func nativeStarts(r *harness.Runner, f *field, n, pause int, resources bool) []float64 {
	cmd := exec.Command(os.Getenv(nativeVar), "-test.run", "^TestBenchStart$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("BERTH_BENCH_STARTS=%d", n), fmt.Sprintf("BERTH_BENCH_PAUSE_MS=%d", pause),
		fmt.Sprintf("BERTH_BENCH_RESOURCES=%v", resources), "BERTH_BENCH_ROOT="+f.root)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("the runtime's benchmark: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		var result struct {
			US []float64 `json:"us"`
		}
		if at := strings.Index(line, `{"us"`); at >= 0 && json.Unmarshal([]byte(line[at:]), &result) == nil {
			return result.US
		}
	}
	r.Fatalf("the runtime's benchmark printed no figures:\n%s", out)
	return nil
}

// compareLimits wants our limit program and the other one to agree: both measure the same machine.
func compareLimits(r *harness.Runner, o options) {
	if os.Getenv(otherVar) == "" {
		fmt.Println("only ours is here")
		return
	}
	f := newField(r)
	defer removeGroups()
	group := filepath.Join("/sys/fs/cgroup/unified", fmt.Sprintf("bench-%d", os.Getpid()))
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		group = filepath.Join("/sys/fs/cgroup", fmt.Sprintf("bench-%d", os.Getpid()))
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		r.Fatalf("%v", err)
	}
	ours, theirs := sample{name: "e2e/bench/limit"}, sample{name: "the other limit program"}
	const turns = 9
	for range turns {
		s, _ := f.limit(r, "", max(o.n/4, 20), "-k", "-2", group)
		ours.us = append(ours.us, s.at(0.5))
		other, err := f.otherMedian(max(o.n/4, 20), group)
		if err != nil {
			r.Fatalf("the other limit program: %v", err)
		}
		theirs.us = append(theirs.us, other)
	}
	table(theirs, ours)
	ratio := ours.at(0.5) / theirs.at(0.5)
	verdict := "agree"
	if ratio < 0.9 || ratio > 1.1 {
		verdict = "DISAGREE: look at the load of the machine, then at what they do"
	}
	fmt.Printf("medians of %d turns, ratio %.2f (0.9 to 1.1 is wanted): they %s\n", turns, ratio, verdict)
}

// others runs crun and runc where they are installed.
func others(r *harness.Runner, o options) {
	f := newField(r)
	defer removeGroups()
	base := sample{name: "fork and exec of /bin/true in a chroot"}
	all := []sample{base}
	var runs []func() error
	runs = append(runs, func() error {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: f.root}
		return cmd.Run()
	})
	for _, name := range []string{"crun", "runc"} {
		path, err := exec.LookPath(name)
		if err != nil {
			fmt.Println(name, "is not installed")
			continue
		}
		bundle, err := newBundle(f, path)
		if err != nil {
			fmt.Println(name, "does not work here:", err)
			continue
		}
		id := 0
		runs = append(runs, func() error {
			id++
			cmd := exec.Command(path, "--root", filepath.Join(f.dir, name+"-state"), "run", "--bundle", bundle, fmt.Sprintf("bench-%s-%d", name, id))
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		all = append(all, sample{name: name + " run (no network, no overlay)"})
	}
	withoutUnified(func() {
		broken := map[int]bool{}
		for range max(o.n/4, 10) {
			for i, run := range runs {
				if broken[i] {
					continue
				}
				t := time.Now()
				if err := run(); err != nil {
					fmt.Println(all[i].name, "does not work here:", err)
					broken[i] = true
					continue
				}
				all[i].us = append(all[i].us, us(time.Since(t)))
			}
		}
	})
	table(all...)
}

// withoutUnified runs f where the v2 half of a hybrid cgroup tree is not seen: crun refuses such trees.
func withoutUnified(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // the thread is not given back: its children do not see it either
		if err := syscall.Unshare(syscall.CLONE_NEWNS); err == nil {
			_ = syscall.Unmount("/sys/fs/cgroup/unified", syscall.MNT_DETACH)
		}
		f()
	}()
	<-done
}

// newBundle makes an OCI bundle from the runtime's own template.
func newBundle(f *field, runtime string) (string, error) {
	bundle := filepath.Join(f.dir, filepath.Base(runtime))
	if err := os.Mkdir(bundle, 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command(runtime, "spec")
	cmd.Dir = bundle
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	path := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return "", err
	}
	process, ok := spec["process"].(map[string]any)
	if !ok {
		return "", fmt.Errorf("%s has no process", path)
	}
	process["terminal"], process["args"] = false, []string{"/bin/true"}
	delete(process, "rlimits") // more than a machine without CAP_SYS_RESOURCE can give
	spec["root"] = map[string]any{"path": f.root, "readonly": true}
	if text, err = json.Marshal(spec); err != nil {
		return "", err
	}
	return bundle, os.WriteFile(path, text, 0o600)
}
