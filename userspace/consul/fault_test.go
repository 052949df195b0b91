package consul

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Faults that an agent may answer with.

func status(code int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func text(body string, headers ...string) func(http.ResponseWriter, *http.Request) {
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

var three = map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}, "c": {"10.0.0.3:80", "10.0.0.4:80"}}

var wantThree = []string{"a=10.0.0.1:80", "b=10.0.0.2:80", "c=10.0.0.3:80,10.0.0.4:80"}

// TestNothingEmptiesTheTable: whatever an agent answers in place of an answer, the
// table stays as it was, and follows again when the agent is well.
func TestNothingEmptiesTheTable(t *testing.T) {
	leaderless := []string{"X-Consul-Index", "99", "X-Consul-KnownLeader", "false", "X-Consul-LastContact", "0"}
	for _, c := range []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request)
		says  string
	}{
		{"error", status(500, "No cluster leader"), "no leader"},
		{"HTML", text("<html>a proxy's page</html>"), "not a Consul agent"},
		{"half a JSON", text(`[{"Node":{"Node":"n"`), "query failed"},
		{"null", text("null"), "knows no leader"},
		{"empty, of a server that has just started", text("{}", leaderless...), "query failed"},
		{"an empty list, of the same", text("[]", leaderless...), "query failed"},
		{"cut off", cut, "query failed"},
		{"too many connections", status(429, "Your IP is issuing too many concurrent connections"), "use HTTPS or -source xds"},
		{"unknown token", status(403, "ACL not found"), "does not know the token"},
		{"denied", status(403, "Permission denied: lacks permission"), "the token lacks"},
		{"not Consul", status(404, "no such page"), "query failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newFakeAgent(t, false)
			a.services(three)
			r := a.start(nil)
			r.has(wantThree...)
			a.breaks(c.fault)
			r.logged(c.says)
			if got, _ := r.now(); strings.Join(short(got), " ") != strings.Join(wantThree, " ") {
				t.Errorf("the table is %v", short(got))
			}
			a.mends()
			a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.22:80"}, "c": {"10.0.0.3:80"}})
			r.has("a=10.0.0.1:80", "b=10.0.0.22:80", "c=10.0.0.3:80")
		})
	}
}

// TestFirstTableWaits: there is none while something essential fails.
func TestFirstTableWaits(t *testing.T) {
	for _, path := range []string{"/v1/connect/ca/roots", "/v1/catalog/services", "/v1/health/connect/b"} {
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

// TestFirstTableWithoutRights: what the token may not read is as if it were not there.
func TestFirstTableWithoutRights(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	a.breaks(status(403, "Permission denied"), "/v1/exported-services", "/v1/peerings", "/v1/config/mesh")
	r := a.start(nil)
	r.has(wantThree...)
	r.logged(`the token lacks peering`)
}

func TestDeliberateRemoval(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	a.services(map[string][]string{"b": {"10.0.0.2:80"}, "c": {"10.0.0.4:80"}})
	r.has("b=10.0.0.2:80", "c=10.0.0.4:80")
	if table, _ := r.now(); table.Route("a.default.dc1.internal."+trustDomain) != nil {
		t.Error("the route of a service that is gone is there")
	}
}

// TestServersLostTheirState: the index goes backwards, and all is gone.
func TestServersLostTheirState(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	a.change(func() {
		a.index = 1
		a.answers["/v1/catalog/services"] = map[string][]string{}
	})
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

// TestLostRights: an answer that rights have shortened, and had not before, changes
// nothing.
func TestLostRights(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	a.change(func() { a.filter = true })
	a.services(map[string][]string{"a": {"10.0.0.1:80"}})
	r.logged("the token lost rights")
	r.has(wantThree...)
	a.change(func() { a.filter = false })
	a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}})
	r.has("a=10.0.0.1:80", "b=10.0.0.2:80")
}

// TestHidden: a token that never saw all is told about, and what it sees counts.
func TestHidden(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	a.filter = true
	r := a.start(nil)
	r.has(wantThree...)
	r.logged("does not see all there is")
	a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}})
	r.has("a=10.0.0.1:80", "b=10.0.0.2:80")
}

// TestStatus: the source is not connected while a query of this datacenter fails.
func TestStatus(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	eventually(t, "a connection", func() bool { return r.Status().Connected }, nil)
	a.breaks(status(500, "rpc error"), "/v1/health/connect/a")
	eventually(t, "none", func() bool { return !r.Status().Connected }, nil)
	if err := r.Status().Err; err == nil || !strings.Contains(err.Error(), "instances of a") {
		t.Errorf("error %v", err)
	}
	a.mends()
	eventually(t, "a connection again", func() bool { return r.Status().Connected && r.Status().Err == nil }, nil)
}

// TestLastTable: the table of an earlier process is what a first answer is held against.
func TestLastTable(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	first := a.start(nil)
	first.has(wantThree...)
	last, _ := first.now()

	b := newFakeAgent(t, false)
	b.services(map[string][]string{"a": {"10.0.0.11:80"}})
	r := b.start(func(s *Source) { s.Last = last; s.times.settle = time.Hour })
	r.has("a=10.0.0.11:80", "b=10.0.0.2:80", "c=10.0.0.3:80,10.0.0.4:80")
	for name := range three {
		if table, _ := r.now(); table.Route(name+".default.dc1.internal."+trustDomain) == nil {
			t.Errorf("no route of %s", name)
		}
	}
}

// TestQueries: none waits on index 0, and one that waits is not asked again for nothing.
func TestQueries(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	r := a.start(nil)
	r.has(wantThree...)
	for i := range 5 {
		a.services(map[string][]string{"a": {fmt.Sprintf("10.0.1.%d:80", i)}, "b": {"10.0.0.2:80"}, "c": {"10.0.0.3:80"}})
		r.has(fmt.Sprintf("a=10.0.1.%d:80", i), "b=10.0.0.2:80", "c=10.0.0.3:80")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waits) > 0 {
		t.Errorf("waited on index 0: %v", a.waits)
	}
	if n := a.asked["/v1/health/connect/a"]; n > 30 {
		t.Errorf("instances of a were asked for %d times in 6 changes", n)
	}
}

// TestBudget: on plain HTTP no more queries wait than there is room for, and changes
// come through all the same.
func TestBudget(t *testing.T) {
	a := newFakeAgent(t, false)
	many := map[string][]string{}
	var want []string
	for i := range 60 {
		name, addr := fmt.Sprintf("s%d", i), fmt.Sprintf("10.0.0.%d:80", i+1)
		many[name] = []string{addr}
		want = append(want, name+"="+addr)
	}
	a.services(many)
	r := a.start(func(s *Source) { s.Connections, s.times.turn = 20, 10*time.Millisecond })
	r.has(want...)
	r.logged("use HTTPS or -source xds")
	many["s7"] = []string{"10.9.0.7:80"}
	want[7] = "s7=10.9.0.7:80"
	a.services(many)
	r.has(want...)
	a.mu.Lock()
	most := a.most
	a.mu.Unlock()
	if most > 20 {
		t.Errorf("%d queries waited at a time, of 20 allowed", most)
	}
	if r.Status().Delay == 0 {
		t.Error("no delay is told")
	}
}

// TestHTTP2: over TLS many queries share few connections.
func TestHTTP2(t *testing.T) {
	a := newFakeAgent(t, true)
	many := map[string][]string{}
	for i := range 300 {
		many[fmt.Sprintf("s%d", i)] = []string{fmt.Sprintf("10.0.%d.%d:80", i/200, i%200+1)}
	}
	a.services(many)
	r := a.start(nil)
	eventually(t, "all services", func() bool {
		table, _ := r.now()
		if table == nil {
			return false
		}
		_, clusters := table.Len()
		return clusters == 300
	}, nil)
}
