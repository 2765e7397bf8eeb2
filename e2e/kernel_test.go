package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o644) }

// mkdev makes /dev/zero: to read it to its end takes for ever.
func mkdev(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o644, 1<<8|5) }

// emptyCgroup kills what is in a tree of cgroups and removes it. It says what is still there.
func emptyCgroup(dir string) error {
	var all []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, p)
		}
		return nil
	})
	for _, group := range slices.Backward(all) {
		procs, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		for word := range strings.FieldsSeq(string(procs)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 1 && pid != os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if err := syscall.Rmdir(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", group, err)
		}
	}
	return nil
}

// removeLinks removes the links and nft tables that carry an instance's id: a reboot does not keep them.
func removeLinks(t *testing.T, id string) {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.Contains(l.Attrs().Name, id) {
			// A pod's link may just have gone with its namespace.
			if err := netlink.LinkDel(l); err != nil && !errors.Is(err, syscall.ENODEV) {
				t.Error(err)
			}
		}
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if strings.Contains(table.Name, id) {
			conn.DelTable(table)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}
