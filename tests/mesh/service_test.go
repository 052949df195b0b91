package mesh

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/userspace/snapshot"
)

// TestDrainIsSeen: a gateway that drains is not to be chosen any more in the other
// datacenter while it still carries its flows, and is gone from Consul at its end.
func TestDrainIsSeen(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.TwoDatacenters, consul.Settings{ACL: true})
	here, there := c.Agents[0], c.Agents[1]
	g := startOwn(t, c, here, 1, 10, token(t, here), "-deregister-after-critical", "7m", "-drain-timeout", "1m", "-drain-delay", "1s").ready()
	serve(t, here, instance(c, "web", "web1", 1, 21))
	answers(t, g.addr, caller(t, here, "web", "dc1"), "web1")
	conn, _, err := open(t.Context(), g.addr, caller(t, here, "web", "dc1"))
	must(t, err)
	defer conn.Close()

	// The agent tells nobody how it checks, but has it on disk.
	checks, err := filepath.Glob(filepath.Join(here.Dir, "data", "checks", "*"))
	must(t, err)
	var stored struct {
		ChkType struct {
			TCP                            string
			DeregisterCriticalServiceAfter time.Duration
		}
	}
	for _, path := range checks {
		text, err := os.ReadFile(path)
		must(t, err)
		if strings.Contains(string(text), g.addr) {
			must(t, json.Unmarshal(text, &stored))
		}
	}
	if stored.ChkType.TCP != g.addr || stored.ChkType.DeregisterCriticalServiceAfter != 7*time.Minute {
		t.Errorf("the gateway's check is %+v", stored)
	}

	seen := func(passing bool, want int) func() error {
		return func() error {
			instances, _, err := there.Client().Health().Service("gw", "", passing, &api.QueryOptions{Datacenter: "dc1"})
			if err == nil && len(instances) != want {
				err = fmt.Errorf("dc2 sees %d", len(instances))
			}
			return err
		}
	}
	eventually(t, "the gateway to be passing", seen(true, 1))
	must(t, g.cmd.Process.Signal(os.Interrupt))
	eventually(t, "the gateway not to be chosen", seen(true, 0))
	must(t, seen(false, 1)()) // in maintenance, and not gone
	must(t, alive(conn))
	conn.Close()
	g.wait()
	must(t, seen(false, 0)())
}

// TestDefinedByFile: a gateway that the agent has from a file of definitions listens
// where that says, has its options, and warns of what it does not know.
func TestDefinedByFile(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.OneServer, consul.Settings{})
	a := c.Agents[0]
	bound := netip.AddrPortFrom(c.Loopback(1, 11), 9443)
	definition := fmt.Sprintf(`
service {
  kind = "mesh-gateway"
  name = "filed"
  port = 8443
  address = %q
  proxy {
    config {
      connect_timeout_ms = 1234
      envoy_gateway_no_default_bind = true
      envoy_mesh_gateway_bind_addresses = {
        all = {
          address = %q
          port = %d
        }
      }
      no_such_option = true
      envoy_dns_discovery_type = "STRICT_DNS"
    }
  }
}
`, c.Loopback(1, 10), bound.Addr(), bound.Port())
	must(t, os.WriteFile(filepath.Join(a.Dir, "config", "30-gateway.hcl"), []byte(definition), 0o600))
	serve(t, a, instance(c, "web", "web1", 1, 21))
	web := caller(t, a, "web", "dc1")
	for _, source := range []string{"xds", "catalog"} {
		g := startGateway(t, a, "", "-source", source)
		if source == "xds" { // which comes first, and waits for the definition
			g.logged("waiting for somebody to tell the agent of the gateway's service")
			must(t, a.Client().Agent().Reload())
		}
		g.ready()
		answers(t, bound.String(), web, "web1")
		g.logged("no_such_option is not a known option")
		eventually(t, "the table on disk, with the timeout of the definition", func() error {
			table, _, err := snapshot.Read(g.file("table"))
			if err != nil {
				return err
			}
			for cluster := range table.Clusters() {
				if cluster.ConnectTimeout == 1234*time.Millisecond {
					return nil
				}
			}
			return fmt.Errorf("no cluster of %s has it", table)
		})
		g.stop()
		if _, _, err := a.Client().Agent().Service("filed", nil); err != nil {
			t.Errorf("%s: what the gateway does not own is gone: %v", source, err)
		}
	}
}
