package mesh

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestServersThroughGateways: the servers of two datacenters know each other by way
// of two gateways alone, which take either source, and so do clients and services.
// The differential test is on this cluster too.
func TestServersThroughGateways(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, func(ctx context.Context, s consul.Settings) (*consul.Cluster, error) {
		return consul.TwoThroughGateways(ctx, s, "")
	}, consul.Settings{ACL: true})
	here, there := c.Agents[0], c.Agents[1]
	// The primary makes it, and dc2's server hears of it through the first gateway.
	rights := token(t, here)
	one := startOwn(t, c, here, 1, 10, rights, "-source", "xds", "-expose-servers").ready()
	two := startOwn(t, c, there, 2, 10, rights, "-source", "catalog", "-expose-servers").ready()
	must(t, c.WaitFederated(t.Context()))

	serve(t, there, instance(c, "web", "web1", 2, 21))
	web := caller(t, here, "web", "dc2")
	answers(t, one.addr, web, "web1") // mode local
	answers(t, two.addr, web, "web1") // mode remote
	for i, a := range c.Agents {
		g := consul.MeshGateway{ID: "gw10", ExposeServers: true}
		watch(t, a, g, c.Token).same("srv-"+a.Datacenter+".server."+a.Datacenter+".consul",
			"*.server."+c.Agents[1-i].Datacenter+".consul", "!web.default.dc1")
	}

	for i, g := range []*gateway{one, two} {
		g.kill()
		lost, other := c.Agents[i].Datacenter, c.Agents[1-i]
		eventually(t, "the servers of "+lost+" to be missed", func() error {
			if readable(t.Context(), other, lost) == nil {
				return errors.New("their catalog can be read")
			}
			return nil
		})
		g.start()
		g.ready()
		begun := time.Now()
		must(t, c.WaitFederated(t.Context()))
		t.Logf("servers find each other again after %v", time.Since(begun).Round(time.Millisecond))
	}
	answers(t, one.addr, web, "web1")
	for i, g := range []*gateway{one, two} {
		g.stop()
		suffix := ".server." + c.Agents[i].Datacenter + ".consul"
		logged(t, g, func(r record) bool { return strings.HasSuffix(r.SNI, suffix) && r.Path != "" })
	}
}

// readable is whether an agent can read the catalog of a datacenter now.
func readable(ctx context.Context, a *consul.Agent, datacenter string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, _, err := a.Client().Catalog().Nodes((&api.QueryOptions{Datacenter: datacenter}).WithContext(ctx))
	return err
}
