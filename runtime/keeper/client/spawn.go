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
	if opts.LogFile != "" {
		args = append(args, "--log", opts.LogFile)
	}
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

// Upgrade makes the keeper execute another binary in place. Its pid, children and containers stay; the connection ends: dial again.
func (c *Client) Upgrade(ctx context.Context, binary string) error { return errors.New("not built yet") }
