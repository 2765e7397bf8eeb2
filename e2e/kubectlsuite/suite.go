package main

import (
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"berth/e2e/harness"
)

//go:embed suite.bash
var script string

const (
	// perCommand ends a kubectl that waits for what never comes, perFunction a test function; both in seconds.
	perCommand, perFunction = 30, 180
	limit                   = 45 * time.Minute
)

// run starts berth, lets the script loose on it, and prints what came out.
func run(t *harness.Runner, module, only, keep string) {
	rules, err := readRules()
	if err != nil {
		t.Fatalf("%v", err)
	}
	b := harness.New(t)
	work := filepath.Dir(b.State)
	if keep == "" {
		keep = work
	}
	root := filepath.Join(work, "kubernetes")
	if err := errors.Join(makeRoot(root, module), os.MkdirAll(keep, 0o755)); err != nil {
		t.Fatalf("cannot make a copy of the tests: %v", err)
	}
	b.Up("--allow-prune", "--prune-delay", "20ms", "--service-cidr", "10.0.0.0/24") // the range of the tests
	config, port, err := makeConfig(b, work)
	if err != nil {
		t.Fatalf("cannot make a kubeconfig: %v", err)
	}
	if err := os.WriteFile(filepath.Join(work, "apiserver.crt"), certificate(config), 0o644); err != nil { // as a kube-apiserver leaves it there
		t.Fatalf("%v", err)
	}
	results, output := filepath.Join(keep, "results.tsv"), filepath.Join(keep, "output.txt")
	log, err := os.Create(output)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer log.Close()
	cmd := exec.Command("bash", filepath.Join(root, "suite.bash"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "KUBECONFIG="+config, "SECURE_API_PORT="+port, "SUITE_ROOT="+root, "SUITE_RESULTS="+results,
		"SUITE_MANIFESTS="+b.Manifests, "SUITE_HOME="+work, "SUITE_ONLY="+only, "SUITE_SKIPPED="+rules.functions(),
		fmt.Sprintf("SUITE_PATIENCE=%d", perFunction), "NO_COLOR=1", "TERM=dumb", "TMPDIR="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot run the tests: %v", err)
	}
	late := time.AfterFunc(limit, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what its functions left
	if !late.Stop() || err != nil {
		t.Errorf("the tests ended early: %v; see %s", err, output)
	}
	if err := show(results, module); err != nil {
		t.Errorf("%v", err)
	}
}

// show prints what results say.
func show(results, module string) error {
	rules, err := readRules()
	if err != nil {
		return err
	}
	sites, err := readSites(filepath.Join(module, "test", "cmd"))
	if err != nil {
		return fmt.Errorf("cannot read the tests: %w", err)
	}
	data, err := os.ReadFile(results)
	if err != nil {
		return fmt.Errorf("the tests left no results: %w", err)
	}
	fmt.Print(newReport(string(data), rules, sites))
	return nil
}

// makeRoot copies what the tests read and write beside, and links to what they only read. Above kubectl stands one that ends.
func makeRoot(root, module string) error {
	for _, dir := range []string{"hack", "test/cmd", "test/fixtures", "third_party/forked/shell2junit", "cluster"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join(module, dir))); err != nil {
			return err
		}
	}
	for _, dir := range []string{"test/e2e", "staging", "api"} {
		if err := os.Symlink(filepath.Join(module, dir), filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		return err
	}
	bin := filepath.Join(root, "_output", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	timeout, err := exec.LookPath("timeout")
	if err != nil {
		return err
	}
	front := fmt.Sprintf("#!/bin/sh\nexec %s --foreground %d %s \"$@\"\n", timeout, perCommand, kubectl)
	return errors.Join(os.WriteFile(filepath.Join(bin, "kubectl"), []byte(front), 0o755),
		os.WriteFile(filepath.Join(root, "suite.bash"), []byte(script), 0o644))
}

var authority = regexp.MustCompile(`certificate-authority-data: (\S+)`)

// certificate is that of the authority in a kubeconfig.
func certificate(config string) []byte {
	data, _ := os.ReadFile(config)
	m := authority.FindSubmatch(data)
	if m == nil {
		return nil
	}
	text, _ := base64.StdEncoding.DecodeString(string(m[1]))
	return text
}

var server = regexp.MustCompile(`server: https://[^ ]*:(\d+)`)

// makeConfig makes a copy of the kubeconfig that the tests may change, with the context that they expect, and returns the port of the API.
func makeConfig(b *harness.Berth, work string) (path, port string, err error) {
	data, err := os.ReadFile(filepath.Join(b.Run, "kubeconfig"))
	if err != nil {
		return "", "", err
	}
	m := server.FindStringSubmatch(string(data))
	if m == nil {
		return "", "", errors.New("it names no port")
	}
	path = filepath.Join(work, "kubeconfig")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", "", err
	}
	config := func(args ...string) (string, error) {
		cmd := exec.Command("kubectl", append([]string{"config"}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+path)
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	now, err := config("current-context")
	if err == nil {
		_, err = config("rename-context", now, "test")
	}
	return path, m[1], err
}
