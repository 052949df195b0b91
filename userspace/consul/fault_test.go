package consul

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Faults that an agent may answer with.

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func text(body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		fmt.Fprint(w, body)
	}
}

func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, `[{"Node":`)
	panic(http.ErrAbortHandler)
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

var three = map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}, "c": {"10.0.0.3:80", "10.0.0.4:80"}}

var wantThree = []string{"a=10.0.0.1:80", "b=10.0.0.2:80", "c=10.0.0.3:80,10.0.0.4:80"}

// noLeader are the headers of a server that is cut off, or has just started.
var noLeader = []string{"X-Consul-Index", "99", "X-Consul-KnownLeader", "false", "X-Consul-LastContact", "0"}

// TestNothingEmptiesTheTable: whatever an agent answers in place of an answer, the
// table stays as it was, and follows again when the agent is well.
func TestNothingEmptiesTheTable(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault http.HandlerFunc
		says  string
	}{
		{"error", status(500, "No cluster leader"), "no leader"},
		{"HTML", text("<html>a proxy's page</html>"), "not a Consul agent"},
		{"half a JSON", text(`[{"Node":{"Node":"n"`), "query failed"},
		{"null", text("null"), "query failed"},
		{"no index", text("{}", "X-Consul-KnownLeader", "false", "X-Consul-LastContact", "0"), "query failed"},
		{"bad index", text("{}", "X-Consul-Index", "many"), "query failed"},
		{"empty, of a server that has just started", text("{}", noLeader...), "query failed"},
		{"an empty list, of the same", text("[]", noLeader...), "query failed"},
		{"cut off", cut, "query failed"},
		{"hangs", hang, "the agent hangs"},
		{"too many connections", status(429, "Your IP is issuing too many concurrent connections"), "use HTTPS or -source xds"},
		{"unknown token", status(403, "ACL not found"), "does not know the token"},
		{"denied", status(403, "Permission denied: lacks permission"), "the token lacks"},
		{"not Consul", status(404, "no such page"), "query failed"},
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(c.name+" by "+scheme, func(t *testing.T) {
				t.Parallel()
				a := newFakeAgent(t, scheme == "https")
				a.services(three)
				r := a.start(func(s *Source) { s.times.answer = 200 * time.Millisecond })
				r.has(wantThree...)
				a.breaks(c.fault)
				r.logged(c.says)
				eventually(t, "no connection", func() bool { return !r.Status().Connected }, nil)
				if got, _ := r.now(); !slices.Equal(short(got), wantThree) {
					t.Errorf("the table is %v", short(got))
				}
				a.mends()
				a.server.CloseClientConnections() // what hangs is heard of at once
				a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.22:80"}, "c": {"10.0.0.3:80"}})
				r.has("a=10.0.0.1:80", "b=10.0.0.22:80", "c=10.0.0.3:80")
				eventually(t, "a connection", func() bool { return r.Status().Connected }, nil)
			})
		}
	}
}

// TestAgentGoneAndBack: the connections break, and nobody listens for a while.
func TestAgentGoneAndBack(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	a.breaks(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	eventually(t, "no connection", func() bool { return !r.Status().Connected }, nil)
	r.has(wantThree...)
	if n := strings.Count(r.log.String(), "query failed"); n != 1 {
		t.Errorf("%d lines for one agent that is gone", n)
	}
	a.mends()
	a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}})
	r.has("a=10.0.0.1:80", "b=10.0.0.2:80")
}

// TestEmptyAfterRestart: an agent that comes back with fewer services than there were
// may have more to say. What is gone indeed leaves when Consul has settled.
func TestEmptyAfterRestart(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(func(s *Source) { s.times.settle = 300 * time.Millisecond })
	r.has(wantThree...)
	a.breaks(status(500, "rpc error"))
	eventually(t, "no connection", func() bool { return !r.Status().Connected }, nil)
	a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}})
	a.mends()
	r.logged("kept until it has settled")
	r.logged("leave the table")
	r.has("a=10.0.0.1:80", "b=10.0.0.2:80")
}

// TestFirstTableWaits: there is none while something essential fails.
func TestFirstTableWaits(t *testing.T) {
	for _, path := range []string{"/v1/connect/ca/roots", "/v1/catalog/services", connectPath + "b", "/v1/config/service-resolver"} {
		t.Run(path, func(t *testing.T) {
			a := newFakeAgent(t, false)
			a.services(three)
			a.breaks(status(500, "rpc error"), path)
			r := a.start(nil)
			r.logged("query failed")
			if table, _ := r.now(); table != nil {
				t.Errorf("table %v", short(table))
			}
			a.mends()
			r.has(wantThree...)
		})
	}
}

// TestFirstTableWithout: what the token may not read, what is switched off or not known
// yet to an older Consul, and another datacenter that does not answer, is as if it were
// not there; nor is Consul away because of it.
func TestFirstTableWithout(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault http.HandlerFunc
		keys  []string
	}{
		{"rights", status(403, "Permission denied"), []string{"/v1/exported-services", "/v1/peerings", "/v1/config/mesh"}},
		{"the question", status(404, ""), []string{"/v1/exported-services", "/v1/peerings"}},
		{"peering", status(500, "peering must be enabled to use this endpoint"), []string{"/v1/peerings"}},
		{"an answer about peers", hang, []string{"/v1/peerings"}},
		{"a way to dc2", status(500, "No path to datacenter"), []string{"/v1/catalog/services?dc=dc2"}},
		{"an answer of dc2", hang, []string{"/v1/catalog/services?dc=dc2"}},
		{"instances of dc2", hang, []string{"/v1/health/service/gw?dc=dc2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newFakeAgent(t, false)
			a.services(three)
			a.set("/v1/catalog/datacenters", []string{"dc1", "dc2"})
			a.set("/v1/catalog/services?dc=dc2", map[string]any{"gw": nil})
			a.breaks(c.fault, c.keys...)
			r := a.start(func(s *Source) {
				s.times.optional, s.times.answer, s.times.settle = 50*time.Millisecond, 200*time.Millisecond, time.Hour
			})
			r.has(wantThree...)
			r.logged("query failed")
			if s := r.Status(); !s.Connected {
				t.Errorf("not connected: %v", s.Err)
			}
			a.services(map[string][]string{"b": {"10.0.0.2:80"}, "c": {"10.0.0.4:80"}})
			r.has("b=10.0.0.2:80", "c=10.0.0.4:80")
		})
	}
}

// TestDeliberateRemoval: with an hour to settle and to hold, what is deregistered
// leaves with the answer that says so.
func TestDeliberateRemoval(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(func(s *Source) { s.times.settle = time.Hour })
	r.has(wantThree...)
	a.services(map[string][]string{"b": {"10.0.0.2:80"}, "c": {"10.0.0.4:80"}})
	r.has("b=10.0.0.2:80", "c=10.0.0.4:80")
	table, _ := r.now()
	a.mu.Lock()
	index := fmt.Sprint("index ", a.index)
	a.mu.Unlock()
	if got := table.Index(); got != index {
		t.Errorf("the table is of %q, and Consul's last change had %q", got, index)
	}
	if table.Route("a.default.dc1.internal."+trustDomain) != nil {
		t.Error("the route of a service that is gone is there")
	}
	if n := r.Status().Kept; n > 0 {
		t.Errorf("%d clusters kept", n)
	}
}

// TestServersLostTheirState: the index goes backwards, and all is gone.
func TestServersLostTheirState(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	a.restored(nil)
	r.logged("index went backwards")
	r.logged("all of the table is kept")
	r.has(wantThree...)
	if n := r.Status().Kept; n != 3 {
		t.Errorf("%d clusters kept, want 3", n)
	}
	a.services(three)
	eventually(t, "nothing to be kept", func() bool { return r.Status().Kept == 0 }, nil)
	r.has(wantThree...)
}

// TestOneGoneWithARestore: with an index that went backwards not even one service
// leaves until Consul has settled. The log has one line for all queries.
func TestOneGoneWithARestore(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(func(s *Source) { s.times.settle = time.Hour })
	r.has(wantThree...)
	a.restored(map[string][]string{"a": {"10.0.0.11:80"}, "b": {"10.0.0.2:80"}})
	r.has("a=10.0.0.11:80", "b=10.0.0.2:80", "c=10.0.0.3:80,10.0.0.4:80")
	if n := strings.Count(r.log.String(), "index went backwards"); n != 1 {
		t.Errorf("%d lines for one restore", n)
	}
}

// TestGatewayReplaced: until the new gateway's address is known, the old one stays, and
// for a while when there is none any more.
func TestGatewayReplaced(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	gateway := func(name, addr string) {
		a.change(func() {
			a.put("/v1/catalog/datacenters", []string{"dc1", "dc2"})
			a.put("/v1/catalog/services?dc=dc2", map[string]any{name: nil})
			a.put("/v1/health/service/"+name+"?dc=dc2", instancesAt(name, addr))
		})
	}
	gateway("old", "198.51.100.1:443")
	r := a.start(func(s *Source) { s.times.settle = time.Hour })
	r.has(append([]string{"dc2.internal=198.51.100.1:443"}, wantThree...)...)
	a.breaks(status(500, "No path to datacenter"), "/v1/health/service/new?dc=dc2")
	gateway("new", "198.51.100.2:443")
	r.logged("query failed")
	r.has(append([]string{"dc2.internal=198.51.100.1:443"}, wantThree...)...)
	if table, _ := r.now(); table.Route("*.dc2.internal."+trustDomain) == nil {
		t.Error("the route to dc2 is gone")
	}
	a.mends()
	r.has(append([]string{"dc2.internal=198.51.100.2:443"}, wantThree...)...)
	a.set("/v1/catalog/services?dc=dc2", map[string]any{})
	r.logged("no gateways of a datacenter any more: kept for a while")
	r.has(append([]string{"dc2.internal=198.51.100.2:443"}, wantThree...)...)
}
