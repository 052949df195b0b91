package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"sluice/loader"
	"sluice/userspace/admin"
	"sluice/userspace/admission"
	"sluice/userspace/gateway"
	"sluice/userspace/local"
	"sluice/userspace/metrics"
	"sluice/userspace/registration"
	"sluice/userspace/route"
	"sluice/userspace/sockdiag"
	"sluice/userspace/static"
)

// controlSettings are the flags of the agent's admin socket.
type controlSettings struct{ socket, group string }

// noSocket as its path is for none.
const noSocket = "off"

func (s *controlSettings) flags(fs *flag.FlagSet) {
	fs.StringVar(&s.socket, "admin-socket", "", "Answer the other verbs at a unix socket of this `path`, or off. None: "+admin.SocketOf("INSTANCE")+", as long as that is possible.")
	fs.StringVar(&s.group, "admin-group", "", "Let the members of this `group` use the admin socket and read the maps too. None: the group that the gateway runs as.")
}

// control is the agent as the admin socket has it.
type control struct {
	agent   *agent
	recent  *admin.Recent
	started time.Time
	drains  chan time.Duration // how long drains may take that were asked for
	server  *admin.Server      // nil: off
}

// rateTime is how long is waited between the two samples of a rate.
const rateTime = 100 * time.Millisecond

// startControl makes the socket. That the usual one cannot be made costs the socket and
// not the gateway: it may be another one's that this one is to take over from, or only
// root's to make.
func startControl(a *agent, set controlSettings, recent *admin.Recent) (*control, error) {
	c := &control{agent: a, recent: recent, started: time.Now(), drains: make(chan time.Duration, 1)}
	if set.socket == noSocket {
		return c, nil
	}
	path := cmp.Or(set.socket, admin.SocketOf(a.set.instance))
	server, err := admin.Listen(admin.Options{Socket: path, Group: set.group, Log: a.log}, c)
	if err != nil && set.socket == "" {
		a.log.Warn("no admin socket: this gateway cannot be asked for flows or status", "error", err)
		return c, nil
	}
	if errors.Is(err, admin.ErrInUse) {
		err = fmt.Errorf("%w: give each gateway an -instance or -admin-socket of its own", err)
	}
	c.server = server
	return c, err
}

// close ends the socket, and answers under way while ctx allows.
func (c *control) close(ctx context.Context) {
	if c.server == nil {
		return
	}
	if err := c.server.Close(ctx); err != nil {
		c.agent.log.Warn("cannot end the admin socket", "error", err)
	}
}

// Status tells how the agent stands.
func (c *control) Status(ctx context.Context) (*admin.Status, error) {
	a := c.agent
	rates, last, err := c.rates(ctx)
	if err != nil {
		return nil, err
	}
	s := &admin.Status{
		Version: version, PID: os.Getpid(), Instance: a.set.instance, State: "ready",
		Started: c.started, Uptime: time.Since(c.started).Seconds(),
		Table: c.table(), Flows: a.active(), Begun: last.begun, Sent: last.sent, Received: last.received,
		Rates: rates, Errors: c.recent.List(),
		Listeners: []netip.AddrPort{}, Paths: []admin.Path{}, Maps: []admin.Fill{},
	}
	if err := a.unready(); err != nil {
		s.State = err.Error()
	}
	s.Settings = admin.Settings{
		MaxFlows: a.set.limits.MaxFlows, MaxPerRoute: a.set.limits.MaxPerRoute,
		ConnectTimeout: a.set.gateway.ConnectTimeout.Seconds(), ConnectAttempts: a.set.gateway.ConnectAttempts,
		MaxTableAge: a.set.maxTableAge.Seconds(), Path: a.path(),
	}
	if s.Kernel, err = loader.Release(); err != nil {
		s.Kernel = "unknown"
	}
	if g := a.gateway.Load(); g != nil {
		s.Listeners = g.Addrs()
	}
	if d := a.paths.Load(); d != nil {
		s.Paths = d.describe()
	}
	for _, m := range a.maps() {
		s.Maps = append(s.Maps, admin.Fill{Name: m.Name, Used: m.Used, Max: m.Max})
	}
	return s, nil
}

func (c *control) table() *admin.Table {
	store := &c.agent.store
	t := store.Load()
	if t == nil {
		return nil
	}
	routes, clusters := t.Len()
	s := &admin.Table{Version: t.Version(), Source: t.Source(), Index: t.Index(), Age: store.Age().Seconds(), Routes: routes, Clusters: clusters}
	s.Connected, s.Since, s.Kept = c.agent.sourceStatus()
	return s
}

// totals are counters of the whole gateway at a time.
type totals struct {
	at                    time.Time
	begun, sent, received uint64
}

func (c *control) totals() totals {
	t := totals{at: time.Now()}
	if g := c.agent.gateway.Load(); g != nil {
		t.begun = g.Begun()
	}
	t.sent, t.received = c.agent.bytes()
	return t
}

func (c *control) rates(ctx context.Context) (admin.Rates, totals, error) {
	first := c.totals()
	if err := pause(ctx, rateTime); err != nil {
		return admin.Rates{}, first, err
	}
	last := c.totals()
	d := last.at.Sub(first.at)
	return admin.Rates{
		Flows:    perSecond(first.begun, last.begun, d),
		Sent:     perSecond(first.sent, last.sent, d),
		Received: perSecond(first.received, last.received, d),
	}, last, nil
}

func perSecond(first, last uint64, d time.Duration) float64 {
	if last <= first || d <= 0 {
		return 0
	}
	return float64(last-first) / d.Seconds()
}

// describe tells which paths there are.
func (d *datapath) describe() []admin.Path {
	d.mu.Lock()
	defer d.mu.Unlock()
	paths := []admin.Path{{Name: "splice", On: true}, {Name: "sockmap", Why: d.why}, {Name: local.PathName}}
	if d.engine != nil {
		why := d.engine.Off()
		paths[1] = admin.Path{Name: "sockmap", On: why == "", Why: why}
	}
	paths[2].On, paths[2].Why = d.local.status()
	return paths
}

// maps are how full the maps of the paths are.
func (d *datapath) maps() []metrics.Map {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine == nil {
		return nil
	}
	ways := len(d.loaded.Ways())
	return []metrics.Map{{Name: "ways", Used: ways - 2*d.engine.Idle(), Max: ways}}
}

// moved is what a flow had moved at a time.
type moved struct {
	at             time.Time
	sent, received uint64
}

// Flows lists flows twice, for their rates, and asks the kernel for all sockets in
// between.
func (c *control) Flows(ctx context.Context, which gateway.Selection, yield func(*admin.Flow) error) error {
	g := c.agent.gateway.Load()
	if g == nil {
		return nil // it does not listen yet
	}
	begin := time.Now()
	first := map[uint64]moved{}
	err := g.Flows(ctx, which, func(batch []gateway.Live) error {
		now := time.Now()
		for i := range batch {
			l := &batch[i]
			first[l.ID] = moved{now, l.Sent, l.Received}
		}
		return nil
	})
	if err != nil {
		return err
	}
	sockets, err := sockdiag.Dump()
	if err != nil {
		c.agent.log.Warn("flows are listed without what the kernel knows of their sockets", "error", err)
		sockets = new(sockdiag.Table)
	}
	if err := pause(ctx, rateTime-time.Since(begin)); err != nil {
		return err
	}
	return g.Flows(ctx, which, func(batch []gateway.Live) error {
		now := time.Now()
		for i := range batch {
			l := &batch[i]
			was, ok := first[l.ID]
			if !ok {
				was = moved{at: l.Start}
			}
			f := describeFlow(l, sockets)
			f.SentRate = perSecond(was.sent, l.Sent, now.Sub(was.at))
			f.ReceivedRate = perSecond(was.received, l.Received, now.Sub(was.at))
			if err := yield(f); err != nil {
				return err
			}
		}
		return nil
	})
}

func describeFlow(l *gateway.Live, sockets *sockdiag.Table) *admin.Flow {
	f := &admin.Flow{
		ID: l.ID, Source: l.Source, Peer: l.Peer, Local: l.Local, SNI: l.SNI, From: l.From, Upstream: l.Upstream,
		Path: l.Path, State: l.State, Sent: l.Sent, Received: l.Received, Start: l.Start, Active: l.Active,
		Downstream:  describeSocket(sockets.Pair(sockdiag.PairOf(l.Local, l.Peer))),
		UpstreamTCP: describeSocket(sockets.Pair(sockdiag.PairOf(l.From, l.Upstream))),
	}
	if l.Route != nil {
		f.Route = l.Route.Name
	}
	if l.Cluster != nil {
		f.Cluster = l.Cluster.Name
	}
	if l.Endpoint != nil {
		f.Endpoint = l.Endpoint.String()
	}
	if l.Refused != 0 {
		f.Refused = l.Refused.String()
	}
	return f
}

func describeSocket(s *sockdiag.Socket) *admin.TCP {
	if s == nil {
		return nil
	}
	return &admin.TCP{
		State: s.State.String(), RTT: s.RTT.Seconds(), Cwnd: s.Cwnd,
		Retransmits: s.Retransmits, Unacked: s.Unacked, NotSent: s.NotSent,
	}
}

// Source tells what would become of a flow from an address.
func (c *control) Source(_ context.Context, address netip.Addr) (*admission.Standing, error) {
	g := c.agent.gateway.Load()
	if g == nil {
		return nil, errors.New("it does not listen yet")
	}
	s := g.Standing(address)
	return &s, nil
}

// Kill resets flows.
func (c *control) Kill(ctx context.Context, which gateway.Selection) (int, error) {
	g := c.agent.gateway.Load()
	if g == nil {
		return 0, nil
	}
	return g.Kill(ctx, which)
}

// Drain asks the agent's main loop to drain.
func (c *control) Drain(_ context.Context, deadline time.Duration) error {
	if err := c.agent.unready(); err != nil {
		return fmt.Errorf("it cannot drain now: it is %w", err)
	}
	select {
	case c.drains <- cmp.Or(deadline, c.agent.set.drain):
		return nil
	default:
		return errors.New("it was asked to drain already")
	}
}

// Reload does what SIGHUP does, but tells first what is wrong with the routes.
func (c *control) Reload(context.Context) (string, error) {
	a := c.agent
	if a.set.routes != "" {
		if _, _, err := static.Read(a.set.routes, pathNames...); err != nil {
			return "", fmt.Errorf("the routes stay as they are: %w", err)
		}
	}
	a.reload()
	if a.set.routes != "" {
		return "routes of " + a.set.routes + " read again, logs opened again", nil
	}
	return "logs opened again; routes come from Consul by themselves", nil
}

// SetPolicy overrules the options of a route: for flows to come, and where the kernel's
// program has a say for those that are under way.
func (c *control) SetPolicy(_ context.Context, name string, o route.Options) error {
	a := c.agent
	if o.Path != "" && !slices.Contains(registration.Paths, o.Path) {
		return fmt.Errorf("path %q is not known: want one of %s", o.Path, strings.Join(registration.Paths, ", "))
	}
	if err := a.pins.setPolicy(name, o); err != nil {
		return err
	}
	return a.applyPolicy(name, o)
}

// applyPolicy tells the kernel's program of a policy.
func (a *agent) applyPolicy(name string, o route.Options) error {
	d := a.paths.Load()
	if d == nil {
		return nil
	}
	if r := a.store.Load().Route(name); r != nil && o != (route.Options{}) {
		o = o.Or(route.Options{Credit: r.Credit})
	}
	return d.setPolicy(name, o)
}
