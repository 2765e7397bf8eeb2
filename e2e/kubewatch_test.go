package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/e2e/harness"
)

// Clients that list and watch, as every client does, come and go while files and the API change objects and berth is killed. Each has at the end what there is, has seen nothing
// twice or out of order, and each has seen, of the time it watched, whatever any of them has seen.
func TestKubeWatchOverRestarts(t *testing.T) {
	const watchers, objects, kills, perLife = 8, 12, 4, 60
	b := harness.New(t)
	args := []string{"--prune-delay", "10ms", "--allow-prune"}
	up := b.Up(args...)
	k := newKube(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mirrors []*mirror
	var group sync.WaitGroup
	for i := range watchers {
		m := newMirror(10 + 7*i)
		mirrors = append(mirrors, m)
		group.Go(func() { m.follow(ctx, k) })
	}
	writing, stop := context.WithCancel(ctx)
	written := make(chan struct{})
	go func() { defer close(written); write(writing, b, k, objects) }()
	for life := range kills + 1 {
		b.Until("changes at the clients", func() error {
			for i, m := range mirrors {
				if n := m.inThisLife(); n < perLife {
					return fmt.Errorf("%d events at client %d in life %d", n, i, life)
				}
			}
			return nil
		})
		if life == kills {
			break
		}
		up.Kill()
		for _, m := range mirrors {
			m.newLife()
		}
		up = b.Up(args...)
	}
	stop()
	<-written
	b.Until("all clients to have what there is", func() error {
		now := newMirror(0)
		if !now.list(ctx, k.client, k.server) {
			return fmt.Errorf("no list")
		}
		files, _ := filepath.Glob(filepath.Join(b.Manifests, "m*.yaml"))
		if len(files) != len(now.have) {
			return fmt.Errorf("%d objects, %d files", len(now.have), len(files))
		}
		for i, m := range mirrors {
			if err := m.equals(now); err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
		}
		return nil
	})
	if k2 := newKube(t, b); k2.server != k.server {
		t.Errorf("the port has changed: %s, then %s", k.server, k2.server)
	}
	cancel()
	group.Wait()
	for i, m := range mirrors {
		for _, fault := range m.faults {
			t.Errorf("client %d: %s", i, fault)
		}
	}
	for _, fault := range missed(mirrors) {
		t.Error(fault)
	}
	t.Logf("client 0: %d lists, %d watches, %d events", mirrors[0].lists, mirrors[0].watches, mirrors[0].events)
}

// write changes objects until its time is over: by files put in place, by files removed, and through the API.
func write(ctx context.Context, b *harness.Berth, k *kube, objects int) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		name := fmt.Sprint("m", random.IntN(objects))
		switch random.IntN(6) {
		case 0:
			_ = os.Remove(filepath.Join(b.Manifests, name+".yaml"))
		case 1:
			body := fmt.Sprintf(`{"data":{"round":"%d"}}`, n)
			r, _ := http.NewRequestWithContext(ctx, http.MethodPatch, k.server+configMaps+"/"+name, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/merge-patch+json")
			if resp, err := k.client.Do(r); err == nil { // it is not there, or berth is not
				resp.Body.Close()
			}
		default:
			b.Write(name+".yaml", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {round: \"%d\"}\n", name, n))
		}
	}
}
