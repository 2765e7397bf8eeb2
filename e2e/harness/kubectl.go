package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"berth/e2e/images"
)

// oldestKubectl is the minor version that the scenes are written for; builtKubectl is the version that is built where there is none so new.
const (
	oldestKubectl = 32
	builtKubectl  = "1.36.3"
)

// ensureKubectl puts a kubectl on the PATH that is new enough: the machine's own, or one built from Kubernetes' source and kept in dir.
func ensureKubectl(dir string) error {
	if minor, err := KubectlMinor("kubectl"); err == nil && minor >= oldestKubectl {
		return nil
	}
	own, err := newestKubectl(dir)
	if err != nil {
		return err
	}
	return os.Setenv("PATH", filepath.Dir(own)+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// CopyKubectl puts the kubectl that the scenes use here into dir, for a machine that cannot build one.
func CopyKubectl(dir string) error {
	if err := ensureKubectl(dir); err != nil {
		return err
	}
	from, err := FindKubectl("kubectl")
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot copy kubectl: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "kubectl"), data, 0o755)
}

// newestKubectl is the one built from Kubernetes' source and kept in dir.
func newestKubectl(dir string) (string, error) {
	own := filepath.Join(dir, "kubectl-"+builtKubectl, "kubectl")
	if _, err := KubectlMinor(own); err != nil {
		if err := buildKubectl(own); err != nil {
			return "", err
		}
	}
	return own, nil
}

// FindKubectl is the absolute path of a kubectl by its name or path. The one called "newest" is built when it is not there yet.
func FindKubectl(name string) (string, error) {
	if name == "newest" {
		set, err := images.Open()
		if err != nil {
			return "", err
		}
		return newestKubectl(set.Dir())
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("cannot find kubectl: %w", err)
	}
	return filepath.Abs(path)
}

// KubectlMinor is the minor version of the kubectl at a path.
func KubectlMinor(path string) (int, error) {
	out, err := exec.Command(path, "version", "--client", "-o", "json").Output()
	if err != nil {
		return 0, fmt.Errorf("cannot run %s: %w", path, err)
	}
	var v struct {
		ClientVersion struct{ Minor string }
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return 0, fmt.Errorf("cannot read the version of %s: %w", path, err)
	}
	return strconv.Atoi(strings.TrimSuffix(v.ClientVersion.Minor, "+"))
}

func buildKubectl(out string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	const version = "k8s.io/component-base/version."
	cmd := exec.Command("go", "build", "-modfile", filepath.Join(root, ".tools", "kubectl.mod"), "-o", out,
		"-ldflags", "-X "+version+"gitVersion=v"+builtKubectl+" -X "+version+"gitMajor=1 -X "+version+"gitMinor=36", "k8s.io/kubernetes/cmd/kubectl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build kubectl, and this machine has none of 1.%d or newer: %w\n%s", oldestKubectl, err, text)
	}
	return nil
}

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
