package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

//go:embed rootless.sh
var rootlessScript string

// rootlessPatience is how long podman may take to start one container as a user.
const rootlessPatience = 30 * time.Second

// podmanPublishesRootless runs the sink with podman as a user without rights, whose ports a program carries; end takes all of it away.
func podmanPublishesRootless(tool, port string) (end func(), err error) {
	path, err := exec.LookPath("podman")
	if err == nil {
		_, err = exec.LookPath("slirp4netns")
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "rootless-") // not where the bench has its files: a user does not get there
	if err != nil {
		return nil, err
	}
	said := &bytes.Buffer{}
	ready, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", rootlessScript, "rootless.sh", path, dir, tool, port)
	cmd.Stdout, cmd.Stderr = stdout, said
	err = cmd.Start()
	stdout.Close()
	if err != nil {
		return nil, err
	}
	end = func() {
		_ = cmd.Process.Kill() // with it go the namespaces and whoever is in them
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	defer ready.Close()
	_ = ready.SetReadDeadline(time.Now().Add(rootlessPatience))
	var out []byte
	for buf := make([]byte, 4096); !strings.Contains(string(out), "ready\n"); {
		n, err := ready.Read(buf)
		if out = append(out, buf[:n]...); err != nil {
			end()
			return nil, fmt.Errorf("cannot run podman as a user: %w", errors.Join(err, errors.New(strings.TrimSpace(said.String()))))
		}
	}
	return end, nil
}
