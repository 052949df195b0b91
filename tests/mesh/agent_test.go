package mesh

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/tests/harness"
	"sluice/userspace/route"
	"sluice/userspace/snapshot"
)

// withClient is a datacenter with one server, and a client agent for gateways that
// can die without it.
func withClient(ctx context.Context, s consul.Settings) (*consul.Cluster, error) {
	c, err := consul.OneServer(ctx, s)
	if err != nil {
		return nil, err
	}
	server := c.Agents[0].Addr.String()
	if _, err = c.Add(ctx, consul.Options{
		Host: consul.Host{Addr: c.Loopback(1, 2)}, NoServer: true, RetryJoin: []string{server},
	}); err == nil {
		err = c.WaitHealthy(ctx)
	}
	if err != nil {
		_ = c.Stop()
		return nil, err
	}
	return c, nil
}

// TestAgentLost: no call fails while the gateway's agent is away, nor when it comes
// back, whichever source there is, and the table is the one of before.
func TestAgentLost(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, withClient, consul.Settings{ACL: true, TLS: true})
	server, agent := c.Agents[0], c.Agents[1]
	gateways := bothSources(t, c, agent, token(t, server))
	serve(t, server, instance(c, "web", "web1", 1, 21))
	web := caller(t, server, "web", "dc1")
	var loads []*load
	for _, g := range gateways {
		answers(t, g.addr, web, "web1")
		loads = append(loads, startLoad(t, g.addr, web))
	}
	routes := metrics(t, gateways, "sluice_table_routes")

	must(t, agent.Kill())
	for _, g := range gateways {
		g.measures("sluice_source_connected", 0)
	}
	more(loads)
	// The agent forgets its services, as one that is made anew does.
	for _, lost := range []string{"services", "checks"} {
		must(t, os.RemoveAll(filepath.Join(agent.Dir, "data", lost)))
	}
	must(t, agent.Restart())
	must(t, agent.WaitHealthy(t.Context()))
	for source, g := range gateways {
		g.measures("sluice_source_connected", 1)
		g.logged("registered again with the agent")
		g.measures("sluice_table_routes", routes[source])
	}
	more(loads)
	serve(t, server, instance(c, "late", "late1", 1, 22))
	for _, g := range gateways {
		answers(t, g.addr, caller(t, server, "late", "dc1"), "late1")
	}
	for _, l := range loads {
		l.stop()
	}
}

// TestGatewayWithoutAgent: a gateway that starts while its agent is away serves the
// table of the process before it, and goes on with Consul's.
func TestGatewayWithoutAgent(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, withClient, consul.Settings{ACL: true})
	server, agent := c.Agents[0], c.Agents[1]
	gateways := bothSources(t, c, agent, token(t, server))
	serve(t, server, instance(c, "web", "web1", 1, 21))
	web := caller(t, server, "web", "dc1")
	for source, g := range gateways {
		answers(t, g.addr, web, "web1")
		eventually(t, "the table of "+source+" on disk", func() error {
			last, _, err := snapshot.Read(g.file("table"))
			if err == nil && !hasRoute(last, web.ServerName) {
				err = fmt.Errorf("no route to %s in %s", web.ServerName, last)
			}
			return err
		})
	}

	must(t, agent.Kill())
	for _, g := range gateways {
		g.kill()
		g.start()
	}
	for _, g := range gateways {
		g.ready()
		g.logged("no table from Consul yet: serving the last one, from disk")
		must(t, answeredBy(t, g.addr, web, "web1"))
		g.measures("sluice_source_connected", 0)
	}
	must(t, agent.Restart())
	for _, g := range gateways {
		g.measures("sluice_source_connected", 1)
	}
	serve(t, server, instance(c, "late", "late1", 1, 22))
	for _, g := range gateways {
		answers(t, g.addr, caller(t, server, "late", "dc1"), "late1")
		must(t, answeredBy(t, g.addr, web, "web1"))
	}
}

// TestGatewayFromItsMaps: a gateway that was killed while Consul is away, and has no
// directory for its state, serves from the maps that the one before has left; verbs tell
// of which state of Consul their table is, and -max-table-age holds from then on.
func TestGatewayFromItsMaps(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a BPF file system")
	}
	c := consultest.Start(t, withClient, consul.Settings{ACL: true})
	server, agent := c.Agents[0], c.Agents[1]
	bpf := harness.BPF(t)
	gateways, secret := map[string]*gateway{}, token(t, server)
	for i, source := range []string{"xds", "catalog"} {
		gateways[source] = startOwn(t, c, agent, 1, 10+i, secret, "-source", source,
			"-instance", "maps-"+source, "-bpf-dir", bpf, "-state-dir", "", "-path", "splice")
	}
	serve(t, server, instance(c, "web", "web1", 1, 21))
	web := caller(t, server, "web", "dc1")
	explains := func(source string, says ...string) {
		t.Helper()
		eventually(t, "sluice explain", func() error {
			cmd := exec.Command(harness.Binary(t), "explain", "-bpf-dir", bpf, "-instance", "maps-"+source, "web")
			out, _ := cmd.CombinedOutput() // the status tells whether it is served
			for _, say := range says {
				if !strings.Contains(string(out), say) {
					return fmt.Errorf("it does not say %q:\n%s", say, out)
				}
			}
			return nil
		})
	}
	for source, g := range gateways {
		g.ready()
		answers(t, g.addr, web, "web1")
		explains(source, "Served:", "from "+source+" ("+map[string]string{"xds": "nonce ", "catalog": "index "}[source])
	}
	must(t, agent.Kill())
	for source, g := range gateways {
		g.kill()
		explains(source, "Served:", "does not answer (it has ended)")
		g.start()
	}
	for _, g := range gateways {
		g.ready()
		g.logged("no table from Consul yet: serving the last one, from the kernel's maps")
		must(t, answeredBy(t, g.addr, web, "web1"))
		g.measures("sluice_source_connected", 0)
	}
	// What has been away for so long does not count any more.
	for _, g := range gateways {
		g.kill()
		g.flags = append(g.flags, "-max-table-age", "1ms")
		g.start()
		g.ready()
		if err := answeredBy(t, g.addr, web, "web1"); err == nil {
			t.Error("a table was used that is too old")
		}
		if g.metric(`sluice_refusals_total{reason="no_table"}`) == 0 {
			t.Error("a flow was refused, and not for the table")
		}
	}
	must(t, agent.Restart())
	for _, g := range gateways {
		g.measures("sluice_source_connected", 1)
		answers(t, g.addr, web, "web1")
	}
}

// TestLeaderLost: three servers lose the one that leads, and no call fails.
func TestLeaderLost(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.ThreeServers, consul.Settings{ACL: true})
	leader, follower := roles(t, c)
	gateways := bothSources(t, c, follower, token(t, follower))
	serve(t, follower, instance(c, "web", "web1", 1, 21))
	web := caller(t, follower, "web", "dc1")
	var loads []*load
	for _, g := range gateways {
		answers(t, g.addr, web, "web1")
		loads = append(loads, startLoad(t, g.addr, web))
	}
	must(t, leader.Kill())
	eventually(t, "another leader", func() error {
		if next, err := follower.Client().Status().Leader(); err != nil || next == "" || strings.HasPrefix(next, leader.Addr.String()+":") {
			return fmt.Errorf("it is %q: %v", next, err)
		}
		return nil
	})
	more(loads)
	eventually(t, "a registration to be taken", func() error {
		_, _, err := follower.Client().ConfigEntries().Set(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "late"}, nil)
		return err
	})
	serve(t, follower, instance(c, "late", "late1", 1, 22))
	for _, g := range gateways {
		answers(t, g.addr, caller(t, follower, "late", "dc1"), "late1")
	}
	for _, l := range loads {
		l.stop()
	}
}

// roles are the server that leads, and one that does not.
func roles(t *testing.T, c *consul.Cluster) (leader, follower *consul.Agent) {
	t.Helper()
	at, err := c.Agents[0].Client().Status().Leader()
	must(t, err)
	for _, a := range c.Agents {
		if strings.HasPrefix(at, a.Addr.String()+":") {
			leader = a
		} else {
			follower = a
		}
	}
	return leader, follower
}

// more waits for more calls of each load.
func more(loads []*load) {
	for _, l := range loads {
		l.more(50)
	}
}

func metrics(t *testing.T, gateways map[string]*gateway, series string) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for source, g := range gateways {
		all[source] = g.metric(series)
	}
	return all
}

func hasRoute(table *route.Table, name string) bool {
	for r := range table.Routes() {
		if r.Name == name {
			return true
		}
	}
	return false
}
