package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"berth/e2e/harness"
	"berth/e2e/images"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/vishvananda/netlink"
)

// field is a directory with an unpacked root file system, and a bridge, for the programs that are compared.
type field struct {
	dir, root, state, bridge string
}

// newField prepares what the limit programs need. state is on the same file system as the directories of berth.
func newField(r *harness.Runner) *field {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		r.Fatalf("%v", err)
	}
	f := &field{dir: dir, root: filepath.Join(dir, "root"), state: filepath.Join(dir, "state"), bridge: "bench0"}
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := unpack(f.root); err != nil {
		r.Fatalf("%v", err)
	}
	if err := os.MkdirAll(f.state, 0o755); err != nil {
		r.Fatalf("%v", err)
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: f.bridge}}
	if err := netlink.LinkAdd(bridge); err != nil {
		r.Fatalf("cannot make a bridge: %v", err)
	}
	r.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 18, 0, 1), Mask: net.CIDRMask(16, 32)}}
	if err := errors.Join(netlink.AddrAdd(bridge, address), netlink.LinkSetUp(bridge)); err != nil {
		r.Fatalf("cannot set the bridge up: %v", err)
	}
	return f
}

// unpack writes the files of the busybox image: what each of the compared programs runs from.
func unpack(root string) error {
	set, err := images.Open()
	if err != nil {
		return err
	}
	img, err := set.Image(images.Busybox)
	if err != nil {
		return err
	}
	content := mutate.Extract(img)
	defer content.Close()
	for t := tar.NewReader(content); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(root, filepath.Clean("/"+h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, os.FileMode(h.Mode))
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		case tar.TypeReg:
			var data []byte
			if data, err = io.ReadAll(t); err == nil {
				err = os.WriteFile(path, data, os.FileMode(h.Mode))
			}
		}
		if err != nil {
			return err
		}
	}
}

// groups are the cgroup options of the limit program: one group for a container as promise 9 has it, or one in each hierarchy in which
// a container with resources has one.
func groups(resources bool) []string {
	name := fmt.Sprintf("bench-%d", os.Getpid())
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		dir := filepath.Join("/sys/fs/cgroup", name)
		_ = os.Mkdir(dir, 0o755)
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu +memory +pids"), 0)
		args := []string{"-2", dir}
		if resources {
			args = append(args, "-w", "memory.max=67108864", "-w", "cpu.max=50000 100000", "-w", "cpu.weight=20")
		}
		return args
	}
	controllers := []string{"pids"}
	if resources {
		controllers = append(controllers, "memory", "cpu")
	}
	var args []string
	for _, c := range controllers {
		dir := filepath.Join("/sys/fs/cgroup", c, name)
		_ = os.Mkdir(dir, 0o755)
		args = append(args, "-1", dir)
	}
	if resources {
		args = append(args, "-w", "memory.limit_in_bytes=67108864", "-w", "cpu.cfs_quota_us=50000", "-w", "cpu.shares=512")
	}
	return args
}

func removeGroups() {
	dirs, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/bench-%d", os.Getpid()))
	more, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/bench-%d", os.Getpid()))
	for _, d := range append(dirs, more...) {
		_ = os.Remove(d)
	}
}

// limit runs our limit program; extra are its options. totals are the figures it prints by name, in microseconds.
func (f *field) limit(r *harness.Runner, name string, n int, extra ...string) (s sample, totals map[string]float64) {
	args := append([]string{"-n", strconv.Itoa(n), "-l", f.root, "-s", f.state}, extra...)
	args = append(args, "--", "/bin/sleep", "1000000")
	out, err := exec.Command(os.Getenv(limitVar), args...).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			r.Fatalf("limit %v: %v: %s", args, err, exit.Stderr)
		}
		r.Fatalf("limit: %v", err)
	}
	s, totals = sample{name: name}, map[string]float64{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		value, err := strconv.ParseFloat(words[len(words)-1], 64)
		if err != nil {
			r.Fatalf("limit printed %q", line)
		}
		if len(words) == 2 {
			totals[words[0]] = value
		} else {
			s.us = append(s.us, value)
		}
	}
	return s, totals
}

// veth are the options that give each container an address on the bridge.
func (f *field) veth() []string {
	return []string{"-b", f.bridge, "-a", "198.18.0.2/16", "-g", "198.18.0.1"}
}

// otherMedian runs the other limit program on the parts that it and ours both have, and returns its median in microseconds.
func (f *field) otherMedian(n int, group string) (float64, error) {
	args := []string{"hold", "-n", strconv.Itoa(n), "--rootfs", f.root, "--state", filepath.Join(f.dir, "other"), "--oci", "--volatile"}
	if group != "" {
		args = append(args, "--cgroup", group, "--into-cgroup")
	}
	out, err := exec.Command(os.Getenv(otherVar), args...).Output()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "start") {
			for word := range strings.FieldsSeq(line) {
				if value, ok := strings.CutPrefix(word, "p50="); ok {
					return strconv.ParseFloat(value, 64)
				}
			}
		}
	}
	return 0, fmt.Errorf("no median in %q", out)
}
