package modes_test

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
)

func gatewayMode(mode api.MeshGatewayMode) api.MeshGatewayConfig {
	return api.MeshGatewayConfig{Mode: mode}
}

const (
	none   = api.MeshGatewayModeNone
	local  = api.MeshGatewayModeLocal
	remote = api.MeshGatewayModeRemote
)

// ports gives each upstream a port of its own.
func upstreams(all ...api.Upstream) []api.Upstream {
	for i := range all {
		all[i].LocalBindPort = 5000 + i
	}
	return all
}

// TestPlaces has a caller for each place that may decide, with and without
// proxy-defaults, in a real Consul of two datacenters.
func TestPlaces(t *testing.T) {
	m := newMesh(t, consul.TwoDatacenters)
	dc1 := m.Agents[0]
	m.service(1, 20, "cache")
	m.service(2, 21, "db")
	m.service(2, 22, "far")
	m.service(2, 23, "asks")
	m.service(1, 24, "shop")
	m.service(2, 24, "shop")
	m.gateway(1, true)
	m.gateway(2, true)
	m.must(dc1.WriteConfig(t.Context(),
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "asks", MeshGateway: gatewayMode(remote)},
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "by-service", MeshGateway: gatewayMode(local)},
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "by-override", MeshGateway: gatewayMode(none),
			UpstreamConfig: &api.UpstreamConfiguration{
				Overrides: []*api.UpstreamConfig{{Name: "db", MeshGateway: gatewayMode(remote)}},
				Defaults:  &api.UpstreamConfig{MeshGateway: gatewayMode(local)},
			}},
		&api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: "moved",
			Redirect: &api.ServiceResolverRedirect{Service: "far", Datacenter: "dc2"}},
		&api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: "shop",
			Failover: map[string]api.ServiceResolverFailover{"*": {Datacenters: []string{"dc2"}}}},
	))
	db := api.Upstream{DestinationName: "db", Datacenter: "dc2"}
	asks := api.Upstream{DestinationName: "asks", Datacenter: "dc2"}
	far := api.Upstream{DestinationName: "far", Datacenter: "dc2"}
	own := db
	own.MeshGateway = gatewayMode(local)
	query := api.Upstream{DestinationType: api.UpstreamDestTypePreparedQuery, DestinationName: "nearest"}
	m.caller(30, "by-none", func(p *api.AgentServiceConnectProxyConfig) {
		p.Upstreams = upstreams(db, asks, query, api.Upstream{DestinationName: "cache"},
			api.Upstream{DestinationName: "moved"}, api.Upstream{DestinationName: "shop"})
	})
	m.caller(31, "by-upstream", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(remote)
		p.Upstreams = upstreams(own, api.Upstream{DestinationName: "shop"})
	})
	m.caller(32, "by-instance", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(local)
		p.Upstreams = upstreams(db, asks)
	})
	m.caller(33, "by-service", func(p *api.AgentServiceConnectProxyConfig) {
		p.Upstreams = upstreams(db)
	})
	m.caller(34, "by-override", func(p *api.AgentServiceConnectProxyConfig) {
		p.MeshGateway = gatewayMode(local)
		p.Upstreams = upstreams(db, far)
	})
	m.caller(35, "by-defaults", func(p *api.AgentServiceConnectProxyConfig) {
		p.Upstreams = upstreams(db)
	})
	m.must(dc1.WriteConfig(t.Context(), &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "by-defaults",
		UpstreamConfig: &api.UpstreamConfiguration{Defaults: &api.UpstreamConfig{MeshGateway: gatewayMode(remote)}}}))

	always := []string{
		"by-upstream -> db in dc2 | db in dc2 | local | upstream | local gateways",
		"by-instance -> asks in dc2 | asks in dc2 | local | service instance | local gateways",
		"by-instance -> db in dc2 | db in dc2 | local | service instance | local gateways",
		"by-service -> db in dc2 | db in dc2 | local | service-defaults by-service: MeshGateway | local gateways",
		"by-override -> db in dc2 | db in dc2 | remote | service-defaults by-override: UpstreamConfig.Overrides | remote gateways",
		"by-override -> far in dc2 | far in dc2 | local | service instance | local gateways",
		"by-defaults -> db in dc2 | db in dc2 | remote | service-defaults by-defaults: UpstreamConfig.Defaults | remote gateways",
	}
	m.expect(append([]string{
		"by-upstream -> shop | shop in dc1 | remote | service instance | sidecars",
		"by-upstream -> shop | shop in dc2 (failover) | remote | service instance | remote gateways",
		"by-none -> asks in dc2 | asks in dc2 | remote | service-defaults asks: MeshGateway | remote gateways",
		"by-none -> cache | cache in dc1 | none | default | sidecars",
		"by-none -> db in dc2 | db in dc2 | none | default | sidecars",
		"by-none -> moved | far in dc2 | none | default | sidecars",
		"by-none -> nearest (prepared query) | nearest in dc1 | none | default | query results",
		"by-none -> shop | shop in dc1 | none | default | sidecars",
		"by-none -> shop | shop in dc2 (failover) | none | default | sidecars",
	}, always...)...)
	m.warned()

	m.must(dc1.WriteConfig(t.Context(), &api.ProxyConfigEntry{Kind: api.ProxyDefaults, Name: api.ProxyConfigGlobal, MeshGateway: gatewayMode(remote)}))
	m.expect(append([]string{
		// It asks for what it would get anyway: the catalog does not tell the two apart.
		"by-upstream -> shop | shop in dc1 | remote | proxy-defaults global: MeshGateway | sidecars",
		"by-upstream -> shop | shop in dc2 (failover) | remote | proxy-defaults global: MeshGateway | remote gateways",
		"by-none -> asks in dc2 | asks in dc2 | remote | proxy-defaults global: MeshGateway | remote gateways",
		"by-none -> cache | cache in dc1 | remote | proxy-defaults global: MeshGateway | sidecars",
		"by-none -> db in dc2 | db in dc2 | remote | proxy-defaults global: MeshGateway | remote gateways",
		"by-none -> moved | far in dc2 | remote | proxy-defaults global: MeshGateway | remote gateways",
		"by-none -> nearest (prepared query) | nearest in dc1 | none | default | query results",
		"by-none -> shop | shop in dc1 | remote | proxy-defaults global: MeshGateway | sidecars",
		"by-none -> shop | shop in dc2 (failover) | remote | proxy-defaults global: MeshGateway | remote gateways",
	}, always...)...)
}
