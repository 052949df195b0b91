package mirror

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/userspace/route"
)

// routeNames overlap in all ways: exact names, and wildcards above and below each other.
var routeNames = []string{
	"*", "*.x", "*.a.x", "*.b.a.x", "*.c.b.a.x", "x", "a.x", "b.a.x", "c.b.a.x", "d.c.b.a.x", "ax", "*.ax", "b.ax", "q.x", "*.q.x",
}

// serverNames are those, and others that only wildcards match.
var serverNames = func() (all []string) {
	for _, n := range routeNames {
		if !strings.HasPrefix(n, "*") {
			all = append(all, n, "zz."+n, "y.zz."+n)
		}
	}
	return append(all, "z")
}()

func randomTable(t testing.TB, rnd *rand.Rand, prev *route.Table) *route.Table {
	t.Helper()
	var clusters []*route.Cluster
	for i := range 5 {
		if rnd.IntN(4) > 0 {
			clusters = append(clusters, randomCluster(rnd, fmt.Sprintf("c%d", i)))
		}
	}
	var routes []*route.Route
	for _, name := range routeNames {
		if rnd.IntN(2) == 0 {
			continue
		}
		r := &route.Route{Name: name, Options: route.Options{MaxFlows: rnd.IntN(2), Path: []string{"", "splice"}[rnd.IntN(2)]}}
		if len(clusters) == 0 || rnd.IntN(5) == 0 {
			r.Refuse = strings.Repeat("no ", 1+100*rnd.IntN(3))
		} else {
			r.Cluster = clusters[rnd.IntN(len(clusters))].Name
		}
		routes = append(routes, r)
	}
	return replace(t, prev, routes, clusters)
}

func replace(t testing.TB, prev *route.Table, routes []*route.Route, clusters []*route.Cluster) *route.Table {
	t.Helper()
	table, err := route.Replace(prev, "test", routes, clusters)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func randomCluster(rnd *rand.Rand, name string) *route.Cluster {
	c := &route.Cluster{
		Name: name, Policy: route.Policy(rnd.IntN(3)), ConnectTimeout: time.Duration(rnd.IntN(2)) * time.Second,
		PanicThreshold: []int{0, route.NoPanic, 30}[rnd.IntN(3)], SendProxy: rnd.IntN(2) == 0, Discovery: route.Discovery(rnd.IntN(2)),
	}
	addr := func(i int) netip.AddrPort {
		return netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:80", i+1))
	}
	for i := range rnd.IntN(4) {
		e := route.Endpoint{Weight: 1 + rnd.IntN(route.MaxWeight), Health: route.Health(rnd.IntN(3))}
		switch rnd.IntN(4) {
		case 0:
			e.Host, e.Port = fmt.Sprintf("host%d.example", i), 443
			for j := range rnd.IntN(3) {
				e.Addrs = append(e.Addrs, addr(10*i+j))
			}
		case 1:
			e.Addrs = []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("[fe80::%d%%eth%d]:80", i+1, rnd.IntN(2)))}
		default:
			e.Addrs = []netip.AddrPort{addr(i)}
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	return c
}

// checkNames fails when a name leads neither where the one table says nor where the
// other one does.
func checkNames(t testing.TB, s *Store, old, new *route.Table) {
	t.Helper()
	for _, name := range serverNames {
		r, c, err := Lookup(s, []byte(name))
		if err != nil {
			t.Fatal(err)
		}
		was, is := match(old, name), match(new, name)
		if !r.Equal(was) && !r.Equal(is) {
			t.Fatalf("%s leads to %+v; before to %+v, after to %+v", name, r, was, is)
		}
		if r == nil || r.Refuse != "" {
			continue
		}
		if !c.Equal(clusterOf(old, r.Cluster)) && !c.Equal(clusterOf(new, r.Cluster)) {
			t.Fatalf("%s leads to %+v, which is neither the old cluster nor the new one", name, c)
		}
	}
}

func match(t *route.Table, name string) *route.Route {
	if t == nil {
		return nil
	}
	r, _ := t.Lookup([]byte(name))
	return r
}

func clusterOf(t *route.Table, name string) *route.Cluster {
	if t == nil {
		return nil
	}
	return t.Cluster(name)
}

// checkMirrored fails when the maps do not have exactly this table.
func checkMirrored(t testing.TB, s *Store, want *route.Table) *View {
	t.Helper()
	v, err := Read(s)
	if err != nil {
		t.Fatal(err)
	}
	if v.Meta.State != Whole {
		t.Fatalf("the maps are %s", v.Meta.State)
	}
	if len(v.Damage) > 0 {
		t.Fatal(v.Damage)
	}
	if d := route.Diff(want, v.Table); !d.Empty() {
		t.Fatalf("in the maps: %s", d)
	}
	routes, clusters := want.Len()
	entries, pieces, met := 0, 0, map[string]bool{"": true}
	use := func(text string) {
		if !met[text] {
			pieces += takes(text)
		}
		met[text] = true
	}
	for c := range want.Clusters() {
		entries += addresses(c)
		textsOf(c, use)
	}
	for r := range want.Routes() {
		use(r.Refuse)
	}
	for name, n := range map[string]int{"routes": routes, "clusters": clusters, "endpoints": entries, "texts": pieces} {
		if has := sizes(s)[name]; has != n {
			t.Fatalf("%d entries in the map of %s, %d are used", has, name, n)
		}
	}
	if v.Meta.Routes != routes || v.Meta.Clusters != clusters || v.Meta.Addresses != entries {
		t.Fatalf("meta counts %+v", v.Meta)
	}
	return v
}

// TestOrder looks every name up after every single write of random changes.
func TestOrder(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s, k := newStore(Limits{Routes: 64, Clusters: 64, Addresses: 256, Texts: 256})
		m := open(t, s)
		var old *route.Table
		for range 8 {
			next := randomTable(t, rnd, old)
			k.after = func() { checkNames(t, s, old, next) }
			if err := m.Sync(next, About{}); err != nil {
				t.Fatal(err)
			}
			k.after = nil
			checkMirrored(t, s, next)
			checkNames(t, s, next, next)
			old = next
		}
	}
}

// TestKilled stops the writer after each of its writes, and has another one take over
// what is there, with the same table, an older one, or a new one.
func TestKilled(t *testing.T) {
	for seed := range uint64(6) {
		for stop := 1; ; stop++ {
			rnd := rand.New(rand.NewPCG(seed, 2))
			s, k := newStore(Limits{Routes: 64, Clusters: 64, Addresses: 256, Texts: 256})
			m := open(t, s)
			old := randomTable(t, rnd, nil)
			if err := m.Sync(old, About{}); err != nil {
				t.Fatal(err)
			}
			next := randomTable(t, rnd, old)
			k.reset()
			k.stop = stop
			err := m.Sync(next, About{})
			k.stop = 0
			if err == nil {
				break // that was all
			}
			checkNames(t, s, old, next)
			third := []*route.Table{next, old, randomTable(t, rnd, nil)}[stop%3]
			if stop%2 == 0 { // the same process tries again
				err = m.Sync(third, About{})
			} else {
				heir := open(t, s)
				table, meta := heir.Table()
				if meta.State != Writing || len(heir.Damage()) > 0 {
					t.Fatalf("killed after %d writes: %s, %v", stop, meta.State, heir.Damage())
				}
				for _, name := range serverNames {
					if r := match(table, name); !r.Equal(match(old, name)) && !r.Equal(match(next, name)) {
						t.Fatalf("killed after %d writes: %s is served wrongly", stop, name)
					}
				}
				k.after = func() { checkNames(t, s, table, third) }
				err = heir.Sync(third, About{})
				k.after = nil
			}
			if err != nil {
				t.Fatal(err)
			}
			checkMirrored(t, s, third)
			checkIDs(t, s)
		}
	}
}

// checkIDs fails when two routes have one id.
func checkIDs(t testing.TB, s *Store) {
	t.Helper()
	v, err := Read(s)
	if err != nil {
		t.Fatal(err)
	}
	owners := map[uint32]string{}
	for name, st := range v.States {
		if other, twice := owners[st.ID]; twice || st.ID == 0 {
			t.Fatalf("%s and %s have id %d", name, other, st.ID)
		}
		owners[st.ID] = name
	}
	if routes, _ := v.Table.Len(); len(owners) != routes {
		t.Fatalf("%d ids of %d routes", len(owners), routes)
	}
}
