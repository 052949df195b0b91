package registration

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/userspace/route"
)

const html = "<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1>" + "</body></html>"

// faults are what an agent, or what is in its place, may answer, and what the log
// says of it.
var faults = map[string]struct {
	fault func(http.ResponseWriter, *http.Request) bool
	says  string
}{
	"500":             {status(500, "rpc error making call: EOF"), "the agent failed"},
	"no leader":       {status(500, "No cluster leader"), "no server to ask"},
	"no servers":      {status(500, "No known Consul servers"), "no server to ask"},
	"403":             {status(403, "Permission denied: token with AccessorID 'x' lacks permission 'service:write' on \"mesh-gateway\""), "lacks service:write"},
	"no token":        {status(403, "ACL not found"), "does not know the token"},
	"429":             {status(429, "Your IP is issuing too many concurrent connections, please rate limit your calls"), "http_max_conns_per_client"},
	"wants https":     {status(400, "Client sent an HTTP request to an HTTPS server."), "wants HTTPS"},
	"html":            {body(html), "no Consul agent"},
	"html, 502":       {status(502, html), "the agent failed"},
	"html, 404":       {status(404, html), "no Consul agent"},
	"half":            {half, "no Consul agent"},
	"empty":           {body(""), "not known to be in the agent"},
	"null":            {body("null"), "not known to be in the agent"},
	"nothing in it":   {body("{}"), "not known to be in the agent"},
	"a list":          {body("[]"), "no Consul agent"},
	"somebody else's": {body(`{"ID": "web", "Service": "web", "Config": {"Datacenter": "dc1"}}`), "the answer is not about it"},
	"hangs":           {hang, "the agent hangs"},
	"drops":           {drop, "not known to be in the agent"},
}

// TestFaultAtStart has the agent fail from the beginning, and come round.
func TestFaultAtStart(t *testing.T) {
	for name, c := range faults {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.failing(c.fault)
			r, log := registrar(t, f.client, flags(t, "-register"))
			r.times.request = 200 * time.Millisecond
			u := run(t, r)
			eventually(t, "the log to say "+c.says, log.waits(c.says))
			if got := r.Status(); got.Present || got.Err == nil {
				t.Errorf("status %+v", got)
			}
			if u.count() != 0 {
				t.Errorf("a service from nothing: %+v", u.last())
			}
			f.failing(nil)
			eventually(t, "the registration", f.has("mesh-gateway", 8443))
			eventually(t, "the service", func() bool { return u.count() == 1 && r.Status().Present })
			eventually(t, "the log", log.waits("the agent has the gateway's service"))
		})
	}
}

// TestFaultLater has the agent fail when all was well, and wants nothing to happen but
// one line in the log: no registration, and no other service than before.
func TestFaultLater(t *testing.T) {
	for name, c := range faults {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			r, log := registrar(t, f.client, flags(t, "-register"))
			start(t, r)
			r.times.request, r.times.wait = 200*time.Millisecond, time.Millisecond
			u := run(t, r)
			eventually(t, "Run to be at work", func() bool { return f.count("GET /v1/agent/checks") > 0 })
			f.failing(c.fault)
			eventually(t, "the log to say "+c.says, log.waits(c.says))
			before := f.count("GET /v1/agent/service/")
			eventually(t, "some more attempts", func() bool { return f.count("GET /v1/agent/service/") > before+5 })
			if n := log.times("not known to be in the agent"); n != 1 && name != "drops" { // which is not always the same
				t.Errorf("logged %d times", n)
			}
			f.failing(nil)
			eventually(t, "the agent to be believed again", func() bool { return r.Status().Present })
			if n := f.count("PUT /v1/agent/service/register"); n != 1 {
				t.Errorf("registered %d times", n)
			}
			if u.count() != 0 {
				t.Errorf("another service: %+v", u.last())
			}
		})
	}
}

// TestRestarted has nothing listen at the agent's address, for a while.
func TestRestarted(t *testing.T) {
	f := newFake(t)
	addr := f.Listener.Addr().String()
	r, log := registrar(t, f.client, flags(t, "-register"))
	start(t, r)
	run(t, r)
	f.Listener.Close()
	f.CloseClientConnections()
	eventually(t, "the log", log.waits("the agent is not running"))
	again := newFake(t) // which knows nothing
	again.Server.Close()
	again.Server = restart(t, addr, again)
	eventually(t, "the registration", again.has("mesh-gateway", 8443))
	eventually(t, "the log", log.waits("the agent lost it"))
}

// restart serves at an address that was in use a moment ago.
func restart(t *testing.T, addr string, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	eventually(t, "the address "+addr, func() bool {
		l, err := listenConfig.Listen(t.Context(), "tcp", addr)
		s.Listener = l
		return err == nil
	})
	s.Start()
	return s
}

// TestFight has two gateways with one id, and wants it to be seen, and to be slow.
func TestFight(t *testing.T) {
	f := newFake(t)
	a, log := registrar(t, f.client, flags(t, "-register", "-address", ":1000"))
	b, _ := registrar(t, f.client, flags(t, "-register", "-address", ":2000"))
	start(t, a)
	start(t, b)
	// By now each registers again at most every quarter of a second.
	for _, r := range []*Registrar{a, b} {
		r.times.repair, r.times.repairMost = 500*time.Millisecond, time.Second
		run(t, r)
	}
	begun := time.Now()
	before := f.count("PUT /v1/agent/service/register")
	eventually(t, "the log to know what is the matter", log.waits("another gateway has the same id"))
	if took, n := time.Since(begun), f.count("PUT /v1/agent/service/register")-before; n > 4+2*int(took/(250*time.Millisecond)) {
		t.Errorf("%d registrations in %v", n, took)
	}
}

// TestNoTightLoop has the agent answer at once, whatever it is asked to wait for.
func TestNoTightLoop(t *testing.T) {
	f := newFake(t)
	f.failing(only("GET /v1/agent/service/mesh-gateway", func(w http.ResponseWriter, r *http.Request) bool {
		r.URL.RawQuery = "" // no hash, and so no waiting
		return false
	}))
	r, _ := registrar(t, f.client, flags(t, "-register"))
	start(t, r)
	r.times.gap = 100 * time.Millisecond
	r.watch.pace = r.times.pace()
	run(t, r)
	before, begun := f.count("GET"), time.Now()
	eventually(t, "some requests", func() bool { return f.count("GET") > before+10 })
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("10 requests in %v", took)
	}
}

// TestDifferences changes each part of a registration.
func TestDifferences(t *testing.T) {
	settings := flags(t, "-register", "-address", "127.0.0.1:9443", "-wan-address", "192.0.2.1:443",
		"-bind-address", "x=127.0.0.1:7000", "-expose-servers")
	d := settings.definition(false)
	for name, change := range map[string]func(*api.AgentService){
		"port":             func(s *api.AgentService) { s.Port++ },
		"address":          func(s *api.AgentService) { s.Address = "127.0.0.2" },
		"name":             func(s *api.AgentService) { s.Service = "gate" },
		"kind":             func(s *api.AgentService) { s.Kind = "" },
		"meta":             func(s *api.AgentService) { s.Meta = nil },
		"tags":             func(s *api.AgentService) { s.Tags = []string{"x"} },
		"weights":          func(s *api.AgentService) { s.Weights.Passing = 100 },
		"tagged addresses": func(s *api.AgentService) { delete(s.TaggedAddresses, "wan") },
		"proxy.config":     func(s *api.AgentService) { delete(s.Proxy.Config, "envoy_gateway_no_default_bind") },
		"proxy.config lacks": func(s *api.AgentService) {
			s.Proxy.Config["envoy_gateway_bind_addresses"] = "none"
		},
		"": func(*api.AgentService) {},
		" ": func(s *api.AgentService) {
			s.TaggedAddresses["lan_ipv4"] = api.ServiceAddress{Address: "127.0.0.1", Port: 9443}
		},
		"  ": func(s *api.AgentService) {
			s.Proxy.Config["connect_timeout_ms"] = 1
			s.Proxy.Config["envoy_gateway_bind_addresses"].(map[string]any)["central"] = 1
		},
	} {
		have := asKept(settings.definition(false))
		have.Proxy.Config = plain(have.Proxy.Config)
		have.TaggedAddresses = ownAddresses(have.TaggedAddresses)
		change(have)
		got, want := differs(d, have), strings.TrimSpace(name)
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: %q", name, got)
		}
	}
	if got := differs(d, &api.AgentService{}); got == "" {
		t.Error("nothing is as good as the registration")
	}
	have := asKept(d)
	have.Proxy = nil
	if got := differs(d, have); !strings.Contains(got, "proxy.config") {
		t.Errorf("without a proxy: %q", got)
	}
}

// TestForeign refuses to take another service's id.
func TestForeign(t *testing.T) {
	f := newFake(t)
	f.services["mesh-gateway"] = &api.AgentService{ID: "mesh-gateway", Service: "mesh-gateway", Port: 1}
	f.services["side"] = &api.AgentService{ID: "side", Kind: "connect-proxy", Port: 1}
	for _, c := range []struct{ args, says string }{
		{"-register", `"mesh-gateway" of kind "typical"`},
		{"-register -proxy-id side", `"side" of kind "connect-proxy"`},
		{"-proxy-id side", `"side" is no mesh gateway`},
	} {
		r, log := registrar(t, f.client, flags(t, strings.Fields(c.args)...))
		_, err := r.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.args, err)
		}
		// Run, which may come without a Start, goes on trying.
		u := run(t, r)
		eventually(t, "the log", func() bool { return log.has("of kind") })
		must(t, r.Deregister(t.Context()))
		u.wait(t)
	}
	if f.count("PUT") != 0 || f.get("side") == nil {
		t.Errorf("the services of others were touched: %v", f.requests)
	}
}

// TestStartEnds says what was the matter when the time is up.
func TestStartEnds(t *testing.T) {
	f := newFake(t)
	f.failing(only("PUT", status(400, "Invalid service address")))
	r, _ := registrar(t, f.client, flags(t, "-register"))
	if _, err := r.Start(t.Context()); code(err) != 400 {
		t.Errorf("a definition that the agent refuses: %v", err)
	}
	for _, args := range []string{"", "-proxy-id=x", "-service=y"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		r, _ = registrar(t, f.client, flags(t, strings.Fields(args)...))
		_, err := r.Start(ctx)
		cancel()
		if !errors.Is(err, errAbsent) || !strings.Contains(err.Error(), "-register") {
			t.Errorf("%q: nobody's definition: %v", args, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	r, _ = registrar(t, f.client, flags(t))
	if _, err := r.Start(ctx); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("started with a context that was done: %v", err)
	}
	f.failing(hang)
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := r.Start(ctx); err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("an agent that hangs: %v", err)
	}
	must(t, r.Deregister(t.Context()))
	if _, err := r.Start(t.Context()); err == nil {
		t.Error("started after it had left")
	}
	// Without a Start, Run tells of the service.
	f.failing(nil)
	r, _ = registrar(t, f.client, flags(t, "-register"))
	u := run(t, r)
	eventually(t, "the service", func() bool { return u.count() == 1 })
}

// TestOptionsChange follows proxy.config, and says what takes a restart.
func TestOptionsChange(t *testing.T) {
	f := newFake(t)
	set := func(config map[string]any, port int) {
		f.change(func() {
			f.services["gate"] = &api.AgentService{Kind: api.ServiceKindMeshGateway, ID: "gate", Service: "gate", Port: port,
				Proxy: &api.AgentServiceConnectProxyConfig{Config: config}}
		})
	}
	set(nil, 1000)
	r, log := registrar(t, f.client, flags(t))
	want := Service{ID: "gate", Name: "gate", Datacenter: "dc1", Node: "n1",
		Listeners: []Listener{{"default", netip.MustParseAddrPort("0.0.0.0:1000")}},
		Options:   Options{ConnectTimeout: DefaultConnectTimeout, Discovery: route.Logical}}
	if diff := cmp.Diff(want, start(t, r), cmpAddr); diff != "" {
		t.Error(diff)
	}
	u := run(t, r)
	set(map[string]any{"connect_timeout_ms": 70, "nonsense": 1}, 1000)
	want.Options.ConnectTimeout = 70 * time.Millisecond
	eventually(t, "the timeout", func() bool { return cmp.Equal(want, u.last(), cmpAddr) })
	eventually(t, "the unknown option", log.waits("nonsense"))
	if log.has("takes a restart") {
		t.Error("a timeout takes a restart")
	}
	set(map[string]any{"connect_timeout_ms": 70, "nonsense": 1}, 1001)
	eventually(t, "the other port", log.waits("takes a restart"))
	want.Listeners[0].Addr = netip.MustParseAddrPort("0.0.0.0:1001")
	eventually(t, "the listener", func() bool { return cmp.Equal(want, u.last(), cmpAddr) })
	if n := log.times("nonsense"); n != 1 {
		t.Errorf("the unknown option was logged %d times", n)
	}
	// Gone, it is waited for, and nothing changes.
	f.change(func() { delete(f.services, "gate") })
	eventually(t, "the log", log.waits("waiting for somebody"))
	set(map[string]any{"connect_timeout_ms": 70, "nonsense": 1}, 1001)
	eventually(t, "the service again", func() bool { return r.Status().Present })
	if u.count() != 2 || f.count("PUT") != 0 {
		t.Errorf("%d changes, requests %v", u.count(), f.requests)
	}
}

// TestPlanned compares the service without an agent with the one it then has.
func TestPlanned(t *testing.T) {
	f := newFake(t)
	for _, args := range []string{
		"-register", "-register -address 127.0.0.1:1 -wan-address 127.0.0.1:2 -proxy-id g1",
		"-register -bind-address a=127.0.0.1:3,b=[::1]:4 -service gate",
	} {
		r, _ := registrar(t, f.client, flags(t, strings.Fields(args)...))
		planned, ok := r.Planned()
		got := start(t, r)
		got.Datacenter, got.Node = "", ""
		if diff := cmp.Diff(got, planned, cmpAddr); diff != "" || !ok {
			t.Errorf("%s:\n%s", args, diff)
		}
	}
	r, _ := registrar(t, f.client, flags(t))
	if s, ok := r.Planned(); ok {
		t.Errorf("planned %+v for somebody else", s)
	}
	if _, err := New(Settings{ExposeServers: true}, f.client, nil); err == nil {
		t.Error("settings that make no sense")
	}
	if _, err := New(Settings{}, f.client, nil); err != nil {
		t.Error(err)
	}
}

// TestMergedLate has the agent answer with options of proxy-defaults that are gone by the
// time these are read: they must not pass for the definition's own.
func TestMergedLate(t *testing.T) {
	f := newFake(t)
	merged := func(config map[string]any) func() {
		return func() {
			f.services["edge"] = &api.AgentService{
				ID: "edge", Kind: api.ServiceKindMeshGateway, Service: "edge", Port: 7443, Address: "127.0.0.1",
				Proxy: &api.AgentServiceConnectProxyConfig{Config: config},
			}
		}
	}
	f.change(merged(map[string]any{"connect_timeout_ms": 1500}))
	r, _ := registrar(t, f.client, flags(t, "-proxy-id", "edge", "-no-central-config"))
	before := start(t, r)
	u := run(t, r)

	var looks atomic.Int32
	f.failing(func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != "/v1/config/proxy-defaults/global" {
			return false
		}
		looks.Add(1)
		// It has been written twice; the agent has the first one merged, and now learns of
		// the second.
		f.change(merged(map[string]any{"connect_timeout_ms": 1500}))
		f.answer(w, map[string]any{"Kind": "proxy-defaults", "Name": "global", "ModifyIndex": 8, "Config": map[string]any{}})
		return true
	})
	f.change(merged(map[string]any{"connect_timeout_ms": 1500, "sluice_path": "splice"}))
	eventually(t, "another look", func() bool { return looks.Load() > 1 })

	f.change(merged(map[string]any{"connect_timeout_ms": 1600}))
	eventually(t, "what the definition has now", func() bool { return u.count() > 0 })
	before.Options.ConnectTimeout = 1600 * time.Millisecond
	u.mu.Lock()
	defer u.mu.Unlock()
	if diff := cmp.Diff(before, u.seen[0], cmpAddr); diff != "" {
		t.Errorf("the first change (- want, + got):\n%s", diff)
	}
}
