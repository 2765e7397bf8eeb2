package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/runtime"
)

const (
	// defaultPeriod is the kernel's: 100 ms, in microseconds.
	defaultPeriod = 100_000
	// minQuota is the least the kernel takes: 1 ms per period.
	minQuota = 1000
	// maxShares and maxWeight are the ends of the kernel's ranges in v1 and v2; 1024 and 100 are its defaults.
	minShares, maxShares = 2, 262144
	minWeight, maxWeight = 1, 10000
)

func hasCPU(res runtime.Resources) bool { return res.CPUShares > 0 || res.CPUQuota > 0 }

// limit writes a container's limits into its fresh groups.
func (t *Tree) limit(uid, name string, res runtime.Resources) error {
	if mount, v2 := t.place("cpu"); mount != "" && hasCPU(res) {
		if err := limitCPU(t.containerDir(mount, uid, name), res, v2); err != nil {
			return err
		}
	}
	if mount, v2 := t.place("memory"); mount != "" {
		return limitMemory(t.containerDir(mount, uid, name), res, v2)
	}
	return nil
}

func limitCPU(dir string, res runtime.Resources, v2 bool) error {
	if res.CPUQuota > 0 {
		if err := limitQuota(dir, max(res.CPUQuota, minQuota), res.CPUPeriod, v2); err != nil {
			return err
		}
	}
	if res.CPUShares == 0 {
		return nil
	}
	file, value := "cpu.shares", min(max(res.CPUShares, minShares), maxShares)
	if v2 {
		file, value = "cpu.weight", weight(res.CPUShares)
	}
	if err := write(dir, file, strconv.FormatUint(value, 10)); err != nil {
		return err
	}
	return sumWeights(filepath.Dir(dir), file)
}

func limitQuota(dir string, quota int64, period uint64, v2 bool) error {
	if period == 0 {
		period = defaultPeriod
	}
	if v2 {
		return write(dir, "cpu.max", fmt.Sprintf("%d %d", quota, period))
	}
	if err := write(dir, "cpu.cfs_period_us", strconv.FormatUint(period, 10)); err != nil {
		return err
	}
	return write(dir, "cpu.cfs_quota_us", strconv.FormatInt(quota, 10))
}

// weight turns v1 shares into a v2 weight. The scale is straight, so that weights of containers add up to the weight of their pod, and puts
// the kernel's two defaults (1024 and 100) on each other.
func weight(shares uint64) uint64 {
	return min(max((shares*100+512)/1024, minWeight), maxWeight)
}

// sumWeights gives a pod the weight of its containers together, so that pods compete in proportion to what they asked for.
func sumWeights(pod, file string) error {
	names, err := subgroups(pod)
	if err != nil {
		return err
	}
	var sum uint64
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(pod, name, file))
		if err != nil {
			continue // removed meanwhile
		}
		n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		sum += n
	}
	low, high := uint64(minShares), uint64(maxShares)
	if file == "cpu.weight" {
		low, high = minWeight, maxWeight
	}
	return write(pod, file, strconv.FormatUint(min(max(sum, low), high), 10))
}

func limitMemory(dir string, res runtime.Resources, v2 bool) error {
	if v2 {
		return limitMemoryV2(dir, res)
	}
	if res.MemoryLimit <= 0 {
		return nil
	}
	value := strconv.FormatInt(res.MemoryLimit, 10)
	if err := write(dir, "memory.limit_in_bytes", value); err != nil {
		return err
	}
	return writeIfThere(dir, "memory.memsw.limit_in_bytes", value)
}

func limitMemoryV2(dir string, res runtime.Resources) error {
	// The first process to run out of memory takes the container with it, instead of leaving half of one behind.
	if err := writeIfThere(dir, "memory.oom.group", "1"); err != nil {
		return err
	}
	if res.MemoryMin > 0 {
		if err := write(dir, "memory.min", strconv.FormatInt(res.MemoryMin, 10)); err != nil {
			return err
		}
	}
	if res.MemoryLimit <= 0 {
		return nil
	}
	if err := write(dir, "memory.max", strconv.FormatInt(res.MemoryLimit, 10)); err != nil {
		return err
	}
	return writeIfThere(dir, "memory.swap.max", "0")
}

// writeIfThere sets a file that not every kernel has.
func writeIfThere(dir, file, value string) error {
	if err := write(dir, file, value); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
