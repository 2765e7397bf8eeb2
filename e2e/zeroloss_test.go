package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/load"
)

// loadVar is how long the load lasts, a Go duration, with load.RateVar requests a second from each client; the release's measure is 2m and 1000.
const (
	loadVar                  = "BERTH_E2E_LOAD"
	defaultLoad, defaultRate = 12 * time.Second, 300
)

// changes is how often the image is changed in the whole time.
const changes = 20

const loadServices = `---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 198.19.64.80, selector: {app: web}, ports: [{port: 8080}]}
`

// client is one way of asking for the page, and what became of it.
type client struct {
	name   string
	cfg    load.Config
	result load.Result
}

// underLoad runs the clients while disturb works, and waits for both. disturb gets the moment at which it must have ended.
func underLoad(t *testing.T, rate int, d time.Duration, addrs map[string]string, disturb func(end time.Time)) []*client {
	t.Helper()
	var clients []*client
	for what, addr := range addrs {
		clients = append(clients,
			&client{name: what + ", a connection for each request", cfg: load.Config{Addr: addr, Rate: rate}},
			&client{name: what + ", 50 kept connections", cfg: load.Config{Addr: addr, Rate: rate, Connections: 50}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var group sync.WaitGroup
	for _, c := range clients {
		group.Go(func() { c.result = load.Run(ctx, c.cfg) })
	}
	end, _ := ctx.Deadline()
	disturb(end)
	group.Wait()
	for _, c := range clients {
		t.Logf("%s: %s", c.name, c.result)
		if !c.result.Valid() {
			t.Errorf("%s: too slow to say anything", c.name)
		}
	}
	return clients
}

func loadTime(t *testing.T) (time.Duration, int) {
	t.Helper()
	d, rate := defaultLoad, defaultRate
	if text := os.Getenv(loadVar); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv(load.RateVar); text != "" {
		if _, err := fmt.Sscan(text, &rate); err != nil {
			t.Fatal(err)
		}
	}
	return d, rate
}

// Not one request is lost while the image is changed again and again, the replicas go up and down, and the controller is killed and replaced: through the
// published port and through the Service's own address, with a connection for each request and with kept ones.
func TestZeroLoss(t *testing.T) {
	d, rate := loadTime(t)
	b := harness.New(t)
	b.Load(images.Tool)
	refs := []string{images.Ref(images.Tool), loadVariant(t, b, "other")}
	web := func(i, replicas int) string {
		m := deployment("web", replicas, fmt.Sprintf("image: %q, args: [drain, '8080', v%d], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}", refs[i%2], i))
		m.pod = "terminationGracePeriodSeconds: 20"
		return m.String() + loadServices
	}
	b.Write("web.yaml", web(0, 3))
	args := []string{"--service-cidr", "198.19.64.0/20"}
	up := b.Up(args...)
	b.UntilReady("web-", 3)
	addrs := map[string]string{"published port": "127.0.0.1:8080", "ClusterIP": "198.19.64.80:8080"}
	for _, addr := range addrs {
		b.Until("the page at "+addr, func() error { _, err := fetch("http://" + addr + "/"); return err })
	}
	done := 0
	clients := underLoad(t, rate, d, addrs, func(end time.Time) {
		sizes := []int{3, 10, 1, 3}
		step := d / (changes + 1)
		if d < time.Minute {
			step = d / 6
		}
		for i := 1; time.Until(end) > step; i++ {
			next := time.Now().Add(step)
			b.Write("web.yaml", web(i, sizes[i%len(sizes)]))
			switch i % 4 {
			case 1:
				up.Kill()
				up = b.StartUp(args...)
			case 3:
				old := up
				up = b.StartUp(append(args, "--replace")...)
				if code := old.Wait(harness.Patience); code != 0 {
					t.Errorf("the replaced one ended with %d: %s", code, old.Output())
				}
			}
			done++
			time.Sleep(time.Until(next)) // the pace of the changes, not a wait for anything
		}
	})
	t.Logf("%d changes of the image, replicas 1 to 10, %d requests a second from each of %d clients for %s", done, rate, len(clients), d)
	for _, c := range clients {
		if n := c.result.Failures(); n > 0 {
			t.Errorf("%s: %d requests lost", c.name, n)
		}
	}
	b.UntilStatus("the last image", func(s harness.Status) error {
		for _, w := range s.Workloads {
			if w.Name == "web" && w.Kind == "Deployment" && (!w.Done || w.Ready == 0) {
				return fmt.Errorf("%+v", w)
			}
		}
		return nil
	})
}

// One replica with a host port and no pod to spare: Kubernetes waits for ever here, since the new pod cannot have the port of the old.
func TestZeroLossOnAHostPort(t *testing.T) {
	d, rate := loadTime(t)
	b := harness.New(t)
	b.Load(images.Tool)
	web := func(i int) string {
		m := deployment("web", 1, run("drain", "8080", fmt.Sprint("v", i))+", ports: [{containerPort: 8080, hostPort: 8080}], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}")
		m.pod = "terminationGracePeriodSeconds: 20"
		m.spec = "strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}"
		return m.String()
	}
	b.Write("web.yaml", web(0))
	b.Up()
	b.UntilReady("web-", 1)
	b.Until("the page", func() error { _, err := fetch("http://127.0.0.1:8080/"); return err })
	last := 0
	clients := underLoad(t, rate, d/2, map[string]string{"host port": "127.0.0.1:8080"}, func(end time.Time) {
		step := max(d/(2*changes), 2*time.Second)
		for i := 1; time.Until(end) > step; i++ {
			next := time.Now().Add(step)
			b.Write("web.yaml", web(i))
			last = i
			time.Sleep(time.Until(next)) // the pace of the changes
		}
	})
	for _, c := range clients {
		if n := c.result.Failures(); n > 0 {
			t.Errorf("%s: %d requests lost", c.name, n)
		}
	}
	b.Until("the last image to answer", func() error {
		body, err := fetch("http://127.0.0.1:8080/")
		if want := fmt.Sprintf("v%d ", last); err == nil && !strings.HasPrefix(body, want) {
			err = fmt.Errorf("it says %q, want %s", body, want)
		}
		return err
	})
}

// The measure itself: when nothing says that a pod is not ready yet, requests are lost, and that is seen.
func TestLossIsSeenWithoutReadiness(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	web := func(i int) string {
		return deployment("web", 2, run("drain", "8080", fmt.Sprint("v", i), "4000")).String() + loadServices
	}
	b.Write("web.yaml", web(0))
	b.Up("--service-cidr", "198.19.64.0/20")
	b.UntilReady("web-", 2)
	b.Until("the page", func() error { _, err := fetch("http://127.0.0.1:8080/"); return err })
	clients := underLoad(t, 100, 6*time.Second, map[string]string{"published port": "127.0.0.1:8080"}, func(time.Time) { b.Write("web.yaml", web(1)) })
	for _, c := range clients {
		if c.result.Failures() == 0 {
			t.Errorf("%s: nothing was lost while no pod could answer", c.name)
		}
	}
}
