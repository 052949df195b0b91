package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"sluice/scripts/consul"
	"sluice/scripts/show"
)

// play shows one thing after the other. An error is something that is not as it
// should be.
func (s *site) play(ctx context.Context) error {
	for _, act := range []func(context.Context) error{
		s.network, s.gateways, s.services, s.tables, s.local, s.remote, s.consulGone,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) network(ctx context.Context) error {
	s.Say("Sluice as the mesh gateway of two Consul datacenters. It reads the server name in a")
	s.Say("connection's TLS hello and passes the stream on. It never decrypts.")
	s.Step("Two datacenters, each with a Consul: ACLs with default deny, TLS, federated")
	client, server := s.lab.NS("client").Right, s.lab.NS("server").Left
	s.Say("                  dc1                  |                  dc2")
	s.Say("   client --- consul1 --- gateway1 --- | --- gateway2 --- consul2 --- server")
	s.Say("   %-10s %-11s %-11s  |    %-12s %-11s %s", client.IPv4, s.lab.NS("consul1").Left.IPv4, s.one.lan.Addr(), s.two.lan.Addr(), s.lab.NS("consul2").Left.IPv4, server.IPv4)
	s.Say("                    WAN:  %-11s  |    %s", s.one.wan.Addr(), s.two.wan.Addr())
	s.Say("")
	s.Say("   These are network namespaces (%s-client, ...), joined by veth pairs.", s.lab.ID)
	s.Say("")
	if err := s.startConsul(ctx); err != nil {
		return err
	}
	said, err := s.operate(ctx, s.one, "members", "-wan")
	if err != nil {
		return err
	}
	s.Quote(said)
	s.Say("   $TD is the mesh's trust domain, %s.", s.roots.TrustDomain)
	return nil
}

func (s *site) gateways(ctx context.Context) error {
	s.Step("A gateway in each, with a token that may do this and no more")
	s.Quote(consul.GatewayRules(service))
	s.Say("")
	for _, dc := range []*datacenter{s.one, s.two} {
		token, err := dc.agent.GatewayToken(ctx, service)
		if err != nil {
			return err
		}
		if err := os.WriteFile(dc.token, []byte(token), 0o600); err != nil {
			return err
		}
		if err := os.Mkdir(dc.state, 0o700); err != nil {
			return err
		}
		if err := s.startGateway(dc); err != nil {
			return err
		}
	}
	for _, dc := range []*datacenter{s.one, s.two} {
		if err := dc.gateway.Ready(ctx); err != nil {
			return err
		}
	}
	s.Say("")
	if err := s.said(s.one.gateway, "registered with the agent", "routes come by xDS", "ready"); err != nil {
		return err
	}
	if err := s.said(s.two.gateway, "registered with the agent", "consul: first table", "ready"); err != nil {
		return err
	}
	s.Say("   dc2's was told to take its routes from the catalog, which gives the same table.")
	return nil
}

// reach is how a program reaches the agent of the datacenter, with the token of the
// gateway.
func (dc *datacenter) reach() []string {
	return []string{"-http-addr", "https://" + dc.agent.HTTPS(), "-ca-file", dc.agent.CAFile(), "-token-file", dc.token}
}

func (s *site) startGateway(dc *datacenter) error {
	args := append([]string{"-register"}, dc.reach()...)
	args = append(args, "-address", dc.lan.String(), "-wan-address", dc.wan.String(),
		"-bind-address", "all=0.0.0.0:"+fmt.Sprint(gatewayPort), "-state-dir", dc.state,
		"-bpf-dir", filepath.Join(s.bpf, "sluice"), "-admin-socket", dc.socket)
	if dc == s.two {
		args = append(args, "-source", "catalog")
	}
	ns := s.lab.NS(strings.Replace(dc.host, "consul", "gateway", 1))
	dc.gateway = show.NewGateway(s.lab, ns, s.sluice, args...)
	dc.gateway.Cmd.Env = clean(os.Environ())
	s.Command(ns.Name, dc.gateway.Cmd.Args...)
	return dc.gateway.Start()
}

// The definitions of the services, as their operators write them.
const (
	apiDefinition = `service {
  name    = "api"
  address = "%s"
  port    = %d
  connect {
    sidecar_service {
      port   = %d
      checks = [{ name = "api", alias_service = "api" }]
    }
  }
}
`
	webDefinition = `service {
  name    = "web"
  address = "%s"
  connect {
    sidecar_service {
      port   = %d
      checks = [{ name = "web", alias_service = "web" }]
      proxy { upstreams = [{ destination_name = "api", datacenter = "dc2", local_bind_port = 9191 }] }
    }
  }
}
`
)

func (s *site) services(ctx context.Context) error {
	s.Step("A service in dc2 behind its sidecar; its caller in dc1")
	if err := s.startNginx(); err != nil {
		return err
	}
	if err := s.write("api.hcl", fmt.Sprintf(apiDefinition, s.lab.NS("server").Left.IPv4, apiPort, sidecarPort)); err != nil {
		return err
	}
	if err := s.write("web.hcl", fmt.Sprintf(webDefinition, s.lab.NS("client").Right.IPv4, sidecarPort)); err != nil {
		return err
	}
	for _, c := range []struct {
		dc   *datacenter
		args []string
	}{
		{s.two, []string{"services", "register", s.file("api.hcl")}},
		{s.one, []string{"services", "register", s.file("web.hcl")}},
		{s.one, []string{"intention", "create", "-allow", "web", "api"}},
	} {
		if _, err := s.operate(ctx, c.dc, c.args...); err != nil {
			return err
		}
	}
	s.Command("server", "consul", "connect", "proxy", "-sidecar-for", "api")
	if _, err := s.two.agent.ConnectProxy(ctx, s.lab.NS("server"), "api"); err != nil {
		return err
	}
	return s.leaf(ctx)
}

// leaf gets the caller's certificate from Consul.
func (s *site) leaf(ctx context.Context) error {
	leaf, _, err := s.one.agent.Client().Agent().ConnectCALeaf("web", nil)
	if err != nil {
		return fmt.Errorf("get a leaf for web: %w", err)
	}
	for name, text := range map[string]string{
		"web.pem": leaf.CertPEM, "web-key.pem": leaf.PrivateKeyPEM, "roots.pem": string(s.roots.PEM),
	} {
		if err := s.write(name, text); err != nil {
			return err
		}
	}
	s.Say("")
	s.Say("   The caller's leaf certificate, from Consul: %s", s.Short(leaf.ServiceURI))
	if want := fmt.Sprintf("spiffe://%s/ns/default/dc/dc1/svc/web", s.roots.TrustDomain); leaf.ServiceURI != want {
		return fmt.Errorf("the leaf is for %s, want %s", leaf.ServiceURI, want)
	}
	return nil
}

func (s *site) tables(ctx context.Context) error {
	s.Step("What the gateways make of it: where each server name leads")
	for _, t := range []struct {
		dc       *datacenter
		name     string
		endpoint netip.AddrPort
	}{
		{s.one, "*.dc2.internal." + s.roots.TrustDomain, s.two.wan},
		{s.two, s.roots.SNI("api", "dc2"), netip.AddrPortFrom(s.lab.NS("server").Left.IPv4, sidecarPort)},
	} {
		if err := s.passing(ctx, t.dc); err != nil {
			return err
		}
		if err := s.table(ctx, t.dc, t.name, t.endpoint); err != nil {
			return err
		}
	}
	return nil
}

// consulGone kills one Consul, and its gateway goes on.
func (s *site) consulGone(ctx context.Context) error {
	s.Step("dc1's Consul is killed; its gateway goes on with the last table")
	s.Command("consul1", "kill", "-9", fmt.Sprint(s.one.agent.PID()))
	if err := s.one.agent.Kill(); err != nil {
		return err
	}
	if err := s.hears(ctx, 0); err != nil {
		return err
	}
	if err := s.called(ctx, s.one.lan.String()); err != nil {
		return err
	}
	if err := s.hops(ctx, s.one, s.two); err != nil {
		return err
	}
	if err := s.one.agent.Restart(); err != nil {
		return err
	}
	if err := s.one.agent.WaitHealthy(ctx); err != nil {
		return err
	}
	s.Say("")
	s.Say("   Consul is started again, and its gateway finds it:")
	return s.hears(ctx, 1)
}

// hears waits until dc1's gateway says that it hears from Consul (1) or not (0).
func (s *site) hears(ctx context.Context, want int) error {
	line := fmt.Sprintf("sluice_source_connected %d", want)
	err := show.Poll(ctx, func() (bool, error) {
		text, err := s.one.gateway.Get(ctx, "/metrics")
		return strings.Contains(text, "\n"+line+"\n"), err
	})
	if errors.Is(err, show.ErrPatience) {
		return fmt.Errorf("dc1's gateway does not say %q after %v", line, show.Patience)
	}
	if err == nil {
		s.Command("gateway1", "curl", "-s", show.MetricsBind+"/metrics")
		s.Quote(line)
	}
	return err
}

// leaveMesh stops the gateways as a service manager would: first nobody chooses them
// any more, then they end, then they are not registered any more.
func (s *site) leaveMesh(ctx context.Context) error {
	s.Step("SIGTERM: a gateway leaves the mesh before it goes")
	for _, dc := range []*datacenter{s.one, s.two} {
		if err := dc.gateway.Stop(); err != nil {
			return err
		}
	}
	if err := s.said(s.two.gateway, "in maintenance", "draining", "stopped"); err != nil {
		return err
	}
	list, _, err := s.two.agent.Client().Catalog().Service(service, "", nil)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return fmt.Errorf("dc2's catalog still has the gateway %s", list[0].ServiceID)
	}
	s.Say("   Exit status 0 of both, and dc2's catalog does not have its gateway any more.")
	return nil
}
