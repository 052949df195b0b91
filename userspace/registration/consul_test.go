package registration

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/consul/api"

	"sluice/scripts/consul"
	"sluice/scripts/consul/consultest"
	"sluice/userspace/route"
)

// recorder stands between a client and the agent, and keeps what is registered.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	body []byte
}

func record(t *testing.T, a *consul.Agent) *recorder {
	r := &recorder{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: a.HTTP()})
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/v1/agent/service/register") {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Error(err)
			}
			r.mu.Lock()
			r.body = append([]byte(req.URL.RawQuery+"\n"), body...)
			r.mu.Unlock()
			req.Body = io.NopCloser(bytes.NewReader(body))
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

// take returns what was registered last: the query, and the JSON.
func (r *recorder) take(t *testing.T) (query string, body any) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	q, text, _ := bytes.Cut(r.body, []byte("\n"))
	r.body = nil
	return string(q), tree(t, text)
}

// kept is what the agent has of a gateway: the service and its checks.
func kept(t *testing.T, a *consul.Agent, id string) (*api.AgentService, map[string]*api.AgentCheck) {
	t.Helper()
	service, _, err := a.Client().Agent().Service(id, nil)
	must(t, err)
	checks, err := a.Client().Agent().ChecksWithFilter(fmt.Sprintf("ServiceID == %q", id))
	must(t, err)
	return service, checks
}

// TestSameAsConsul registers with "consul connect envoy" and with the same flags here,
// and wants the same to be sent and the agent to have the same.
func TestSameAsConsul(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{})
	a := c.Agents[0]
	via := record(t, a)
	client, err := api.NewClient(&api.Config{Address: via.URL})
	must(t, err)
	for name, args := range map[string][]string{
		"plain":                nil,
		"port":                 {"-address", ":9443"},
		"lan":                  {"-address", "127.0.0.1:9443"},
		"lan, wan":             {"-address", "127.0.0.1:9443", "-wan-address", "127.0.0.1:9444"},
		"wan of somebody else": {"-address", "127.0.0.1:9443", "-wan-address", "192.0.2.1:443"},
		"wan only":             {"-wan-address", "gw.example.com:443"},
		"template": {"-address", `{{ GetAllInterfaces | include "name" "^lo$" | include "type" "IPv4" | limit 1 | join "address" "" }}:7000`,
			"-wan-address", `{{ GetAllInterfaces | include "name" "^lo$" | include "type" "IPv4" | limit 1 | join "address" "" }}`},
		"all": {"-service", "edge", "-proxy-id", "edge-1", "-address", "10.1.2.3:8443", "-wan-address", "gw.example.com:443",
			"-bind-address", "public=0.0.0.0:8443", "-bind-address", "six=[::1]:8444",
			"-expose-servers", "-deregister-after-critical", "90m"},
		"v6": {"-address", "[2001:db8::1]:8443", "-bind-address", "six=[::]:8444", "-no-central-config"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"-register"}, args...)
			s := flags(t, args...)
			id := s.id()

			cmd := exec.Command(a.Binary, append([]string{"connect", "envoy", "-gateway=mesh", "-bootstrap", "-grpc-addr=" + a.GRPC()}, args...)...)
			cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR="+via.URL)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("consul connect envoy: %v: %s", err, out)
			}
			theirQuery, their := via.take(t)
			theirService, theirChecks := kept(t, a, id)
			must(t, a.Deregister(t.Context(), id))

			r, _ := registrar(t, client, s)
			start(t, r)
			ourQuery, our := via.take(t)
			ourService, ourChecks := kept(t, a, id)
			must(t, r.Deregister(t.Context()))
			if _, _, err := a.Client().Agent().Service(id, nil); !isUnknown(err) {
				t.Errorf("after Deregister: %v", err)
			}

			sameDuration := cmp.Comparer(func(a, b string) bool {
				x, errX := time.ParseDuration(a)
				y, errY := time.ParseDuration(b)
				return a == b || errX == nil && errY == nil && x == y
			})
			if diff := cmp.Diff(their, our, sameDuration); diff != "" || theirQuery != ourQuery {
				t.Errorf("sent, %q and %q (- Consul, + Sluice):\n%s", theirQuery, ourQuery, diff)
			}
			if diff := cmp.Diff(theirService, ourService, cmpopts.IgnoreFields(api.AgentService{}, "CreateIndex", "ModifyIndex")); diff != "" {
				t.Errorf("the agent's service (- Consul, + Sluice):\n%s", diff)
			}
			if diff := cmp.Diff(theirChecks, ourChecks, outputs); diff != "" || len(ourChecks) != 1 {
				t.Errorf("the agent's checks (- Consul, + Sluice):\n%s", diff)
			}
		})
	}
}

// outputs lets the output of checks differ only where one of the two has not run yet.
var outputs = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Output" },
	cmp.Comparer(func(a, b string) bool { return a == b || a == "" || b == "" }))

// TestKept has a real agent lose a service, forget everything, and be told another
// one, while the gateway runs; and sees maintenance begin and end.
func TestKept(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{})
	server := c.Agents[0]
	a, err := c.Add(t.Context(), consul.Options{
		NoServer:  true,
		Host:      consul.Host{Addr: c.Loopback(1, 30)},
		RetryJoin: []string{server.Addr.String()},
	})
	must(t, err)
	must(t, a.WaitHealthy(t.Context()))
	settings := flags(t, "-register", "-address", "127.0.0.1:9443")
	r, log := registrar(t, a.Client(), settings)
	s := start(t, r)
	if s.Node != "cli-dc1" || s.Datacenter != "dc1" || s.ID != "mesh-gateway" || s.Name != "mesh-gateway" {
		t.Errorf("service %+v", s)
	}
	u := run(t, r)
	registered := func(port int) func() bool {
		return func() bool {
			service, _, err := a.Client().Agent().Service("mesh-gateway", nil)
			return err == nil && service.Port == port
		}
	}

	must(t, a.Deregister(t.Context(), "mesh-gateway"))
	eventually(t, "the lost service", registered(9443))
	eventually(t, "the reason", log.waits("the agent lost it"))

	must(t, a.RegisterMeshGateway(t.Context(), consul.MeshGateway{LAN: netip.MustParseAddrPort("127.0.0.1:1234")}))
	eventually(t, "the changed service", registered(9443))
	eventually(t, "the reason", log.waits("its port is 1234, not 9443"))

	must(t, a.Kill())
	eventually(t, "the agent to be missed", func() bool { return !r.Status().Present })
	must(t, os.RemoveAll(a.Dir+"/data/services"))
	must(t, a.Restart())
	must(t, a.WaitLeader(t.Context()))
	eventually(t, "the service after a restart without data", registered(9443))
	eventually(t, "the registrar to know", func() bool { return r.Status().Present })

	must(t, r.Maintenance(t.Context()))
	u.wait(t)
	if _, checks := kept(t, a, "mesh-gateway"); checks["_service_maintenance:mesh-gateway"] == nil {
		t.Errorf("no maintenance: %v", checks)
	}
	// That process died, and another one begins.
	r, _ = registrar(t, a.Client(), settings)
	start(t, r)
	if _, checks := kept(t, a, "mesh-gateway"); checks["_service_maintenance:mesh-gateway"] == nil {
		t.Error("Start ended the maintenance of a gateway that does not listen yet")
	}
	run(t, r)
	inMaintenance := func() bool {
		_, checks := kept(t, a, "mesh-gateway")
		return checks["_service_maintenance:mesh-gateway"] != nil
	}
	eventually(t, "the end of the maintenance", func() bool { return !inMaintenance() })
	must(t, r.Deregister(t.Context()))
	eventually(t, "deregistration in the catalog", func() bool {
		found, _, err := server.Client().Catalog().Service("mesh-gateway", "", nil)
		return err == nil && len(found) == 0
	})

	// An operator's is not ended.
	r, log = registrar(t, a.Client(), settings)
	start(t, r)
	must(t, a.Client().Agent().EnableServiceMaintenance("mesh-gateway", "disk is full"))
	run(t, r)
	eventually(t, "the operator's reason", log.waits("disk is full"))
	must(t, r.Maintenance(t.Context())) // the first reason stays
	if !inMaintenance() {
		t.Error("the operator's maintenance was ended")
	}
}

// TestRights has tokens that lack something, and the least that is enough.
func TestRights(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{ACL: true})
	a := c.Agents[0]
	with := func(token string) *api.Client {
		client, err := a.ClientWith(token)
		must(t, err)
		return client
	}
	reader, err := a.NewToken(t.Context(), "reader", `service_prefix "" { policy = "read" }`)
	must(t, err)
	r, log := registrar(t, with(reader), flags(t, "-register"))
	u := run(t, r)
	eventually(t, "what right is missing", log.waits(`lacks service:write for \"mesh-gateway\"`))
	eventually(t, "that of agent:read", log.waits("the token lacks agent:read"))
	if got := r.Status(); got.Present || got.Err == nil || !strings.Contains(got.Err.Error(), "service:write") {
		t.Errorf("status %+v", got)
	}
	must(t, a.RegisterMeshGateway(t.Context(), consul.MeshGateway{LAN: netip.MustParseAddrPort("127.0.0.1:8443")}))
	if err := r.Maintenance(t.Context()); err == nil || !strings.Contains(err.Error(), "service:write") {
		t.Errorf("maintenance: %v", err)
	}
	must(t, r.Deregister(t.Context()))
	kept(t, a, "mesh-gateway") // which is not this process's
	u.wait(t)
	must(t, a.Deregister(t.Context(), "mesh-gateway"))

	r, log = registrar(t, with("no-such-token"), flags(t, "-register"))
	run(t, r)
	eventually(t, "that the token is not known", log.waits("the agent does not know the token"))

	// Not even its own node may this one read.
	writer, err := a.NewToken(t.Context(), "writer", `service "mesh-gateway" { policy = "write" }`)
	must(t, err)
	r, _ = registrar(t, with(writer), flags(t, "-register"))
	s := start(t, r)
	if s.Datacenter != "dc1" || s.Node != "" {
		t.Errorf("service %+v", s)
	}
	run(t, r)
	must(t, r.Maintenance(t.Context()))
	must(t, r.Deregister(t.Context()))
}

// TestDefinition finds definitions that others have made, and follows their options.
func TestDefinition(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{HCL: `
services {
  kind = "mesh-gateway"
  name = "edge"
  id   = "edge-7"
  port = 7443
  address = "127.0.0.1"
  tagged_addresses { wan { address = "127.0.0.1" port = 7444 } }
  proxy { config {
    connect_timeout_ms = "1500"
    envoy_mesh_gateway_bind_tagged_addresses = true
    envoy_gateway_bind_addresses { extra { address = "127.0.0.1" port = 7445 } }
    envoy_dns_discovery_type = "STRICT_DNS"
    envoy_stats_bind_addr = "0.0.0.0:9102"
    sluice_paht = "auto"
  } }
}`})
	a := c.Agents[0]
	r, log := registrar(t, a.Client(), flags(t))
	got := start(t, r)
	want := Service{
		ID: "edge-7", Name: "edge", Datacenter: "dc1", Node: "srv-dc1",
		Listeners: []Listener{
			{"default", netip.MustParseAddrPort("127.0.0.1:7443")},
			{"extra", netip.MustParseAddrPort("127.0.0.1:7445")},
			{"wan", netip.MustParseAddrPort("127.0.0.1:7444")},
		},
		Options: Options{ConnectTimeout: 1500 * time.Millisecond, Discovery: route.Strict},
	}
	if diff := cmp.Diff(want, got, cmpAddr); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"sluice_paht is not a known option", "envoy_stats_bind_addr"} {
		if log.times(want) != 1 {
			t.Errorf("%q is not once in the log", want)
		}
	}
	own, _ := registrar(t, a.Client(), flags(t, "-no-central-config"))
	start(t, own)

	// What the entry says counts as well, below the definition's own.
	u, v := run(t, r), run(t, own)
	must(t, a.WriteConfig(t.Context(), &api.ProxyConfigEntry{Kind: api.ProxyDefaults, Name: "global", Config: map[string]any{
		"connect_timeout_ms": 9000, "envoy_gateway_remote_tcp_enable_keepalive": true,
		"envoy_gateway_remote_tcp_keepalive_time": 30, "protocol": "http",
	}}))
	want.Options.RemoteKeepalive = Keepalive{Enable: true, Time: 30 * time.Second}
	eventually(t, "the options of proxy-defaults", func() bool { return cmp.Equal(want, u.last(), cmpAddr) })
	must(t, a.WriteConfig(t.Context(), &api.ProxyConfigEntry{Kind: api.ProxyDefaults, Name: "global", Config: map[string]any{
		"sluice_path": "splice",
	}}))
	want.Options.RemoteKeepalive = Keepalive{}
	want.Options.Path = "splice"
	eventually(t, "the other options of proxy-defaults", func() bool { return cmp.Equal(want, u.last(), cmpAddr) })
	if n := v.count(); n != 0 {
		t.Errorf("with -no-central-config the options changed %d times: %+v", n, v.last())
	}

	// It is somebody else's: in maintenance, but never deregistered.
	must(t, r.Maintenance(t.Context()))
	must(t, r.Deregister(t.Context()))
	if _, checks := kept(t, a, "edge-7"); checks["_service_maintenance:edge-7"] == nil {
		t.Errorf("checks %v", checks)
	}

	// A second one: which is meant must be said.
	must(t, a.RegisterMeshGateway(t.Context(), consul.MeshGateway{LAN: netip.MustParseAddrPort("127.0.0.1:8443")}))
	r, _ = registrar(t, a.Client(), flags(t))
	_, err := r.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "edge-7, mesh-gateway") {
		t.Errorf("two gateways: %v", err)
	}
	for _, args := range [][]string{{"-service", "edge"}, {"-proxy-id", "edge-7"}} {
		r, _ = registrar(t, a.Client(), flags(t, args...))
		if s := start(t, r); s.ID != "edge-7" {
			t.Errorf("%v: found %q", args, s.ID)
		}
	}
	// One that comes later.
	r, log = registrar(t, a.Client(), flags(t, "-proxy-id", "late"))
	u = run(t, r)
	eventually(t, "the log to say so", log.waits("waiting for somebody"))
	must(t, a.RegisterMeshGateway(t.Context(), consul.MeshGateway{ID: "late", LAN: netip.MustParseAddrPort("127.0.0.1:8444")}))
	eventually(t, "the late one", func() bool { return u.last().ID == "late" })
}

// cmpAddr compares addresses.
var cmpAddr = cmpopts.EquateComparable(netip.AddrPort{})

// TestRegisteredOptions has proxy-defaults count for a service that is registered
// here, with and without -no-central-config.
func TestRegisteredOptions(t *testing.T) {
	c := consultest.Start(t, consul.OneServer, consul.Settings{})
	a := c.Agents[0]
	must(t, a.WriteConfig(t.Context(), &api.ProxyConfigEntry{Kind: api.ProxyDefaults, Name: "global", Config: map[string]any{
		"connect_timeout_ms": 1200, "envoy_gateway_no_default_bind": false, "envoy_gateway_bind_addresses": map[string]any{"a": 1},
	}}))
	for _, c := range []struct {
		arg  string
		want time.Duration
	}{{"-no-central-config=false", 1200 * time.Millisecond}, {"-no-central-config", DefaultConnectTimeout}} {
		r, _ := registrar(t, a.Client(), flags(t, "-register", c.arg, "-bind-address", "x=127.0.0.1:7000"))
		s := start(t, r)
		if s.Options.ConnectTimeout != c.want {
			t.Errorf("%s: connect timeout %v, want %v", c.arg, s.Options.ConnectTimeout, c.want)
		}
		if want := []Listener{{"x", netip.MustParseAddrPort("127.0.0.1:7000")}}; !cmp.Equal(want, s.Listeners, cmpAddr) {
			t.Errorf("%s: listeners %v, want %v", c.arg, s.Listeners, want)
		}
		u := run(t, r)
		must(t, r.Deregister(t.Context()))
		u.wait(t)
		if !r.Status().Present {
			t.Errorf("%s: %+v", c.arg, r.Status())
		}
	}
}
