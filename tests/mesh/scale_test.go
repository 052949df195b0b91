package mesh

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/userspace/route"
)

// TestTwoThousandServices: both sources make the same table of a large mesh, and follow
// a change in it. How long that took is in the log; how long it may take is for the
// benchmarks to say.
func TestTwoThousandServices(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, TLS: true})
	a := c.Agents[0]
	gateway := consul.MeshGateway{ID: "gw", Name: "gw", LAN: c.Gateway(1)}
	gateway.Token = token(t, a)
	must(t, a.RegisterMeshGateway(t.Context(), gateway))
	service := func(i int, status string) consul.Service {
		return consul.Service{
			Name: fmt.Sprintf("service-%d", i), Sidecar: 20000, Status: status,
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i%250 + 1)}), 80),
		}
	}
	const many = 2000
	var all []consul.Service
	for i := range many {
		all = append(all, service(i, api.HealthPassing))
	}
	must(t, a.Fill(t.Context(), "bulk", all...))

	begun := time.Now()
	p := watch(t, a, gateway, gateway.Token)
	whole := func(name string, of func() *route.Table) {
		eventually(t, name+"'s table to have all services", func() error {
			if table := of(); table != nil {
				if _, clusters := table.Len(); clusters == many {
					return nil
				}
			}
			return fmt.Errorf("it has not")
		})
		t.Logf("%s: all %d services after %v", name, many, time.Since(begun).Round(time.Millisecond))
	}
	whole("xds", p.xds.Load)
	whole("catalog", p.catalog.Load)
	p.same("service-1999.default.dc1")
	must(t, a.Fill(t.Context(), "bulk", service(77, api.HealthCritical)))
	p.same("10.1.0.78:20000 critical")
	must(t, a.Remove(t.Context(), "bulk", service(78, "")))
	p.same("!service-78.default")
}
