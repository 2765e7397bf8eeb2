// Command kubectlcompare runs the same kubectl commands against berth and against a real Kubernetes, and compares what kubectl prints and
// how it ends, after ages, addresses and made names are taken out.
//
//	go run ./e2e/kubectlcompare [-only REGEXP] [-kubectl PATH|newest] [-cluster KUBECONFIG [-record]] [-keep DIR] [-show FILE]
//
// The steps are in steps, a shell script for each verb. With -cluster (or BERTH_COMPARE_KUBECONFIG) they run there first, and what that says
// replaces what recorded has for this kubectl, which is all that is done with -record; without, berth is compared with what is recorded. What
// may differ, and why, stands in differs.tsv. The cluster needs a node whose pods come to run; they may be simulated: the verbs that need a real container (logs, exec,
// attach, cp, port-forward) are compared in their refusals. It needs root.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"berth/e2e/harness"
	"berth/e2e/isolate"
)

const (
	clusterVar = "BERTH_COMPARE_KUBECONFIG"
	// clientVar and recordingVar tell the inner processes which kubectl it is and what the cluster says.
	clientVar, recordingVar = "BERTH_COMPARE_KUBECTL", "BERTH_COMPARE_RECORDING"
)

func main() {
	only := flag.String("only", "", "steps whose verb/name matches this regular expression")
	client := flag.String("kubectl", "kubectl", "the kubectl to use; newest is built from Kubernetes' source")
	cluster := flag.String("cluster", os.Getenv(clusterVar), "the kubeconfig of a Kubernetes to run the steps on, too")
	recordOnly := flag.Bool("record", false, "run the steps on the cluster alone")
	keep := flag.String("keep", "", "a directory to leave what both said in")
	old := flag.String("show", "", "what berth said in an earlier run (-keep), to compare anew instead of running")
	flag.Parse()
	which, err := regexp.Compile(*only)
	if err != nil {
		fail(err)
	}
	scripts, err := readScripts()
	if err != nil {
		fail(err)
	}
	if *old != "" {
		if err := show(scripts, which, *client, *old); err != nil {
			fail(err)
		}
		return
	}
	prepared := func() error { return prepare(scripts, which, *client, *cluster) }
	if *recordOnly {
		if err := prepared(); err != nil {
			fail(err)
		}
		return
	}
	os.Exit(isolate.Main(prepared, func() int {
		t := &harness.Runner{Title: "kubectl-compare"}
		t.Run(func() { run(t, scripts, which, *keep) })
		if t.Failed() {
			return 1
		}
		return 0
	}))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kubectl-compare:", err)
	os.Exit(1)
}

// prepare finds what is to be compared with, on the machine as it is: in the namespaces of the test neither a cluster nor Go can be reached.
func prepare(scripts []script, which *regexp.Regexp, client, cluster string) error {
	if err := harness.Build(); err != nil {
		return err
	}
	path, version, file, err := recordingOf(client)
	if err != nil {
		return err
	}
	if cluster == "" {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("nothing is recorded for kubectl 1.%d: name a cluster with -cluster or %s: %w", version, clusterVar, err)
		}
		fmt.Printf("kubectl 1.%d, against what is recorded in %s\n", version, filepath.Base(file))
	} else {
		fmt.Printf("kubectl 1.%d, against the cluster of %s\n", version, cluster)
		said, err := record(scripts, which, path, cluster)
		if err != nil {
			return err
		}
		if err := said.mergeInto(file, scripts); err != nil {
			return err
		}
	}
	if err := os.Setenv(recordingVar, file); err != nil {
		return err
	}
	return os.Setenv(clientVar, path)
}

// recordingOf is where a kubectl is, its minor version, and the file of what a cluster said to it.
func recordingOf(client string) (path string, version int, file string, err error) {
	if path, err = harness.FindKubectl(client); err != nil {
		return "", 0, "", err
	}
	if version, err = harness.KubectlMinor(path); err != nil {
		return "", 0, "", err
	}
	file, err = filepath.Abs(filepath.Join("e2e", "kubectlcompare", "recorded", fmt.Sprintf("kubectl-1.%d.txt", version)))
	return path, version, file, err
}

// show prints what is different in an earlier run.
func show(scripts []script, which *regexp.Regexp, client, old string) error {
	_, _, file, err := recordingOf(client)
	if err != nil {
		return err
	}
	rules, err := readRules()
	if err != nil {
		return err
	}
	want, err := readRecording(file)
	if err != nil {
		return err
	}
	got, err := readRecording(old)
	if err == nil {
		fmt.Print(compare(scripts, which, want, got, rules))
	}
	return err
}

// run runs the steps on a berth of its own and prints what is different.
func run(t *harness.Runner, scripts []script, which *regexp.Regexp, keep string) {
	rules, err := readRules()
	if err != nil {
		t.Fatalf("%v", err)
	}
	want, err := readRecording(os.Getenv(recordingVar))
	if err != nil {
		t.Fatalf("%v", err)
	}
	b := harness.New(t)
	b.Load(imageName)
	b.Up("--allow-prune", "--prune-delay", "20ms")
	got, err := record(scripts, which, os.Getenv(clientVar), filepath.Join(b.Run, "kubeconfig"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	if keep != "" {
		if err := got.write(filepath.Join(keep, "berth.txt"), scripts); err != nil {
			t.Fatalf("%v", err)
		}
	}
	r := compare(scripts, which, want, got, rules)
	fmt.Print(r)
	if r.different > 0 {
		t.Errorf("%d steps differ for no reason that is written down", r.different)
	}
}
