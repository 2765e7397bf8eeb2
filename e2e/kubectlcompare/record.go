package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"berth/e2e/images"
)

const imageName = images.Tool

// perStep ends a step that waits for what never comes.
const perStep = 90 * time.Second

// recording is what each step says, normalised, by its id.
type recording map[string]string

// side is where the steps run.
type side struct {
	env  []string
	dir  string
	node string
	head string // what stands before each step
}

// record runs the steps with a kubectl on the server of a kubeconfig, each script in a namespace and a directory of its own.
func record(scripts []script, which *regexp.Regexp, client, config string) (recording, error) {
	text, err := files.ReadFile(path.Join("steps", prelude))
	if err != nil {
		return nil, fmt.Errorf("cannot read the steps: %w", err)
	}
	all := recording{}
	for i := range scripts {
		s := &scripts[i]
		if !s.matches(which) {
			continue
		}
		if err := recordScript(all, s, string(text), client, config); err != nil {
			return nil, fmt.Errorf("cannot run the steps of %s: %w", s.verb, err)
		}
	}
	return all, nil
}

func recordScript(all recording, s *script, head, client, config string) (err error) {
	dir, err := os.MkdirTemp("", "compare-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	own := filepath.Join(dir, ".kubeconfig")
	text, err := ownConfig(client, config)
	if err == nil {
		err = os.WriteFile(own, text, 0o600)
	}
	if err != nil {
		return err
	}
	on := side{dir: dir, head: head, env: append(os.Environ(),
		"KUBECONFIG="+own, "HOME="+dir, "PATH="+filepath.Dir(client)+string(os.PathListSeparator)+os.Getenv("PATH"), "NO_COLOR=1", "TERM=dumb", "LC_ALL=C", "TZ=UTC",
		"IMAGE="+images.Ref(imageName), "NAMESPACE="+s.verb)}
	node, err := on.must("kubectl get nodes -o 'jsonpath={.items[0].metadata.name}'")
	if err != nil {
		return err
	}
	on.node = strings.TrimSpace(node)
	if _, err := on.must("begin\n" + s.before); err != nil {
		return err
	}
	for _, st := range s.steps {
		all[s.id(st)] = on.run(st.text)
	}
	_, err = on.must("end")
	return err
}

// ownConfig is a kubeconfig with its certificates inside, for a copy that the steps may change.
func ownConfig(client, config string) ([]byte, error) {
	cmd := exec.Command(client, "config", "view", "--raw", "--flatten", "--minify")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+config)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", config, err)
	}
	return out, nil
}

// must runs lines that have to succeed.
func (on *side) must(text string) (string, error) {
	out, errOut, code := on.shell(text)
	if code != 0 {
		return "", fmt.Errorf("exit code %d of\n%s\n%s%s", code, text, out, errOut)
	}
	return out, nil
}

// run is what the lines of a step print on both streams, and the code if it is not 0.
func (on *side) run(text string) string {
	out, errOut, code := on.shell(text)
	var b strings.Builder
	for line := range strings.Lines(on.normal(out)) {
		b.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	for line := range strings.Lines(on.normal(errOut)) {
		b.WriteString(strings.TrimRight("! "+line, " \n") + "\n")
	}
	if code != 0 {
		fmt.Fprintf(&b, "exit code %d\n", code)
	}
	return normal(b.String()) // once more, as a recording is when it is read: with the marks of the lines
}

func (on *side) shell(text string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), perStep)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", on.head+text)
	var out, errOut bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = on.dir, on.env, &out, &errOut
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return "", err.Error(), -1
	}
	if ctx.Err() != nil {
		errOut.WriteString("it hangs\n")
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// readRecording reads what write has written.
func readRecording(file string) (recording, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read what is recorded: %w", err)
	}
	all := recording{}
	for _, s := range sections(string(data))[1:] {
		all[s.name] = normal(s.text)
	}
	return all, nil
}

// write writes all steps in the order of the scripts.
func (all recording) write(file string, scripts []script) error {
	var b strings.Builder
	for i := range scripts {
		for _, st := range scripts[i].steps {
			if text, ok := all[scripts[i].id(st)]; ok {
				b.WriteString("## " + scripts[i].id(st) + "\n" + text)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// mergeInto replaces the steps of a file that were run.
func (all recording) mergeInto(file string, scripts []script) error {
	old, err := readRecording(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for id, text := range old {
		if _, ok := all[id]; !ok {
			all[id] = text
		}
	}
	return all.write(file, scripts)
}
