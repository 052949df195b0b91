package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/client"
	"sluice/userspace/consul"
	"sluice/userspace/registration"
	"sluice/userspace/route"
	"sluice/userspace/snapshot"
	"sluice/userspace/xds"
)

// mesh is the gateway's part in Consul: its service there, and the table that comes
// from there.
type mesh struct {
	set       *settings
	log       *slog.Logger
	agent     *client.Agent
	registrar *registration.Registrar
	keeper    *snapshot.Keeper // nil: no table on disk

	service atomic.Pointer[registration.Service] // nil: not known yet
	standby atomic.Pointer[standing]             // nil: no source yet

	mu     sync.Mutex // held while a table is published
	served bool       // one was
}

// standing is how a source is asked about itself.
type standing func() (connected bool, since time.Time, kept int)

const (
	// startPatience is how long a start waits for Consul before it serves the table
	// of the process before.
	startPatience = 3 * time.Second
	// probeTime is how long xDS may take to answer before the catalog is used.
	probeTime = 15 * time.Second
	// requestTime is how long the agent may take for an answer.
	requestTime = 10 * time.Second
	// retryTime is between attempts to find out which source there is.
	retryTime = 2 * time.Second
)

func newMesh(set *settings, log *slog.Logger) (*mesh, error) {
	agent, err := set.client.Agent()
	if err != nil {
		return nil, err
	}
	registrar, err := registration.New(set.service, agent.API(), log)
	if err != nil {
		return nil, err
	}
	m := &mesh{set: set, log: log, agent: agent, registrar: registrar}
	if set.stateFile() != "" {
		m.keeper = snapshot.NewKeeper(set.stateFile(), log)
	}
	return m, nil
}

// Run publishes Consul's tables until the context is done. The error says that
// settings and Consul do not fit.
func (m *mesh) Run(ctx context.Context, publish func(*route.Table)) error {
	last, serveLast := m.restore(publish)
	defer time.AfterFunc(startPatience, serveLast).Stop()
	service, err := m.registrar.Start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	m.found(service)
	source, err := m.choose(ctx, service, last)
	if err != nil {
		return nil // the context is done
	}
	return source.Run(ctx, func(t *route.Table) { m.publish(t, publish) })
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

// restore reads the table on disk, nil if there is none, and returns what serves it
// unless Consul was quicker.
func (m *mesh) restore(publish func(*route.Table)) (*route.Table, func()) {
	nothing := func() {}
	if m.keeper == nil {
		m.log.Warn("no -state-dir: a restart while Consul is away would have no table to serve")
		return nil, nothing
	}
	last, meta, err := snapshot.Read(m.set.stateFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nothing
	case err != nil:
		m.log.Error("the table on disk cannot be used: waiting for Consul's", "error", err)
		return nil, nothing
	}
	return last, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.served || !m.plan(meta) {
			return
		}
		m.log.Warn("no table from Consul yet: serving the last one, from disk",
			"table", last.String(), "from", meta.Source, "age", time.Since(meta.Written).Round(time.Second))
		publish(last)
	}
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
		m.log.Warn("there is a table on disk, but no address to listen on: give -listen for starts without Consul")
		return false
	}
	m.service.CompareAndSwap(nil, &service)
	return true
}

// found takes the service as the agent has it.
func (m *mesh) found(s registration.Service) {
	was := m.service.Swap(&s)
	if m.keeper != nil {
		m.keeper.Describe(s.Datacenter+"/"+s.ID, addrs(s.Listeners))
	}
	if was != nil && len(m.set.gateway.Listen) == 0 && !slices.Equal(addrs(was.Listeners), addrs(s.Listeners)) {
		m.log.Warn("the service's addresses changed: restart to listen on them", "were", addrs(was.Listeners), "are", addrs(s.Listeners))
	}
	if was != nil && was.Datacenter != "" && was.Options != s.Options {
		m.log.Warn("the service's options changed: restart to use those that xDS does not give", "service", s.ID)
	}
}

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

// tableSource is either of Consul's.
type tableSource interface {
	Run(ctx context.Context, publish func(*route.Table)) error
}

// choose makes the source that was asked for, or for auto, xDS if it answers. It waits
// until the agent can be asked. Its error is the context's.
func (m *mesh) choose(ctx context.Context, s registration.Service, last *route.Table) (tableSource, error) {
	for told := ""; ; {
		source, err := m.try(ctx, s, last)
		if err == nil {
			return source, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if text := err.Error(); text != told {
			told = text
			m.log.Warn("no source of routes yet", "source", m.set.source, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryTime):
		}
	}
}

func (m *mesh) try(ctx context.Context, s registration.Service, last *route.Table) (tableSource, error) {
	if m.set.source == "catalog" {
		return m.catalog(ctx, s, last)
	}
	o, err := m.xdsOptions(ctx, s, last)
	if m.set.source == "auto" {
		if err == nil {
			probe, cancel := context.WithTimeout(ctx, probeTime)
			defer cancel()
			err = xds.Probe(probe, o)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			source, unreachable := m.catalog(ctx, s, last)
			if unreachable != nil {
				return nil, unreachable
			}
			m.log.Info("routes come from the catalog, for xDS does not answer", "why", err, "agent", m.agent)
			return source, nil
		}
		m.log.Info("routes come by xDS, for it answers", "agent", o.Address)
	}
	if err != nil {
		return nil, err
	}
	source, err := xds.New(o)
	if err != nil {
		return nil, err
	}
	m.stand(func() (bool, time.Time, int) { s := source.Status(); return s.Connected, s.Since, s.Kept })
	return source, nil
}

func (m *mesh) xdsOptions(ctx context.Context, s registration.Service, last *route.Table) (xds.Options, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	address, tls, err := m.agent.XDS(ctx)
	return xds.Options{
		Address: address, TLS: tls, Token: m.agent.Token,
		NodeID: s.ID, Namespace: s.Namespace, Partition: s.Partition,
		Last: last, Log: m.log,
	}, err
}

// catalog fails when the agent does not answer.
func (m *mesh) catalog(ctx context.Context, s registration.Service, last *route.Table) (tableSource, error) {
	domain, err := m.domain(ctx)
	if err != nil {
		return nil, err
	}
	o := consul.Options{
		Client: m.agent.API(), Datacenter: s.Datacenter, Domain: domain, Partition: s.Partition,
		WANFederation: s.WANFederation, Discovery: s.Options.Discovery, Timeout: s.Options.ConnectTimeout,
		Last: last, Log: m.log,
	}
	if m.agent.TLS() {
		o.Connections = -1
	}
	source, err := consul.New(o)
	if err != nil {
		return nil, err
	}
	m.stand(func() (bool, time.Time, int) { s := source.Status(); return s.Connected, s.Since, s.Kept })
	return source, nil
}

// domain is the one of the agent's DNS names. Without agent:read it is taken for
// Consul's default.
func (m *mesh) domain(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var self struct{ DebugConfig struct{ DNSDomain string } }
	_, err := m.agent.API().Raw().Query("/v1/agent/self", &self, new(api.QueryOptions).WithContext(ctx))
	var status api.StatusError
	if err != nil && !(errors.As(err, &status) && status.Code == http.StatusForbidden) {
		return "", fmt.Errorf("ask the agent at %s for its domain: %w", m.agent, err)
	}
	return cmp.Or(self.DebugConfig.DNSDomain, "consul"), nil
}

func (m *mesh) stand(s standing) { m.standby.Store(&s) }

// status is that of the source: none yet is one that is not connected.
func (m *mesh) status() (connected bool, since time.Time, kept int) {
	if s := m.standby.Load(); s != nil {
		return (*s)()
	}
	return false, time.Time{}, 0
}

// attend keeps the service in the agent and the table on disk while the gateway
// serves.
func (m *mesh) attend(ctx context.Context) {
	go m.registrar.Run(ctx, m.found)
	if m.keeper != nil {
		go m.keeper.Run(ctx)
	}
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

// close deregisters the service, if it is this gateway's own.
func (m *mesh) close(ctx context.Context) {
	if err := m.registrar.Deregister(ctx); err != nil {
		m.log.Error("cannot deregister the gateway", "error", err)
	}
}
