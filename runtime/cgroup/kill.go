package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// killPasses bounds how often the slow way of killing looks again for processes that were forked meanwhile. The group is frozen, so the
// second pass normally finds nothing new.
const killPasses = 10

// kill ends all processes in and below a group: by cgroup.kill, or one by one in a frozen group where the kernel has no such file.
func kill(dir string) error {
	err := write(dir, "cgroup.kill", "1")
	switch {
	case err == nil:
		return nil
	case !isGone(err):
		return err
	case !isDir(dir):
		return nil
	}
	return killEach(dir)
}

func killEach(dir string) error {
	defer freeze(dir, false)
	signalled := map[int]bool{}
	for range killPasses {
		freeze(dir, true)
		found, err := pids(dir)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(pid int) bool { return signalled[pid] })
		if len(found) == 0 {
			return nil
		}
		for _, pid := range found {
			signalled[pid] = true
			if err := killMember(dir, pid); err != nil {
				return err
			}
		}
		freeze(dir, false)
	}
	return fmt.Errorf("cannot kill %s: it forks faster than it can be killed", dir)
}

// killMember kills one process, if it still is a member when a handle on it is held: a number alone may already be somebody else's.
func killMember(dir string, pid int) error {
	if err := refuse(pid); err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if found, err := pids(dir); err != nil || !slices.Contains(found, pid) {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot kill process %d: %w", pid, err)
	}
	return nil
}

// refuse keeps berth's hands off what can never be a container's process: 0 would be berth itself, 1 the machine's first process.
func refuse(pid int) error {
	if pid <= 1 || pid == os.Getpid() {
		return fmt.Errorf("cannot touch process %d: it is not a container's", pid)
	}
	return nil
}

// freeze stops or continues a group as well as it can; killing works without it, only less surely.
func freeze(dir string, on bool) {
	state, flag := "THAWED", "0"
	if on {
		state, flag = "FROZEN", "1"
	}
	if write(dir, "cgroup.freeze", flag) != nil {
		_ = write(dir, "freezer.state", state)
	}
}

// pids are the processes in and below a group; none when it does not exist.
func pids(dir string) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var found []int
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		pid, err := strconv.Atoi(s.Text())
		if err != nil {
			return nil, fmt.Errorf("cannot list processes: %w", err)
		}
		found = append(found, pid)
	}
	names, err := subgroups(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		below, err := pids(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		found = append(found, below...)
	}
	return found, nil
}

// isGone: a group that is removed while a file of it is open answers ENODEV.
func isGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
