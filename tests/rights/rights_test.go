package rights

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// names are the server names that a gateway with all rights has routes of.
type names struct {
	web      string // a service of this datacenter
	dc2      string // all of the federated datacenter
	exported string // api, as the peer calls it
	http     string // shop, which is exported too but is no tcp service
	imported string // far, of the peer
	servers  string // this datacenter's servers, for federation
	peering  string // and for peering
}

// mesh is dc1 with all that a mesh gateway may have to know: services, a federated
// datacenter, a peer that uses some of its services and lets it use one.
func mesh(t *testing.T) (*consul.Cluster, names) {
	ctx := t.Context()
	c := consultest.Start(t, consul.TwoDatacenters, consul.Settings{ACL: true, TLS: true})
	here, there := c.Agents[0], c.Agents[1]
	cloud, err := c.Add(ctx, consul.Options{Host: consul.Host{Addr: c.Loopback(3, 1)}, Datacenter: "cloud"})
	must(t, err)
	must(t, cloud.WaitHealthy(ctx))
	for i, a := range []*consul.Agent{there, cloud} {
		at := c.Gateway(i + 2)
		must(t, a.RegisterMeshGateway(ctx, consul.MeshGateway{LAN: at, WAN: at.String(), ExposeServers: true}))
	}
	must(t, consul.Peer(ctx, here, cloud))
	service := func(name string, dc, host int) consul.Service {
		return consul.Service{Name: name, Addr: netip.AddrPortFrom(c.Loopback(dc, host), 80), Sidecar: 20000}
	}
	must(t, here.Register(ctx, service("web", 1, 21), service("api", 1, 22), service("shop", 1, 23)))
	must(t, cloud.Register(ctx, service("far", 3, 21)))
	must(t, here.WriteConfig(ctx,
		&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "shop", Protocol: "http"},
		&api.MeshConfigEntry{Peering: &api.PeeringMeshConfig{PeerThroughMeshGateways: true}}))
	must(t, here.Export(ctx, []string{"api", "shop"}, "cloud"))
	must(t, cloud.Export(ctx, []string{"far"}, "dc1"))

	ours, err := here.Roots(ctx)
	must(t, err)
	theirs, err := cloud.Roots(ctx)
	must(t, err)
	return c, names{
		web:      ours.SNI("web", "dc1"),
		dc2:      "*.dc2.internal." + ours.TrustDomain,
		exported: "api.default.default.cloud.external." + ours.TrustDomain,
		http:     "shop.default.default.cloud.external." + ours.TrustDomain,
		imported: "far.default.default.dc1.external." + theirs.TrustDomain,
		servers:  "srv-dc1.server.dc1.consul",
		peering:  "server.dc1.peering." + ours.TrustDomain,
	}
}

// without is the policy of README.md less the line that begins so.
func without(t *testing.T, rule string) string {
	t.Helper()
	var rest []string
	all := strings.Split(consul.GatewayRules("gw"), "\n")
	for _, line := range all {
		if rule == "" || !strings.HasPrefix(line, rule) {
			rest = append(rest, line)
		}
	}
	if rule != "" && len(rest) != len(all)-1 {
		t.Fatalf("no rule, or several, begin with %q", rule)
	}
	return strings.Join(rest, "\n")
}

// TestREADME checks that the policy in README.md is the one that is tested.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	must(t, err)
	want := "\n    " + strings.ReplaceAll(strings.TrimSpace(consul.GatewayRules("mesh-gateway")), "\n", "\n    ") + "\n"
	if !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not have the policy:\n%s", want)
	}
}

func TestMissingRights(t *testing.T) {
	c, n := mesh(t)
	here := c.Agents[0]
	all := []string{n.web, n.dc2, n.exported, n.imported, n.servers, n.peering}
	const (
		noWrite  = `lacks permission 'service:write' on \"gw\")" probably="the token lacks service:write for \"gw\""`
		notAll   = `msg="the token does not see all services: those that it may not read have no route"`
		notThere = `msg="consul: the token does not see all there is: what it may not read is as if it were not there"`
		noAgent  = `lacks permission 'agent:read' on \"srv-dc1\")" probably="the token lacks agent:read for the agent's node"`
	)
	type test struct {
		source, missing string
		says            string
		has, lacks      []string // nil: no table at all
	}
	tests := []test{
		{"xds", ``, "xds: first table", all, nil},
		{"xds", `service "gw"`, noWrite, nil, nil},
		{"xds", `service_prefix`, notAll, []string{"server.dc1.consul"}, all},
		{"xds", `node_prefix`, notAll, []string{n.imported}, []string{n.web, n.dc2, n.exported, n.servers, n.peering}},
		{"xds", `agent_prefix`, noAgent, all, nil},
		{"xds", `mesh`, "xds: first table", all, nil},
		{"xds", `peering`, "xds: first table", all, nil},

		{"catalog", ``, "consul: first table", append([]string{n.http}, all...), nil},
		{"catalog", `service "gw"`, noWrite, nil, nil},
		{"catalog", `service_prefix`, notThere,
			[]string{n.imported}, []string{n.web, n.dc2, n.exported, n.servers, n.peering}},
		{"catalog", `node_prefix`, notThere, []string{n.imported}, []string{n.web, n.dc2, n.exported, n.servers, n.peering}},
		{"catalog", `agent_prefix`, noAgent, all, nil},
		{"catalog", `mesh`, `lacks permission 'mesh:read')" probably="the token lacks mesh = \"read\""`,
			[]string{n.web, n.dc2, n.imported, n.servers, n.peering}, []string{n.exported, n.http}},
		{"catalog", `peering`, `lacks permission 'peering:read')" probably="the token lacks peering = \"read\""`,
			[]string{n.web, n.dc2, n.exported, n.servers}, []string{n.imported}},
	}
	var asked int // for the name of a policy and the address of a gateway
	gateway := func(t *testing.T, source, rules string) *gateway {
		asked++
		token, err := here.NewToken(t.Context(), fmt.Sprintf("rights-%d", asked), rules)
		must(t, err)
		at := netip.AddrPortFrom(c.Loopback(1, 100+asked), 8443).String()
		return start(t, here, token, "-register", "-service", "gw", "-proxy-id", fmt.Sprintf("gw-%d", asked),
			"-source", source, "-expose-servers", "-address", at, "-wan-address", at)
	}
	for _, test := range tests {
		name := test.source + " with all"
		if test.missing != "" {
			name = test.source + " without " + test.missing
		}
		t.Run(name, func(t *testing.T) {
			g := gateway(t, test.source, without(t, test.missing))
			g.says(test.says)
			if test.has != nil {
				g.routes(test.has, test.lacks)
			} else if strings.Contains(g.text(), "msg=ready") {
				t.Error("it is ready")
			}
		})
	}

	t.Run("unknown token", func(t *testing.T) {
		g := start(t, here, "11111111-2222-3333-4444-555555555555", "-register", "-service", "gw", "-address", c.Gateway(1).String())
		g.says(`probably="the agent does not know the token: it is wrong, expired or deleted, or too new for the agent"`)
	})

	// An agent makes a certificate for a gateway that is to decrypt, and keeps it for
	// whoever asks: so this comes last.
	t.Run("http exports by xds", func(t *testing.T) {
		gateway(t, "xds", without(t, "")).routes(all, []string{n.http})
		gateway(t, "xds", without(t, "mesh")+"\nmesh = \"write\"\n").routes(append(all, n.http), nil)
	})
}
