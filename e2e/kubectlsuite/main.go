// Command kubectlsuite runs the tests that the Kubernetes project has for kubectl (test/cmd in the module k8s.io/kubernetes) with the kubectl
// of this machine against berth, and counts their assertions: passed, failed, and apart, for the reasons in skips.tsv.
//
//	go run ./e2e/kubectlsuite [-only REGEXP] [-version VERSION] [-keep DIR] [-show FILE]
//
// The scripts are run as they are, from a copy of what the module cache has; suite.bash counts. No image can be pulled there, so that pods
// exist and do not run, as in the project's own test, which has no kubelet. It needs root, bash, jq and kubectl, and takes about ten minutes.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"berth/e2e/harness"
	"berth/e2e/isolate"
)

// version is the release of Kubernetes whose kubectl the distributions have that berth is tested on: an older kubectl fails newer tests.
const version = "v1.32.13"

// moduleVar tells the inner processes where the module is.
const moduleVar = "BERTH_E2E_KUBERNETES"

func main() {
	only := flag.String("only", "", "functions whose name matches this regular expression")
	release := flag.String("version", version, "the release of k8s.io/kubernetes to take the tests of")
	keep := flag.String("keep", "", "a directory to leave the results and the output in")
	old := flag.String("show", "", "results.tsv of an earlier run, to count anew instead of running")
	flag.Parse()
	if *old != "" {
		dir, err := module(*release)
		if err == nil {
			err = show(*old, dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "kubectl-suite:", err)
			os.Exit(1)
		}
		return
	}
	prepare := func() error {
		if err := harness.Build(); err != nil {
			return err
		}
		dir, err := module(*release)
		if err != nil {
			return err
		}
		return os.Setenv(moduleVar, dir)
	}
	os.Exit(isolate.Main(prepare, func() int {
		t := &harness.Runner{Title: "kubectl-suite"}
		t.Run(func() { run(t, os.Getenv(moduleVar), *only, *keep) })
		if t.Failed() {
			return 1
		}
		return 0
	}))
}

// module is the directory of k8s.io/kubernetes in the module cache, which is filled where needed.
func module(release string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes@"+release).Output()
	var answer struct{ Dir, Error string }
	if json.Unmarshal(out, &answer) == nil && answer.Error != "" {
		err = fmt.Errorf("%s", answer.Error)
	}
	if err != nil {
		return "", fmt.Errorf("cannot get k8s.io/kubernetes %s: %w", release, err)
	}
	return answer.Dir, nil
}
