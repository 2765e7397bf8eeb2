package native

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"berth/runtime"
	"berth/runtime/keeper/client"
	"berth/runtime/proxy/table"
)

var _ runtime.Router = (*Runtime)(nil)

// Services leads connections to the addresses of Services to their backends, and questions for names to dns.
type Services interface {
	SetServices(ctx context.Context, services []runtime.Service, dns netip.AddrPort) error
}

// Route implements runtime.Router: the table is written down, the proxy, which the keeper looks after, is told, and answers when it goes by it;
// then the kernel is.
func (r *Runtime) Route(ctx context.Context, t runtime.Traffic) (runtime.RouteStatus, error) {
	r.routing.Lock()
	defer r.routing.Unlock()
	var status runtime.RouteStatus
	if err := table.Write(r.dirs.run, &table.Table{Traffic: t, DNS: r.opts.DNS}); err != nil {
		return status, err
	}
	var failed error
	if r.proxied = r.proxied || needsProxy(&t, r.opts.DNS); r.proxied {
		answer, err := r.tellProxy(ctx)
		switch {
		case errors.Is(err, client.ErrOld), errors.Is(err, table.ErrNoProxy):
			status.Problems = unserved(&t, err)
		case err != nil:
			failed = err
		default:
			status.Problems, r.names = answer.Problems, answer.DNS
		}
	}
	if r.opts.Services != nil { // also when the proxy has its troubles: Services do without it
		failed = errors.Join(failed, r.opts.Services.SetServices(ctx, t.Services, r.names))
	}
	return status, failed
}

// needsProxy tells whether there is anything to do for a proxy. Pods ask it for every name, so where it answers names it always runs.
func needsProxy(t *runtime.Traffic, dns table.DNS) bool {
	return len(t.Ports) > 0 || t.Ingress != nil || dns.Address.IsValid()
}

// A proxy that starts, or starts again, answers after some 30 ms. Whoever waits no longer than this for it has lost nothing: one that does not
// run sends nobody anywhere, and reads the newest table when it does.
const (
	proxyPatience = 3 * time.Second
	firstAsk      = 2 * time.Millisecond
	lastAsk       = 50 * time.Millisecond
)

// tellProxy makes sure that a proxy runs and goes by the table.
func (r *Runtime) tellProxy(ctx context.Context) (table.Answer, error) {
	k := r.client()
	if k.Info().Version < client.VersionProxy {
		return table.Answer{}, client.ErrOld
	}
	if _, err := k.Proxy(ctx); err != nil && !errors.Is(err, client.ErrKeeperGone) { // gone: the proxy lives on
		return table.Answer{}, fmt.Errorf("cannot start the proxy: %w", err)
	}
	late := time.NewTimer(proxyPatience)
	defer late.Stop()
	for pause := firstAsk; ; pause = min(2*pause, lastAsk) {
		answer, err := table.Ask(ctx, r.dirs.run, table.Reload)
		if !errors.Is(err, table.ErrNoProxy) {
			return answer, err
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-late.C:
			return answer, err
		case <-ctx.Done():
			again.Stop()
			return answer, ctx.Err()
		}
	}
}

// unserved says of everything that a proxy would serve why none does.
func unserved(t *runtime.Traffic, err error) []runtime.RouteProblem {
	reason, message := "ProxyNotRunning", "the proxy does not run; the keeper starts it again (keeper.log in the run directory says why it ended)"
	if errors.Is(err, client.ErrOld) {
		reason = "KeeperTooOld"
		message = "published ports, names and Ingress begin to work when the keeper is upgraded in place, by `berth up` of this version; " + err.Error()
	}
	var owners []string
	for i := range t.Ports {
		owners = append(owners, t.Ports[i].Owner)
	}
	if t.Ingress != nil {
		for i := range t.Ingress.Rules {
			owners = append(owners, t.Ingress.Rules[i].Owner)
		}
	}
	slices.Sort(owners)
	var problems []runtime.RouteProblem
	for _, owner := range slices.Compact(owners) {
		problems = append(problems, runtime.RouteProblem{Owner: owner, Reason: reason, Message: message})
	}
	return problems
}
