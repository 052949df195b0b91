package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/consul"
	"sluice/userspace/registration"
	"sluice/userspace/route"
	"sluice/userspace/xds"
)

const (
	// probeTime is how long xDS may take to answer before the catalog is used.
	probeTime = 15 * time.Second
	// retryTime is between attempts to find out which source there is.
	retryTime = 2 * time.Second
)

// choose makes the source that was asked for, or for auto, xDS if it answers. It waits
// until the agent can be asked. Its error is the context's.
func (m *mesh) choose(ctx context.Context, s registration.Service, last *route.Table) (source, error) {
	for told := ""; ; {
		from, err := m.try(ctx, s, last)
		if err == nil {
			return from, nil
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

func (m *mesh) try(ctx context.Context, s registration.Service, last *route.Table) (source, error) {
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
			from, unreachable := m.catalog(ctx, s, last)
			if unreachable != nil {
				return nil, unreachable
			}
			m.log.Info("routes come from the catalog, for xDS does not answer", "why", err, "agent", m.agent.String())
			return from, nil
		}
		m.log.Info("routes come by xDS, for it answers", "agent", o.Address)
	}
	if err != nil {
		return nil, err
	}
	from, err := xds.New(o)
	if err != nil {
		return nil, err
	}
	m.checkRights(ctx)
	m.stand(func() (bool, time.Time, int) { s := from.Status(); return s.Connected, s.Since, s.Kept })
	return from, nil
}

// checkRights warns when the token does not see all services: by xDS the agent leaves
// those out without a word.
func (m *mesh) checkRights(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	_, meta, err := m.agent.API().Catalog().Services(new(api.QueryOptions).WithContext(ctx))
	if err == nil && meta.ResultsFilteredByACLs {
		m.log.Warn("the token does not see all services: those that it may not read have no route",
			"probably", `it lacks service_prefix "" { policy = "read" } or node_prefix "" { policy = "read" }`)
	}
}

func (m *mesh) xdsOptions(ctx context.Context, s registration.Service, last *route.Table) (xds.Options, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	address, tls, err := m.agent.XDS(ctx)
	sight := &sight{agent: m.agent.API()}
	if _, err := sight.hidden(ctx); err != nil {
		m.log.Warn("it is not known yet which services the token sees", "error", err)
	}
	return xds.Options{
		Address: address, TLS: tls, Token: m.agent.Token,
		NodeID: s.ID, Namespace: s.Namespace, Partition: s.Partition,
		Last: last, Hidden: sight.hidden, Log: m.log,
	}, err
}

// catalog fails when the agent does not answer.
func (m *mesh) catalog(ctx context.Context, s registration.Service, last *route.Table) (source, error) {
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
	from, err := consul.New(o)
	if err != nil {
		return nil, err
	}
	m.stand(func() (bool, time.Time, int) { s := from.Status(); return s.Connected, s.Since, s.Kept })
	return from, nil
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

// status is that of the source: none yet is one that is not connected, since the table
// that an earlier process left was written.
func (m *mesh) status() (connected bool, since time.Time, kept int) {
	if s := m.standby.Load(); s != nil {
		connected, since, kept = (*s)()
	}
	if written := m.restored.Load(); !connected && since.IsZero() && written != nil {
		since = *written
	}
	return connected, since, kept
}
