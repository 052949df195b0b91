package explain

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/userspace/admission"
	"sluice/userspace/flow"
	"sluice/userspace/route"
	"sluice/userspace/static"
)

var update = flag.Bool("update", false, "write the golden files anew")

const peerTD = "99999999-8888-7777-6666-555555555555.consul"

// mesh is the table of testdata/mesh.hcl. What change does to its clusters is as if it
// had come from there.
func mesh(t testing.TB, change func(*route.Cluster)) *route.Table {
	t.Helper()
	routes, clusters, err := static.Read("testdata/mesh.hcl", "splice", "sockmap")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clusters {
		if change != nil {
			change(c)
		}
	}
	return replace(t, routes, clusters)
}

func replace(t testing.TB, routes []*route.Route, clusters []*route.Cluster) *route.Table {
	t.Helper()
	table, err := route.Replace(nil, "catalog", routes, clusters)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// usual are the facts of a gateway that is well.
func usual(t testing.TB) *Facts {
	return &Facts{
		Table: mesh(t, nil),
		Meta:  Meta{Version: 7, Source: "catalog", Age: 90 * time.Second, Connected: true},
		Settings: Settings{
			ConnectTimeout: 5 * time.Second, ConnectAttempts: 3, MaxFlows: 10000, MaxPerRoute: 4000, Credit: 1 << 20,
		},
		Counts: Sample{Routes: map[string]Counters{
			internal("web"):   {Active: 12},
			internal("api"):   {Active: 99},
			"api.example.com": {Active: 1},
		}},
	}
}

func internal(service string) string { return service + ".default.dc1.internal." + td }

// cases are all kinds of places and all refusals. The golden file of each has its name.
var cases = []struct {
	name   string
	asked  string
	change func(*testing.T, *Facts)
	kind   string   // of the place
	reason string   // of the refusal, "": none
	end    flow.End // that the gateway counts
}{
	// Kinds of places.
	{name: "service", asked: internal("web"), kind: "service"},
	{name: "service-short", asked: "Web", kind: "service"},
	{name: "subset", asked: "V1.web.default.dc1.internal." + td + ".", kind: "subset"},
	{name: "subset-short", asked: "v1.web", kind: "subset"},
	{name: "exported", asked: "web.default.default.cloud.external." + td, kind: "exported"},
	{name: "datacenter", asked: "anything.default.dc2", kind: "datacenter"},
	{name: "datacenter-gateways", asked: "dc2.internal." + td, kind: "datacenter"},
	{name: "service-elsewhere", asked: "billing.default.dc3", kind: "service"},
	{name: "peer", asked: "pay", kind: "peer"},
	{name: "server", asked: "srv1.server.dc1.consul", kind: "server"},
	{name: "servers", asked: "server.dc1.consul", kind: "servers"},
	{name: "servers-elsewhere", asked: "srv7.server.dc2.consul", kind: "servers"},
	{name: "servers-peering", asked: "server.dc1.peering." + td, kind: "servers"},
	{name: "servers-of-peer", asked: "server.dc9.peering." + peerTD, kind: "servers"},
	{name: "other", asked: "api.example.com", kind: "other"},
	{name: "wildcards", asked: "x.y.eu.example.com", kind: "other"},
	{name: "any", asked: "x.example.org", change: func(t *testing.T, f *Facts) { put(t, f, &route.Route{Name: "*", Cluster: "api"}) }, kind: "other"},
	// States that do not refuse.
	{name: "panic", asked: "db", kind: "service"},
	{name: "hosts", asked: "cache.team", change: resolve, kind: "service"},
	{name: "override", asked: "api", change: override, kind: "service"},
	{name: "sockmap", asked: "db", change: func(t *testing.T, f *Facts) { f.Settings.Path = "sockmap" }, kind: "service"},
	{name: "sockmap-off", asked: "db", change: func(t *testing.T, f *Facts) {
		f.Settings.Path, f.Settings.Off = "sockmap", map[string]string{"sockmap": "kernel 5.10 is too old"}
	}, kind: "service"},
	{name: "auto-off", asked: "db", change: func(t *testing.T, f *Facts) { f.Settings.Off = map[string]string{"sockmap": "self-test failed"} }, kind: "service"},
	{name: "no-such-path", asked: "db", change: func(t *testing.T, f *Facts) { f.Settings.Path = "wire" }, kind: "service"},
	{name: "away", asked: "web", change: func(t *testing.T, f *Facts) {
		f.Meta.Connected, f.Meta.Away, f.Settings.MaxAge = false, 10*time.Minute, time.Hour
		f.Meta.Kept, f.Meta.IsKept = 1, func(cluster string) bool { return cluster == "web" }
	}, kind: "service"},
	{name: "silent", asked: "web", change: func(t *testing.T, f *Facts) {
		f.Meta.Connected, f.Meta.Silent, f.Meta.Age, f.Meta.Index = false, "it has ended", 90*time.Second, "index 17"
	}, kind: "service"},
	{name: "draining", asked: "web", change: func(t *testing.T, f *Facts) { f.Meta.State = "draining" }, kind: "service"},
	{name: "local", asked: "db", change: func(t *testing.T, f *Facts) { f.Settings.Local = true }, kind: "service"},
	{name: "local-sockmap-off", asked: "db", change: func(t *testing.T, f *Facts) {
		f.Settings.Local, f.Settings.Off = true, map[string]string{"sockmap": "self-test failed"}
	}, kind: "service"},
	{name: "local-splice", asked: "db", change: func(t *testing.T, f *Facts) { f.Settings.Local, f.Settings.Path = true, "splice" }, kind: "service"},
	{name: "source", asked: "web", change: from(admission.Standing{}), kind: "service"},
	{name: "source-allowed", asked: "web", change: from(admission.Standing{Network: netip.MustParsePrefix("2001:db8::/32"), Flows: 1, Max: 2, Rate: 0.5}), kind: "service"},
	// Refusals for the source.
	{name: "denied", asked: "web", change: from(admission.Standing{Refused: "denied", Network: netip.MustParsePrefix("2001:db8:7::/48")}), kind: "service", reason: "denied", end: flow.Denied},
	{name: "not-allowed", asked: "wbe", change: from(admission.Standing{Refused: "denied"}), reason: "denied", end: flow.Denied},
	{name: "limit-source", asked: "api", change: from(admission.Standing{Refused: "limit_source", Flows: 2, Max: 2}), kind: "service", reason: "limit_source", end: flow.LimitSource},
	{name: "limit-source-4", asked: "api", change: func(t *testing.T, f *Facts) {
		f.Source = &admission.Standing{Address: netip.MustParseAddr("::ffff:10.0.0.1"), Refused: "limit_source", Flows: 2, Max: 2}
	}, kind: "service", reason: "limit_source", end: flow.LimitSource},
	{name: "limit-flows-source", asked: "wbe", change: from(admission.Standing{Refused: "limit_flows", Flows: 2, Max: 2}), reason: "limit_flows", end: flow.LimitFlows},
	// Refusals for the name itself.
	{name: "no-name", asked: " . ", reason: "no_name", end: flow.NoServerName},
	{name: "address", asked: "10.0.0.1", reason: "no_name", end: flow.NoServerName},
	{name: "pattern", asked: "*.dc2.internal." + td, reason: "pattern", end: flow.BadHello},
	{name: "invalid-name", asked: "web:8443", reason: "invalid_name", end: flow.BadHello},
	{name: "long-label", asked: strings.Repeat("x", 64) + ".example.com", reason: "invalid_name", end: flow.BadHello},
	// For the table.
	{name: "no-table", asked: "web", change: func(t *testing.T, f *Facts) { f.Table = nil }, reason: "no_table", end: flow.NoTable},
	{name: "stale-table", asked: "web", change: func(t *testing.T, f *Facts) {
		f.Meta.Connected, f.Meta.Away, f.Settings.MaxAge = false, 2*time.Hour, time.Hour
	}, kind: "service", reason: "stale_table", end: flow.NoTable},
	// For want of a route.
	{name: "unknown-service", asked: "wbe.default.dc1.internal." + td, reason: "unknown_service", end: flow.UnknownName},
	{name: "unknown-service-short", asked: "billing", change: without("billing.default.dc3.internal." + td), reason: "unknown_service", end: flow.UnknownName},
	{name: "unknown-gateways", asked: "dc1.internal." + td, reason: "unknown_service", end: flow.UnknownName},
	{name: "unknown-subset", asked: "v3.web", reason: "unknown_subset", end: flow.UnknownName},
	{name: "unknown-datacenter", asked: "web.default.dc5", reason: "unknown_datacenter", end: flow.UnknownName},
	{name: "unknown-datacenter-server", asked: "server.dc5.consul", reason: "unknown_datacenter", end: flow.UnknownName},
	{name: "unknown-partition", asked: "web.default.blue.dc1.internal-v1." + td, reason: "unknown_partition", end: flow.UnknownName},
	{name: "other-trust-domain", asked: "web.default.dc1.internal.77777777-2222-3333-4444-555555555555.consul", reason: "other_trust_domain", end: flow.UnknownName},
	{name: "other-trust-domain-peered", asked: "pay.default.default.home.external.77777777-2222-3333-4444-555555555555.consul", reason: "other_trust_domain", end: flow.UnknownName},
	{name: "unknown-peer", asked: "web.default.default.moon.external." + td, reason: "unknown_peer", end: flow.UnknownName},
	{name: "unknown-peer-name", asked: "pay.default.default.house.external." + peerTD, reason: "unknown_peer", end: flow.UnknownName},
	{name: "not-exported", asked: "api.default.default.cloud.external." + td, reason: "not_exported", end: flow.UnknownName},
	{name: "not-imported", asked: "pya.default.default.home.external." + peerTD, reason: "not_imported", end: flow.UnknownName},
	{name: "prepared-query", asked: "near.default.dc1.query." + td, reason: "prepared_query", end: flow.UnknownName},
	{name: "unknown-server", asked: "srv2.server.dc1.consul", reason: "unknown_server", end: flow.UnknownName},
	{name: "no-federation", asked: "server.dc1.consul", change: without("srv1.server.dc1.consul", "server.dc1.consul", "server.dc2.consul", "*.server.dc2.consul"), reason: "no_federation_through_gateways", end: flow.UnknownName},
	{name: "no-peering", asked: "server.dc1.peering." + td, change: without("server.dc1.peering." + td), reason: "no_peering_through_gateways", end: flow.UnknownName},
	{name: "not-consul-name", asked: "api.exmaple.org", change: func(t *testing.T, f *Facts) { put(t, f, &route.Route{Name: "api.example.org", Cluster: "api"}) }, reason: "not_consul_name", end: flow.UnknownName},
	{name: "unknown-name", asked: "a.example", change: func(t *testing.T, f *Facts) {
		f.Table = replace(t, []*route.Route{{Name: "b.example", Refuse: "closed"}, {Name: "ab.example", Refuse: "closed"}}, nil)
	}, reason: "unknown_name", end: flow.UnknownName},
	{name: "ambiguous", asked: "a", change: without(), reason: "ambiguous_name", end: flow.UnknownName},
	// By the route, and for want of an endpoint.
	{name: "needs-tls-termination", asked: "shop", kind: "exported", reason: "needs_tls_termination", end: flow.RouteRefused},
	{name: "refused-by-route", asked: "old.example.com", kind: "other", reason: "refused_by_route", end: flow.RouteRefused},
	{name: "limit-route", asked: "api", change: func(t *testing.T, f *Facts) { f.Counts.Routes[internal("api")] = Counters{Active: 100} }, kind: "service", reason: "limit_route", end: flow.LimitRoute},
	{name: "limit-flows", asked: "db", change: func(t *testing.T, f *Facts) { f.Settings.MaxFlows = 112 }, kind: "service", reason: "limit_flows", end: flow.LimitFlows},
	{name: "no-endpoint", asked: "v2.web", kind: "subset", reason: "no_endpoint", end: flow.NoEndpoint},
	{name: "unresolved", asked: "cache.team", kind: "service", reason: "unresolved", end: flow.NoEndpoint},
	{name: "all-critical", asked: "queue", kind: "service", reason: "all_critical", end: flow.NoEndpoint},
	{name: "all-critical-exported", asked: "web.default.default.cloud", change: func(t *testing.T, f *Facts) {
		f.Table = mesh(t, func(c *route.Cluster) {
			for i := range c.Endpoints {
				c.Endpoints[i].Health = route.Critical
			}
		})
	}, kind: "exported", reason: "all_critical", end: flow.NoEndpoint},
	{name: "all-critical-unresolved", asked: "cache.team", change: func(t *testing.T, f *Facts) {
		resolve(t, f)
		f.Table = mesh(t, func(c *route.Cluster) {
			resolved(c)
			if c.Name == "cache" {
				c.PanicThreshold = route.NoPanic
				c.Endpoints[0].Health = route.Critical
			}
		})
	}, kind: "service", reason: "all_critical", end: flow.NoEndpoint},
}

// from has the flow come from a source that stands so.
func from(s admission.Standing) func(*testing.T, *Facts) {
	return func(_ *testing.T, f *Facts) {
		s.Address = netip.MustParseAddr("2001:db8:7::1")
		f.Source = &s
	}
}

// resolve gives the first host of cache two addresses.
func resolve(t *testing.T, f *Facts) { f.Table = mesh(t, resolved) }

func resolved(c *route.Cluster) {
	if c.Name == "cache" {
		c.Endpoints[0].Addrs = []netip.AddrPort{netip.MustParseAddrPort("10.0.3.1:11211"), netip.MustParseAddrPort("10.0.3.2:11211")}
	}
}

func override(t *testing.T, f *Facts) {
	f.Overrides = func(name string) route.Options {
		if name != internal("api") {
			return route.Options{}
		}
		return route.Options{MaxFlows: 200, Path: "sockmap", Credit: 256 << 10}
	}
}

// put adds a route to the table.
func put(t *testing.T, f *Facts, r *route.Route) {
	b := route.NewBuilder(f.Table, "catalog")
	if err := b.PutRoute(r); err != nil {
		t.Fatal(err)
	}
	build(t, f, b)
}

// without takes routes out of the table.
func without(names ...string) func(*testing.T, *Facts) {
	return func(t *testing.T, f *Facts) {
		b := route.NewBuilder(f.Table, "catalog")
		for _, name := range names {
			if f.Table.Route(name) == nil {
				t.Fatalf("there is no route %s to take out", name)
			}
			b.DeleteRoute(name)
		}
		build(t, f, b)
	}
}

func build(t *testing.T, f *Facts, b *route.Builder) {
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	f.Table = table
}

func TestExplain(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := usual(t)
			if c.change != nil {
				c.change(t, f)
			}
			e := Explain(f, c.asked)
			expectCase(t, e, c.kind, c.reason, c.end)
			expectGateway(t, f, e)
			expectGolden(t, c.name+".golden", text(t, e))
			if again := Explain(f, c.asked); cmp.Diff(e, again, addrs) != "" {
				t.Error("the same facts are explained in another way:", cmp.Diff(e, again, addrs))
			}
		})
	}
}

var addrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})

func expectCase(t *testing.T, e *Explanation, kind, reason string, end flow.End) {
	t.Helper()
	var gotKind, gotReason, gotEnd string
	if e.Leads != nil {
		gotKind = e.Leads.Kind
	}
	wantEnd := ""
	if reason != "" {
		wantEnd = end.String()
	}
	if r := e.Refusal; r != nil {
		gotReason, gotEnd = r.Reason, r.Counted
		if r.Text == "" || r.Do == "" {
			t.Errorf("it is not said why, or what to do: %+v", r)
		}
	}
	if gotKind != kind || gotReason != reason || gotEnd != wantEnd {
		t.Errorf("kind %q, refusal %q counted as %q, want %q, %q, %q", gotKind, gotReason, gotEnd, kind, reason, wantEnd)
	}
}

// expectGateway holds the explanation to what the gateway's own parts do.
func expectGateway(t *testing.T, f *Facts, e *Explanation) {
	t.Helper()
	if f.Table == nil || e.Name == "" {
		return
	}
	r, c := f.Table.Lookup([]byte(e.Name))
	if (r == nil) != (e.Route == nil) || r != nil && r.Name != e.Route.Name {
		t.Errorf("route %+v, and the table has %+v", e.Route, r)
	}
	if c == nil {
		return
	}
	picked := map[string]bool{}
	for range 1000 {
		if endpoint, _, ok := c.Pick(nil); ok {
			picked[endpoint.String()] = true
			endpoint.Load.Active.Add(1) // as of a flow that stays
		}
	}
	share := 0.0
	for _, to := range e.Cluster.Endpoints {
		if to.Taken != picked[to.Name] {
			t.Errorf("endpoint %s: taken %v, picked %v", to.Name, to.Taken, picked[to.Name])
		}
		share += to.Share
	}
	if len(picked) > 0 && (share < 0.999 || share > 1.001) {
		t.Errorf("the shares are %v of the flows", share)
	}
}

// TestCases holds that there is a case for each refusal.
func TestCases(t *testing.T) {
	source, err := os.ReadFile("refusal.go")
	if err != nil {
		t.Fatal(err)
	}
	seen, named := map[string]bool{}, map[string]bool{}
	for _, c := range cases {
		seen[c.reason], named[c.name] = true, true
	}
	for line := range strings.Lines(string(source)) {
		if _, after, ok := strings.Cut(line, `= refusal{"`); ok {
			if reason, _, _ := strings.Cut(after, `"`); !seen[reason] {
				t.Errorf("no case has %s", reason)
			}
		}
	}
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".golden"), ".json")
		if !named[name] {
			t.Errorf("%s is of no case", file)
		}
	}
}

func text(t testing.TB, e *Explanation) []byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	e.Text(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func expectGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s, -want +got:\n%s", file, diff)
	}
}

// TestJSON holds the shape that programs get: of a flow that is served, and of one that
// is not.
func TestJSON(t *testing.T) {
	for _, c := range cases {
		f := usual(t)
		if c.change != nil {
			c.change(t, f)
		}
		e := Explain(f, c.asked)
		b, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if bytes.Contains(b, []byte("null")) {
			t.Errorf("%s: a list that is null:\n%s", c.name, b)
		}
		var back Explanation
		if err := json.Unmarshal(b, &back); err != nil || cmp.Diff(e, &back, addrs) != "" {
			t.Errorf("%s does not come back: %v\n%s", c.name, err, cmp.Diff(e, &back, addrs))
		}
		if c.name == "service-short" || c.name == "unknown-service" {
			expectGolden(t, c.name+".json.golden", append(b, '\n'))
		}
	}
}

func ExampleExplain() {
	table, err := route.Replace(nil, "catalog", []*route.Route{{Name: "web.default.dc1.internal.x.consul", Cluster: "web"}}, []*route.Cluster{{Name: "web"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	e := Explain(&Facts{Table: table, Meta: Meta{Connected: true}}, "wbe")
	fmt.Println(e.Refusal.Text)
	fmt.Println(e.Near[0].Name)
	// Output:
	// there is no service wbe in this datacenter, dc1
	// web.default.dc1.internal.x.consul
}
