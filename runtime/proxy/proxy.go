// Package proxy is the process that carries traffic: the ports of the machine that lead to pods, TCP and UDP, and all else that must be served
// while the controller is away. It reads one table, which the controller replaces, and serves the last one while nobody writes.
//
// Ports are sockets of the machine itself, so its own firewall has its say, and two generations of pods share one. Pods see the machine's
// address on their bridge as the client's.
//
// The keeper holds duplicates of all listening sockets. When the process dies, the keeper starts another, which goes on with them: open
// connections are lost, no port is. At an upgrade the new process asks the old one to let go, and the old one ends with its last connection.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"berth/runtime"
	"berth/runtime/footprint"
	"berth/runtime/keeper/client"
	"berth/runtime/proxy/sockets"
	"berth/runtime/proxy/table"
)

// part serves one kind of traffic.
type part interface {
	// apply makes the part go by a table. When it returns, nothing new goes to who is no longer in it.
	apply(ctx context.Context, t *table.Table) []runtime.RouteProblem
	// close takes nothing new any more; what is under way goes on.
	close(ctx context.Context)
}

// proxy is the whole process.
type proxy struct {
	runDir  string
	build   string
	sockets *sockets.Set
	load    *load
	names   *names
	parts   []part

	mu       sync.Mutex // held while a table is applied
	retry    *time.Timer
	retired  bool
	problems []runtime.RouteProblem
}

const (
	// retryPause is how soon what could not be done is tried again: an address may be another program's. Only then the process wakes up.
	retryPause = 3 * time.Second
	// leaveWithin bounds the time of a retired proxy: a connection that is older than this is cut off by an upgrade.
	leaveWithin = 24 * time.Hour
	// keeperPatience is how long a keeper may take to answer before the proxy goes on without it.
	keeperPatience = 5 * time.Second
	// relievePatience is how long the proxy before may take to let go: it finishes what connects to a backend right now.
	relievePatience = 5 * time.Second
)

// leastGarbage is how much may be thrown away between two collections: requests and connections leave some, and what lives is little.
const leastGarbage = 2 << 20

// Run serves a run directory until the process ends.
func Run(ctx context.Context, runDir string) error {
	p := &proxy{runDir: runDir, build: buildID(), load: newLoad()}
	keeper, held, err := p.present(ctx, false)
	if errors.Is(err, client.ErrBusy) {
		return err
	}
	p.sockets = sockets.New(nil, held)
	if keeper != nil {
		p.sockets.SetKeeper(ctx, keeper)
	}
	p.names = newNames(p.sockets)
	p.parts = []part{newPorts(p.sockets, p.load), p.names, newWeb(p.sockets, p.load)}
	// From here on nobody else accepts on these sockets, nor goes by an older table: the one before has let go, and who asks for a new
	// table finds this one, or nobody and then it is read below.
	p.relieve(ctx)
	listener, err := table.Listen(runDir)
	if err != nil {
		return err
	}
	if _, err := p.reload(ctx); err != nil {
		return err
	}
	p.sockets.Sweep(ctx)
	if keeper != nil {
		_ = keeper.Serving(ctx) // one that has died is followed by another, which is told again
	}
	go p.followKeeper(ctx, keeper)
	footprint.Tend(leastGarbage)
	return p.answer(ctx, listener)
}

// relieve makes the proxy before let go. One that does not answer in time is left behind.
func (p *proxy) relieve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, relievePatience)
	defer cancel()
	_, _ = table.Ask(ctx, p.runDir, table.Retire) // nobody there: nobody to relieve
}

// reload goes by the newest table. What could not be done is tried again from time to time.
func (p *proxy) reload(ctx context.Context) ([]runtime.RouteProblem, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return nil, errors.New("another proxy serves")
	}
	t, err := table.Read(p.runDir)
	if err != nil {
		return nil, err
	}
	p.problems = nil
	for _, part := range p.parts {
		p.problems = append(p.problems, part.apply(ctx, t)...)
	}
	slices.SortFunc(p.problems, func(a, b runtime.RouteProblem) int {
		return cmp.Or(strings.Compare(a.Owner, b.Owner), strings.Compare(a.Reason, b.Reason), strings.Compare(a.Message, b.Message))
	})
	p.problems = slices.Compact(p.problems) // who has a port has it in both families, mostly
	if p.retry != nil {
		p.retry.Stop()
		p.retry = nil
	}
	if len(p.problems) > 0 {
		p.retry = time.AfterFunc(retryPause, func() { _, _ = p.reload(ctx) }) // the table has been read before
	}
	return p.problems, nil
}

// retire lets go of everything and ends the process with its last connection.
func (p *proxy) retire(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return
	}
	p.retired = true
	if p.retry != nil {
		p.retry.Stop()
	}
	p.sockets.Leave()
	for _, part := range p.parts {
		part.close(ctx)
	}
	go func() {
		select {
		case <-p.load.none():
		case <-time.After(leaveWithin):
		}
		os.Exit(0)
	}()
}

func (p *proxy) isRetired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retired
}

// buildID tells builds apart as the keeper does: by the size and time of the binary.
func buildID() string {
	st, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	return strconv.FormatInt(st.Size(), 16) + "-" + strconv.FormatInt(st.ModTime().UnixNano(), 16)
}
