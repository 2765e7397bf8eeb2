package daemon

import (
	"context"
	"strconv"
	"strings"
	"time"

	"berth/runtime"
)

// meter measures pods, and the machine.
type meter struct{ runtime.Meter }

// MachineUsage reads the machine's own counters.
func (meter) MachineUsage(context.Context) (runtime.Usage, error) {
	// The first line is: cpu user nice system idle iowait irq softirq steal …, in hundredths of a second.
	const idle, iowait, counted = 4, 5, 8
	var ticks int64
	for i, f := range strings.Fields(line("/proc/stat")) {
		if i == 0 || i == idle || i == iowait || i > counted {
			continue
		}
		n, _ := strconv.ParseInt(f, 10, 64) // numbers, by its form
		ticks += n
	}
	return runtime.Usage{CPU: time.Duration(ticks) * 10 * time.Millisecond, Memory: memory() - memoryAvailable()}, nil
}
