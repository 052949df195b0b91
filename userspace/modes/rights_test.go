package modes_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/userspace/modes"
)

// TestRights takes rights away, one at a time: what lacks must be told.
func TestRights(t *testing.T) {
	m := newMesh(t, consul.OneServer)
	m.service(1, 20, "db")
	m.caller(30, "web", func(p *api.AgentServiceConnectProxyConfig) {
		p.Upstreams = upstreams(api.Upstream{DestinationName: "db"})
	})
	m.caller(31, "tp", func(p *api.AgentServiceConnectProxyConfig) { p.Mode = api.ProxyModeTransparent })
	m.must(m.Agents[0].Allow(t.Context(), "tp", "db"))
	m.expect(
		"tp -> 1 other service by intentions | * in dc1 | none | default | sidecars",
		"web -> db | db in dc1 | none | default | sidecars",
	)
	m.warned()
	const nodes = `node_prefix "" { policy = "read" }
`
	for _, c := range []struct{ name, service, rules, fault, warning string }{
		{name: "nothing", rules: `key "x" { policy = "read" }`, warning: "there are no sidecars"},
		{name: "nothing-one", service: "web", rules: `key "x" { policy = "read" }`, fault: `the token lacks service:read on it`},
		{name: "nodes", rules: `service_prefix "" { policy = "read" }`, warning: "held back"},
		{name: "upstream", service: "web", rules: nodes + `service_prefix "web" { policy = "read" }`, fault: "read the discovery chain of db: the token lacks service:read on db"},
		{name: "intentions", rules: nodes + `service_prefix "" { policy = "read" }
service "tp" { policy = "read" intentions = "deny" }`, fault: "read the intentions of tp: the token lacks intentions:read on tp"},
		{name: "peering", rules: nodes + `service_prefix "" { policy = "read" }`, warning: "lacks peering:read"},
	} {
		token, err := m.Agents[0].NewToken(t.Context(), c.name, c.rules)
		m.must(err)
		client, err := m.Agents[0].ClientWith(token)
		m.must(err)
		report, err := modes.Read(t.Context(), client, c.service)
		switch {
		case c.fault != "":
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.fault)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case !strings.Contains(strings.Join(report.Warnings, "\n"), c.warning):
			t.Errorf("%s: warnings %q, want %q", c.name, report.Warnings, c.warning)
		}
	}
	client, err := m.Agents[0].ClientWith("00000000-0000-0000-0000-000000000000")
	m.must(err)
	if _, err := modes.Read(t.Context(), client, ""); err == nil || !strings.Contains(err.Error(), "ACL not found") {
		t.Errorf("with a token that there is not: error %v", err)
	}
}
