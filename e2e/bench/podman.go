package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// benchPodman starts the same replicas with berth and with podman, where that is installed.
func benchPodman(r *harness.Runner, o options) {
	section(r, fmt.Sprintf("    0 -> %d replicas, and podman kube play of the same file", o.podman), func() { comparePodman(r, o.podman) })
}

func comparePodman(r *harness.Runner, n int) {
	path, err := exec.LookPath("podman")
	if err != nil || n == 0 {
		fmt.Println("not installed or left out")
		return
	}
	ours := sample{name: "berth: edit until all run, network included"}
	b, _ := start(r)
	for range 3 {
		ours.us = append(ours.us, us(scale(r, b, n)))
		settled(b, n)
		scale(r, b, 0)
		settled(b, 0)
	}
	theirs := sample{name: "podman kube play until it returns, no network"}
	withoutUnified(func() {
		took, err := podman(path, n)
		if err != nil {
			fmt.Println("podman does not work here:", err)
			return
		}
		theirs.us = append(theirs.us, us(took))
	})
	table(ours, theirs)
	if len(theirs.us) > 0 {
		fmt.Printf("per container: berth %.2f ms, podman %.2f ms\n", ours.at(0.5)/1e3/float64(n), theirs.at(0.5)/1e3/float64(n))
	}
}

// podman plays a Deployment of n replicas and takes it down again. Its images and layers are on the disk that berth's are on.
func podman(path string, n int) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "podman-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	run, err := os.MkdirTemp("/run", "podman-") // podman takes no path of more than 50 characters for it
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(run) }()
	flags := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(run, "run"), "--tmpdir", filepath.Join(run, "tmp"), "--cgroup-manager=cgroupfs", "--events-backend=file"}
	call := func(args ...string) error {
		out, err := exec.Command(path, append(flags, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("podman %v: %w: %s", args, err, out)
		}
		return nil
	}
	set, err := images.Open()
	if err != nil {
		return 0, err
	}
	archive, err := set.Archive(images.Busybox)
	if err != nil {
		return 0, err
	}
	file := filepath.Join(dir, "kube.yaml")
	if err := os.WriteFile(file, []byte(replicas(n)), 0o600); err != nil {
		return 0, err
	}
	if err := call("load", "-i", archive); err != nil {
		return 0, err
	}
	before, _ := filepath.Glob(podmanGroups)
	defer func() {
		if err := call("system", "reset", "--force"); err != nil {
			fmt.Println(err)
		}
		removePodmanGroups(before)
	}()
	began := time.Now()
	if err := call("kube", "play", "--network=none", file); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, call("kube", "down", file)
}

// podmanGroups are the groups that podman makes for all its pods, and leaves.
const podmanGroups = "/sys/fs/cgroup/*/libpod_parent"

// removePodmanGroups removes the groups that were not there before, with the empty ones below them.
func removePodmanGroups(before []string) {
	now, _ := filepath.Glob(podmanGroups)
	for _, dir := range now {
		if slices.Contains(before, dir) {
			continue
		}
		var below []string
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		for _, d := range slices.Backward(below) {
			_ = os.Remove(d)
		}
	}
}
