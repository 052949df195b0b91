package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"sluice/userspace/accesslog"
	"sluice/userspace/admin"
	"sluice/userspace/admission"
	"sluice/userspace/dns"
	"sluice/userspace/flow"
	"sluice/userspace/gateway"
	"sluice/userspace/metrics"
	"sluice/userspace/registration"
	"sluice/userspace/route"
	"sluice/userspace/static"
)

// agent is a gateway with all that feeds and watches it.
type agent struct {
	set     *settings
	log     *slog.Logger
	store   route.Store
	source  source
	mesh    *mesh          // nil: without Consul
	access  *accesslog.Log // nil: off
	recent  *admin.Recent  // what the log warned of last
	control *control       // nil until it answers
	pins    *pins
	paths   atomic.Pointer[datapath] // nil until there is a table
	metrics *metrics.Metrics
	server  *metrics.Server                 // nil: off
	gateway atomic.Pointer[gateway.Gateway] // nil until there is a table
	state   atomic.Pointer[error]           // why not ready, nil for ready
}

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

// flushTime bounds what is done for the logs and metrics after the last flow.
const flushTime = 5 * time.Second

// source is where tables come from.
type source interface {
	// Run publishes tables until the context is done. It fails when there can be none.
	Run(ctx context.Context, publish func(*route.Table)) error
}

// newAgent makes the parts that can fail for reasons of the command line. The
// address to listen on is bound last, when everything else is well.
func newAgent(set *settings, env environment) (*agent, error) {
	a := &agent{set: set, recent: new(admin.Recent)}
	a.log = slog.New(a.recent.Beside(newLogger(env.stderr, set).Handler()))
	a.state.Store(&errStarting)
	a.pins = openPins(set, a.log)
	a.metrics = metrics.New(metrics.Sources{
		Version:       version,
		Active:        a.active,
		Bytes:         a.bytes,
		Table:         func() (*route.Table, time.Duration) { return a.store.Load(), a.store.Age() },
		Source:        a.sourceStatus,
		StateFailures: a.stateFailures,
		Sockmap:       a.sockmap,
		Local:         a.local,
		Routes:        a.pins.eachRoute,
		MostRoutes:    set.metricsRoutes,
		Maps:          a.maps,
		AccessDropped: a.accessDropped,
		Unready:       a.unready,
		Draining:      a.draining,
	})
	if err := a.openSource(); err != nil {
		a.pins.close()
		return nil, err
	}
	if set.accessLog != "off" {
		var err error
		if a.access, err = accesslog.Open(set.accessLog, set.logFormat, a.log); err != nil {
			a.pins.close()
			return nil, err
		}
	}
	return a, nil
}

func (a *agent) openSource() error {
	if a.set.routes == "" {
		var err error
		a.mesh, err = newMesh(a.set, a.pins, a.log)
		a.source = a.mesh
		return err
	}
	file := static.New(a.set.routes, pathNames...)
	file.Log = a.log
	file.OnReload = a.metrics.Reloaded
	a.source = file
	return nil
}

func newLogger(w io.Writer, set *settings) *slog.Logger {
	opts := &slog.HandlerOptions{Level: set.logLevel}
	if set.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// run serves until a signal has ended it.
func (a *agent) run(ctx context.Context, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.close()
	if err := a.answerHTTP(); err != nil {
		return err
	}
	var err error
	if a.control, err = startControl(a, a.set.control, a.recent); err != nil {
		return err
	}
	first := make(chan struct{})
	sourceErr := a.startSource(ctx, first)
	for a.store.Load() == nil {
		select {
		case <-first:
		case err := <-sourceErr:
			return err
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return nil
			}
		}
	}
	return a.serve(ctx, sourceErr, signals)
}

// serve runs the gateway, for which there is a table.
func (a *agent) serve(ctx context.Context, sourceErr <-chan error, signals <-chan os.Signal) error {
	// Busy event loops keep their places in Go's scheduler while they wait: all else,
	// the garbage collector too, has one more.
	runtime.GOMAXPROCS(max(processors, a.set.gateway.Workers+1))
	g, err := a.listen()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run() }()
	a.ready()
	go a.book(ctx, g)
	if a.mesh != nil {
		a.mesh.attend(ctx)
	}

	drain, stop := context.WithCancel(ctx)
	defer stop()
	draining := false
	for {
		select {
		case err := <-ended:
			a.log.Info("stopped")
			return err
		case err := <-sourceErr:
			return err
		case deadline := <-a.control.drains:
			if !draining {
				draining = true
				go a.drain(drain, deadline)
			}
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP:
				a.reload()
			case draining:
				a.log.Info("ending all flows now")
				stop()
			default:
				draining = true
				go a.drain(drain, a.set.drain)
			}
		}
	}
}

// bookTime is between two moments at which routes learn what their flows have moved.
const bookTime = 2 * time.Second

// book has routes count bytes while flows live.
func (a *agent) book(ctx context.Context, g *gateway.Gateway) {
	for pause(ctx, bookTime) == nil {
		if g.Active() > 0 {
			_ = g.Book(ctx) // it fails when there is nothing to count any more
		}
	}
}

// startSource lets the source's tables come to the store by way of the resolver,
// closes first at the first one, and returns where the source's error comes when
// it has none to give.
func (a *agent) startSource(ctx context.Context, first chan<- struct{}) <-chan error {
	failed := make(chan error, 1)
	var once sync.Once
	resolver := dns.New(dns.Options{Server: a.set.dnsServer, Log: a.log}, func(t *route.Table) {
		delta := a.store.Swap(t)
		a.pins.keep(t)
		if g := a.gateway.Load(); g != nil {
			g.Follow(delta)
		}
		a.log.Info("new table", "table", t.String(), "change", delta.String())
		once.Do(func() { close(first) })
	})
	go resolver.Run(ctx)
	a.pins.start()
	go func() {
		if err := a.source.Run(ctx, resolver.Apply); err != nil {
			failed <- err
		}
	}()
	return failed
}

// answerHTTP serves metrics from the start: that there is no table yet is for
// /readyz to tell, not for a connection refused.
func (a *agent) answerHTTP() error {
	if a.set.metricsBind == "" {
		return nil
	}
	var err error
	a.server, err = metrics.Listen(a.set.metricsBind, a.metrics.Handler())
	return err
}

// listen makes the gateway, which binds all addresses.
func (a *agent) listen() (*gateway.Gateway, error) {
	gate, err := admission.New(a.set.limits)
	if err != nil {
		return nil, err
	}
	if a.set.gateway.SharePorts {
		a.checkMigration()
	}
	cfg := a.set.gateway
	cfg.Listen = a.listeners()
	var said registration.Options
	if a.mesh != nil {
		said = a.mesh.options()
		a.mesh.keepalive(&cfg.Socket)
	}
	cfg.Path = cmp.Or(a.path(), "auto")
	paths := openDatapath(a.set, wantsKernel(cfg.Path, said.RoutePaths, a.store.Load()), a.log)
	a.paths.Store(paths)
	a.pins.eachPolicy(func(name string, o route.Options) {
		if err := a.applyPolicy(name, o); err != nil {
			a.log.Error("a policy does not hold for flows in the kernel", "route", name, "error", err)
		}
	})
	g, err := gateway.New(cfg, gateway.Parts{
		Table:    &a.store,
		Gate:     gate,
		Observer: observer{a.metrics, a.access},
		Paths:    paths.paths,
		Accounts: a.pins.account,
		Outdated: a.outdated,
		Overrides: func(name string) route.Options {
			return a.pins.policy(name).Or(route.Options{Path: said.PathOf(name)})
		},
		Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	a.gateway.Store(g)
	return g, nil
}

// path is the one of flows whose route has none, and empty when nobody has set one.
func (a *agent) path() string {
	if a.mesh == nil {
		return a.set.path
	}
	return cmp.Or(a.set.path, a.mesh.options().Path)
}

// listeners are the addresses to listen on.
func (a *agent) listeners() []netip.AddrPort {
	if a.mesh != nil {
		return a.mesh.listeners()
	}
	if len(a.set.gateway.Listen) > 0 {
		return a.set.gateway.Listen
	}
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), 8443),
		netip.AddrPortFrom(netip.IPv6Unspecified(), 8443),
	}
}

// checkMigration warns when the kernel does not hand what waits at a listener that
// closes over to one that shares its port.
func (a *agent) checkMigration() {
	const setting = "/proc/sys/net/ipv4/tcp_migrate_req"
	if b, err := os.ReadFile(setting); err == nil && strings.TrimSpace(string(b)) == "0" {
		a.log.Warn("net.ipv4.tcp_migrate_req is 0: clients that have connected to a gateway but not spoken yet are reset when it ends, though another one shares its port")
	}
}

func (a *agent) ready() {
	a.state.Store(nil)
	a.log.Info("ready", "version", version, "listeners", a.gateway.Load().Addrs(), "workers", a.set.gateway.Workers,
		"max_flows", a.set.limits.MaxFlows, "routes", a.store.Load().Source())
	notify(daemon.SdNotifyReady)
}

func (a *agent) reload() {
	a.log.Info("reloading")
	if file, ok := a.source.(*static.Source); ok {
		file.Reload()
	}
	if a.access != nil {
		a.access.Reopen()
	}
}

// drain ends the gateway's Run. Flows have until the deadline to end.
func (a *agent) drain(ctx context.Context, deadline time.Duration) {
	a.state.Store(&errDraining)
	notify(daemon.SdNotifyStopping)
	if a.mesh != nil {
		a.mesh.leave(ctx)
	}
	g := a.gateway.Load()
	a.log.Info("draining", "flows", g.Active(), "at_most", deadline)
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	g.Drain(ctx)
}

// close ends what outlives the gateway: its last flows are still to be told of. Who asks
// goes before what is asked about.
func (a *agent) close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if a.control != nil {
		a.control.close(ctx)
	}
	if a.mesh != nil {
		a.mesh.close(ctx)
	}
	if a.access != nil {
		if err := a.access.Close(ctx); err != nil {
			a.log.Error("cannot end the access log", "error", err)
		}
	}
	if a.server != nil {
		if err := a.server.Close(ctx); err != nil {
			a.log.Warn("cannot end the metrics server", "error", err)
		}
	}
	if paths := a.paths.Swap(nil); paths != nil {
		paths.close()
	}
	a.pins.close()
}

// unready is why no traffic should be sent here.
func (a *agent) unready() error {
	if err := a.state.Load(); err != nil {
		return *err
	}
	return nil
}

func (a *agent) draining() bool { return a.state.Load() == &errDraining }

// outdated is why the table does not count any more, by -max-table-age.
func (a *agent) outdated() string {
	most := a.set.maxTableAge
	if most == 0 {
		return ""
	}
	connected, since, _ := a.sourceStatus()
	if connected || since.IsZero() || time.Since(since) <= most {
		return ""
	}
	return fmt.Sprintf("the table's source has been away for more than %s (-max-table-age)", most)
}

func (a *agent) active() int {
	if g := a.gateway.Load(); g != nil {
		return g.Active()
	}
	return 0
}

func (a *agent) bytes() (sent, received uint64) {
	if g := a.gateway.Load(); g != nil {
		return g.Bytes()
	}
	return 0, 0
}

// sourceStatus is how Consul stands. A file is always there.
func (a *agent) sourceStatus() (connected bool, since time.Time, kept int) {
	if a.mesh == nil {
		return true, time.Time{}, 0
	}
	return a.mesh.status()
}

func (a *agent) stateFailures() uint64 {
	if a.mesh == nil || a.mesh.keeper == nil {
		return 0
	}
	return a.mesh.keeper.Failures()
}

func (a *agent) sockmap() metrics.Sockmap {
	if paths := a.paths.Load(); paths != nil {
		return paths.stats()
	}
	return metrics.Sockmap{Why: errStarting.Error()}
}

func (a *agent) local() metrics.Local {
	if paths := a.paths.Load(); paths != nil {
		return paths.localStats()
	}
	return metrics.Local{Why: errStarting.Error()}
}

// maps are how full all maps in the kernel are.
func (a *agent) maps() []metrics.Map {
	all := a.pins.maps()
	if paths := a.paths.Load(); paths != nil {
		all = append(all, paths.maps()...)
	}
	return all
}

func (a *agent) accessDropped() uint64 {
	if a.access == nil {
		return 0
	}
	return a.access.Dropped()
}

// observer counts flows and logs them.
type observer struct {
	*metrics.Metrics
	access *accesslog.Log
}

// Ended is told of each flow that is over.
func (o observer) Ended(f *flow.Flow) {
	o.Metrics.Ended(f)
	if o.access != nil {
		o.access.Ended(f)
	}
}

// notify tells systemd, if it asked to be told.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		fmt.Fprintf(os.Stderr, "sluice: cannot notify systemd: %v\n", err)
	}
}
