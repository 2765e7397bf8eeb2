package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is handed over, and what is said when that cannot be.
func TestKubectl(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	for name, text := range map[string]string{"bin/kubectl": "#!/bin/sh\n[ $1 = __complete ] && printf 'pods\\nnodes\\n:4\\n'\n", "a/kubeconfig": "", "b/kubeconfig": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	t.Setenv("BERTH_RUN_DIR", filepath.Join(dir, "a"))
	config := func(which string) []string {
		return []string{"kubectl", "--kubeconfig", filepath.Join(dir, which, "kubeconfig")}
	}
	tests := map[string]struct {
		args []string
		path string
		want []string
		err  string
	}{
		"a verb":                   {[]string{"get", "pods", "-o", "wide"}, bin, append(config("a"), "get", "pods", "-o", "wide"), ""},
		"any verb":                 {[]string{"kubectl", "logs", "-f", "p"}, bin, append(config("a"), "logs", "-f", "p"), ""},
		"our flags after it":       {[]string{"get", "pods", "--run-dir", dir + "/b", "--state-dir=/x"}, bin, append(config("b"), "get", "pods"), ""},
		"our flags before it":      {[]string{"--run-dir=" + dir + "/b", "get", "pods"}, bin, append(config("b"), "get", "pods"), ""},
		"what is behind two signs": {[]string{"kubectl", "exec", "p", "--", "ls", "--run-dir", "y"}, bin, append(config("a"), "exec", "p", "--", "ls", "--run-dir", "y"), ""},
		"its help":                 {[]string{"explain", "--help", "--run-dir", "/none"}, bin, []string{"kubectl", "--kubeconfig", "/none/kubeconfig", "explain", "--help"}, ""},
		"no kubectl":               {[]string{"get", "pods"}, "/none", nil, "cannot find kubectl on the PATH"},
		"no berth":                 {[]string{"get", "pods", "--run-dir", "/none"}, bin, nil, "cannot find /none/kubeconfig"},
		"half a flag":              {[]string{"get", "pods", "--run-dir"}, bin, nil, "flag needs an argument: --run-dir"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", tc.path)
			var got []string
			a := &app{out: io.Discard, err: io.Discard, become: func(program string, argv, _ []string) error {
				if program != filepath.Join(bin, "kubectl") {
					t.Errorf("program %s", program)
				}
				got = argv
				return nil
			}}
			root := a.root()
			root.SetArgs(tc.args)
			err := root.ExecuteContext(t.Context())
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v", err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	t.Setenv("PATH", bin+":/bin")
	a := &app{out: io.Discard, err: io.Discard}
	a.root()
	if words, directive := a.completeKubectl("get", nil, ""); strings.Join(words, " ") != "pods nodes" || directive != 4 {
		t.Errorf("completed %q, %d", words, directive)
	}
}
