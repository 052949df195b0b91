package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/userspace/client"
	"sluice/userspace/gateway"
	"sluice/userspace/mirror"
	"sluice/userspace/registration"
	"sluice/userspace/route"
	"sluice/userspace/snapshot"
)

// mesh is the gateway's part in Consul: its service there, and the table that comes
// from there.
type mesh struct {
	set       *settings
	log       *slog.Logger
	agent     *client.Agent
	registrar *registration.Registrar
	pins      *pins            // a table in the kernel's maps
	keeper    *snapshot.Keeper // nil: no table on disk
	store     func()           // has it written for the last time
	started   chan struct{}    // closed once the registrar has
	token     string           // with which the service is registered

	service atomic.Pointer[registration.Service] // nil: not known yet
	standby atomic.Pointer[standing]             // nil: no source yet

	place    string                    // where the table was that an earlier process left
	restored atomic.Pointer[time.Time] // when the table that is served was written, which an earlier process left

	mu     sync.Mutex // held while a table is published
	served bool       // one was
}

// standing is how a source is asked about itself.
type standing func() (connected bool, since time.Time, kept int)

const (
	// startPatience is how long a start waits for Consul before it serves the table
	// of the process before.
	startPatience = 3 * time.Second
	// requestTime is how long the agent may take for an answer.
	requestTime = 10 * time.Second
	// tokenTime is between looks at the token's file.
	tokenTime = 5 * time.Second
)

func newMesh(set *settings, pins *pins, log *slog.Logger) (*mesh, error) {
	agent, err := set.client.Agent()
	if err != nil {
		return nil, err
	}
	registrar, err := registration.New(set.service, agent.API(), log)
	if err != nil {
		return nil, err
	}
	token, err := agent.Token()
	if err != nil {
		return nil, err
	}
	m := &mesh{set: set, pins: pins, token: token, log: log, agent: agent, registrar: registrar, store: func() {}, started: make(chan struct{})}
	if set.stateFile() != "" {
		m.keeper = snapshot.NewKeeper(set.stateFile(), log)
	}
	return m, nil
}

// Run publishes Consul's tables until the context is done. The error says that
// settings and Consul do not fit.
func (m *mesh) Run(ctx context.Context, publish func(*route.Table)) error {
	last, meta := m.restore()
	if last != nil {
		defer time.AfterFunc(startPatience, func() { m.serveLast(last, meta, publish) }).Stop()
	}
	service, err := m.registrar.Start(ctx)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, registration.ErrLeaving) {
			return nil
		}
		return err
	}
	close(m.started)
	m.found(service)
	if last != nil && meta.Identity != identity(service) {
		m.log.Error("the last table, from "+m.place+", is another gateway's: it does not count", "its", meta.Identity, "ours", identity(service))
		last = nil
	}
	from, err := m.choose(ctx, service, last)
	if err != nil {
		return nil // the context is done
	}
	return from.Run(ctx, func(t *route.Table) { m.publish(t, publish) })
}

func (m *mesh) publish(t *route.Table, publish func(*route.Table)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.served = true
	if m.keeper != nil {
		m.keeper.Keep(t)
	}
	publish(t)
}

// restore reads the table that an earlier process left on disk or in the kernel's maps,
// whichever was written last, and nil if there is none.
func (m *mesh) restore() (*route.Table, snapshot.Meta) {
	last, meta := m.restoreFile()
	m.place = "disk"
	pinned, about := m.pins.last()
	if pinned == nil || last != nil && meta.Written.After(about.Written) {
		return last, meta
	}
	m.place = "the kernel's maps"
	return pinned, snapshot.Meta{Source: about.Source, Identity: about.Gateway, Listeners: about.Listeners, Written: about.Written}
}

func (m *mesh) restoreFile() (*route.Table, snapshot.Meta) {
	if m.keeper == nil {
		if !m.pins.there() {
			m.log.Warn("no -state-dir: a restart while Consul is away would have no table to serve")
		}
		return nil, snapshot.Meta{}
	}
	last, meta, err := snapshot.Read(m.set.stateFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Error("the table on disk cannot be used: waiting for Consul's", "error", err)
	}
	if err != nil {
		return nil, snapshot.Meta{}
	}
	return last, meta
}

// serveLast publishes the last table, unless Consul was quicker.
func (m *mesh) serveLast(last *route.Table, meta snapshot.Meta, publish func(*route.Table)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.served || !m.plan(meta) {
		return
	}
	m.restored.Store(&meta.Written)
	m.log.Warn("no table from Consul yet: serving the last one, from "+m.place,
		"table", last.String(), "from", meta.Source, "age", time.Since(meta.Written).Round(time.Second))
	publish(last)
}

// plan sees to it that the service is known well enough to listen, though Consul has
// not told of it.
func (m *mesh) plan(meta snapshot.Meta) bool {
	if m.service.Load() != nil || len(m.set.gateway.Listen) > 0 {
		return true
	}
	service := registration.Service{}
	for _, addr := range meta.Listeners {
		service.Listeners = append(service.Listeners, registration.Listener{Name: "last", Addr: addr})
	}
	if planned, ok := m.registrar.Planned(); ok {
		service = planned
	}
	if len(service.Listeners) == 0 {
		m.log.Warn("there is a last table, but no address to listen on: give -listen for starts without Consul")
		return false
	}
	m.service.CompareAndSwap(nil, &service)
	return true
}

// found takes the service as the agent has it.
func (m *mesh) found(s registration.Service) {
	was := m.service.Swap(&s)
	m.pins.about.Store(&mirror.About{Gateway: identity(s), Listeners: addrs(s.Listeners)})
	if m.keeper != nil {
		m.keeper.Describe(identity(s), addrs(s.Listeners))
	}
	if was != nil && len(m.set.gateway.Listen) == 0 && !slices.Equal(addrs(was.Listeners), addrs(s.Listeners)) {
		m.log.Warn("the service's addresses changed: restart to listen on them", "were", addrs(was.Listeners), "are", addrs(s.Listeners))
	}
	if was != nil && was.Datacenter != "" && !was.Options.Equal(s.Options) {
		m.log.Warn("the service's options changed: restart to use those that xDS does not give", "service", s.ID)
	}
}

// identity tells the gateways apart that may have the same directory on disk.
func identity(s registration.Service) string { return s.Datacenter + "/" + s.ID }

func addrs(listeners []registration.Listener) []netip.AddrPort {
	var all []netip.AddrPort
	for _, l := range listeners {
		if !slices.Contains(all, l.Addr) {
			all = append(all, l.Addr)
		}
	}
	return all
}

// listeners are the addresses to listen on: the operator's, or else the service's.
func (m *mesh) listeners() []netip.AddrPort {
	if s := m.service.Load(); s != nil && len(m.set.gateway.Listen) == 0 {
		return addrs(s.Listeners)
	}
	return m.set.gateway.Listen
}

// keepalive has proxy.config's keepalive of remote gateways count for all sockets: a
// gateway's peers are remote, on one side or the other.
func (m *mesh) keepalive(o *gateway.SocketOptions) {
	s := m.service.Load()
	if s == nil || !s.Options.RemoteKeepalive.Enable {
		return
	}
	k := s.Options.RemoteKeepalive
	o.KeepaliveTime = cmp.Or(k.Time, o.KeepaliveTime)
	o.KeepaliveInterval = cmp.Or(k.Interval, o.KeepaliveInterval)
	o.KeepaliveProbes = cmp.Or(k.Probes, o.KeepaliveProbes)
}

// options are what proxy.config says besides where to listen.
func (m *mesh) options() registration.Options {
	if s := m.service.Load(); s != nil {
		return s.Options
	}
	return registration.Options{}
}

// attend keeps the service in the agent and the table on disk while the gateway
// serves.
func (m *mesh) attend(ctx context.Context) {
	go func() {
		select {
		case <-m.started: // a table from disk may be served before
			m.registrar.Run(ctx, m.found)
		case <-ctx.Done():
		}
	}()
	go m.watchToken(ctx)
	if m.keeper == nil {
		return
	}
	keeping, cancel := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		if err := m.keeper.Run(keeping); err != nil {
			m.log.Error("the last table is not on disk", "error", err)
		}
	}()
	m.store = func() {
		cancel()
		<-kept
	}
}

// watchToken tells when the token's file cannot be used any more, and when it can
// again. The last good token is used in between. With another token the service is
// registered again.
func (m *mesh) watchToken(ctx context.Context) {
	var told error
	for ticks := time.NewTicker(tokenTime); ; {
		problem := m.agent.TokenProblem()
		switch {
		case problem != nil && (told == nil || told.Error() != problem.Error()):
			m.log.Warn("the token's file cannot be used: the last token stays", "error", problem)
		case problem == nil && told != nil:
			m.log.Info("the token's file can be used again")
		}
		told = problem
		m.renew(ctx)
		select {
		case <-ctx.Done():
			ticks.Stop()
			return
		case <-ticks.C:
		}
	}
}

// renew registers the service with the token of now, if that is another one.
func (m *mesh) renew(ctx context.Context) {
	token, err := m.agent.Token()
	if err != nil || token == m.token {
		return
	}
	if err := m.registrar.Renew(ctx); err != nil {
		m.log.Warn("cannot register with the token that the file has now: trying again", "error", err)
		return
	}
	m.token = token
	m.log.Info("the token is another one: the gateway's service has it too")
}

// leave has nobody choose this gateway any more, and gives them the time to know.
func (m *mesh) leave(ctx context.Context) {
	request, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	if err := m.registrar.Maintenance(request); err != nil {
		m.log.Warn("cannot tell Consul that this gateway drains: others learn it by connecting", "error", err)
		return
	}
	m.log.Info("in maintenance: nobody should choose this gateway any more", "accepting_for", m.set.drainDelay)
	select {
	case <-ctx.Done():
	case <-time.After(m.set.drainDelay):
	}
}

// close writes the last table to disk and deregisters the service, if it is this
// gateway's own.
func (m *mesh) close(ctx context.Context) {
	m.store()
	if err := m.registrar.Deregister(ctx); err != nil {
		m.log.Error("cannot deregister the gateway", "error", err)
	}
}
