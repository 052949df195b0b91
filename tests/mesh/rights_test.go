package mesh

import (
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestRightLost: what a token may read no more stays in the table, and the log names
// the right; with the right back, the gateway goes on.
func TestRightLost(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, TLS: true})
	a := c.Agents[0]
	gateways := bothSources(t, c, a, token(t, a))
	serve(t, a, instance(c, "web", "web1", 1, 21))
	serve(t, a, instance(c, "api", "api1", 1, 22))
	web, api := caller(t, a, "web", "dc1"), caller(t, a, "api", "dc1")
	for _, g := range gateways {
		answers(t, g.addr, web, "web1")
		answers(t, g.addr, api, "api1")
	}

	rules := consul.GatewayRules("gw")
	allow(t, a, strings.Replace(rules, `service_prefix "" { policy = "read" }`, "", 1))
	// Answers come when something changes.
	serve(t, a, instance(c, "late", "late1", 1, 23))
	serve(t, a, instance(c, "web", "web2", 1, 24))
	for _, g := range gateways {
		g.logged(`service_prefix \"\" { policy = \"read\" }`)
		must(t, answeredBy(t, g.addr, web, "web1"))
		must(t, answeredBy(t, g.addr, api, "api1"))
	}

	allow(t, a, rules)
	must(t, a.Deregister(t.Context(), "web1"))
	for _, g := range gateways {
		answers(t, g.addr, caller(t, a, "late", "dc1"), "late1")
	}
	follow(t, "the right is back", has(t, a, "web", c.Loopback(1, 24)), gateways, func(g *gateway) error { return answeredBy(t, g.addr, web, "web2") })
}

// allow changes what the gateways' token is allowed.
func allow(t *testing.T, a *consul.Agent, rules string) {
	t.Helper()
	acl := a.Client().ACL()
	policy, _, err := acl.PolicyReadByName("gateway-gw-"+a.Datacenter, nil)
	must(t, err)
	policy.Rules = rules
	_, _, err = acl.PolicyUpdate(policy, nil)
	must(t, err)
}

// TestTokenRotated: a gateway whose token is in a file takes the next one from there,
// and the one before may be deleted after that.
func TestTokenRotated(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, TLS: true})
	a := c.Agents[0]
	old := token(t, a)
	next, err := a.NewToken(t.Context(), "gateway-next", consul.GatewayRules("gw"))
	must(t, err)
	file := t.TempDir() + "/token"
	rotate := func(token string) {
		must(t, os.WriteFile(file+".new", []byte(token+"\n"), 0o600))
		must(t, os.Rename(file+".new", file))
	}
	rotate(old)
	gateways := bothSources(t, c, a, "", "-token-file", file)
	serve(t, a, instance(c, "web", "web1", 1, 21))
	for _, g := range gateways {
		answers(t, g.addr, caller(t, a, "web", "dc1"), "web1")
	}

	rotate(next)
	gateways["xds"].logged("the token is another one: beginning a new stream with it")
	for _, g := range gateways {
		g.logged("the token is another one: the gateway's service has it too")
	}
	self, _, err := a.Client().ACL().TokenReadSelf(&api.QueryOptions{Token: old})
	must(t, err)
	_, err = a.Client().ACL().TokenDelete(self.AccessorID, nil)
	must(t, err)
	serve(t, a, instance(c, "late", "late1", 1, 22))
	for _, g := range gateways {
		answers(t, g.addr, caller(t, a, "late", "dc1"), "late1")
		g.measures("sluice_source_connected", 1)
	}
}
