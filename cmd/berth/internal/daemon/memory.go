package daemon

import (
	goruntime "runtime"
	"runtime/debug"
	"runtime/metrics"
)

// leastGarbage is how much may be thrown away between two collections however little is in use: with less, a start of many pods would collect all the time.
const leastGarbage = 8 << 20

// collector makes the garbage collector come when half of what is in use has been thrown away, and not only when as much as is in use: with 1,000 pods that is a quarter
// of the memory. While little is in use it comes later than it would by itself. It looks at each collection, and so costs nothing while there is none.
type collector struct{ percent int }

func tendCollector() { (&collector{percent: 100}).await() }

// await is called again after the next collection.
func (c *collector) await() {
	goruntime.AddCleanup(new([64]byte), func(c *collector) {
		c.adjust()
		c.await()
	}, c)
}

func (c *collector) adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	percent := garbagePercent(live[0].Value.Uint64())
	if d := percent - c.percent; d > 9 || d < -9 { // each change stops all for a moment
		c.percent = percent
		debug.SetGCPercent(percent)
	}
}

func garbagePercent(live uint64) int {
	return int(max(50, min(400, leastGarbage*100/max(live, 1))))
}
