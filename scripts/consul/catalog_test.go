package consul_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestFillIsRegister compares what the two ways make of one service.
func TestFillIsRegister(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true})
	a := c.Agents[0]
	web := consul.Service{
		Name: "web", ID: "web-1", Addr: addrPort(c, 20, 9001), Sidecar: 19001, Status: "warning",
		Passing: 10, Warning: 2, Tags: []string{"blue"}, Meta: map[string]string{"version": "v1"},
	}
	must(t, a.Register(t.Context(), web))
	must(t, a.Fill(t.Context(), "bulk", web))
	for _, look := range []func(string, string, bool, *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error){
		a.Client().Health().Service, a.Client().Health().Connect,
	} {
		eventually(t, "both instances to be the same", func() error {
			nodes, _, err := look("web", "", false, nil)
			if err != nil || len(nodes) != 2 {
				return fmt.Errorf("%d instances, error %v", len(nodes), err)
			}
			ignore := cmpopts.IgnoreFields(api.AgentService{}, "CreateIndex", "ModifyIndex")
			if diff := cmp.Diff(nodes[0].Service, nodes[1].Service, ignore); diff != "" {
				return fmt.Errorf("services of %s (-) and %s (+):\n%s", nodes[0].Node.Node, nodes[1].Node.Node, diff)
			}
			if a, b := nodes[0].Checks.AggregatedStatus(), nodes[1].Checks.AggregatedStatus(); a != "warning" || b != a {
				return fmt.Errorf("%s and %s", a, b)
			}
			return nil
		})
	}
	with := web
	with.Upstreams = []api.Upstream{{DestinationName: "db", LocalBindPort: 5000}}
	if err := a.Fill(t.Context(), "bulk", with); err == nil {
		t.Error("upstreams that Consul loses were taken")
	}
	web.Status = "critical"
	must(t, a.Fill(t.Context(), "bulk", web))
	must(t, a.Deregister(t.Context(), "web-1"))
	eventually(t, "one critical sidecar", func() error {
		nodes, _, err := a.Client().Health().Connect("web", "", false, nil)
		if err == nil && (len(nodes) != 1 || nodes[0].Checks.AggregatedStatus() != "critical") {
			err = fmt.Errorf("%d instances", len(nodes))
		}
		return err
	})
}

func TestFillMany(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{})
	a := c.Agents[0]
	const n = 2000
	var services []consul.Service
	for i := range n {
		services = append(services, consul.Service{Name: fmt.Sprintf("svc-%d", i), Addr: addrPort(c, 20, 9001), Sidecar: 19001})
	}
	count := func(want int) {
		t.Helper()
		all, _, err := a.Client().Catalog().Services(&api.QueryOptions{RequireConsistent: true})
		must(t, err)
		if len(all) != want {
			t.Errorf("%d names in the catalog, want %d", len(all), want)
		}
	}
	begun := time.Now()
	must(t, a.Fill(t.Context(), "bulk", services...))
	t.Logf("%d services with sidecars in %v", n, time.Since(begun).Round(time.Millisecond))
	count(2*n + 1) // and consul itself

	must(t, a.Remove(t.Context(), "bulk", services[1:]...))
	count(2 + 1)
}
