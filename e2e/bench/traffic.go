package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// trafficMS is how long a lane sends each time: over one connection, then over four.
const trafficMS = "700"

// The addresses of the places outside: TEST-NET-2 and benchmarking ranges, which nothing routes (RFC 5737, RFC 2544).
const (
	outsideAddr, machineAddr = "198.18.0.2", "198.18.0.1"
	bareFrom, bareTo         = "198.51.100.1", "198.51.100.2"
	plainFrom, plainTo       = "203.0.113.1", "203.0.113.2" // on the same wire
	serviceRange             = "198.19.64.0/20"
	clusterIP                = "198.19.65.1"
	publishedPort            = "8081"
	podmanPort, rootlessPort = "8082", "8083"
)

// benchTraffic: what a connection costs on each of the ways, beside two namespaces with a wire between them, under the congestion control that berth gives
// to what stays on the machine; and beside the same way through the machine that pods have, without a rule, which no packet filter can be faster than.
func benchTraffic(r *harness.Runner, o options) {
	section(r, fmt.Sprintf("(g) traffic: one connection and four at once, %d rounds in turn", o.rounds), func() {
		tool := toolBinary(r)
		bareA, bareB, outside := newPlace(r), newPlace(r), newPlace(r)
		b := harness.New(r)
		b.Load(images.Tool)
		b.Write("sink.yaml", sinkManifest())
		b.Up("--service-cidr", serviceRange)
		from, to := b.UntilReady("from", 1)[0], b.UntilReady("sink-", 1)[0]
		bareA.wire(r, "bare0", bareFrom+"/24", &bareB, bareTo+"/24")
		bareB.must(r, "ip", "addr", "add", plainTo+"/24", "dev", "bare0")
		bareA.must(r, "ip", "addr", "add", plainFrom+"/24", "dev", "up0", "noprefixroute")
		bareA.must(r, "ip", "route", "add", "203.0.113.0/24", "dev", "up0", "src", plainFrom, "congctl", plainControl)
		outside.wire(r, "outside0", outsideAddr+"/24", nil, machineAddr+"/24")
		outside.must(r, "ip", "route", "add", "default", "via", machineAddr)
		bareB.sink(r, tool)
		routedA, routedB := newPlace(r), newPlace(r)
		routed(r, routedA, routedB)
		routedB.sink(r, tool)

		inPod := func(addr string) func() ([]byte, error) {
			return func() ([]byte, error) {
				return b.Command("exec", from.Name, "--", "tool", "measure", addr, trafficMS).Output()
			}
		}
		atPlace := func(p place, addr string) func() ([]byte, error) {
			return func() ([]byte, error) { return p.command(tool, "measure", addr, trafficMS).Output() }
		}
		lanes := []*lane{
			{name: "two namespaces, one wire", measure: atPlace(bareA, plainTo+":8080")},
			{name: "the same, the machine's congestion control", measure: atPlace(bareA, bareTo+":8080")},
			{name: "two namespaces, a bridge, routed, no rules", measure: atPlace(routedA, routedTo+":8080")},
			{name: "pod -> pod", measure: inPod(to.IP + ":8080")},
			{name: "pod -> ClusterIP", measure: inPod(clusterIP + ":80")},
			{name: "outside -> published port", measure: atPlace(outside, machineAddr+":"+publishedPort)},
		}
		ours := lanes[len(lanes)-1]
		end, err := podmanPublishes()
		if err != nil {
			fmt.Println("podman's published port is left out:", err)
		} else {
			defer end()
			lanes = append(lanes, &lane{name: "outside -> podman's published port (kernel)", measure: atPlace(outside, machineAddr+":"+podmanPort)})
		}
		endRootless, err := podmanPublishesRootless(tool, rootlessPort)
		if err != nil {
			fmt.Println("podman's published port without root is left out:", err)
		} else {
			defer endRootless()
			lanes = append(lanes, &lane{name: "outside -> podman's published port (rootless)", measure: atPlace(outside, machineAddr+":"+rootlessPort)})
		}
		for _, l := range lanes {
			b.Until(l.name+" to be open", func() error { _, err := l.measure(); return err })
		}
		drive(r, o.rounds, lanes)
		laneTable(lanes)
		for _, other := range lanes[slices.Index(lanes, ours)+1:] {
			fmt.Printf("our published port beside %s: %.2f of one stream, %.2f of four, %.2f times the way to and fro\n", strings.TrimPrefix(other.name, "outside -> "),
				ours.median(one)/other.median(one), ours.median(four)/other.median(four), ours.median(toAndFro)/other.median(toAndFro))
		}
	})
}

func one(m measured) float64      { return m.BytesPerSecond }
func four(m measured) float64     { return m.BytesPerSecondAll }
func toAndFro(m measured) float64 { return m.RoundTripUS }

func sinkManifest() string {
	image := images.Ref(images.Tool)
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: sink}
spec:
  selector: {matchLabels: {app: sink}}
  template:
    metadata: {labels: {app: sink}}
    spec:
      containers: [{name: main, image: %q, args: [sink, "8080"], readinessProbe: {tcpSocket: {port: 8080}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: from}
spec: {containers: [{name: main, image: %q}]}
---
apiVersion: v1
kind: Service
metadata: {name: sink}
spec: {clusterIP: %s, selector: {app: sink}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: published}
spec: {type: LoadBalancer, selector: {app: sink}, ports: [{port: %s, targetPort: 8080}]}
`, image, image, clusterIP, publishedPort)
}

// toolBinary is the test image's program, as a file of the machine.
func toolBinary(r *harness.Runner) string {
	path := os.Getenv(toolVar)
	if path == "" {
		r.Fatalf("%s is not set", toolVar)
	}
	return path
}

// podmanPublishes runs the sink with podman, on a port that the kernel forwards. It needs netavark; end takes all of it away.
func podmanPublishes() (end func(), err error) {
	path, err := exec.LookPath("podman")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "podman-")
	if err != nil {
		return nil, err
	}
	run, err := os.MkdirTemp("/run", "podman-") // podman takes no path of more than 50 characters for it
	if err != nil {
		return nil, err
	}
	flags := []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(run, "run"), "--tmpdir", filepath.Join(run, "tmp"),
		"--network-config-dir", filepath.Join(dir, "net"), "--network-backend", "netavark", "--cgroup-manager=cgroupfs", "--events-backend=file",
	}
	call := func(args ...string) error {
		out, err := exec.Command(path, append(flags, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("podman %v: %w: %s", args, err, out)
		}
		return nil
	}
	before, _ := filepath.Glob(podmanGroups)
	tables := nftTables()
	remove := func() {
		// A reset alone leaves the network of a container that is slow to end.
		if err := errors.Join(call("rm", "--all", "--force", "--time", "0"), call("system", "reset", "--force")); err != nil {
			fmt.Println(err)
		}
		removePodmanGroups(before)
		for _, table := range nftTables() { // its empty chains, which it leaves
			if !slices.Contains(tables, table) && !strings.Contains(table, "berth") {
				_ = exec.Command("nft", append([]string{"delete"}, strings.Fields(table)...)...).Run()
			}
		}
		_ = os.RemoveAll(dir)
		_ = os.RemoveAll(run)
	}
	start := func() error {
		set, err := images.Open()
		if err != nil {
			return err
		}
		archive, err := set.Archive(images.Tool)
		if err == nil {
			err = call("load", "-i", archive)
		}
		if err != nil {
			return err
		}
		return call("run", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "--detach", "--publish", podmanPort+":8080", images.Ref(images.Tool), "sink", "8080")
	}
	// All in one mount namespace: in another one podman does not find the container's network any more, and leaves it.
	started, ending, ended := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		withoutUnified(func() {
			defer remove()
			err := start()
			started <- err
			if err == nil {
				<-ending
			}
		})
	}()
	end = func() {
		close(ending)
		<-ended
	}
	if err := <-started; err != nil {
		<-ended
		return nil, err
	}
	time.Sleep(100 * time.Millisecond)
	return end, nil
}

// nftTables are lines like "table ip nat"; none without the program.
func nftTables() []string {
	out, _ := exec.Command("nft", "list", "tables").Output()
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
