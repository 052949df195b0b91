package mesh

import (
	"net/netip"
	"slices"
	"testing"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestAcrossDatacenters is what a mesh gateway is for: a client in dc1 calls a
// service in dc2 through both gateways, and through the other one alone.
func TestAcrossDatacenters(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"xds", "catalog"} {
		t.Run(source, func(t *testing.T) {
			c := consultest.Start(t, consul.TwoDatacenters, consul.Settings{ACL: true, TLS: true})
			here, there := c.Agents[0], c.Agents[1]
			one := startGateway(t, here, token(t, here), "-source", source, "-register", "-service", "gw",
				"-address", c.Gateway(1).String(), "-wan-address", c.Gateway(1).String()).ready()
			two := startGateway(t, there, token(t, there), "-source", source, "-register", "-service", "gw",
				"-address", c.Gateway(2).String(), "-wan-address", c.Gateway(2).String()).ready()

			web := consul.Service{Name: "web", Addr: netip.AddrPortFrom(c.Loopback(2, 21), 80), Sidecar: 20000}
			echo(t, "web in dc2", web.Addr)
			must(t, there.Register(t.Context(), web))
			must(t, here.Allow(t.Context(), "client", "web"))
			_, err := there.ConnectProxy(t.Context(), nil, "web")
			must(t, err)
			roots, err := here.Roots(t.Context())
			must(t, err)
			sni := roots.SNI("web", "dc2")
			client, err := here.ClientTLS(t.Context(), "client", sni)
			must(t, err)

			answers(t, c.Gateway(1).String(), client, "web in dc2") // mode local
			answers(t, c.Gateway(2).String(), client, "web in dc2") // mode remote
			for _, g := range []*gateway{one, two} {
				g.stop()
				if !slices.ContainsFunc(g.records(), func(r record) bool { return r.SNI == sni && r.Path != "" }) {
					t.Errorf("no flow to %s is logged", sni)
				}
			}
		})
	}
}
