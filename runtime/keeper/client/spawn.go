package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"berth/runtime/keeper/wire"
)

// Spawn starts `binary keeper --run-dir runDir` as a child of init, in a session of its own, detached from the caller's terminal, and returns
// when it serves. When one serves already, that is not an error. The binary must import berth/runtime/keeper.
func Spawn(ctx context.Context, binary, runDir string, opts SpawnOptions) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer r.Close()
	args := []string{"keeper", "--run-dir", runDir, "--detach", "--ready-fd", "3"}
	for _, f := range opts.CgroupFiles {
		args = append(args, "--cgroup", f)
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err = cmd.Run()
	w.Close()
	if err != nil {
		return fmt.Errorf("cannot start the keeper: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return awaitReady(ctx, r)
}

// awaitReady reads the keeper's word: R it serves, B another does, E and why not.
func awaitReady(ctx context.Context, r *os.File) error {
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	p, err := io.ReadAll(io.LimitReader(r, 4096))
	text := string(p)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("cannot wait for the keeper: %w", err)
	case text == "R", text == "B":
		return nil
	case strings.HasPrefix(text, "E"):
		return fmt.Errorf("cannot start the keeper: %s", text[1:])
	}
	return errors.New("cannot start the keeper: it ended; see its log")
}

// Upgrade makes the keeper execute another binary in place. Its pid, containers and sandboxes stay; connections end, and with them what
// was started by Exec: dial again. It returns when the new binary serves. A binary that cannot read the keeper's state is refused.
func (c *Client) Upgrade(ctx context.Context, binary string) error {
	out, err := exec.CommandContext(ctx, binary, "keeper", "--probe").Output()
	if err != nil {
		return fmt.Errorf("cannot ask %q for its version: %w", binary, err)
	}
	if word, _, _ := strings.Cut(string(out), " "); word != "berth-keeper-state" {
		return fmt.Errorf("cannot upgrade: %q is no keeper", binary)
	}
	f, err := os.Open(binary)
	if err != nil {
		return fmt.Errorf("cannot open the new binary: %w", err)
	}
	defer f.Close()
	file, err := c.do(ctx, wire.UpgradeKind, &wire.Upgrade{Probe: strings.TrimSpace(string(out))}, []int{int(f.Fd())}, nil)
	closeFile(file)
	if errors.Is(err, ErrKeeperGone) {
		// It has been replaced: its end of the connection is closed by the execution. The socket stays, so this waits for the new one.
		next, err := Dial(ctx, c.runDir)
		if err != nil {
			return fmt.Errorf("cannot reach the new keeper: %w", err)
		}
		return next.Close()
	}
	return err
}
