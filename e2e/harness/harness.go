// Package harness drives the built binary as a user does: files, command line, and what the kernel shows. It imports nothing of berth;
// what it knows of the product is the contract of its command line and the names in status.go.
package harness

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"berth/e2e/images"
	"berth/e2e/leak"
)

// TB is what the harness needs of a test; *testing.T and the bench's own runner have it.
//
//nolint:interfacebloat // the part of testing.TB that is used, as it is
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	Failed() bool
}

// BinaryVar names a binary built elsewhere, for machines without Go.
const BinaryVar = "BERTH_E2E_BINARY"

// Patience is how long a condition is waited for. Slow machines set BERTH_E2E_PATIENCE, a Go duration.
var Patience = patience()

func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("BERTH_E2E_PATIENCE")); err == nil {
		return d
	}
	return time.Minute
}

// moduleRoot is the directory of this checkout.
func moduleRoot() (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(mod))), nil
}

// Build builds the binary once, beside the images' cache, and tells the processes of this run where it is.
func Build() error {
	if os.Getenv(BinaryVar) != "" {
		return nil
	}
	set, err := images.Open()
	if err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	// One for each checkout: else two that are tested at once would write into each other's.
	out := filepath.Join(set.Dir(), fmt.Sprintf("berth-%x", sha256.Sum256([]byte(root)))[:len("berth-")+8])
	// No flag that changes the code: what the unit tests have compiled is used again.
	cmd := exec.Command("go", "build", "-o", out, "berth/cmd/berth")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build berth: %w\n%s", err, text)
	}
	if err := ensureKubectl(set.Dir()); err != nil {
		return err
	}
	if _, err := BuildPebble(set.Dir()); err != nil {
		return err
	}
	// Go and its caches are not to be needed later: in the namespaces of the test there is no network.
	for _, image := range images.All() {
		if _, err := set.Archive(image); err != nil {
			return err
		}
	}
	return os.Setenv(BinaryVar, out)
}

// Berth is one instance with its three directories, alone on the machine or beside others.
type Berth struct {
	TB
	// Manifests, State and Run are its directories.
	Manifests, State, Run string
	// Binary is run instead of the one that was built.
	Binary string

	before leak.Snapshot
	ups    []*Up
}

var serial atomic.Int32

// New makes the directories of an instance and takes the picture of the machine that has to be there again at the end. When the test
// ends it takes everything down and looks for what is left.
func New(tb TB) *Berth {
	tb.Helper()
	id := fmt.Sprintf("e2e-%d-%d", os.Getpid(), serial.Add(1))
	state, err := os.MkdirTemp("", id+"-")
	if err != nil {
		tb.Fatalf("cannot make a directory: %v", err)
	}
	b := &Berth{
		TB: tb, Manifests: filepath.Join(state, "manifests"), State: filepath.Join(state, "state"), Run: filepath.Join("/run", id),
	}
	if err := os.Mkdir(b.Manifests, 0o755); err != nil {
		tb.Fatalf("cannot make a directory: %v", err)
	}
	if b.before, err = leak.Take(b.leakOptions()); err != nil {
		tb.Fatalf("cannot count what the machine holds: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			b.report()
		}
		b.Clean()
		_ = os.RemoveAll(state)
		_ = os.RemoveAll(b.Run)
	})
	return b
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Command is the binary with arguments and this instance's directories, not started.
func (b *Berth) Command(args ...string) *exec.Cmd {
	// The directories stand before a "--", behind which everything is another program's.
	at := len(args)
	for i, a := range args {
		if a == "--" {
			at = i
			break
		}
	}
	all := append(append(append([]string{}, args[:at]...), "--state-dir", b.State, "--run-dir", b.Run), args[at:]...)
	return exec.Command(cmp.Or(b.Binary, os.Getenv(BinaryVar)), all...)
}

// CLI runs one command to its end. One that hangs is a failure of the test.
func (b *Berth) CLI(args ...string) Result {
	b.Helper()
	return b.runCommand(b.Command(args...), "", args)
}

// CLIWithInput is CLI with text for standard input.
func (b *Berth) CLIWithInput(input string, args ...string) Result {
	b.Helper()
	return b.runCommand(b.Command(args...), input, args)
}

func (b *Berth) runCommand(cmd *exec.Cmd, input string, args []string) Result {
	b.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if input != "" {
		cmd.Stdin = strings.NewReader(input)
	}
	if err := cmd.Start(); err != nil {
		b.Fatalf("cannot start berth %v: %v", args, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var err error
	select {
	case err = <-done:
	case <-time.After(4 * Patience):
		stacks := goroutines(cmd.Process.Pid)
		_ = cmd.Process.Kill()
		<-done
		b.Fatalf("berth %v hangs\nstdout: %s\nstderr: %s\n%s", args, out.String(), errOut.String(), stacks)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.Fatalf("cannot run berth %v: %v", args, err)
	}
	return Result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// Must runs one command that has to succeed and returns its standard output.
func (b *Berth) Must(args ...string) string {
	b.Helper()
	r := b.CLI(args...)
	if r.Code != 0 {
		b.Fatalf("berth %v: exit code %d\nstdout: %s\nstderr: %s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Load puts an image of the test set into the instance's store.
func (b *Berth) Load(image string) {
	b.Helper()
	set, err := images.Open()
	if err != nil {
		b.Fatalf("%v", err)
	}
	archive, err := set.Archive(image)
	if err != nil {
		b.Fatalf("%v", err)
	}
	b.Must("image", "load", archive)
}

// Write puts a manifest in place by rename, as careful programs do.
func (b *Berth) Write(name, content string) {
	b.Helper()
	path := filepath.Join(b.Manifests, name)
	tmp := filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatalf("%v", err)
	}
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		b.Fatalf("%v", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		b.Fatalf("%v", err)
	}
}

// Delete removes a manifest.
func (b *Berth) Delete(name string) {
	b.Helper()
	if err := os.Remove(filepath.Join(b.Manifests, name)); err != nil {
		b.Fatalf("%v", err)
	}
}

// Until asks until check returns nil, or gives up after the patience.
func (b *Berth) Until(what string, check func() error) {
	b.Helper()
	b.UntilWithin(Patience, what, check)
}

// UntilWithin is Until with a limit of its own.
func (b *Berth) UntilWithin(limit time.Duration, what string, check func() error) {
	b.Helper()
	if err := Poll(limit, check); err != nil {
		b.Fatalf("waited %v in vain for %s: %v", limit, what, err)
	}
}

// Poll asks until check returns nil, and returns its last error after limit.
func Poll(limit time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	pause := 2 * time.Millisecond
	for {
		began := time.Now()
		err := check()
		if err == nil {
			return nil
		}
		// Whoever asks all the time keeps the machine from what he waits for.
		took := time.Since(began)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(max(pause, min(2*took, time.Second))):
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}

// For says that check has to hold for the whole of d, asked again and again.
func (b *Berth) For(d time.Duration, what string, check func() error) {
	b.Helper()
	end := time.After(d)
	for {
		if err := check(); err != nil {
			b.Fatalf("%s did not hold for %v: %v", what, d, err)
		}
		select {
		case <-end:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Clean takes the instance down, whatever state it is in, and compares the machine with what it was at the beginning.
func (b *Berth) Clean() {
	b.Helper()
	for _, u := range b.ups {
		u.Kill()
	}
	if r := b.CLI("down"); r.Code != 0 {
		b.Errorf("berth down: exit code %d\nstdout: %s\nstderr: %s", r.Code, r.Stdout, r.Stderr)
	}
	b.CheckLeaks()
}

// CheckLeaks compares the machine with what it was when the instance was made. Only `down` makes them equal.
func (b *Berth) CheckLeaks() {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience/2)
	defer cancel()
	items, err := leak.Wait(ctx, b.before, b.leakOptions())
	if err != nil {
		b.Errorf("cannot count what the machine holds: %v", err)
	}
	if len(items) > 0 {
		b.Errorf("after the end:\n%s", leak.Text(items))
	}
}

func (b *Berth) leakOptions() leak.Options {
	return leak.Options{Dirs: append([]string{b.Run}, b.podDirs()...)}
}

// report prints what helps to understand a failure.
func (b *Berth) report() {
	for i, u := range b.ups {
		b.Logf("output of up %d (pid %d):\n%s", i, u.PID(), tail(u.Output(), 8000))
	}
	cmd := b.Command("status", "-o", "json")
	if out, err := cmd.CombinedOutput(); err == nil {
		b.Logf("status: %s", tail(string(out), 6000))
	} else {
		b.Logf("status: %v: %s", err, tail(string(out), 2000))
	}
	if log, err := os.ReadFile(filepath.Join(b.Run, "keeper.log")); err == nil {
		b.Logf("keeper.log:\n%s", tail(string(log), 4000))
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// goroutines asks a Go program for its stacks and collects what the kernel says of its threads.
func goroutines(pid int) string {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
	var b strings.Builder
	for _, f := range files {
		where, _ := os.ReadFile(f)
		fmt.Fprintf(&b, "%s %s\n", f, where)
	}
	return b.String()
}
