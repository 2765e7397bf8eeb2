package cgroup

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/sys/mountinfo"
)

func TestChooseHierarchies(t *testing.T) {
	const (
		v2     = "24 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
		cpu    = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
		mem    = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		memSub = "36 31 0:32 /docker/x /mnt/m rw - cgroup cgroup rw,memory\n"
		frz    = "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
		named  = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
		set    = "42 31 0:39 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
		alone  = "43 31 0:40 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
		acct   = "44 31 0:41 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n"
		hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	)
	tests := map[string]struct {
		in       string
		want     hierarchies
		tracking string
	}{
		"pure v2": {v2, hierarchies{v2: "/sys/fs/cgroup", v1: map[string]string{}}, "/sys/fs/cgroup"},
		"pure v1": {
			cpu + mem + frz,
			hierarchies{v1: map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/memory", "freezer": "/sys/fs/cgroup/freezer"}},
			"/sys/fs/cgroup/freezer",
		},
		"hybrid needs no freezer": {
			mem + frz + named + hybrid,
			hierarchies{v2: "/sys/fs/cgroup/unified", v1: map[string]string{"memory": "/sys/fs/cgroup/memory", "name=systemd": "/sys/fs/cgroup/systemd"}},
			"/sys/fs/cgroup/unified",
		},
		"a mount of the root is preferred": {memSub + mem, hierarchies{v1: map[string]string{"memory": "/sys/fs/cgroup/memory"}}, "/sys/fs/cgroup/memory"},
		"what programs look for": {
			cpu + mem + set,
			hierarchies{v1: map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/memory"}, shown: map[string]string{"cpuset": "/sys/fs/cgroup/cpuset"}},
			"/sys/fs/cgroup/memory",
		},
		"each by itself": {
			alone + acct + set + hybrid,
			hierarchies{
				v2: "/sys/fs/cgroup/unified", v1: map[string]string{"cpu": "/sys/fs/cgroup/cpu"},
				shown: map[string]string{"cpuacct": "/sys/fs/cgroup/cpuacct", "cpuset": "/sys/fs/cgroup/cpuset"},
			},
			"/sys/fs/cgroup/unified",
		},
		"nothing": {"", hierarchies{v1: map[string]string{}}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(tt.in), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := chooseHierarchies(mounts)
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(hierarchies{}), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if got.tracking() != tt.tracking {
				t.Errorf("tracking: got %q, want %q", got.tracking(), tt.tracking)
			}
		})
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{1: 1, 2: 1, 102: 10, 512: 50, 1024: 100, 4096: 400, 262144: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("weight(%d): got %d, want %d", shares, got, want)
		}
	}
}

func TestNeverTouchesTheMachinesProcesses(t *testing.T) {
	for _, pid := range []int{-1, 0, 1, os.Getpid()} {
		if err := killMember(t.TempDir(), pid); err == nil {
			t.Errorf("process %d would be killed", pid)
		}
	}
}
