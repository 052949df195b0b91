package consul_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/scripts/lab/labtest"
)

func TestThreeServersSurviveOne(t *testing.T) {
	c := consultest.Start(t, consul.ThreeServers, consul.Settings{})
	leader, err := c.Agents[0].Client().Status().Leader()
	must(t, err)
	var killed *consul.Agent
	var rest []*consul.Agent
	for _, a := range c.Agents {
		if leader == a.Addr.String()+":8300" {
			killed = a
		} else {
			rest = append(rest, a)
		}
	}
	if killed == nil || len(rest) != 2 {
		t.Fatalf("the leader %s is none of the cluster's", leader)
	}
	must(t, killed.Kill())
	for _, a := range rest {
		eventually(t, "another leader", func() error {
			now, err := a.Client().Status().Leader()
			if err == nil && (now == "" || now == leader) {
				err = fmt.Errorf("the leader is %q", now)
			}
			return err
		})
		must(t, a.Register(t.Context(), consul.Service{Name: "from-" + a.Node, Addr: addrPort(c, 20, 9001)}))
	}
	must(t, killed.Restart())
	must(t, c.WaitHealthy(t.Context()))
	eventually(t, "the one that came back to have what it missed", func() error {
		for _, a := range rest {
			nodes, _, err := killed.Client().Health().Service("from-"+a.Node, "", true, &api.QueryOptions{AllowStale: true})
			if err != nil || len(nodes) != 1 {
				return fmt.Errorf("%d nodes, error %v", len(nodes), err)
			}
		}
		return nil
	})
}

func TestTwoDatacenters(t *testing.T) {
	for _, s := range []consul.Settings{{}, {ACL: true, TLS: true}} {
		t.Run(fmt.Sprintf("acl=%v,tls=%v", s.ACL, s.TLS), func(t *testing.T) {
			c := consultest.Start(t, consul.TwoDatacenters, s)
			seeEachOther(t, c)
		})
	}
}

// seeEachOther fails the test unless what is registered in one datacenter is seen
// in the other, and both have one root.
func seeEachOther(t *testing.T, c *consul.Cluster) {
	t.Helper()
	dc1, dc2 := c.Agents[0], c.Agents[1]
	for _, p := range []struct{ here, there *consul.Agent }{{dc1, dc2}, {dc2, dc1}} {
		name := "of-" + p.there.Datacenter
		must(t, p.there.Register(t.Context(), consul.Service{Name: name, Addr: addrPort(c, 20, 9001)}))
		eventually(t, "a service of "+p.there.Datacenter, func() error {
			nodes, _, err := p.here.Client().Health().Service(name, "", true, &api.QueryOptions{Datacenter: p.there.Datacenter})
			if err == nil && len(nodes) != 1 {
				err = fmt.Errorf("%d instances", len(nodes))
			}
			return err
		})
	}
	var domains []string
	for _, a := range c.Agents {
		r, err := a.Roots(t.Context())
		must(t, err)
		domains = append(domains, r.TrustDomain)
	}
	if domains[0] != domains[1] {
		t.Errorf("trust domains: %v, want one", domains)
	}
}

func TestTwoDatacentersInNamespaces(t *testing.T) {
	l := labtest.New(t)
	hosts := []consul.Host{
		{Namespace: l.NS("dc1"), Addr: l.NS("dc1").Left.IPv4},
		{Namespace: l.NS("dc2"), Addr: l.NS("dc2").Left.IPv4},
	}
	c := consultest.Start(t, consul.TwoDatacenters, consul.Settings{Hosts: hosts, Dir: l.Dir, ACL: true, TLS: true})
	if c.Loopback(1, 1).IsValid() {
		t.Error("claimed loopback addresses that nobody needs")
	}
	seeEachOther(t, c)
}

func TestTwoThroughGateways(t *testing.T) {
	shape := func(ctx context.Context, s consul.Settings) (*consul.Cluster, error) {
		return consul.TwoThroughGateways(ctx, s, "")
	}
	c := consultest.Start(t, shape, consul.Settings{ACL: true})
	dc1, dc2 := c.Agents[0], c.Agents[1]
	for i, a := range c.Agents {
		other := c.Agents[1-i]
		forward(t, c.Gateway(i+1).String(), map[string]string{
			"*.server." + a.Datacenter + ".consul":     a.Addr.String() + ":8300",
			"server." + a.Datacenter + ".consul":       a.Addr.String() + ":8300",
			"*.server." + other.Datacenter + ".consul": c.Gateway(2 - i).String(),
		})
	}
	register := func(a *consul.Agent, dc int) {
		t.Helper()
		gateway := consul.MeshGateway{LAN: c.Gateway(dc), WAN: c.Gateway(dc).String(), ExposeServers: true}
		must(t, a.RegisterMeshGateway(t.Context(), gateway))
	}
	register(dc1, 1)
	// dc2 copies the tokens out through the primary's gateway; until it has, it
	// takes none.
	must(t, dc2.WaitHealthy(t.Context()))
	register(dc2, 2)
	must(t, c.WaitFederated(t.Context()))
	seeEachOther(t, c)
}

func TestPeered(t *testing.T) {
	c := consultest.Start(t, consul.Peered, consul.Settings{ACL: true})
	export(t, c)
	imported(t, c, false, c.Loopback(1, 20).String())
}

// export exports the service web, which has a sidecar, from dc1 to dc2.
func export(t *testing.T, c *consul.Cluster) {
	t.Helper()
	dc1 := c.Agents[0]
	must(t, dc1.Register(t.Context(), consul.Service{Name: "web", Addr: addrPort(c, 20, 9001), Sidecar: 19001}))
	must(t, dc1.Export(t.Context(), []string{"web"}, "dc2"))
}

// imported waits until dc2 sees one instance of web, or one way to it for the mesh,
// at the address.
func imported(t *testing.T, c *consul.Cluster, mesh bool, addr string) {
	t.Helper()
	eventually(t, "the exported service", func() error {
		health := c.Agents[1].Client().Health()
		look := health.Service
		if mesh {
			look = health.Connect
		}
		nodes, _, err := look("web", "", true, &api.QueryOptions{Peer: "dc1"})
		if err == nil && (len(nodes) != 1 || nodes[0].Service.Address != addr) {
			err = fmt.Errorf("%d instances", len(nodes))
		}
		return err
	})
}

func TestPeeredThroughGateways(t *testing.T) {
	c := consultest.Start(t, consul.TwoMeshes, consul.Settings{})
	dc1, dc2 := c.Agents[0], c.Agents[1]
	must(t, consul.PeerThroughGateways(t.Context(), dc1, dc2))
	roots, err := dc1.Roots(t.Context())
	must(t, err)
	// dc2 dials out by its own gateway, which has the way from the token.
	name := "server.dc1.peering." + roots.TrustDomain
	forward(t, c.Gateway(1).String(), map[string]string{name: dc1.GRPCTLS()})
	forward(t, c.Gateway(2).String(), map[string]string{name: c.Gateway(1).String()})
	for i, a := range c.Agents {
		g := consul.MeshGateway{LAN: c.Gateway(i + 1), WAN: c.Gateway(i + 1).String()}
		must(t, a.RegisterMeshGateway(t.Context(), g))
		eventually(t, "the gateway to be alive to Consul", func() error {
			nodes, _, err := a.Client().Health().Service("mesh-gateway", "", true, nil)
			if err == nil && len(nodes) != 1 {
				err = errors.New("there is none")
			}
			return err
		})
	}
	must(t, consul.Peer(t.Context(), dc1, dc2))
	peer, _, err := dc2.Client().Peerings().Read(t.Context(), "dc1", nil)
	must(t, err)
	if got, want := peer.PeerServerAddresses, c.Gateway(1).String(); len(got) != 1 || got[0] != want {
		t.Errorf("dc2 dials %v, want the gateway %s alone", got, want)
	}
	export(t, c)
	// The mesh's way to an imported service is the gateway of its peer.
	imported(t, c, true, c.Gateway(1).Addr().String())
}

func TestSettingsRefused(t *testing.T) {
	hosts := []consul.Host{{}}
	if _, err := consul.TwoDatacenters(t.Context(), consul.Settings{Hosts: hosts}); err == nil {
		t.Error("two agents on one host, and no error")
	}
	for _, o := range []consul.Options{{Binary: "/bin/true"}, {Binary: "/bin/true", GatewayWAN: true, Host: consul.Host{Addr: loopback}}} {
		if _, err := consul.Start(t.Context(), o); err == nil {
			t.Errorf("no error from %+v", o)
		}
	}
}
