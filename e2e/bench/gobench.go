package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"berth/e2e/harness"
)

// figures are what one Go benchmark reported, by unit.
type figures map[string]float64

// goBench runs benchmarks of a test program, and returns their figures by name without the number of processors.
func goBench(r *harness.Runner, variable, pattern, times string) map[string]figures {
	cmd := exec.Command(os.Getenv(variable), "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", times, "-test.cpu", "2")
	cmd.Dir = os.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("benchmarks %s: %v\n%s", pattern, err, out)
	}
	all := map[string]figures{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		f := figures{}
		for i := 2; i+1 < len(words); i += 2 {
			f[words[i+1]], _ = strconv.ParseFloat(words[i], 64)
		}
		all[strings.TrimSuffix(strings.TrimPrefix(words[0], "Benchmark"), "-2")] = f
	}
	return all
}

// benchPlanners: many Deployments in simulation. A pass must not cost more because there are many of them.
func benchPlanners(r *harness.Runner, _ options) {
	section(r, "(h) Deployments with 10 replicas each, on a machine in memory that costs nothing; one worker", func() {
		all := goBench(r, controllerVar, "^BenchmarkDeployments$", "1x")
		one, many := all["Deployments/1x10"], all["Deployments/1000x10"]
		fmt.Printf("%-40s %8s %9s %12s %12s %12s %7s\n", "1000 Deployments", "passes", "ms", "CPU µs/pass", "µs to decide", "allocs/pass", "ratio")
		for _, phase := range []struct{ name, title string }{
			{"up", "all pods are made and ready"}, {"look", "everything is looked at, nothing to do"}, {"edit", "one of them is scaled by one"},
		} {
			f := func(unit string) float64 { return many[phase.name+"-"+unit] }
			fmt.Printf("%-40s %8.0f %9.1f %12.1f %12.1f %12.1f %7.2f\n", phase.title, f("passes"), f("ms"), f("cpu-µs/pass"), f("µs/plan"), f("allocs/pass"),
				f("allocs/pass")/one[phase.name+"-allocs/pass"])
		}
		fmt.Println("ratio: allocations per pass to those with one Deployment; an edit also compares all others of its snapshot")
	})
}

// benchFiles: many files, read cold, and one of them saved.
func benchFiles(r *harness.Runner, _ options) {
	section(r, "(i) 10,000 manifest files", func() {
		all := goBench(r, dirVar, "^Benchmark(Cold10k|Parse10k|Rename|Rename10k)$", "5x")
		maps.Copy(all, goBench(r, controllerVar, "^BenchmarkEdit$", "50x"))
		fmt.Printf("%-52s %9s %7s\n", "ms", "mean", "ratio")
		row := func(title, name, base string) {
			fmt.Printf("%-52s %9.2f %7.2f\n", title, all[name]["ns/op"]/1e6, all[name]["ns/op"]/all[base]["ns/op"])
		}
		row("read, and parsed as YAML, one after the other", "Parse10k", "Parse10k")
		row("berth: from the start to the first snapshot", "Cold10k", "Parse10k")
		row("one file saved -> snapshot, beside 10", "Rename", "Rename")
		row("one file saved -> snapshot, beside 10,000", "Rename10k", "Rename")
		row("one object changed -> stored and done, of 10", "Edit/of10", "Edit/of10")
		row("one object changed -> stored and done, of 10,000", "Edit/of10000", "Edit/of10")
	})
}
