package mesh

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
)

// TestFlowsFollowHealth: new flows follow checks and deregistrations, and the log says
// how fast: it should be within a second. Flows to an endpoint that left stay, or with
// -removed-grace end.
func TestFlowsFollowHealth(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, TLS: true})
	a := c.Agents[0]
	rights := token(t, a)
	gateways := bothSources(t, c, a, rights)
	gateways["grace"] = startOwn(t, c, a, 1, 12, rights, "-removed-grace", "200ms").ready()
	serve(t, a, instance(c, "web", "web1", 1, 21))
	serve(t, a, instance(c, "web", "web2", 1, 22))
	serve(t, a, instance(c, "api", "api1", 1, 23))
	web := caller(t, a, "web", "dc1")
	only := func(what, want string, host int) {
		t.Helper()
		follow(t, what, has(t, a, "web", c.Loopback(1, host)), gateways,
			func(g *gateway) error { return answeredBy(t, g.addr, web, want) })
	}

	must(t, a.SetCheck(t.Context(), "web1", api.HealthCritical))
	only("web1 is critical", "web2", 22)
	must(t, a.SetCheck(t.Context(), "web1", api.HealthPassing))
	must(t, a.SetCheck(t.Context(), "web2", api.HealthCritical))
	only("web1 is passing again", "web1", 21)
	flows := map[string]net.Conn{}
	for source, g := range gateways {
		conn, _, err := open(t.Context(), g.addr, web)
		must(t, err)
		defer conn.Close()
		flows[source] = conn
	}
	must(t, a.SetCheck(t.Context(), "web2", api.HealthPassing))
	must(t, a.Deregister(t.Context(), "web1"))
	only("web1 is deregistered", "web2", 22)
	must(t, flows["grace"].SetDeadline(time.Now().Add(patience)))
	if _, err := flows["grace"].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("-removed-grace: the flow to what left did not end: %v", err)
	}
	must(t, a.Deregister(t.Context(), "web2"))
	follow(t, "web is deregistered", has(t, a, "web"), gateways, func(g *gateway) error { return refused(t, g.addr, web) })
	for source, conn := range flows {
		if source != "grace" {
			must(t, alive(conn))
		}
	}
}

// alive is whether a flow still carries bytes both ways.
func alive(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "still there?\n"); err != nil {
		return err
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "still there?\n" {
		return fmt.Errorf("the answer is %q: %w", line, err)
	}
	return nil
}

// TestGatewayReplaced: a gateway of the other datacenter leaves for one with another
// address, by its own will and without, and new flows take that one.
func TestGatewayReplaced(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, consul.TwoDatacenters, consul.Settings{ACL: true, TLS: true})
	here, there := c.Agents[0], c.Agents[1]
	far := token(t, there)
	first := startOwn(t, c, there, 2, 10, far, "-drain-delay", "2s").ready()
	second := startOwn(t, c, there, 2, 11, far).ready()
	gateways := bothSources(t, c, here, token(t, here))
	serve(t, there, instance(c, "web", "web1", 2, 21))
	web := caller(t, here, "web", "dc2")
	passing(t, there, 2)
	var loads []*load
	for _, g := range gateways {
		answers(t, g.addr, web, "web1")
		loads = append(loads, startLoad(t, g.addr, web))
	}

	// A clean stop costs nobody a call.
	first.stop()
	more(loads)
	for _, l := range loads {
		l.stop()
	}
	second.kill()
	must(t, there.Deregister(t.Context(), "gw11"))
	third := startOwn(t, c, there, 2, 12, far).ready()
	follow(t, "the gateway of dc2 is another one", has(t, there, "web", c.Loopback(2, 21)), gateways, func(g *gateway) error { return answeredBy(t, g.addr, web, "web1") })
	third.stop()
	logged(t, third, func(r record) bool { return r.SNI == web.ServerName && r.Path != "" })
}
