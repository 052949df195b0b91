package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/registration"
)

// errAbsent is that the agent has no service that could be the gateway's.
var errAbsent = errors.New("the agent has no such service")

// find looks for the gateway's service in the agent, and changes nothing.
func (m *Mesh) find(ctx context.Context) (*api.AgentService, error) {
	id := m.Service.ID
	if id == "" && m.Service.Register {
		id = m.serviceName(ctx)
	}
	filter := `Kind == "mesh-gateway"`
	if m.Service.Service != "" {
		filter += fmt.Sprintf(" and Service == %q", m.Service.Service)
	}
	if id != "" {
		filter = fmt.Sprintf("ID == %q", id)
	}
	found, err := m.Agent.API().Agent().ServicesWithFilterOpts(filter, query(ctx))
	if err != nil {
		return nil, err
	}
	var ids []string
	var service *api.AgentService
	for id, s := range found {
		ids, service = append(ids, id), s
	}
	switch {
	case len(ids) == 0:
		return nil, errAbsent
	case len(ids) > 1:
		return nil, fmt.Errorf("the agent has several mesh gateways: give -proxy-id, one of %s", strings.Join(ids, ", "))
	}
	return service, nil
}

// Listeners are the addresses that the gateway listens on by its service, which is the
// agent's to tell when the gateway does not register it itself. It is asked once.
func (m *Mesh) Listeners(ctx context.Context) ([]netip.AddrPort, error) {
	m.listening.Do(func() { m.addrs, m.listenErr = m.listeners(ctx) })
	return m.addrs, m.listenErr
}

func (m *Mesh) listeners(ctx context.Context) ([]netip.AddrPort, error) {
	r, err := registration.New(m.Service, m.Agent.API(), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	service, planned := r.Planned()
	if !planned {
		if !m.meet(ctx).good {
			return nil, errors.New("the agent cannot be asked")
		}
		if _, err := m.find(ctx); err != nil { // which Start would wait for
			return nil, err
		}
		if service, err = r.Start(ctx); err != nil {
			return nil, err
		}
	}
	var all []netip.AddrPort
	for _, l := range service.Listeners {
		all = append(all, l.Addr)
	}
	return all, nil
}

// gateway looks at the service in the agent, and what its checks say.
func (m *Mesh) gateway(ctx context.Context) []Line {
	service, err := m.find(ctx)
	switch {
	case errors.Is(err, errAbsent) && !m.Service.Register:
		return []Line{Bad(Fail, "", "-register; or tell the agent of a service of kind mesh-gateway", "%v", err)}
	case errors.Is(err, errAbsent) && m.Running:
		return []Line{Bad(Fail, "", "see the gateway's log", "it runs, but is not registered")}
	case errors.Is(err, errAbsent):
		return []Line{Good("", "not registered yet: the gateway does it when it starts")}
	case err != nil:
		return []Line{Bad(Fail, "", "-proxy-id, or -service", "%s", brief(err))}
	case service.Kind != api.ServiceKindMeshGateway:
		return []Line{Bad(Fail, "", "another -proxy-id", "the service %q is of kind %q, no mesh gateway", service.ID, service.Kind)}
	}
	_, info, err := m.Agent.API().Agent().AgentHealthServiceByIDOpts(service.ID, query(ctx))
	if err != nil || info == nil {
		return []Line{Bad(Warn, "", "see the agent's log", "%q is registered; its health cannot be read: %v", service.ID, err)}
	}
	return []Line{m.health(service.ID, info.Checks)}
}

func (m *Mesh) health(id string, checks api.HealthChecks) Line {
	health := checks.AggregatedStatus() // which tells maintenance from critical
	var why []string
	for _, c := range checks {
		if c.Status != api.HealthPassing {
			why = append(why, strings.Join(strings.Fields(c.Name+": "+c.Output+c.Notes), " "))
		}
	}
	text := strings.Join(why, "; ")
	switch {
	case health == api.HealthPassing, health == api.HealthWarning:
		return Good("", "%q is registered and %s", id, health)
	case health == api.HealthMaint:
		return Bad(Warn, "", "consul maint -disable -service="+id, "%q is in maintenance, so nobody chooses it: %s", id, text)
	case m.Running:
		return Bad(Fail, "", "see what its check connects to, and what is in between", "%q is %s: %s", id, health, text)
	}
	return Bad(Warn, "", "start the gateway", "%q is registered and %s: %s", id, health, text)
}

// datacenters looks whether the others have gateways that this one's flows can go to.
func (m *Mesh) datacenters(ctx context.Context) []Line {
	const name = "datacenters"
	var all []string
	if _, err := m.Agent.API().Raw().Query("/v1/catalog/datacenters", &all, query(ctx)); err != nil {
		return []Line{untold(err)}
	}
	here := m.met.self.Config.Datacenter
	if here == "" && len(all) > 0 {
		here = all[0] // the nearest
	}
	var lines []Line
	for _, dc := range all {
		if dc != here {
			lines = append(lines, m.remote(ctx, dc))
		}
	}
	if len(lines) == 0 {
		return []Line{Good(name, "%s is not federated with others", here)}
	}
	return lines
}

func (m *Mesh) remote(ctx context.Context, dc string) Line {
	name := "gateways of " + dc
	all, hidden, err := m.gatewaysOf(ctx, dc)
	switch {
	case unknownToken(err), denied(err):
		remedy := "see the replication of tokens to " + dc + ": a new one takes a moment"
		if m.met.local {
			remedy = "a token without -local, made in the primary datacenter"
		}
		return Bad(Fail, name, remedy, "the token is not good for %s: %s", dc, brief(err))
	case err != nil:
		return Bad(Warn, name, "see consul members -wan, and whether its gateways can be reached", "cannot be asked for: %s", brief(err))
	case len(all) == 0 && hidden:
		return Bad(Fail, name, "in the token's policy: service_prefix and node_prefix \"\" read, in "+dc+" too", "the token sees none")
	case len(all) == 0:
		return Bad(Warn, name, "start one there, with -wan-address; nothing, if nobody calls "+dc, "none is registered")
	}
	passing, wan := 0, 0
	for _, e := range all {
		if s := e.Checks.AggregatedStatus(); s == api.HealthPassing || s == api.HealthWarning {
			passing++
		}
		if _, ok := e.Service.TaggedAddresses["wan"]; ok {
			wan++
		}
	}
	switch {
	case passing == 0:
		return Bad(Warn, name, "see them there: sluice check", "none of %d is healthy", len(all))
	case wan < len(all):
		return Bad(Warn, name, "-wan-address for each of them", "%d of %d healthy, %d without a WAN address: those are called by their own", passing, len(all), len(all)-wan)
	}
	return Good(name, "%d of %d healthy", passing, len(all))
}

func (m *Mesh) gatewaysOf(ctx context.Context, dc string) (all []*api.ServiceEntry, hidden bool, err error) {
	q := query(ctx)
	q.Datacenter, q.Filter = dc, `ServiceKind == "mesh-gateway"`
	names, meta, err := m.Agent.API().Catalog().Services(q)
	if err != nil {
		return nil, false, err
	}
	hidden = meta.ResultsFilteredByACLs
	for name := range names {
		q := query(ctx)
		q.Datacenter, q.Filter = dc, `Service.Kind == "mesh-gateway"`
		list, meta, err := m.Agent.API().Health().Service(name, "", false, q)
		if err != nil {
			return nil, hidden, err
		}
		hidden = hidden || meta.ResultsFilteredByACLs
		all = append(all, list...)
	}
	return all, hidden, nil
}
