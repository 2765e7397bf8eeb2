package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/daemon"
	"berth/cmd/berth/internal/preflight"
	"berth/controller"
	"berth/manifests/dir"
	"berth/runtime/acme"
)

// upOptions are the flags of up.
type upOptions struct {
	once, remove, replace, strict, allowPrune  bool
	ipv6                                       bool
	pruneDelay, timeout                        time.Duration
	podCIDR, serviceCIDR, registries, apiGroup string
	firewall                                   string
	acmeEmail, acmeDirectory                   string
	forwarders                                 []string
}

func (a *app) up() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up [DIR]",
		Short: "Watch a directory of manifests and make it true",
		Long: `Watch a directory of Kubernetes manifests (*.yaml, *.yml, *.json, with its subdirectories) and make it true: a live table on a
terminal, plain lines otherwise.

Changes are acted on at once. An object that vanishes is removed after --prune-delay; when more than 5 objects and more than half of
all vanish within one delay, nothing is removed until "berth allow". A bad file stops nothing that runs.

--once waits until all pods are ready and every Job has come to its end, and exits with 1 if one has failed; a Job that is suspended, and
what a CronJob makes, is not waited for.

SIGINT and SIGTERM end berth within 5 s and leave everything running, as kill -9 does; "berth down" takes it down.`,
		Example: "  berth up ./manifests\n  berth up --once ./manifests && curl …\n  berth up --replace ./manifests     # the upgrade",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			return a.runUp(cmd.Context(), path, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.once, "once", false, "converge, report, leave everything running, exit 0 or 1")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "with --once: how long to wait for convergence")
	f.BoolVar(&o.remove, "rm", false, "take everything down at the end")
	f.BoolVar(&o.replace, "replace", false, "ask the running berth to end and take over: the upgrade")
	f.BoolVar(&o.strict, "strict", false, "refuse to start while a file has a fault or a warning")
	f.BoolVar(&o.allowPrune, "allow-prune", false, "consent to all removals")
	f.DurationVar(&o.pruneDelay, "prune-delay", controller.DefaultPruneDelay, "how long an object must be absent before it is removed")
	f.StringVar(&o.podCIDR, "pod-cidr", "", "range of pod addresses, behind a comma one of IPv6 (default: one that no route uses, then kept)")
	f.StringVar(&o.firewall, "firewall", "", "allow: open what the machine's firewall cuts of pods' paths, by rules that down takes away (default: say so)")
	f.StringVar(&o.serviceCIDR, "service-cidr", "", "range of the addresses of Services, likewise")
	f.BoolVar(&o.ipv6, "ipv6", false, "give pods and Services IPv6 beside IPv4 (as a range of IPv6 for either does); pods that run get it when they are replaced")
	f.StringVar(&o.apiGroup, "api-group", "", "a group whose members may use the Kubernetes API: they can do everything on this machine")
	f.StringVar(&o.acmeEmail, "acme-email", "", "have certificates issued for Ingresses that ask for them, and accept the authority's terms; it is told this address")
	f.StringVar(&o.acmeDirectory, "acme-directory", "", "who issues them (default, with --acme-email: Let's Encrypt); this accepts its terms, too")
	f.StringSliceVar(&o.forwarders, "proxy-protocol-from", nil, "addresses and ranges of load balancers before this machine that send the PROXY protocol, on every TCP port")
	f.StringVar(&o.registries, "registries", defaultRegistries, "mirrors, CAs, credentials, plain http: k3s's registries.yaml form")
	return cmd
}

func (a *app) runUp(ctx context.Context, path string, o upOptions) error {
	if err := needRoot("up"); err != nil {
		return err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("cannot resolve %q: %w", path, err)
	}
	if st, err := os.Stat(path); err == nil && !st.IsDir() {
		return fmt.Errorf("cannot watch %q: not a directory; name the directory the file is in", path)
	}
	if o.strict {
		faults := dir.Check([]string{path}) //nolint:contextcheck // it reads what is there and never waits
		if len(faults) > 0 {
			_ = a.printFaults(faults, "") // the next line says it
			return fmt.Errorf("cannot start: --strict, and %d faults or warnings in %s", len(faults), path)
		}
	}
	if err := a.checkMachine(); err != nil {
		return err
	}
	opts, err := a.daemonOptions(o) // before anybody is asked to end
	if err != nil {
		return err
	}
	lock, err := a.lock(ctx, o.replace)
	if err != nil {
		return err
	}
	opts.Source = dir.New(path, dir.Options{})
	screen := a.newScreen(path)
	opts.Log = screen.log()
	d, err := daemon.Open(ctx, lock, opts)
	if err != nil {
		return err
	}
	err = a.watch(ctx, d, screen, o)
	d.Close()
	if o.remove {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), downPatience)
		defer cancel()
		return errors.Join(err, a.runDown(end, false))
	}
	return err
}

func (a *app) lock(ctx context.Context, replace bool) (*daemon.Lock, error) {
	if replace {
		return daemon.StopRunning(ctx, a.stateDir)
	}
	return daemon.AcquireSoon(ctx, a.stateDir)
}

func (a *app) daemonOptions(o upOptions) (daemon.Options, error) {
	binary, err := ownBinary()
	if err != nil {
		return daemon.Options{}, err
	}
	opts := daemon.Options{
		StateDir: a.stateDir, RunDir: a.runDir, Binary: binary, Registries: o.registries,
		PruneDelay: o.pruneDelay, AllowPrune: o.allowPrune, Log: logr.Discard(), Version: Version(), APIGroup: o.apiGroup,
	}
	if opts.PodCIDR, opts.PodCIDR6, err = ranges(o.podCIDR); err != nil {
		return opts, fmt.Errorf("cannot use --pod-cidr: %w", err)
	}
	if opts.ServiceCIDR, opts.ServiceCIDR6, err = ranges(o.serviceCIDR); err != nil {
		return opts, fmt.Errorf("cannot use --service-cidr: %w", err)
	}
	opts.IPv6 = o.ipv6 || opts.PodCIDR6.IsValid() || opts.ServiceCIDR6.IsValid()
	if o.firewall != "" && o.firewall != "allow" {
		return opts, fmt.Errorf("cannot use --firewall %q: it is allow or nothing", o.firewall)
	}
	if opts.ACMEDirectory, err = acmeDirectory(o); err != nil {
		return opts, err
	}
	opts.ACMEEmail = o.acmeEmail
	for _, text := range o.forwarders {
		p, err := prefix(text)
		if err != nil {
			return opts, fmt.Errorf("cannot use --proxy-protocol-from: %w", err)
		}
		opts.Forwarders = append(opts.Forwarders, p)
	}
	opts.AllowFirewall = o.firewall == "allow"
	return opts, nil
}

// ranges are one of IPv4 and one of IPv6, either of which may be missing, as --cluster-cidr of others has them: "10.42.0.0/16,fd00:42::/56".
func ranges(text string) (four, six netip.Prefix, err error) {
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return four, six, err
		}
		of := &four
		if p.Addr().Is6() {
			of = &six
		}
		if of.IsValid() {
			return four, six, fmt.Errorf("%s and %s are of the same family: one of IPv4 and one of IPv6 are meant", of, p)
		}
		*of = p
	}
	return four, six, nil
}

// prefix is a range of addresses, or a single one.
func prefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// acmeDirectory is who issues certificates; "" for nobody, as nothing was said.
func acmeDirectory(o upOptions) (string, error) {
	if name, host, ok := strings.Cut(o.acmeEmail, "@"); o.acmeEmail != "" && (!ok || name == "" || host == "" || strings.ContainsAny(o.acmeEmail, " ,<>?&%")) {
		return "", fmt.Errorf("cannot use --acme-email %q: it is no address", o.acmeEmail)
	}
	if o.acmeDirectory == "" && o.acmeEmail != "" {
		return acme.LetsEncrypt, nil
	}
	if u, err := url.Parse(o.acmeDirectory); o.acmeDirectory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return "", fmt.Errorf("cannot use --acme-directory %q: it begins with https://", o.acmeDirectory)
	}
	return o.acmeDirectory, nil
}

// checkMachine shows the preflight once, at the first start on a state directory, and stops where berth cannot run.
func (a *app) checkMachine() error {
	marker := filepath.Join(a.stateDir, "preflight-shown")
	_, err := os.Stat(marker)
	first := errors.Is(err, os.ErrNotExist)
	findings := preflight.This(a.stateDir).Check()
	worst := preflight.Worst(findings)
	if first || worst == preflight.Fail {
		file, ok := a.err.(*os.File)
		preflight.Print(a.err, findings, ok && colorful(file))
	}
	if worst == preflight.Fail {
		return errors.New("cannot run on this machine: see above")
	}
	if first {
		if err := os.MkdirAll(a.stateDir, 0o700); err == nil {
			_ = os.WriteFile(marker, nil, 0o600) // shown again next time, at worst
		}
	}
	return nil
}

// watch runs the daemon and shows what it does until ctx ends or, with --once, everything has converged.
func (a *app) watch(ctx context.Context, d *daemon.Daemon, screen *screen, o upOptions) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- d.Run(running) }()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		screen.show(running, d)
	}()
	var result error
	if o.once {
		result = a.converge(running, d, o.timeout)
	} else {
		select {
		case <-ctx.Done():
		case result = <-done:
			done <- nil
		}
	}
	stop()
	<-shown
	if err := <-done; err != nil && result == nil {
		result = err
	}
	if !o.once && !o.remove && result == nil {
		fmt.Fprintf(a.err, "berth has ended; everything it started goes on. Take it down with:  %s\n", a.command("down"))
	}
	return result
}

func (a *app) converge(ctx context.Context, d *daemon.Daemon, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s, err := d.Controller.Settled(ctx)
	file, ok := a.out.(*os.File)
	if !ok || !isTerminal(file) {
		table{w: a.out}.print(&s)
	}
	if err != nil {
		return fmt.Errorf("cannot converge: %w", err)
	}
	return nil
}

// command is how to call another command on the same directories.
func (a *app) command(verb string) string {
	s := "berth " + verb
	if a.stateDir != "/var/lib/berth" {
		s += " --state-dir " + a.stateDir
	}
	if a.runDir != "/run/berth" {
		s += " --run-dir " + a.runDir
	}
	return s
}
