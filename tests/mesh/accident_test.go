package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestServersLoseState: a datacenter that comes back empty, with another trust domain
// even, empties no table, whichever source there is, and what is registered after that
// counts. That a service which is deregistered does leave is TestFlowsFollowHealth.
func TestServersLoseState(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.OneServer, consul.Settings{TLS: true})
	a := c.Agents[0]
	gateways := bothSources(t, c, a, "")
	serve(t, a, instance(c, "web", "web1", 1, 21))
	serve(t, a, instance(c, "api", "api1", 1, 22))
	web, api := caller(t, a, "web", "dc1"), caller(t, a, "api", "dc1")
	var loads []*load
	for _, g := range gateways {
		answers(t, g.addr, web, "web1")
		answers(t, g.addr, api, "api1")
		loads = append(loads, startLoad(t, g.addr, web), startLoad(t, g.addr, api))
	}

	must(t, a.Kill())
	for _, g := range gateways {
		g.measures("sluice_source_connected", 0)
	}
	must(t, os.RemoveAll(filepath.Join(a.Dir, "data")))
	must(t, a.Restart())
	must(t, a.WaitHealthy(t.Context()))
	for _, g := range gateways {
		g.measures("sluice_source_connected", 1)
		g.logged("registered again with the agent")
		eventually(t, "two clusters to be kept", func() error {
			// Or more: the catalog may tell of the new trust domain before it has lost
			// the services of the old one.
			if got := g.metric("sluice_table_kept_clusters"); got < 2 {
				return fmt.Errorf("it is %v", got)
			}
			return nil
		})
	}
	more(loads)

	serve(t, a, instance(c, "late", "late1", 1, 23))
	for _, g := range gateways {
		answers(t, g.addr, caller(t, a, "late", "dc1"), "late1")
	}
	// All that is kept may have come back by another name: it is held for long.
	more(loads)
	for _, l := range loads {
		l.stop()
	}
}
