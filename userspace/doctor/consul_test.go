package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/userspace/client"
	"sluice/userspace/registration"
)

const checkTime = time.Minute

// ask makes the checks of Consul with a token.
func ask(t *testing.T, set client.Settings, change func(*Mesh)) *Report {
	t.Helper()
	agent, err := set.Agent()
	if err != nil {
		t.Fatal(err)
	}
	m := &Mesh{Settings: set, Agent: agent, Service: registration.Settings{Register: true, Service: "gw"}, Source: "auto"}
	if change != nil {
		change(m)
	}
	r := Run(t.Context(), MeshChecks(m), checkTime)
	for _, l := range r.Lines {
		t.Logf("%-5v %-20s %s -> %s", l.Level, l.Name, l.Found, l.Remedy)
	}
	return r
}

// without is the policy of README.md less the line that begins so.
func without(t *testing.T, rule string) string {
	t.Helper()
	var rest []string
	all := strings.Split(consul.GatewayRules("gw"), "\n")
	for _, line := range all {
		if rule == "" || !strings.HasPrefix(line, rule) {
			rest = append(rest, line)
		}
	}
	if rule != "" && len(rest) != len(all)-1 {
		t.Fatalf("no rule, or several, begin with %q", rule)
	}
	return strings.Join(rest, "\n")
}

// listen stands in for a gateway, for Consul's check of it to pass.
func listen(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
}

// TestRights asks a real Consul, with a policy less one rule each time.
func TestRights(t *testing.T) {
	c := consultest.Start(t, consul.TwoDatacenters, consul.Settings{ACL: true, TLS: true})
	here, there := c.Agents[0], c.Agents[1]
	for i, a := range []*consul.Agent{here, there} {
		at := c.Gateway(i + 1)
		listen(t, at)
		token, err := a.NewToken(t.Context(), fmt.Sprintf("gw-%d", i), consul.GatewayRules("gw"))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.RegisterMeshGateway(t.Context(), consul.MeshGateway{Name: "gw", LAN: at, WAN: at.String(), Token: token}); err != nil {
			t.Fatal(err)
		}
	}
	if err := here.Register(t.Context(), consul.Service{Name: "web", Addr: netip.AddrPortFrom(c.Loopback(1, 20), 80), Sidecar: 20000}); err != nil {
		t.Fatal(err)
	}
	healthy(t, there)
	healthy(t, here)
	for i, test := range []struct {
		missing string
		worse   map[string]Level // lines that are not ok
		line    string           // the one of the right
		remedy  string
	}{
		{"", nil, "service:write", ""},
		{`service "gw"`, map[string]Level{"service:write": Fail, "xDS": Warn}, "service:write", `service "gw" { policy = "write" }`},
		{"service_prefix", map[string]Level{"service:read": Fail}, "service:read", `service_prefix "" { policy = "read" }`},
		{"node_prefix", map[string]Level{"node:read": Fail, "gateways of dc2": Fail}, "node:read", `node_prefix "" { policy = "read" }`},
		{"agent_prefix", map[string]Level{"agent:read": Warn}, "agent:read", `agent_prefix "" { policy = "read" }`},
		{"mesh", map[string]Level{"mesh:read": Warn}, "mesh:read", `mesh = "read"`},
		{"peering", map[string]Level{"peering:read": Warn}, "peering:read", `peering = "read"`},
	} {
		t.Run("without "+test.missing, func(t *testing.T) {
			token, err := here.NewToken(t.Context(), fmt.Sprintf("check-%d", i), without(t, test.missing))
			if err != nil {
				t.Fatal(err)
			}
			replicated(t, here, there, token)
			r := ask(t, client.Settings{HTTPAddr: here.HTTP(), Token: token}, nil)
			for _, l := range r.Lines {
				if want := test.worse[l.Name]; l.Level != want {
					t.Errorf("%s is %v, want %v", l.Name, l.Level, want)
				}
			}
			expect(t, one(t, r.Lines, test.line), test.worse[test.line], "", test.remedy)
			if len(r.Lines) != 14 {
				t.Errorf("%d lines", len(r.Lines))
			}
		})
	}
	t.Run("over HTTPS", func(t *testing.T) {
		ca, err := c.CA.Write(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r := ask(t, client.Settings{HTTPAddr: "https://" + here.HTTPS(), CAFile: ca, Token: c.Token}, nil)
		if r.OK != len(r.Lines) {
			t.Errorf("%d of %d lines are ok", r.OK, len(r.Lines))
		}
		r = ask(t, client.Settings{HTTPAddr: "https://" + here.HTTPS(), Token: c.Token}, nil)
		expect(t, one(t, r.Lines, "agent"), Fail, "certificate", "-ca-file")
		r = ask(t, client.Settings{HTTPAddr: "http://" + here.HTTPS(), Token: c.Token}, nil)
		expect(t, one(t, r.Lines, "agent"), Fail, "", "https://")
		r = ask(t, client.Settings{HTTPAddr: "https://" + here.HTTP(), Token: c.Token}, nil)
		expect(t, one(t, r.Lines, "agent"), Fail, "", "http://")
	})
	t.Run("other services and tokens", func(t *testing.T) {
		set := client.Settings{HTTPAddr: here.HTTP(), Token: c.Token}
		r := ask(t, set, func(m *Mesh) { m.Service = registration.Settings{} })
		expect(t, one(t, r.Lines, "service:write"), OK, `"gw"`, "")
		expect(t, one(t, r.Lines, "gateway"), OK, `"gw" is registered and passing`, "")
		r = ask(t, set, func(m *Mesh) { m.Service.Service = "new" })
		expect(t, one(t, r.Lines, "gateway"), OK, "not registered yet", "")
		expect(t, one(t, r.Lines, "xDS"), OK, "no more was asked", "")
		r = ask(t, set, func(m *Mesh) { m.Service.Service, m.Running = "new", true })
		expect(t, one(t, r.Lines, "gateway"), Fail, "not registered", "log")
		r = ask(t, set, func(m *Mesh) { m.Service = registration.Settings{Service: "none"} })
		expect(t, one(t, r.Lines, "gateway"), Fail, "no such service", "-register")
		r = ask(t, set, func(m *Mesh) { m.Service = registration.Settings{ID: "web"} })
		expect(t, one(t, r.Lines, "gateway"), Fail, "no mesh gateway", "-proxy-id")
		set.Token = "00000000-0000-0000-0000-00000000dead"
		r = ask(t, set, nil)
		expect(t, one(t, r.Lines, "token"), Fail, "does not know the token", "consul acl token create")
		set.Token = ""
		r = ask(t, set, func(m *Mesh) { m.Source = "xds" }) // for no peerings, which take ten seconds to be refused
		expect(t, one(t, r.Lines, "token"), Warn, "none is given", "-token-file")
		expect(t, one(t, r.Lines, "service:write"), Fail, "missing", "policy")
	})
	t.Run("listeners", func(t *testing.T) {
		set := client.Settings{HTTPAddr: here.HTTP(), Token: c.Token}
		agent, err := set.Agent()
		if err != nil {
			t.Fatal(err)
		}
		m := &Mesh{Settings: set, Agent: agent, Source: "auto"}
		addrs, err := m.Listeners(t.Context())
		if err != nil || len(addrs) != 1 || addrs[0] != c.Gateway(1) {
			t.Errorf("the service listens on %v, %v; want %v", addrs, err, c.Gateway(1))
		}
		m = &Mesh{Settings: set, Agent: agent, Service: registration.Settings{Service: "none"}}
		if _, err := m.Listeners(t.Context()); !errors.Is(err, errAbsent) {
			t.Errorf("of no service: %v", err)
		}
	})
}

// replicated waits until a datacenter knows the token of another one.
func replicated(t *testing.T, from, to *consul.Agent, token string) {
	t.Helper()
	self := func(a *consul.Agent) (*api.ACLToken, error) {
		set := client.Settings{HTTPAddr: a.HTTP(), Token: token}
		agent, err := set.Agent()
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := agent.API().ACL().TokenReadSelf(query(t.Context()))
		return got, err
	}
	made, err := self(from)
	if err != nil {
		t.Fatal(err)
	}
	copied := func() (err error) {
		// A token may be copied before its policies, and then has no rights.
		for _, p := range made.Policies {
			_, _, e := to.Client().ACL().PolicyRead(p.ID, query(t.Context()))
			err = errors.Join(err, e)
		}
		if err == nil {
			_, err = self(to)
		}
		return err
	}
	for deadline := time.Now().Add(checkTime); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = copied(); err == nil {
			return
		}
	}
	t.Fatalf("%s does not know the token: %v", to.Datacenter, err)
}

// healthy waits until the check of a datacenter's gateway passes, to those who ask its
// catalog.
func healthy(t *testing.T, a *consul.Agent) {
	t.Helper()
	for deadline := time.Now().Add(checkTime); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		list, _, err := a.Client().Health().Service("gw", "", true, query(t.Context()))
		if err == nil && len(list) == 1 {
			return
		}
	}
	t.Fatalf("the gateway of %s is not healthy", a.Datacenter)
}
