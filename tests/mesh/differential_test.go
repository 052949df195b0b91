package mesh

import (
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// In each of these clusters the two sources must make the same table, and go on to
// do so while the mesh changes.

func TestOneDatacenter(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, TLS: true})
	a := c.Agents[0]
	gateway := consul.MeshGateway{ID: "gw1", Name: "gw", LAN: c.Gateway(1)}
	gateway.Token = token(t, a)
	must(t, a.RegisterMeshGateway(t.Context(), gateway))
	web := func(id string, host int) consul.Service {
		return consul.Service{Name: "web", ID: id, Addr: netip.AddrPortFrom(c.Loopback(1, host), 80), Sidecar: 20000,
			Passing: 10, Warning: 3, Meta: map[string]string{"version": "v" + id[3:]}}
	}
	must(t, a.Register(t.Context(), web("web1", 21), web("web2", 22), web("web3", 23),
		consul.Service{Name: "Upper", Addr: netip.AddrPortFrom(c.Loopback(1, 24), 80), Sidecar: 20000},
		consul.Service{Name: "plain", Addr: netip.AddrPortFrom(c.Loopback(1, 25), 80)}))

	p := watch(t, a, gateway, gateway.Token)
	p.same("web.default.dc1", "upper.default.dc1", "!plain")

	must(t, a.SetCheck(t.Context(), "web2", api.HealthWarning))
	must(t, a.SetCheck(t.Context(), "web3", api.HealthCritical))
	p.same("passing 3", "critical 10")

	must(t, a.WriteConfig(t.Context(), &api.ServiceResolverConfigEntry{
		Kind: api.ServiceResolver, Name: "web", DefaultSubset: "v2", ConnectTimeout: 7 * time.Second,
		Subsets: map[string]api.ServiceResolverSubset{
			"v1":   {Filter: `Service.Meta.version == v1`},
			"v2":   {Filter: `Service.Meta.version == "v2"`, OnlyPassing: true},
			"none": {Filter: `Service.Meta.version == "v9"`},
			"all":  {},
		},
		LoadBalancer: &api.LoadBalancer{Policy: "least_request"},
	}))
	p.same("v1.web.default.dc1", "none.web.default.dc1", "connect 7s", "least_request")

	must(t, a.WriteConfig(t.Context(), &api.ServiceResolverConfigEntry{
		Kind: api.ServiceResolver, Name: "web", LoadBalancer: &api.LoadBalancer{Policy: "maglev"},
		Redirect: &api.ServiceResolverRedirect{Service: "other"},
	}))
	p.same("!v1.web", "connect 5s")

	must(t, a.DeleteConfig(t.Context(), api.ServiceResolver, "web"))
	must(t, a.Deregister(t.Context(), "web1"))
	p.same("!.21:20000", "web.default.dc1")
	must(t, a.Deregister(t.Context(), "Upper"))
	p.same("!upper.default.dc1")
}

func TestTwoDatacenters(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.TwoDatacenters, consul.Settings{ACL: true})
	here, there := c.Agents[0], c.Agents[1]
	local := consul.MeshGateway{ID: "gw1", Name: "gw", LAN: c.Gateway(1), WAN: "198.51.100.1:8443"}
	local.Token = token(t, here)
	must(t, here.RegisterMeshGateway(t.Context(), local))
	p := watch(t, here, local, local.Token)
	p.same()

	far := consul.MeshGateway{ID: "far1", Name: "far", LAN: c.Gateway(2), WAN: "198.51.100.2:443"}
	must(t, there.RegisterMeshGateway(t.Context(), far))
	p.same("198.51.100.2:443", "*.dc2.internal")
	far2 := consul.MeshGateway{ID: "far2", Name: "other", LAN: netip.AddrPortFrom(c.Loopback(2, 11), 8443), WAN: "198.51.100.3:443"}
	must(t, there.RegisterMeshGateway(t.Context(), far2))
	p.same("198.51.100.3:443", "198.51.100.2:443")
	must(t, there.Deregister(t.Context(), "far1"))
	p.same("198.51.100.3:443", "!198.51.100.2:443")
}

// token is one with the rights of a gateway that the README tells to give.
func token(t *testing.T, a *consul.Agent) string {
	t.Helper()
	token, err := a.GatewayToken(t.Context(), "gw")
	must(t, err)
	return token
}

// TestPeers: one cluster exports, the other imports, and their servers peer through
// gateways.
func TestPeers(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.TwoMeshes, consul.Settings{ACL: true, TLS: true})
	home, cloud := c.Agents[0], c.Agents[1]
	var gateways [2]consul.MeshGateway
	for i, a := range []*consul.Agent{home, cloud} {
		g := consul.MeshGateway{ID: "gw", Name: "gw", LAN: c.Gateway(i + 1), WAN: c.Gateway(i + 1).String()}
		// Registered with all rights: for http services that are exported the agent
		// wants a certificate for the gateway, which takes mesh:write, and without it
		// xDS does not say a word of them.
		must(t, a.RegisterMeshGateway(t.Context(), g))
		gateways[i] = g
	}
	must(t, consul.Peer(t.Context(), home, cloud))
	exporter := watch(t, home, gateways[0], token(t, home))
	importer := watch(t, cloud, gateways[1], token(t, cloud))
	service := func(name string, host int) consul.Service {
		return consul.Service{Name: name, Addr: netip.AddrPortFrom(c.Loopback(1, host), 80), Sidecar: 20000}
	}
	must(t, home.Register(t.Context(), service("api", 21), service("shop", 22), service("db", 23)))
	must(t, home.WriteConfig(t.Context(),
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "shop", Protocol: "http"}))
	must(t, home.Export(t.Context(), []string{"api", "shop", "absent"}, cloud.Datacenter))
	exporter.same("exported~api.default.dc1", "api.default.default.dc2.external", "refused: Consul has gateways decrypt", "panic -1", "!exported~shop")
	importer.same("api.default.default.dc2.external", "shop.default.default.dc2.external", "!db.default.default")

	must(t, home.WriteConfig(t.Context(), &api.ServiceResolverConfigEntry{
		Kind: api.ServiceResolver, Name: "api", ConnectTimeout: 9 * time.Second,
		LoadBalancer: &api.LoadBalancer{Policy: "ring_hash"},
	}))
	exporter.same("= random connect 9s panic -1", "= round_robin connect 9s panic 50")

	must(t, home.Export(t.Context(), []string{"shop"}, cloud.Datacenter))
	exporter.same("!exported~", "shop.default.default.dc2.external")
	importer.same("!api.default.default", "shop.default.default.dc2.external")

	must(t, consul.PeerThroughGateways(t.Context(), home, cloud))
	exporter.same("server.dc1.peering")
	importer.same("server.dc2.peering", "server.dc1.peering")
}

// TestWANFederation: servers of federated datacenters reach each other
// through the gateways alone, which nobody runs here: the tables say all there is.
func TestWANFederation(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.TwoDatacenters, consul.Settings{})
	for i, a := range c.Agents {
		g := consul.MeshGateway{ID: "gw", Name: "gw", LAN: c.Gateway(i + 1), WAN: c.Gateway(i + 1).String(), ExposeServers: true}
		must(t, a.RegisterMeshGateway(t.Context(), g))
		p := watch(t, a, g, "")
		p.same("srv-" + a.Datacenter + ".server." + a.Datacenter + ".consul")
		if i == 1 {
			p.same("*.server.dc1.consul", "server.dc2.consul")
		}
	}
}
