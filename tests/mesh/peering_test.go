package mesh

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestPeersThroughGateways: two clusters peer through gateways, one of them with a
// gateway for each source. A client of one mesh calls what the other exports: a tcp
// service answers, and an http one is refused with its reason.
func TestPeersThroughGateways(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.TwoMeshes, consul.Settings{ACL: true, TLS: true})
	home, cloud := c.Agents[0], c.Agents[1]
	must(t, consul.PeerThroughGateways(t.Context(), home, cloud))
	// For exported http services the agent wants a certificate for the gateway before
	// it says a word of them by xDS, and that takes more than a gateway's rights.
	more, err := home.NewToken(t.Context(), "gateway-http", strings.ReplaceAll(consul.GatewayRules("gw"), `mesh = "read"`, `mesh = "write"`))
	must(t, err)
	homes := map[string]*gateway{
		"xds":     startOwn(t, c, home, 1, 10, more, "-source", "xds").ready(),
		"catalog": startOwn(t, c, home, 1, 11, token(t, home), "-source", "catalog").ready(),
	}
	away := startOwn(t, c, cloud, 2, 10, token(t, cloud)).ready()
	passing(t, home, 2)
	passing(t, cloud, 1)
	must(t, consul.Peer(t.Context(), home, cloud))

	serve(t, home, instance(c, "api", "api1", 1, 21), cloud)
	serve(t, home, instance(c, "shop", "shop1", 1, 22), cloud)
	must(t, home.WriteConfig(t.Context(), &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "shop", Protocol: "http"}))
	must(t, home.Export(t.Context(), []string{"api", "shop"}, cloud.Datacenter))

	tcp, http := peerCaller(t, cloud, home, "api"), peerCaller(t, cloud, home, "shop")
	answers(t, away.addr, tcp, "api1")
	eventually(t, "shop to be refused", func() error { return denied(t, away.addr, http) })
	for _, g := range homes {
		answers(t, g.addr, tcp, "api1")
		eventually(t, "shop to be refused", func() error { return denied(t, g.addr, http) })
	}

	away.stop()
	logged(t, away, func(r record) bool { return r.SNI == tcp.ServerName && r.Path != "" })
	server := false // of home, reached by one of its gateways
	for _, g := range homes {
		g.stop()
		logged(t, g, func(r record) bool {
			return r.SNI == http.ServerName && r.Reason == "route_refused" && strings.Contains(r.Detail, "Consul has gateways decrypt")
		})
		server = server || slices.ContainsFunc(g.records(), func(r record) bool { return strings.HasPrefix(r.SNI, "server.dc1.peering.") && r.Path != "" })
	}
	if !server {
		t.Error("no flow to the servers of dc1 is logged")
	}
}

// passing waits until so many gateways are to be used by others: each is critical
// until the agent has connected to it, which takes up to 10 s.
func passing(t testing.TB, a *consul.Agent, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d gateways of %s to pass", want, a.Datacenter), func() error {
		gateways, _, err := a.Client().Health().Service("gw", "", true, nil)
		if err == nil && len(gateways) != want {
			err = fmt.Errorf("there are %d", len(gateways))
		}
		return err
	})
}

// peerCaller is how a client of one mesh calls a service that its peer exports.
func peerCaller(t testing.TB, from, to *consul.Agent, service string) *tls.Config {
	t.Helper()
	roots, err := to.Roots(t.Context())
	must(t, err)
	config, err := to.ClientTLS(t.Context(), "client", service+".default.default."+from.Datacenter+".external."+roots.TrustDomain)
	must(t, err)
	leaf, err := from.Leaf(t.Context(), "client")
	must(t, err)
	config.Certificates = []tls.Certificate{leaf}
	return config
}

// denied is no error if a call is refused by a route that does so.
func denied(t testing.TB, via string, config *tls.Config) error {
	who, err := call(t.Context(), via, config)
	switch {
	case err == nil:
		return fmt.Errorf("%q answered", who)
	case !strings.Contains(err.Error(), "access denied"):
		return err
	}
	return nil
}
