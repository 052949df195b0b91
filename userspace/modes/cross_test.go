package modes_test

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
)

// TestGatewaysMissing has callers that need gateways which are not there, or cannot be
// used, and others that look for a service where it is not.
func TestGatewaysMissing(t *testing.T) {
	m := newMesh(t, consul.TwoDatacenters)
	m.service(2, 21, "db")
	m.must(m.Agents[0].WriteConfig(t.Context(), &api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: "gone",
		Redirect: &api.ServiceResolverRedirect{Datacenter: "DC2"}}))
	db := api.Upstream{DestinationName: "db", Datacenter: "dc2"}
	m.caller(30, "local", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(local)
		p.Upstreams = upstreams(db)
	})
	m.caller(31, "remote", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(remote)
		p.Upstreams = upstreams(db)
	})
	m.caller(32, "lost", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(remote)
		p.Upstreams = upstreams(api.Upstream{DestinationName: "db"}, api.Upstream{DestinationName: "nowhere"},
			api.Upstream{DestinationName: "gone"}, api.Upstream{DestinationName: "db", DestinationPeer: "nobody"})
	})
	lost := []string{
		`lost -> db of peer nobody: there is no peer nobody`,
		`lost -> db of peer nobody: peer nobody does not export db to this datacenter, or has no mesh gateway`,
		`lost -> db: the upstream names no datacenter, so its connections stay in dc1, where db has no sidecar; but it is in dc2: set the upstream's datacenter, or redirect with a service-resolver`,
		`lost -> gone: there is no datacenter DC2: did you mean dc2?`,
		`lost -> nowhere: nowhere has no sidecar in dc1`,
	}
	m.warned(append([]string{
		"local -> db in dc2: mode local (service instance) needs a mesh gateway in dc1, and none is registered",
		"remote -> db in dc2: mode remote (service instance) needs a mesh gateway in dc2, and none is registered",
	}, lost...)...)

	m.gateway(1, false)
	m.try(func() error {
		return m.Agents[1].RegisterMeshGateway(t.Context(), consul.MeshGateway{LAN: m.Gateway(2)})
	})
	m.warned(append([]string{
		"local -> db in dc2: mode local (service instance) needs a mesh gateway in dc1, and none of the 1 is healthy",
		"remote -> db in dc2: mode remote (service instance) needs a mesh gateway in dc2, and none of the 1 is healthy",
		"remote -> db in dc2: srv-dc2/mesh-gateway in dc2: no WAN address, so the LAN address is dialed from here",
	}, lost...)...)
}

// TestTransparent has sidecars whose upstreams come from intentions.
func TestTransparent(t *testing.T) {
	m := newMesh(t, consul.TwoDatacenters)
	dc1 := m.Agents[0]
	m.service(1, 20, "cache")
	m.service(1, 21, "secret")
	m.service(1, 22, "other")
	m.service(2, 23, "far")
	m.gateway(1, true)
	m.gateway(2, true)
	m.service(2, 24, "yonder")
	m.must(dc1.WriteConfig(t.Context(),
		&api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: "moved",
			Redirect: &api.ServiceResolverRedirect{Service: "far", Datacenter: "dc2"}},
		&api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: "away",
			Redirect: &api.ServiceResolverRedirect{Service: "yonder", Datacenter: "dc2"}},
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "inner", Mode: api.ProxyModeTransparent,
			TransparentProxy: &api.TransparentProxyConfig{},
			UpstreamConfig: &api.UpstreamConfiguration{
				Overrides: []*api.UpstreamConfig{{Name: "moved", MeshGateway: gatewayMode(remote)}},
				Defaults:  &api.UpstreamConfig{MeshGateway: gatewayMode(local)},
			}},
		&api.ProxyConfigEntry{Kind: api.ProxyDefaults, Name: api.ProxyConfigGlobal, MeshGateway: gatewayMode(none)},
	))
	m.caller(30, "inner", func(*api.AgentServiceConnectProxyConfig) {})
	m.caller(31, "outer", func(p *api.AgentServiceConnectProxyConfig) {
		p.Mode = api.ProxyModeTransparent
		p.MeshGateway = gatewayMode(remote)
		p.Upstreams = upstreams(api.Upstream{DestinationName: "away", MeshGateway: gatewayMode(local)})
	})
	m.must(dc1.Allow(t.Context(), "inner", "*"))
	m.must(dc1.Deny(t.Context(), "inner", "secret"))
	m.must(dc1.Allow(t.Context(), "outer", "cache"))
	m.must(dc1.Allow(t.Context(), "outer", "moved"))
	m.must(dc1.Allow(t.Context(), "outer", "away"))
	m.expect(
		// cache, other and outer, but not secret.
		"inner -> 3 other services by intentions | * in dc1 | local | service-defaults inner: UpstreamConfig.Defaults | sidecars",
		"inner -> away (implicit) | yonder in dc2 | local | service-defaults inner: UpstreamConfig.Defaults | local gateways",
		"inner -> moved (implicit) | far in dc2 | remote | service-defaults inner: UpstreamConfig.Overrides | remote gateways",
		"outer -> 1 other service by intentions | * in dc1 | remote | service instance | sidecars",
		"outer -> away | yonder in dc2 | local | upstream | local gateways",
		"outer -> moved (implicit) | far in dc2 | remote | service instance | remote gateways",
	)
}

// TestPeers has upstreams that a peer exports.
func TestPeers(t *testing.T) {
	m := newMesh(t, consul.Peered)
	dc1, dc2 := m.Agents[0], m.Agents[1]
	m.service(2, 20, "db")
	m.gateway(1, true)
	m.gateway(2, true)
	m.must(dc2.Export(t.Context(), []string{"db"}, "dc1"))
	m.must(dc1.WriteConfig(t.Context(),
		&api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: "moved",
			Redirect: &api.ServiceResolverRedirect{Service: "db", Peer: "dc2"}},
		// What the called service asks for does not count with a peer.
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "db", MeshGateway: gatewayMode(local)},
	))
	db := api.Upstream{DestinationName: "db", DestinationPeer: "dc2"}
	m.caller(30, "plain", func(p *api.AgentServiceConnectProxyConfig) { p.Upstreams = upstreams(db) })
	m.caller(31, "local", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(local)
		p.Upstreams = upstreams(db)
	})
	m.caller(32, "none", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(none)
		p.Upstreams = upstreams(db)
	})
	m.caller(33, "moved-plain", func(p *api.AgentServiceConnectProxyConfig) {
		p.Upstreams = upstreams(api.Upstream{DestinationName: "moved"})
	})
	m.caller(34, "moved-local", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(local)
		p.Upstreams = upstreams(api.Upstream{DestinationName: "moved"})
	})
	m.caller(35, "transparent", func(p *api.AgentServiceConnectProxyConfig) {
		p.Mode = api.ProxyModeTransparent
		p.MeshGateway = gatewayMode(local)
	})
	m.expect(
		"plain -> db of peer dc2 | db of peer dc2 | remote | default | peer gateways",
		"local -> db of peer dc2 | db of peer dc2 | local | service instance | local gateways",
		"none -> db of peer dc2 | db of peer dc2 | remote | service instance | peer gateways",
		"moved-plain -> moved | db of peer dc2 | remote | default | peer gateways",
		"moved-local -> moved | db of peer dc2 | local | service instance | local gateways",
		"transparent -> db of peer dc2 (implicit) | db of peer dc2 | local | service instance | local gateways",
	)
	// The peer is the only dc2 here: there is no datacenter of that name.
	m.warned("none -> db of peer dc2: mode none (service instance) cannot be with a peer: Consul takes remote")
}
