package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/userspace/client"
	"sluice/userspace/registration"
)

// answer is what a fake agent says: a value as JSON, or an error, or headers too.
type answer struct {
	status int    // 0: 200
	text   string // of an error
	value  any
	hidden bool // the token does not see all
	date   time.Time
}

const denial = "Permission denied: token with AccessorID 'x' lacks permission 'y'"

// goodAgent answers as one does in whose mesh nothing is amiss; by path and, if any,
// "?dc=" and the datacenter.
func goodAgent(t *testing.T) map[string]answer {
	gateways := []map[string]any{{
		"Node":    map[string]any{"Node": "n", "Address": "10.1.0.1"},
		"Service": map[string]any{"ID": "gw", "Service": "gw", "TaggedAddresses": map[string]any{"wan": map[string]any{"Address": "1.2.3.4", "Port": 443}}},
		"Checks":  []map[string]any{{"Status": "passing"}},
	}}
	return map[string]answer{
		"/v1/agent/self":                          {value: map[string]any{"Config": map[string]any{"Version": "1.22.2", "Datacenter": "dc1", "NodeName": "n1"}}},
		"/v1/status/leader":                       {value: "10.0.0.1:8300"},
		"/v1/acl/token/self":                      {value: map[string]any{"AccessorID": "the-accessor"}},
		"/v1/agent/connect/authorize":             {value: map[string]any{"Authorized": true}},
		"/v1/catalog/services":                    {value: map[string]any{}},
		"/v1/catalog/services?dc=dc2":             {value: map[string]any{"gw": []string{}}},
		"/v1/health/service/gw?dc=dc2":            {value: gateways},
		"/v1/config/service-resolver/" + stranger: {status: 404, text: "Config entry not found"},
		"/v1/catalog/nodes":                       {value: []any{}},
		"/v1/exported-services":                   {value: []any{}},
		"/v1/peerings":                            {value: []any{}},
		"/v1/agent/services":                      {value: map[string]any{"gw": map[string]any{"Kind": "mesh-gateway", "ID": "gw", "Service": "gw"}}},
		"/v1/agent/health/service/id/gw":          {value: map[string]any{"AggregatedStatus": "passing", "Service": map[string]any{"ID": "gw"}}},
		"/v1/catalog/datacenters":                 {value: []string{"dc1", "dc2"}},
		"/v1/connect/ca/roots":                    {value: map[string]any{"TrustDomain": "td.consul", "Roots": []map[string]any{{"Active": true, "RootCert": certificate(t, -time.Hour, 1000*time.Hour)}}}},
	}
}

// fake serves a good agent with some answers changed, and returns settings to reach it.
func fake(t *testing.T, changed map[string]answer) client.Settings {
	t.Helper()
	all := goodAgent(t)
	maps.Copy(all, changed)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Path
		if dc := r.URL.Query().Get("dc"); dc != "" {
			key += "?dc=" + dc
		}
		a, ok := all[key]
		if !ok {
			a = answer{status: http.StatusNotFound, text: "Invalid URL path: " + key}
		}
		if !a.date.IsZero() {
			w.Header().Set("Date", a.date.UTC().Format(http.TimeFormat))
		}
		w.Header().Set("X-Consul-Index", "7")
		w.Header().Set("X-Consul-LastContact", "0")
		w.Header().Set("X-Consul-KnownLeader", "true")
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", fmt.Sprint(a.hidden))
		if a.status != 0 && a.value == nil {
			http.Error(w, a.text, a.status)
			return
		}
		if a.status != 0 {
			w.WriteHeader(a.status)
		}
		if err := json.NewEncoder(w).Encode(a.value); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return client.Settings{HTTPAddr: s.URL, Token: "secret"}
}

func TestFakeAgent(t *testing.T) {
	now := time.Now()
	roots := func(text string, active bool) map[string]answer {
		return map[string]answer{"/v1/connect/ca/roots": {value: map[string]any{"TrustDomain": "td.consul", "Roots": []map[string]any{{"Active": active, "RootCert": text}}}}}
	}
	health := func(status string, code int) map[string]answer {
		return map[string]answer{"/v1/agent/health/service/id/gw": {status: code, value: map[string]any{
			"AggregatedStatus": status, "Service": map[string]any{"ID": "gw"},
			"Checks": []map[string]any{
				{"Name": "TCP", "CheckID": "service:gw", "Status": status, "Output": "connection\nrefused"},
				{"Name": "alias", "Status": "passing"},
			},
		}}}
	}
	at := func(path string, a answer) map[string]answer { return map[string]answer{path: a} }
	source := func(s string) func(*Mesh) { return func(m *Mesh) { m.Source = s } }
	running := func(m *Mesh) { m.Running = true }
	for _, c := range []struct {
		name          string
		changed       map[string]answer
		mesh          func(*Mesh)
		line          string
		level         Level
		found, remedy string
	}{
		{"version", nil, nil, "agent", OK, "Consul 1.22.2, node n1 of dc1", ""},
		{"old version", at("/v1/agent/self", answer{value: map[string]any{"Config": map[string]any{"Version": "1.9.1"}}}), nil, "agent", Warn, "before 1.14", "update"},
		{"enterprise version", at("/v1/agent/self", answer{value: map[string]any{"Config": map[string]any{"Version": "1.21.0+ent"}}}), nil, "agent", OK, "+ent", ""},
		{"no agent", at("/v1/agent/self", answer{status: 404, text: "page not found"}), nil, "agent", Fail, "nothing else was asked", "-http-addr"},
		{"agent that fails", at("/v1/agent/self", answer{status: 500, text: "oops"}), nil, "agent", Fail, "oops", "agent's log"},
		{"too many connections", at("/v1/agent/self", answer{status: 429, text: "many"}), nil, "agent", Fail, "429", "http_max_conns_per_client"},

		{"leader", nil, nil, "leader", OK, "10.0.0.1:8300", ""},
		{"no leader", at("/v1/status/leader", answer{value: ""}), nil, "leader", Fail, "has none", "raft list-peers"},
		{"no servers", at("/v1/status/leader", answer{status: 500, text: "No known Consul servers"}), nil, "leader", Fail, "No known", "consul members"},

		{"token", nil, nil, "token", OK, "the-accessor", ""},
		{"ACLs off", at("/v1/acl/token/self", answer{status: 401, text: "ACL support disabled"}), nil, "token", OK, "ACLs are off", ""},
		{"unknown token", at("/v1/acl/token/self", answer{status: 403, text: "token does not exist: ACL not found"}), nil, "token", Fail, "does not know", "token create"},
		{"token that cannot be asked for", at("/v1/acl/token/self", answer{status: 500, text: "No cluster leader"}), nil, "token", Fail, "No cluster leader", "consul members"},
		{"token that ends", at("/v1/acl/token/self", answer{value: map[string]any{"AccessorID": "the-accessor", "ExpirationTime": now.Add(time.Hour)}}), nil, "token", Warn, "expires at", "renew"},
		{"token that ends late", at("/v1/acl/token/self", answer{value: map[string]any{"AccessorID": "the-accessor", "ExpirationTime": now.Add(100 * time.Hour)}}), nil, "token", OK, "", ""},

		{"not to write", at("/v1/agent/connect/authorize", answer{status: 403, text: denial}), nil, "service:write", Fail, "missing", `service "gw" { policy = "write" }`},
		{"writing not told", at("/v1/agent/connect/authorize", answer{status: 500, text: "oops"}), nil, "service:write", Warn, "cannot be told", "log"},
		{"writing, in a partition", at("/v1/agent/connect/authorize", answer{status: 400, text: "Mismatched partitions"}), nil, "service:write", OK, "gw", ""},
		{"writing whom", at("/v1/agent/services", answer{value: map[string]any{}}), func(m *Mesh) { m.Service = registration.Settings{} }, "service:write", Warn, "not known which", "gateway"},

		{"services named one by one", at("/v1/config/service-resolver/"+stranger, answer{status: 403, text: denial}), nil, "service:read", Warn, "all services of today", "service_prefix"},
		{"services not told", at("/v1/config/service-resolver/"+stranger, answer{status: 500, text: "oops"}), nil, "service:read", Warn, "cannot be told", "log"},
		{"names of services not told", at("/v1/catalog/services", answer{status: 500, text: "oops"}), nil, "service:read", Warn, "cannot be told", "log"},
		{"some services denied", at("/v1/catalog/services", answer{value: map[string]any{}, hidden: true}), nil, "service:read", Warn, "a rule hides some", "no deny"},
		{"nodes not told", at("/v1/catalog/nodes", answer{status: 500, text: "oops"}), nil, "node:read", Warn, "cannot be told", "log"},
		{"nodes denied", at("/v1/catalog/nodes", answer{status: 403, text: denial}), nil, "node:read", Fail, "missing", "node_prefix"},
		{"agent denied", at("/v1/agent/self", answer{status: 403, text: denial}), nil, "agent:read", Warn, "taken to be 8502", "agent_prefix"},

		{"mesh denied", at("/v1/exported-services", answer{status: 403, text: denial}), nil, "mesh:read", Warn, "were xDS not there", `mesh = "read"`},
		{"mesh denied, catalog", at("/v1/exported-services", answer{status: 403, text: denial}), source("catalog"), "mesh:read", Fail, "exported to peers have no route", `mesh = "read"`},
		{"mesh denied, xds", at("/v1/exported-services", answer{status: 403, text: denial}), source("xds"), "mesh:read", OK, "not needed", ""},
		{"mesh not told", at("/v1/exported-services", answer{status: 500, text: "oops"}), nil, "mesh:read", Warn, "cannot be told", "log"},
		{"no exports", at("/v1/exported-services", answer{status: 404, text: "Invalid URL path"}), nil, "mesh:read", OK, "not needed", ""},
		{"peering denied", at("/v1/peerings", answer{status: 500, text: "rpc error: " + denial}), source("catalog"), "peering:read", Fail, "services of peers have no route", `peering = "read"`},
		{"peering denied, xds", at("/v1/peerings", answer{status: 500, text: denial}), source("xds"), "peering:read", OK, "not needed", ""},
		{"peering not told", at("/v1/peerings", answer{status: 500, text: "oops"}), nil, "peering:read", Warn, "cannot be told", "log"},

		{"critical, not started", health("critical", 503), nil, "gateway", Warn, "TCP: connection refused", "start the gateway"},
		{"critical, and runs", health("critical", 503), running, "gateway", Fail, "TCP: connection refused", "its check"},
		{"maintenance", at("/v1/agent/health/service/id/gw", answer{status: 503, value: map[string]any{
			"Service": map[string]any{"ID": "gw"},
			"Checks":  []map[string]any{{"Name": "Service Maintenance Mode", "CheckID": "_service_maintenance:gw", "Status": "critical", "Notes": "sluice is draining"}},
		}}), nil, "gateway", Warn, "sluice is draining", "consul maint -disable -service=gw"},
		{"a warning", health("warning", 429), nil, "gateway", OK, "registered and warning", ""},
		{"no health", at("/v1/agent/health/service/id/gw", answer{status: 500, text: "oops"}), nil, "gateway", Warn, "cannot be read", "log"},
		{"several gateways", at("/v1/agent/services", answer{value: map[string]any{"a": map[string]any{"ID": "a"}, "b": map[string]any{"ID": "b"}}}), func(m *Mesh) { m.Service = registration.Settings{} }, "gateway", Fail, "several", "-proxy-id"},

		{"no xDS", nil, nil, "xDS", Warn, "does not serve gRPC; routes come from the catalog", "grpc = 8502"},
		{"no xDS, and must", nil, source("xds"), "xDS", Fail, "does not serve gRPC", "grpc = 8502"},
		{"xDS not used", nil, source("catalog"), "xDS", OK, "not used", ""},

		{"datacenters", nil, nil, "gateways of dc2", OK, "1 of 1 healthy", ""},
		{"alone", at("/v1/catalog/datacenters", answer{value: []string{"dc1"}}), nil, "datacenters", OK, "not federated", ""},
		{"datacenters not told", at("/v1/catalog/datacenters", answer{status: 500, text: "oops"}), nil, "datacenters", Warn, "cannot be told", "log"},
		{"no gateway there", at("/v1/catalog/services?dc=dc2", answer{value: map[string]any{}}), nil, "gateways of dc2", Warn, "none is registered", "-wan-address"},
		{"none seen there", at("/v1/catalog/services?dc=dc2", answer{value: map[string]any{}, hidden: true}), nil, "gateways of dc2", Fail, "sees none", "service_prefix"},
		{"no way there", at("/v1/catalog/services?dc=dc2", answer{status: 500, text: "No path to datacenter"}), nil, "gateways of dc2", Warn, "No path", "members -wan"},
		{"unknown there", at("/v1/catalog/services?dc=dc2", answer{status: 403, text: "ACL not found"}), nil, "gateways of dc2", Fail, "not good for dc2", "replication"},
		{"a local token", map[string]answer{
			"/v1/catalog/services?dc=dc2": {status: 403, text: "ACL not found"},
			"/v1/acl/token/self":          {value: map[string]any{"AccessorID": "the-accessor", "Local": true}},
		}, nil, "gateways of dc2", Fail, "not good for dc2", "-local"},
		{"gateways fail there", at("/v1/health/service/gw?dc=dc2", answer{value: []any{map[string]any{
			"Node": map[string]any{}, "Service": map[string]any{}, "Checks": []any{map[string]any{"Status": "critical"}}}}}), nil, "gateways of dc2", Warn, "none of 1", "sluice check"},
		{"no WAN address there", at("/v1/health/service/gw?dc=dc2", answer{value: []any{map[string]any{
			"Node": map[string]any{}, "Service": map[string]any{}}}}), nil, "gateways of dc2", Warn, "1 without a WAN address", "-wan-address"},
		{"health not told there", at("/v1/health/service/gw?dc=dc2", answer{status: 500, text: "oops"}), nil, "gateways of dc2", Warn, "oops", "members -wan"},

		{"CA", nil, nil, "CA", OK, "the root of td.consul is valid until", ""},
		{"no CA", at("/v1/connect/ca/roots", answer{status: 500, text: "Connect must be enabled"}), nil, "CA", Fail, "no CA", "connect { enabled = true }"},
		{"no active root", roots(certificate(t, 0, time.Hour), false), nil, "CA", Fail, "no active root", "ca get-config"},
		{"no root at all", roots("", true), nil, "CA", Warn, "no PEM", "ca get-config"},
		{"no certificate", roots("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", true), nil, "CA", Warn, "cannot be read", "ca get-config"},
		{"root that ends", roots(certificate(t, -time.Hour, time.Hour), true), nil, "CA", Warn, "expires on", "rotate"},
		{"root that has ended", roots(certificate(t, -2*time.Hour, -time.Hour), true), nil, "CA", Fail, "has expired", "rotate"},
		{"root of the future", roots(certificate(t, time.Hour, 1000*time.Hour), true), nil, "CA", Fail, "not valid before", "timedatectl"},

		{"clock", nil, nil, "clock", OK, "to within 5s", ""},
		{"clock behind", at("/v1/status/leader", answer{value: "x", date: now.Add(20 * time.Minute)}), nil, "clock", Fail, "behind the agent's", "timedatectl"},
		{"clock ahead", at("/v1/status/leader", answer{value: "x", date: now.Add(-20 * time.Minute)}), nil, "clock", Fail, "ahead of the agent's", "timedatectl"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask(t, fake(t, c.changed), c.mesh)
			expect(t, one(t, r.Lines, c.line), c.level, c.found, c.remedy)
		})
	}
}

func TestClockLine(t *testing.T) {
	for ahead, want := range map[time.Duration]Level{0: OK, -time.Second: OK, 5 * time.Second: OK, 10 * time.Second: Warn, -30 * time.Second: Warn, 2 * time.Minute: Fail, -time.Hour: Fail} {
		if l := clockLine(ahead); l.Level != want {
			t.Errorf("%v ahead is %v, want %v", ahead, l.Level, want)
		}
	}
}

// TestNobodyThere: of an agent that is not there, one line says so.
func TestNobodyThere(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:1", "unix://" + filepath.Join(t.TempDir(), "none")} {
		r := ask(t, client.Settings{HTTPAddr: addr}, nil)
		if len(r.Lines) != 1 {
			t.Errorf("%d lines", len(r.Lines))
		}
		expect(t, one(t, r.Lines, "agent"), Fail, "nothing else was asked", "systemctl start consul")
	}
}

// TestTokenFile: a token file that went away is told of, while the token still counts.
func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := fake(t, nil)
	set.Token, set.TokenFile = "", file
	r := ask(t, set, func(*Mesh) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	})
	expect(t, one(t, r.Lines, "token"), Warn, "its file cannot be used", "mend")
}

// TestNoACL: without ACLs nothing is said about rights.
func TestNoACL(t *testing.T) {
	r := ask(t, fake(t, map[string]answer{"/v1/acl/token/self": {status: 401, text: "ACL support disabled"}}), nil)
	for _, l := range r.Lines {
		if l.Name == "service:read" || l.Name == "service:write" {
			t.Errorf("there is a line %+v", l)
		}
	}
	one(t, r.Lines, "clock")
}
