package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"berth/e2e/harness"
)

// benchNames: the package's own measurement, a client and a server on one core. It prints one line.
func benchNames(r *harness.Runner, _ options) {
	section(r, "names: 10,000 questions a second while 1,000 Services change", func() {
		cmd := exec.Command(os.Getenv(namesVar), "-test.run", "^TestBenchQuestions$", "-test.v")
		cmd.Env = append(os.Environ(), "BERTH_BENCH_DNS=10s")
		out, err := cmd.CombinedOutput()
		if err != nil {
			r.Fatalf("the measurement of names: %v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "asked ") {
				fmt.Print(line)
			}
		}
	})
}
