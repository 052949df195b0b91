package consul_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/scripts/lab/labtest"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// addrPort is an address of the cluster's first datacenter, or one that is nobody's
// if it has none of its own.
func addrPort(c *consul.Cluster, host int, port uint16) netip.AddrPort {
	addr := c.Loopback(1, host)
	if !addr.IsValid() {
		addr = netip.MustParseAddr("10.0.3.11")
	}
	return netip.AddrPortFrom(addr, port)
}

// TestService registers, changes and removes an instance, and looks at what the
// mesh is told of it: the sidecar.
func TestService(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{})
	a := c.Agents[0]
	must(t, a.Register(t.Context(), consul.Service{
		Name: "web", ID: "web-1", Addr: addrPort(c, 20, 9001), Sidecar: 19001,
		Passing: 10, Meta: map[string]string{"version": "v1"}, Tags: []string{"blue"},
	}))
	type seen struct {
		ID, Address, For, Version, Status string
		Port, Passing, Warning            int
	}
	look := func(want ...seen) {
		t.Helper()
		eventually(t, "the sidecar as registered", func() error {
			nodes, _, err := a.Client().Health().Connect("web", "", false, nil)
			if err != nil {
				return err
			}
			var got []seen
			for _, n := range nodes {
				s := n.Service
				got = append(got, seen{
					ID: s.ID, Address: s.Address, Port: s.Port, For: s.Proxy.DestinationServiceID,
					Version: s.Meta["version"], Status: n.Checks.AggregatedStatus(),
					Passing: s.Weights.Passing, Warning: s.Weights.Warning,
				})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				return fmt.Errorf("(- want, + got)\n%s", diff)
			}
			return nil
		})
	}
	// The sidecar has its service's metadata.
	sidecar := seen{
		ID: consul.SidecarID("web-1"), Address: c.Loopback(1, 20).String(), Port: 19001,
		For: "web-1", Version: "v1", Status: "passing", Passing: 10, Warning: 1,
	}
	look(sidecar)
	for _, status := range []string{"warning", "critical", "passing"} {
		must(t, a.SetCheck(t.Context(), "web-1", status))
		sidecar.Status = status
		look(sidecar)
	}
	must(t, a.Deregister(t.Context(), "web-1"))
	look()
	if err := a.SetCheck(t.Context(), "web-1", "passing"); err == nil {
		t.Error("set the check of an instance that is gone")
	}
}

// TestMeshGateway compares our registration with the one that Consul's own command
// makes.
func TestMeshGateway(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{})
	a := c.Agents[0]
	at := c.Gateway(1)
	theirs := exec.Command(a.Binary, "connect", "envoy", "-gateway=mesh", "-register", "-bootstrap", "-service", "mesh-gateway",
		"-proxy-id", "theirs", "-expose-servers", "-address", at.String(), "-wan-address", "192.0.2.1:443",
		"-bind-address", "default="+at.String(), "-http-addr", a.HTTP(), "-grpc-addr", a.GRPC())
	theirs.Env = append(os.Environ(), a.Env()...)
	if out, err := theirs.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, a.RegisterMeshGateway(t.Context(), consul.MeshGateway{
		ID: "ours", LAN: at, WAN: "192.0.2.1:443", ExposeServers: true,
		Config: map[string]any{
			"envoy_gateway_no_default_bind": true,
			"envoy_gateway_bind_addresses": map[string]any{
				"default": map[string]any{"Address": at.Addr().String(), "Port": at.Port()},
			},
		},
	}))
	services, err := a.Client().Agent().Services()
	must(t, err)
	if services["ours"] == nil || services["theirs"] == nil {
		t.Fatalf("services: %v", services)
	}
	ignore := cmpopts.IgnoreFields(api.AgentService{}, "ID", "ContentHash", "ModifyIndex", "CreateIndex")
	if diff := cmp.Diff(services["theirs"], services["ours"], ignore); diff != "" {
		t.Errorf("registrations differ (- Consul's, + ours):\n%s", diff)
	}
	checks, err := a.Client().Agent().Checks()
	must(t, err)
	ignore = cmpopts.IgnoreFields(api.AgentCheck{}, "CheckID", "ServiceID", "Output", "Status", "Definition.Interval")
	if diff := cmp.Diff(checks["service:theirs"], checks["service:ours"], ignore); diff != "" {
		t.Errorf("checks differ (- Consul's, + ours):\n%s", diff)
	}

	must(t, a.Deregister(t.Context(), "theirs"))
	serve(t, listen(t, at.String()), echo)
	eventually(t, "the gateway that listens to be alive to Consul", func() error {
		nodes, _, err := a.Client().Health().Service("mesh-gateway", "", true, nil)
		if err == nil && len(nodes) != 1 {
			err = fmt.Errorf("%d gateways", len(nodes))
		}
		return err
	})

	for _, wan := range []string{"192.0.2.1", "192.0.2.1:x", "192.0.2.1:65536"} {
		if _, err := (consul.MeshGateway{LAN: at, WAN: wan}).Registration(); err == nil {
			t.Errorf("WAN address %q was taken", wan)
		}
	}
}

// TestSidecar has a client with a leaf of the mesh talk to a service behind its
// sidecar, first without the right to.
func TestSidecar(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true})
	backend := addrPort(c, 20, 9001)
	serve(t, listen(t, backend.String()), echo)
	a := c.Agents[0]
	must(t, a.Register(t.Context(), consul.Service{Name: "web", ID: "web-1", Addr: backend, Sidecar: 19001}))
	s, err := a.ConnectProxy(t.Context(), nil, "web-1")
	must(t, err)
	if want := netip.AddrPortFrom(backend.Addr(), 19001).String(); s.Addr != want {
		t.Errorf("the sidecar is at %s, want %s", s.Addr, want)
	}
	talkThrough(t, a, func() (net.Conn, error) { return net.Dial("tcp", s.Addr) })

	must(t, s.Stop())
	must(t, s.Stop())
	if _, err := a.ConnectProxy(t.Context(), nil, "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("the sidecar of nobody: %v", err)
	}
}

// TestSidecarInNamespace has the agent in one namespace, the service with its
// sidecar in another, and the caller in a third.
func TestSidecarInNamespace(t *testing.T) {
	l := labtest.New(t, "client", "agent", "server")
	agent, server := l.NS("agent"), l.NS("server")
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true, Dir: l.Dir,
		Hosts: []consul.Host{{Namespace: agent, Addr: agent.Right.IPv4}}})
	backend := netip.AddrPortFrom(server.Left.More[0], 9001)
	ln, err := server.Listen("tcp", backend.String())
	must(t, err)
	serve(t, ln, echo)
	a := c.Agents[0]
	must(t, a.Register(t.Context(), consul.Service{Name: "web", ID: "web-1", Addr: backend, Sidecar: 19001}))
	s, err := a.ConnectProxy(t.Context(), server, "web-1")
	must(t, err)
	talkThrough(t, a, func() (net.Conn, error) { return l.NS("client").Dial(t.Context(), "tcp", s.Addr) })
}

// talkThrough allows the client to call web, and checks that it can from then on,
// and only from then on.
func talkThrough(t *testing.T, a *consul.Agent, dial func() (net.Conn, error)) {
	t.Helper()
	roots, err := a.Roots(t.Context())
	must(t, err)
	config, err := a.ClientTLS(t.Context(), "client", roots.SNI("web", "dc1"))
	must(t, err)
	uri := "spiffe://" + roots.TrustDomain + "/ns/default/dc/dc1/svc/"
	if got := config.Certificates[0].Leaf.URIs[0].String(); got != uri+"client" {
		t.Errorf("the client's leaf is of %s", got)
	}
	if err := talk(dial, config, uri+"web"); err == nil {
		t.Error("the sidecar let a client in that has no right to")
	}
	must(t, a.Allow(t.Context(), "client", "web"))
	eventually(t, "the client to be let in", func() error { return talk(dial, config, uri+"web") })
	must(t, a.Deny(t.Context(), "client", "web"))
	eventually(t, "the client to be locked out", func() error {
		if talk(dial, config, uri+"web") == nil {
			return fmt.Errorf("it is let in")
		}
		return nil
	})
}

// talk says something through the mesh's TLS and wants to hear it again, from the
// service with that URI.
func talk(dial func() (net.Conn, error), config *tls.Config, uri string) error {
	raw, err := dial()
	if err != nil {
		return err
	}
	conn := tls.Client(raw, config)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	if got := conn.ConnectionState().PeerCertificates[0].URIs[0].String(); got != uri {
		return fmt.Errorf("the server is %s, want %s", got, uri)
	}
	_, err = io.ReadFull(conn, make([]byte, len("hello")))
	return err
}
