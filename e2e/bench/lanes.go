package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"berth/e2e/harness"
)

// measured is what the test image's `tool measure` prints.
type measured struct {
	BytesPerSecond    float64 `json:"bytesPerSecond"`
	BytesPerSecondAll float64 `json:"bytesPerSecondOfFour"`
	RoundTripUS       float64 `json:"roundTripMicroseconds"`
	RoundTripP99US    float64 `json:"roundTripMicrosecondsP99"`
	ConnectUS         float64 `json:"connectMicroseconds"`
}

// lane is a way from one place to another.
type lane struct {
	name string
	// measure runs `tool measure` at its beginning.
	measure func() ([]byte, error)
	got     []measured
}

// drive measures the lanes in turn, so that what else the machine does in the meantime hits all alike.
func drive(r *harness.Runner, rounds int, lanes []*lane) {
	for range rounds {
		for _, l := range lanes {
			out, err := l.measure()
			var m measured
			if err == nil {
				err = json.Unmarshal(out, &m)
			}
			if err != nil {
				r.Errorf("%s: %v: %s", l.name, err, out)
				continue
			}
			l.got = append(l.got, m)
		}
	}
}

// laneTable prints the medians, each with its ratio to the first lane's.
func laneTable(lanes []*lane) {
	columns := []struct {
		name string
		of   func(measured) float64
	}{
		{"MB/s", func(m measured) float64 { return m.BytesPerSecond / 1e6 }},
		{"of four", func(m measured) float64 { return m.BytesPerSecondAll / 1e6 }},
		{"µs to&fro", func(m measured) float64 { return m.RoundTripUS }},
		{"p99", func(m measured) float64 { return m.RoundTripP99US }},
		{"µs/conn", func(m measured) float64 { return m.ConnectUS }},
	}
	fmt.Printf("%-46s %3s", "medians", "n")
	for _, c := range columns {
		fmt.Printf(" %9s %6s", c.name, "ratio")
	}
	fmt.Println()
	for _, l := range lanes {
		fmt.Printf("%-46s %3d", l.name, len(l.got))
		for _, c := range columns {
			if m := l.median(c.of); m > 0 {
				fmt.Printf(" %9.0f %6.2f", m, m/lanes[0].median(c.of))
			}
		}
		fmt.Println()
	}
}

func (l *lane) median(of func(measured) float64) float64 {
	var v []float64
	for _, m := range l.got {
		v = append(v, of(m))
	}
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// place is a network namespace, kept by a process that sleeps.
type place struct{ pid int }

// newPlace makes a network namespace with nothing but its own loopback.
func newPlace(r *harness.Runner) place {
	cmd := exec.Command("unshare", "--net", "sleep", "infinity")
	if err := cmd.Start(); err != nil {
		r.Fatalf("cannot make a network namespace: %v", err)
	}
	r.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p := place{cmd.Process.Pid}
	p.must(r, "ip", "link", "set", "lo", "up")
	return p
}

// command runs a program there.
func (p place) command(argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(p.pid), "-n", "--"}, argv...)...)
}

func (p place) must(r *harness.Runner, argv ...string) {
	if out, err := p.command(argv...).CombinedOutput(); err != nil {
		r.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}

func must(r *harness.Runner, argv ...string) {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		r.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}

// wire joins a place to another, or to the machine itself (nil), by a pair of interfaces with these addresses.
func (p place) wire(r *harness.Runner, name, address string, to *place, far string) {
	must(r, "ip", "link", "add", name, "type", "veth", "peer", "name", "up0", "netns", strconv.Itoa(p.pid))
	p.must(r, "ip", "addr", "add", address, "dev", "up0")
	p.must(r, "ip", "link", "set", "up0", "up")
	if to != nil {
		must(r, "ip", "link", "set", name, "netns", strconv.Itoa(to.pid))
		to.must(r, "ip", "addr", "add", far, "dev", name)
		to.must(r, "ip", "link", "set", name, "up")
		return
	}
	must(r, "ip", "addr", "add", far, "dev", name)
	must(r, "ip", "link", "set", name, "up")
	r.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
}

// sink runs the other end of measure there.
func (p place) sink(r *harness.Runner, tool string) {
	serve := p.command(tool, "sink", "8080")
	if err := serve.Start(); err != nil {
		r.Fatalf("%v", err)
	}
	r.Cleanup(func() { _ = serve.Process.Kill(); _ = serve.Wait() })
}

const (
	// plainControl is every kernel's congestion control.
	plainControl = "reno"
	// The addresses of who is behind the router, and its own, in another benchmarking range.
	routedFrom, routedTo, routerAddr, routedRange = "198.18.8.1", "198.18.8.2", "198.18.8.254", "198.18.8.0/24"
	routerMAC                                     = "0a:58:c6:12:08:fe"
)

// routed joins two places as pods are, by a bridge whose machine is their only neighbour, and nothing that looks at packets.
func routed(r *harness.Runner, a, b place) {
	router := newPlace(r)
	router.must(r, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects; echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects")
	router.must(r, "ip", "link", "add", "br0", "address", routerMAC, "type", "bridge", "mcast_snooping", "0")
	router.must(r, "ip", "addr", "add", routerAddr+"/24", "dev", "br0")
	router.must(r, "ip", "link", "set", "br0", "up")
	for address, p := range map[string]place{routedFrom: a, routedTo: b} {
		name := "to-" + strconv.Itoa(p.pid)
		router.must(r, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(p.pid))
		router.must(r, "ip", "link", "set", name, "master", "br0", "up")
		p.must(r, "ip", "addr", "add", address+"/32", "dev", "eth0")
		p.must(r, "ip", "link", "set", "eth0", "up")
		p.must(r, "ip", "route", "add", routedRange, "via", routerAddr, "dev", "eth0", "onlink", "congctl", plainControl)
		p.must(r, "ip", "neigh", "replace", routerAddr, "lladdr", routerMAC, "dev", "eth0", "nud", "permanent")
	}
}
