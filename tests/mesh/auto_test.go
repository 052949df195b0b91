package mesh

import (
	"slices"
	"strings"
	"testing"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestAutomaticSource: without -source it is xDS that gives the routes, and the
// catalog where the agent has no gRPC; the log says which and why, and where nobody
// says where the agent's gRPC port is, it is found.
func TestAutomaticSource(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, hcl, logged string }{
		{"xds", "", "routes come by xDS, for it answers"},
		{"catalog", "ports { grpc = -1 grpc_tls = -1 }", "routes come from the catalog, for xDS does not answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, HCL: test.hcl})
			a := c.Agents[0]
			rights := token(t, a)
			told := startOwn(t, c, a, 1, 10, rights)
			finds := startOwn(t, c, a, 1, 11, rights)
			finds.kill()
			finds.env = slices.DeleteFunc(finds.env, func(e string) bool { return strings.HasPrefix(e, "CONSUL_GRPC_ADDR=") })
			finds.start()
			serve(t, a, instance(c, "web", "web1", 1, 21))
			for _, g := range []*gateway{told, finds} {
				g.ready()
				g.logged(test.logged)
				answers(t, g.addr, caller(t, a, "web", "dc1"), "web1")
				g.measures("sluice_source_connected", 1)
			}
			if test.name == "catalog" {
				told.logged("the agent is not running, or has no gRPC port")
			}
		})
	}
}
