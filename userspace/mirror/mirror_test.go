package mirror

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// one is a cluster of one endpoint, whose address tells clusters apart.
func one(name string, i int) *route.Cluster {
	return &route.Cluster{Name: name, Endpoints: []route.Endpoint{{Addrs: []netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)}}}}
}

// names is a table in which each name leads to a cluster of its own.
func names(t testing.TB, prev *route.Table, all ...string) *route.Table {
	t.Helper()
	var routes []*route.Route
	var clusters []*route.Cluster
	for i, name := range all {
		routes = append(routes, &route.Route{Name: name, Cluster: "to-" + name})
		clusters = append(clusters, one("to-"+name, i+1))
	}
	return replace(t, prev, routes, clusters)
}

func mirrored(t testing.TB, m *Mirror, table *route.Table) {
	t.Helper()
	if err := m.Sync(table, About{}); err != nil {
		t.Fatal(err)
	}
}

// TestWhole has everything in one table that a table can have.
func TestWhole(t *testing.T) {
	long := strings.Repeat("a23456789.", 25) + "abc" // 253 bytes
	clusters := []*route.Cluster{
		{Name: strings.Repeat("c", 256), Policy: route.Random, ConnectTimeout: 1234567 * time.Nanosecond, PanicThreshold: route.NoPanic, SendProxy: true, Discovery: route.Logical},
		{Name: "dns", Policy: route.LeastRequest, PanicThreshold: 100, Endpoints: []route.Endpoint{
			{Host: "a.example.", Port: 443, Weight: 128, Health: route.Warning},
			{Host: "a.example.", Port: 444, Addrs: []netip.AddrPort{netip.MustParseAddrPort("[fd00::1]:1"), netip.MustParseAddrPort("10.0.0.1:2")}},
			{Host: strings.Repeat("h", 63) + "." + strings.Repeat("i", 63) + "." + strings.Repeat("j", 63) + "." + strings.Repeat("k", 60), Port: 1},
			{Addrs: []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%eth0]:65535")}, Health: route.Critical},
		}},
	}
	routes := []*route.Route{
		{Name: "*", Cluster: "dns", Options: route.Options{MaxFlows: 1 << 40, Path: "0123456789abcdef", Credit: route.MaxCredit}},
		{Name: long, Cluster: clusters[0].Name},
		{Name: "*." + long[2:], Refuse: strings.Repeat("why ", 1000)},
		{Name: "x", Refuse: strings.Repeat("y", 256)},
	}
	b := route.NewBuilder(replace(t, nil, routes, clusters), "test")
	b.At("index 17")
	want, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	about := About{Gateway: "dc1/gw", Listeners: []netip.AddrPort{netip.MustParseAddrPort("[::1]:8443"), netip.MustParseAddrPort("10.0.0.1:8443")}}
	s, _ := newStore(Limits{Texts: 64})
	m := open(t, s)
	if table, meta := m.Table(); table != nil || meta.State != Empty {
		t.Errorf("new maps have %v, %+v", table, meta)
	}
	if err := m.Sync(want, about); err != nil {
		t.Fatal(err)
	}
	v := checkMirrored(t, s, want)
	meta := Meta{About: about, State: Whole, Sequence: 2, Version: want.Version(), Source: "test", Index: "index 17", Routes: 4, Clusters: 2, Addresses: 5}
	compare := []cmp.Option{cmpopts.IgnoreFields(Meta{}, "Built", "Written"), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
	if d := cmp.Diff(meta, v.Meta, compare...); d != "" {
		t.Error(d)
	}
	table, found := open(t, s).Table()
	if d := cmp.Diff(meta, found, compare...); d != "" {
		t.Error(d)
	}
	if d := route.Diff(want, table); !d.Empty() || table.Index() != "index 17" {
		t.Error(d, table.Index())
	}
	if !v.Meta.Built.Equal(want.Built()) {
		t.Errorf("built at %v, not %v", v.Meta.Built, want.Built())
	}
}

// TestLookup compares the trie with route.Table for names of all kinds.
func TestLookup(t *testing.T) {
	long := strings.Repeat("a23456789.", 25) + "abc"
	s, _ := newStore(Limits{})
	m := open(t, s)
	for _, table := range []*route.Table{
		names(t, nil, append(routeNames, long, "*."+long[2:])...), names(t, nil, "x", "*.x", "a.x", long),
	} {
		mirrored(t, m, table)
		for _, name := range append(serverNames, "", ".", ".x", "..x", "a..x", "x\x00y", "x\x00", "\x00x", "x.", "*", "*.x", "b"+long, strings.Repeat("b.", 300)+long,
			strings.Repeat("b", 300)+".x", strings.Repeat("\x00", 300)) {
			want, _ := table.Lookup([]byte(name))
			got, _, err := Lookup(s, []byte(name))
			if err != nil || !got.Equal(want) {
				t.Errorf("%q leads to %v (%v), not to %v", name, got, err, want)
			}
		}
	}
}

// FuzzLookup compares the trie with route.Table for any name.
func FuzzLookup(f *testing.F) {
	table := names(f, nil, append(routeNames, "a--b.x", "*.--")...)
	s, _ := newStore(Limits{})
	mirrored(f, open(f, s), table)
	for _, name := range serverNames {
		f.Add([]byte(name))
	}
	f.Fuzz(func(t *testing.T, name []byte) {
		want, _ := table.Lookup(name)
		got, _, err := Lookup(s, name)
		if err != nil || !got.Equal(want) {
			t.Errorf("%q leads to %v (%v), not to %v", name, got, err, want)
		}
	})
}

// TestWrites counts what one change writes among 10,000 services, beside the two of meta.
func TestWrites(t *testing.T) {
	s, k := newStore(Limits{})
	m := open(t, s)
	b := route.NewBuilder(nil, "test")
	put := func(cs []*route.Cluster, rs ...*route.Route) {
		t.Helper()
		for _, c := range cs {
			if err := b.PutCluster(c); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range rs {
			if err := b.PutRoute(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 10_000 {
		name := fmt.Sprintf("s%d.x", i)
		put([]*route.Cluster{one(name, i)}, &route.Route{Name: name, Cluster: name})
	}
	slow := one("s7.x", 7)
	slow.ConnectTimeout = time.Second
	for _, step := range []struct {
		what   string
		change func()
		writes map[string]int
	}{
		{"all", func() {}, map[string]int{"meta": 2, "routes": 10_000, "clusters": 10_000, "endpoints": 10_000}},
		{"nothing", func() {}, map[string]int{"meta": 1}},
		{"another address", func() { put([]*route.Cluster{one("s7.x", 8)}) }, map[string]int{"meta": 2, "clusters": 1, "endpoints": 2}},
		{"one back", func() { put([]*route.Cluster{one("s7.x", 7)}) }, map[string]int{"meta": 2, "clusters": 1, "endpoints": 2}},
		{"a setting", func() { put([]*route.Cluster{slow}) }, map[string]int{"meta": 2, "clusters": 1}},
		{"another route", func() { put(nil, &route.Route{Name: "s7.x", Cluster: "s8.x"}) }, map[string]int{"meta": 2, "routes": 1}},
		{"a refusal", func() { put(nil, &route.Route{Name: "s7.x", Refuse: "no"}) }, map[string]int{"meta": 2, "routes": 1, "texts": 1}},
		{"one more service", func() { put([]*route.Cluster{one("new", 1)}, &route.Route{Name: "new.x", Cluster: "new"}) },
			map[string]int{"meta": 2, "routes": 1, "clusters": 1, "endpoints": 1}},
		{"one less", func() { b.DeleteRoute("new.x"); b.DeleteCluster("new") }, map[string]int{"meta": 2, "routes": 1, "clusters": 1, "endpoints": 1}},
	} {
		step.change()
		table, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		k.reset()
		mirrored(t, m, table)
		if d := cmp.Diff(step.writes, k.writes); d != "" {
			t.Errorf("%s: %s", step.what, d)
		}
		checkMirrored(t, s, table)
	}
	table, _ := b.Build()
	k.reset()
	mirrored(t, open(t, s), table)
	if k.total != 1 {
		t.Errorf("a restart with the same table writes %v", k.writes)
	}
}

// TestFull has tables that do not fit: nothing is written then, and the next one that
// fits is.
func TestFull(t *testing.T) {
	limits := Limits{Routes: 3, Clusters: 3, Addresses: 4, Texts: 2}
	refusing := func(texts ...string) *route.Table {
		var routes []*route.Route
		for i, text := range texts {
			routes = append(routes, &route.Route{Name: fmt.Sprint("r", i), Refuse: text})
		}
		return replace(t, nil, routes, nil)
	}
	many := one("c", 1)
	for i := range 4 {
		many.Endpoints = append(many.Endpoints, one("", i+2).Endpoints...)
	}
	for _, c := range []struct {
		table *route.Table
		err   string
	}{
		{names(t, nil, "a", "b", "c", "d"), "it has 4 routes, and the maps hold 3"},
		{replace(t, nil, nil, []*route.Cluster{one("a", 1), one("b", 1), one("c", 1), one("d", 1)}), "4 clusters"},
		{replace(t, nil, nil, []*route.Cluster{many}), "5 addresses"},
		{refusing(strings.Repeat("x", 5*textSize)), "5 texts"},
		{replace(t, nil, []*route.Route{{Name: "a", Refuse: "no", Options: route.Options{Path: "a-path-with-a-long-name"}}}, nil), "route a: path"},
		{replace(t, nil, nil, []*route.Cluster{one(strings.Repeat("c", 257), 1)}), "longer than 256 bytes"},
	} {
		s, k := newStore(limits)
		m := open(t, s)
		first := names(t, nil, "a", "b")
		mirrored(t, m, first)
		k.reset()
		if err := m.Sync(c.table, About{}); err == nil || !strings.Contains(err.Error(), c.err) || k.total > 0 {
			t.Errorf("%v, after %d writes; want %q", err, k.total, c.err)
		}
		checkMirrored(t, s, first)
		next := names(t, first, "b", "c", "d")
		mirrored(t, m, next)
		checkMirrored(t, s, next)
	}
	if err := open(t, func() *Store { s, _ := newStore(limits); return s }()).Sync(nil, About{}); err == nil {
		t.Error("no table is mirrored")
	}
}

// TestIDs keeps ids away from other routes while flows have them.
func TestIDs(t *testing.T) {
	s, _ := newStore(Limits{Routes: 2, Clusters: 9, Addresses: 9})
	m := open(t, s)
	mirrored(t, m, names(t, nil, "a"))
	held, stats := m.Enter("a")
	stats.Sent.Add(5)
	s.Traffic.(fakeTraffic)[held] = TrafficRecord{Bytes: [2]uint64{1, 2}}
	for i := range 20 { // of four ids, one is held
		mirrored(t, m, names(t, nil, fmt.Sprint("b", i)))
		if id, other := m.Enter(fmt.Sprint("b", i)); id == held || id == 0 || other.Sent.Load() != 0 {
			t.Fatalf("id %d has %d bytes", id, other.Sent.Load())
		} else {
			other.Sent.Add(1)
			other.Active.Add(-1)
		}
	}
	if id, _ := m.Enter("a"); id != 0 {
		t.Errorf("a route that is gone has id %d", id)
	}
	mirrored(t, m, names(t, nil, "c"))
	if err := m.Sync(names(t, nil, "d", "e"), About{}); err != nil {
		t.Fatal(err)
	}
	d, _ := m.Enter("d")
	e, _ := m.Enter("e")
	if err := m.Sync(names(t, nil, "f", "g"), About{}); err == nil || !strings.Contains(err.Error(), "2 of its routes are new, and 1 ids are left") {
		t.Errorf("three flows hold ids: %v", err)
	}
	checkMirrored(t, s, names(t, nil, "d", "e"))
	s.Stats[held].Active.Add(-1)
	mirrored(t, m, names(t, nil, "f", "g"))
	f, _ := m.Enter("f")
	g, _ := m.Enter("g")
	if f == g || f == d || f == e || g == d || g == e {
		t.Errorf("ids are used twice: %d, %d, %d, %d", d, e, f, g)
	}
	if _, there := s.Traffic.(fakeTraffic)[held]; there && (f == held || g == held) {
		t.Error("the kernel's counters went on to another route")
	}

	if open(t, s); s.Stats[f].Active.Load() != 0 {
		t.Error("flows of the dead are active")
	}
}

// TestPolicy has an operator's policy outlive restarts, and its route.
func TestPolicy(t *testing.T) {
	s, k := newStore(Limits{Routes: 9})
	m := open(t, s)
	mirrored(t, m, names(t, nil, "a", "b", "*.x"))
	want := route.Options{MaxFlows: 7, Path: "splice", Credit: 1 << 20}
	for _, name := range []string{"a", "*.x"} {
		if err := m.SetPolicy(name, want); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.SetPolicy("c", want); err == nil {
		t.Error("a policy of no route is set")
	}
	if err := m.SetPolicy("a", route.Options{Path: "a-path-with-a-long-name"}); err == nil {
		t.Error("a path that does not fit is set")
	}
	id, _ := m.Enter("a")
	mirrored(t, m, names(t, nil, "b"))
	m = open(t, s)
	if m.Policy("a") != want || m.Policy("*.x") != want || m.Policy("b") != (route.Options{}) || m.Policy("c") != (route.Options{}) {
		t.Error("policies are lost")
	}
	mirrored(t, m, names(t, nil, "a", "b", "*.x"))
	if now, _ := m.Enter("a"); now != id {
		t.Errorf("a route that came back has id %d, not %d", now, id)
	}
	v := checkMirrored(t, s, names(t, nil, "a", "b", "*.x"))
	if st, _ := v.State("a"); v.Policy("a") != want || st.SetAt.IsZero() || st.ID != id {
		t.Errorf("seen: %+v", st)
	}
	set := map[string]route.Options{}
	for name, o := range m.Policies {
		set[name] = o
	}
	if d := cmp.Diff(map[string]route.Options{"a": want, "*.x": want}, set); d != "" {
		t.Error(d)
	}
	mirrored(t, m, names(t, nil, "b"))
	for _, name := range []string{"a", "*.x", "b", "c"} {
		if err := m.SetPolicy(name, route.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if m.entry("a") != nil || sizes(s)["policy"] != 0 {
		t.Error("a cleared policy keeps its id")
	}
	k.stop = k.total
	if err := m.SetPolicy("b", want); err == nil || m.Policy("b") == want {
		t.Error("a policy that could not be written is in force")
	}
}

// TestDamage spoils records of each kind: what cannot be read is refused, never taken
// for something else, and the next Sync mends it.
func TestDamage(t *testing.T) {
	build := func() *route.Table {
		dns := &route.Cluster{Name: "dns", Endpoints: []route.Endpoint{{Host: "h", Port: 1}}}
		return replace(t, nil, []*route.Route{
			{Name: "a.x", Cluster: "a"}, {Name: "b.x", Cluster: "dns"}, {Name: "c.x", Refuse: "no"}, {Name: "*.x", Cluster: "wild"},
		}, []*route.Cluster{one("a", 1), one("wild", 2), dns})
	}
	for what, spoil := range map[string]func(*Store){
		"routes": func(s *Store) { spoil(s.Routes.(fakeTrie).fakeMap, func(r *RouteRecord) { r.Cluster ^= 1 }) },
		"clusters": func(s *Store) {
			spoil(s.Clusters.(*fakeMap[uint32, ClusterRecord]), func(r *ClusterRecord) { r.ID ^= 4 })
		},
		"endpoints": func(s *Store) {
			spoil(s.Endpoints.(*fakeMap[EndpointKey, EndpointRecord]), func(r *EndpointRecord) { r.Port++ })
		},
		"texts":          func(s *Store) { spoil(s.Texts.(*fakeMap[TextKey, TextRecord]), func(r *TextRecord) { r.Text[0]++ }) },
		"endpoints gone": func(s *Store) { clear(s.Endpoints.(*fakeMap[EndpointKey, EndpointRecord]).data) },
		"clusters gone":  func(s *Store) { clear(s.Clusters.(*fakeMap[uint32, ClusterRecord]).data) },
		"texts gone":     func(s *Store) { clear(s.Texts.(*fakeMap[TextKey, TextRecord]).data) },
		"meta gone":      func(s *Store) { clear(s.Meta.(*fakeMap[uint32, MetaRecord]).data) },
		"strange keys": func(s *Store) {
			s.Routes.(fakeTrie).data[RouteKey{Bits: 12}] = RouteRecord{}
			s.Clusters.(*fakeMap[uint32, ClusterRecord]).data[99] = ClusterRecord{Addresses: 1 << 31}
			s.Endpoints.(*fakeMap[EndpointKey, EndpointRecord]).data[EndpointKey{1, 1, 1 << 30}] = EndpointRecord{}
			s.Texts.(*fakeMap[TextKey, TextRecord]).data[TextKey{1, 1 << 30}] = TextRecord{Bytes: 1 << 31}
			s.Policies.(*fakeMap[uint32, PolicyRecord]).data[1<<30] = PolicyRecord{}
		},
	} {
		s, _ := newStore(Limits{Routes: 9, Clusters: 9, Addresses: 9, Texts: 9})
		want := build()
		mirrored(t, open(t, s), want)
		spoil(s)
		m := open(t, s)
		table, _ := m.Table()
		for _, name := range []string{"a.x", "b.x", "c.x", "z.x"} {
			r, _ := table.Lookup([]byte(name))
			if was, _ := want.Lookup([]byte(name)); !r.Equal(was) && r.Refuse != RefuseDamaged {
				t.Errorf("%s: %s leads to %+v", what, name, r)
			}
		}
		mirrored(t, m, want)
		if len(m.Damage()) > 0 {
			t.Errorf("%s: %v is left", what, m.Damage())
		}
		checkMirrored(t, s, want)
	}
}

func spoil[K comparable, V any](m *fakeMap[K, V], change func(*V)) {
	for k, v := range m.data {
		change(&v)
		m.data[k] = v
	}
}

// TestCounts has each end where it belongs.
func TestCounts(t *testing.T) {
	var s Stats
	for range 3 {
		s.End(flow.NoEndpoint)
	}
	s.End(flow.Killed)
	s.End(flow.NotTLS) // never of a route
	c := s.counts()
	if d := cmp.Diff(map[flow.End]uint64{flow.NoEndpoint: 3}, c.Refused()); d != "" {
		t.Error(d)
	}
	all := map[flow.End]uint64{}
	for end, n := range c.Ended {
		all[end] = n
	}
	if d := cmp.Diff(map[flow.End]uint64{flow.NoEndpoint: 3, flow.Killed: 1, flow.Unknown: 1}, all); d != "" {
		t.Error(d)
	}
	for _, end := range flow.Ends() { // those that a route's flow can have
		if place := placeOf[end]; end >= flow.RouteRefused && (place == 0 || endOf[place] != end) {
			t.Errorf("%s is counted as %d", end, place)
		}
	}
	s.reset()
	if s.counts() != (Counts{}) {
		t.Errorf("left: %+v", s.counts())
	}
}
