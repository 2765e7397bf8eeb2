package harness

import (
	"os"
	"os/exec"
	"path/filepath"
)

// KubectlCommand is the stock kubectl of this machine with the instance's kubeconfig, not started.
func (b *Berth) KubectlCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("kubectl", args...)
	// A home of its own: what kubectl remembers of one server would be found for another on the same port.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(b.Run, "kubeconfig"), "HOME="+filepath.Dir(b.State), "NO_COLOR=1")
	return cmd
}

// Kubectl runs stock kubectl to its end.
func (b *Berth) Kubectl(args ...string) Result {
	b.Helper()
	return b.runCommand(b.KubectlCommand(args...), "", append([]string{"kubectl"}, args...))
}

// KubectlWithInput is Kubectl with text for standard input.
func (b *Berth) KubectlWithInput(input string, args ...string) Result {
	b.Helper()
	return b.runCommand(b.KubectlCommand(args...), input, append([]string{"kubectl"}, args...))
}

// MustKubectl runs a kubectl that has to succeed and returns its standard output.
func (b *Berth) MustKubectl(args ...string) string {
	b.Helper()
	r := b.Kubectl(args...)
	if r.Code != 0 {
		b.Fatalf("kubectl %v: exit code %d\nstdout: %s\nstderr: %s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}
