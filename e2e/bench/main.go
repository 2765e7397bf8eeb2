// Command bench measures berth beside the physical limit of the machine and beside other engines, all in one run: compare figures of one
// run only. It needs root; it takes a few minutes.
//
//	go run ./e2e/bench [-n 200] [-only PART,PART] [-pods 300] [-rounds 7] [-minute 60s]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/isolate"
)

type options struct {
	n, pods, podman int
	rounds          int
	only            string
	minute          time.Duration
	kubeconfig      string
	other           string
}

// wants tells whether a part is to be run.
func (o *options) wants(part string) bool {
	return o.only == "" || strings.Contains(","+o.only+",", ","+part+",")
}

// The first thread of a process never ends, so nothing that changes its thread (see withoutUnified) may run on it: the main goroutine keeps it.
func init() { goruntime.LockOSThread() } //nolint:gochecknoinits // only an init runs on that thread for certain

func main() {
	var o options
	flag.IntVar(&o.n, "n", 200, "starts of one container, per row")
	flag.IntVar(&o.pods, "pods", 300, "the larger number of replicas; the smaller is a third")
	flag.IntVar(&o.podman, "podman", 20, "pods for podman kube play, when it is installed; 0 leaves it out")
	flag.IntVar(&o.rounds, "rounds", 7, "how often each way of traffic is measured")
	flag.StringVar(&o.only, "only", "", "a comma-separated choice of "+partNames())
	flag.DurationVar(&o.minute, "minute", time.Minute, "how long the quiet minute is")
	flag.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv(kubeconfigVar), "leads to an API server on this machine, to measure the same there; all pods of its namespace default are removed")
	flag.StringVar(&o.other, "other", "", "another binary of berth, whose API is measured beside this one's")
	flag.Parse()
	undo := func() {}
	if isolate.Outermost() {
		undo = onJournal()
	}
	code := isolate.Main(func() error { return prepare(o) }, func() int { return run(o) })
	undo()
	os.Exit(code)
}

// Programs that are built outside, where Go has its caches and a network.
const (
	limitVar  = "BERTH_BENCH_LIMIT"
	otherVar  = "BERTH_BENCH_OTHER_LIMIT"
	nativeVar = "BERTH_BENCH_NATIVE"
	toolVar   = "BERTH_BENCH_TOOL"
	// kubeconfigVar is for -kubeconfig.
	kubeconfigVar = "BERTH_BENCH_KUBECONFIG"
	// Go benchmarks.
	namesVar      = "BERTH_BENCH_NAMES"
	controllerVar = "BERTH_BENCH_CONTROLLER"
	dirVar        = "BERTH_BENCH_DIR"
)

// otherLimit is where another measure of the same limit may be found: a program that does not belong to this project.
const otherLimit = "../shared/tools/limit"

func prepare(o options) error {
	if err := harness.Build(); err != nil {
		return err
	}
	set, err := images.Open()
	if err != nil {
		return err
	}
	if o.kubeconfig != "" {
		if err := serveBeside(o.kubeconfig, filepath.Join(set.Dir(), "beside.sock")); err != nil {
			return err
		}
	}
	source, err := filepath.Abs("e2e/bench/limit/limit.c")
	if err != nil {
		return err
	}
	if err := compile(limitVar, filepath.Join(set.Dir(), "limit"), "gcc", "-O2", "-std=gnu11", "-Wall", source); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(otherLimit, "limit.c")); err == nil {
		err := compile(otherVar, filepath.Join(set.Dir(), "limit-other"), "gcc", "-O2", "-std=gnu11", filepath.Join(otherLimit, "limit.c"), "-lpthread")
		if err != nil {
			fmt.Println("the other limit program cannot be built:", err)
		}
	}
	for _, t := range []struct {
		variable, pkg string
		parts         []string
	}{
		{namesVar, "runtime/proxy/dns", []string{"dns"}},
		{nativeVar, "runtime/native", []string{"start"}},
		{controllerVar, "controller", []string{"planners", "files"}},
		{dirVar, "manifests/dir", []string{"files"}},
	} {
		if !slices.ContainsFunc(t.parts, o.wants) {
			continue
		}
		if err := compile(t.variable, filepath.Join(set.Dir(), strings.ReplaceAll(t.pkg, "/", "-")+".test"), "go", "test", "-c", "berth/"+t.pkg); err != nil {
			return err
		}
	}
	return compile(toolVar, filepath.Join(set.Dir(), "tool"), "go", "build", "berth/e2e/images/tool")
}

// compile builds a program and remembers where it is.
func compile(variable, out string, argv ...string) error {
	at := 1
	if argv[0] == "go" {
		at = 2
	}
	argv = append(argv[:at:at], append([]string{"-o", out}, argv[at:]...)...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %s: %w\n%s", out, err, text)
	}
	return os.Setenv(variable, out)
}

// part is one thing that is measured.
type part struct {
	name string
	run  func(*harness.Runner, options)
}

// parts are in the order in which they run.
func parts() []part {
	return []part{
		{"start", benchStart},
		{"save", benchSave},
		{"scale", benchScale},
		{"podman", benchPodman},
		{"memory", benchMemory},
		{"quiet", benchQuiet},
		{"adopt", benchAdopt},
		{"dns", benchNames},
		{"traffic", benchTraffic},
		{"api", benchAPI},
		{"planners", benchPlanners},
		{"files", benchFiles},
	}
}

func partNames() string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

func run(o options) int {
	r := &harness.Runner{Title: "bench"}
	r.Run(func() {
		machine()
		for _, part := range parts() {
			if o.wants(part.name) {
				part.run(r, o)
			}
		}
	})
	if r.Failed() {
		return 1
	}
	return 0
}

// machine prints what the figures depend on.
func machine() {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	pressure, _ := os.ReadFile("/proc/pressure/cpu")
	load, _ := os.ReadFile("/proc/loadavg")
	cpus, _ := os.ReadFile("/proc/cpuinfo")
	fmt.Printf("Linux %s, %d CPUs, load %s", strings.TrimSpace(string(kernel)), strings.Count(string(cpus), "\nprocessor")+1, load)
	if line, _, ok := strings.Cut(string(pressure), "\n"); ok {
		fmt.Println("cpu pressure before:", line)
	}
}
