// Package security turns a wish for trust into what the kernel takes: a capability set, a system call filter, numeric ids, and the paths
// and devices a container may see.
package security

import (
	"path/filepath"
	"slices"
	"sync"
)

// Device is a device node every container has.
type Device struct {
	// Path is absolute, inside the container.
	Path         string
	Major, Minor uint32
	// Mode holds the permission bits.
	Mode uint32
}

// DefaultDevices are the character device nodes every container has. Terminals come from the container's own devpts.
func DefaultDevices() []Device {
	return []Device{
		{"/dev/null", 1, 3, 0o666},
		{"/dev/zero", 1, 5, 0o666},
		{"/dev/full", 1, 7, 0o666},
		{"/dev/random", 1, 8, 0o666},
		{"/dev/urandom", 1, 9, 0o666},
		{"/dev/tty", 5, 0, 0o666},
	}
}

// MaskedPaths are hidden from containers unless they are privileged or their /proc is unmasked. Not every kernel has every one.
func MaskedPaths() []string {
	return append([]string{
		"/proc/acpi",
		"/proc/asound",
		"/proc/interrupts",
		"/proc/kcore",
		"/proc/keys",
		"/proc/latency_stats",
		"/proc/sched_debug",
		"/proc/scsi",
		"/proc/timer_list",
		"/proc/timer_stats",
		"/sys/devices/virtual/powercap",
		"/sys/firmware",
	}, throttlePaths()...)
}

// throttlePaths tell how hot each processor is, and with it what the neighbours compute.
var throttlePaths = sync.OnceValue(func() []string {
	paths, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	return slices.Clip(paths)
})

// ReadonlyPaths cannot be written by containers unless they are privileged or their /proc is unmasked.
func ReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
