package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"berth/e2e/harness"
)

// held is memory in MiB. The proportional set size counts a page that several processes share in parts; anonymous is what of it is no page of a file, so nothing
// but the process can give it back; private is shared with nobody.
type held struct{ pss, anonymous, private float64 }

func (h held) String() string { return fmt.Sprintf("%.1f (%.1f anonymous)", h.pss, h.anonymous) }

func (h held) plus(o held) held {
	return held{h.pss + o.pss, h.anonymous + o.anonymous, h.private + o.private}
}

func heldBy(pid int) held { return heldIn(fmt.Sprintf("/proc/%d", pid)) }

func heldIn(dir string) held {
	text, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return held{}
	}
	var h held
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "Pss:":
			h.pss = kib / 1024
		case "Pss_Anon:":
			h.anonymous = kib / 1024
		case "Private_Clean:", "Private_Dirty:":
			h.private += kib / 1024
		}
	}
	return h
}

// heldByAll is what controller, keeper and proxy hold together, and each of them.
func heldByAll(b *harness.Berth, up *harness.Up) (all held, each string) {
	for _, role := range []string{"controller", "keeper", "proxy"} {
		pids := []int{up.PID()}
		if role != "controller" {
			pids = b.Processes(role)
		}
		var one held
		for _, pid := range pids {
			one = one.plus(heldBy(pid))
		}
		all = all.plus(one)
		each += fmt.Sprintf(", %s %v", role, one)
	}
	return all, strings.TrimPrefix(each, ", ")
}

// benchMemory: keeper and controller with none, some and many pods.
func benchMemory(r *harness.Runner, o options) {
	section(r, "(d) memory of keeper and controller, MiB", func() {
		b, up := start(r)
		fmt.Printf("%-8s %14s %14s %14s %14s %10s\n", "pods", "keeper PSS", "private", "controller PSS", "private", "sum PSS")
		for _, n := range []int{0, o.pods / 3, o.pods} {
			if n > 0 {
				scale(r, b, n)
			} else {
				// The keeper is there as soon as one pod was.
				scale(r, b, 1)
				scale(r, b, 0)
			}
			settled(b, n)
			time.Sleep(3 * time.Second)
			k, c := heldBy(b.Keeper()), heldBy(up.PID())
			fmt.Printf("%-8d %14.1f %14.1f %14.1f %14.1f %10.1f\n", n, k.pss, k.private, c.pss, c.private, k.pss+c.pss)
		}
	})
}
