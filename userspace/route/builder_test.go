package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRouteErrors(t *testing.T) {
	long := strings.Repeat("a.", 126) + "aa"
	for _, test := range []struct {
		route Route
		want  string
	}{
		{Route{}, `route "": name is empty`},
		{Route{Name: "*."}, `route "*.": name is empty`},
		{Route{Name: "a..b"}, `route "a..b": name has an empty label`},
		{Route{Name: ".a"}, `route ".a": name has an empty label`},
		{Route{Name: "a."}, `route "a.": name has an empty label`},
		{Route{Name: "Web"}, `route "Web": name has upper case letters`},
		{Route{Name: "a.*.b"}, `route "a.*.b": name has a "*" that is not the whole first label`},
		{Route{Name: "*.*.b"}, `route "*.*.b": name has a "*" that is not the whole first label`},
		{Route{Name: "*a.b"}, `route "*a.b": name has a "*" that is not the whole first label`},
		{Route{Name: "**"}, `route "**": name has a "*" that is not the whole first label`},
		{Route{Name: "a b"}, `route "a b": name has the character ' '`},
		{Route{Name: "bücher"}, `route "bücher": name has the character 'ü'`},
		{Route{Name: strings.Repeat("a", 64)}, `name has a label longer than 63 bytes`},
		{Route{Name: long}, `name is longer than 253 bytes`},
		{Route{Name: "*." + long[2:]}, `name is longer than 253 bytes`},
		{Route{Name: "a"}, `route a: no cluster given`},
		{Route{Name: "a", Cluster: "c", Refuse: "no"}, `route a: a route that refuses has no cluster, but "c" is given`},
		{Route{Name: "a", Cluster: "c", Options: Options{MaxFlows: -1}}, `route a: max flows -1 is negative`},
	} {
		err := NewBuilder(nil, "test").PutRoute(&test.route)
		if err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.route, err, test.want)
		}
	}
	for _, name := range []string{"a", "*", "*.a", "_tcp.a-b.0", long[1:]} {
		if err := (&Route{Name: strings.TrimPrefix(name, "."), Cluster: "c"}).Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestClusterErrors(t *testing.T) {
	with := func(e ...Endpoint) Cluster { return Cluster{Name: "c", Endpoints: e} }
	good := at("10.0.0.1:80", 1)
	for _, test := range []struct {
		cluster Cluster
		want    string
	}{
		{Cluster{}, `cluster "": has no name`},
		{Cluster{Name: "a\nb"}, `cluster "a\nb": name has a character other than visible ASCII`},
		{Cluster{Name: "c", Policy: 9}, `cluster "c": policy 9 is not known`},
		{Cluster{Name: "c", Discovery: 9}, `cluster "c": discovery 9 is not known`},
		{Cluster{Name: "c", ConnectTimeout: -time.Second}, `cluster "c": connect timeout -1s is negative`},
		{Cluster{Name: "c", PanicThreshold: 101}, `cluster "c": panic threshold 101 is not a percentage`},
		{Cluster{Name: "c", PanicThreshold: -2}, `cluster "c": panic threshold -2 is not a percentage`},
		{with(good, Endpoint{}), `cluster "c": endpoint 2 (): has neither an address nor a host`},
		{with(at("10.0.0.1:80", -1)), `cluster "c": endpoint 1 (10.0.0.1:80): weight -1 is not 1 to 128`},
		{with(at("10.0.0.1:80", 129)), `cluster "c": endpoint 1 (10.0.0.1:80): weight 129 is not 1 to 128`},
		{with(at("10.0.0.1:0", 1)), `cluster "c": endpoint 1 (10.0.0.1:0): address has no port`},
		{with(at("0.0.0.0:80", 1)), `cluster "c": endpoint 1 (0.0.0.0:80): address cannot be connected to`},
		{with(at("[ff02::1]:80", 1)), `cluster "c": endpoint 1 ([ff02::1]:80): address cannot be connected to`},
		{with(Endpoint{Addrs: addrs("10.0.0.1:80", "10.0.0.2:80")}), `cluster "c": endpoint 1 (10.0.0.1:80): has 2 addresses, where one without a host has one`},
		{with(Endpoint{Addrs: addrs("10.0.0.1:80"), Health: 9}), `cluster "c": endpoint 1 (10.0.0.1:80): health 9 is not known`},
		{with(Endpoint{Host: "db.x"}), `cluster "c": endpoint 1 (db.x:0): host has no port`},
		{with(Endpoint{Host: "*.x", Port: 1}), `cluster "c": endpoint 1 (*.x:1): host has a "*" that is not the whole first label`},
		{with(Endpoint{Host: "10.0.0.1", Port: 1}), `cluster "c": endpoint 1 (10.0.0.1:1): host is an address and not a name`},
		{with(good, at("10.0.0.2:80", 1), good), `cluster "c": endpoint 10.0.0.1:80: defined twice`},
		{with(good, at("[::ffff:10.0.0.1]:80", 1)), `cluster "c": endpoint 10.0.0.1:80: defined twice`},
		{with(Endpoint{Host: "db.x", Port: 1}, Endpoint{Host: "DB.x", Port: 1}), `cluster "c": endpoint db.x:1: defined twice`},
		{Cluster{Name: "c", Endpoints: []Endpoint{{Addrs: make([]netip.AddrPort, 1)}}}, `cluster "c": endpoint 1 (invalid AddrPort): address is not valid`},
	} {
		err := NewBuilder(nil, "test").PutCluster(&test.cluster)
		if err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
		if again := test.cluster.Validate(); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("Validate says %v, PutCluster %v", again, err)
		}
	}
}

func TestCanonicalForm(t *testing.T) {
	in := &Cluster{Name: "c", Endpoints: []Endpoint{
		{Host: "LB-1.example.net.", Port: 443, Addrs: addrs("10.0.0.9:443", "0.0.0.0:443", "10.0.0.8:443", "10.0.0.9:443")},
		at("[::ffff:10.0.0.2]:80", 0),
		at("10.0.0.1:80", 7),
	}}
	want := &Cluster{Name: "c", PanicThreshold: DefaultPanicThreshold, Endpoints: []Endpoint{
		at("10.0.0.1:80", 7),
		at("10.0.0.2:80", 1),
		{Host: "lb-1.example.net.", Port: 443, Addrs: addrs("10.0.0.8:443", "10.0.0.9:443"), Weight: 1},
	}}
	got := table(t, in).Cluster("c")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if in.Endpoints[0].Addrs[0].String() != "10.0.0.9:443" || in.Endpoints[0].Load != nil {
		t.Error("the builder wrote to what it was given")
	}
}

// TestTableKeepsCopies changes what was put in a table.
func TestTableKeepsCopies(t *testing.T) {
	r := &Route{Name: "a", Cluster: "c"}
	c := &Cluster{Name: "c", Endpoints: []Endpoint{at("10.0.0.1:80", 1)}}
	tab := table(t, c, r)
	r.Cluster, c.Policy, c.Endpoints[0].Weight, c.Endpoints[0].Addrs[0] = "x", Random, 9, addr(7)
	if diff := Diff(table(t, &Cluster{Name: "c", Endpoints: []Endpoint{at("10.0.0.1:80", 1)}}, &Route{Name: "a", Cluster: "c"}), tab); !diff.Empty() {
		t.Error(diff)
	}
}

func TestBuildWantsClusters(t *testing.T) {
	const refused = "here for the count"
	check := func(b *Builder, want string) {
		t.Helper()
		_, err := b.Build()
		if got := fmt.Sprint(err); got != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	b := NewBuilder(nil, "test")
	put(t, b, &Route{Name: "b", Cluster: "c"}, &Route{Name: "r", Refuse: refused})
	check(b, `route b: there is no cluster "c"`)
	put(t, b, &Route{Name: "*.a", Cluster: "c"}, &Route{Name: "z", Cluster: "d"})
	check(b, `route *.a: there is no cluster "c" (and 2 more such routes)`)
	put(t, b, &Cluster{Name: "c"}, &Cluster{Name: "d"})
	last := build(t, b)

	b.DeleteCluster("c") // in use
	check(b, `route *.a: there is no cluster "c" (and 1 more such routes)`)
	put(t, b, &Route{Name: "*.a", Cluster: "d"})
	check(b, `route b: there is no cluster "c"`)
	b.DeleteRoute("b")
	build(t, b)

	b = NewBuilder(last, "test")
	b.DeleteCluster("d")
	put(t, b, &Route{Name: "z", Refuse: refused}) // no longer leads to d
	build(t, b)

	b = NewBuilder(last, "test")
	put(t, b, &Route{Name: "z", Cluster: "e"})
	b.DeleteRoute("z")
	b.DeleteRoute("nothing")
	b.DeleteRoute(".a") // is the key of "*.a", not its name
	b.DeleteCluster("nothing")
	tab := build(t, b)
	if tab.Route("*.a") == nil || tab.Route("z") != nil {
		t.Errorf("got %v", tab)
	}
}

// TestBuilderGoesOn uses one builder for several tables: each stays as it was
// built.
func TestBuilderGoesOn(t *testing.T) {
	b := NewBuilder(nil, "test")
	put(t, b, "a", "b")
	first := build(t, b)
	put(t, b, &Cluster{Name: "a"}, &Route{Name: "b", Refuse: "no"}, "*.c")
	b.DeleteRoute("a")
	second := build(t, b)
	if !(second.Version() > first.Version()) {
		t.Errorf("versions %d, %d", first.Version(), second.Version())
	}
	if diff := Diff(table(t, "a", "b"), first); !diff.Empty() {
		t.Error(diff)
	}
	if diff := Diff(table(t, &Cluster{Name: "a"}, "b", &Route{Name: "b", Refuse: "no"}, "*.c"), second); !diff.Empty() {
		t.Error(diff)
	}
	if r, _ := first.Lookup([]byte("x.c")); r != nil {
		t.Errorf("the first table has %v", r)
	}
	if r, _ := second.Lookup([]byte("x.c")); r == nil {
		t.Error("the second table lacks *.c")
	}
}

func TestLoadsLiveOn(t *testing.T) {
	web := &Cluster{Name: "web", Endpoints: []Endpoint{
		at("10.0.0.1:80", 1), at("10.0.0.2:80", 1), {Host: "db.x", Port: 1},
	}}
	first := table(t, web, &Route{Name: "web", Cluster: "web"}, "gone")
	was := first.Cluster("web").Endpoints
	was[0].Load.Active.Add(7)

	changed := &Cluster{Name: "web", Policy: Random, Endpoints: []Endpoint{
		{Host: "db.x", Port: 1, Addrs: addrs("10.0.0.7:1"), Weight: 5},
		{Addrs: addrs("10.0.0.1:80"), Health: Critical},
		at("10.0.0.3:80", 1),
	}}
	route := &Route{Name: "web", Cluster: "web", Options: Options{MaxFlows: 3}}
	check := func(how string, next *Table) {
		t.Helper()
		if next.Route("web").Load != first.Route("web").Load {
			t.Errorf("%s: the route's load is another", how)
		}
		c := next.Cluster("web")
		now := c.Endpoints // sorted: 10.0.0.1, 10.0.0.3, db.x
		if now[0].Load != was[0].Load || now[2].Load != was[2].Load || now[0].Load.Active.Load() != 7 {
			t.Errorf("%s: the endpoints' loads are others", how)
		}
		if now[1].Load == nil || now[1].Load == was[1].Load {
			t.Errorf("%s: the new endpoint has no load of its own", how)
		}
		if c.balance.turn != first.Cluster("web").balance.turn {
			t.Errorf("%s: the round robin begins anew", how)
		}
	}

	b := NewBuilder(first, "test")
	put(t, b, changed, route)
	check("put", build(t, b))

	b = NewBuilder(first, "test")
	b.DeleteRoute("web")
	b.DeleteCluster("web")
	put(t, b, &Cluster{Name: "web"}, changed, route) // the first of them lacks all endpoints
	check("deleted and put again", build(t, b))

	next, err := Replace(first, "test", []*Route{route}, []*Cluster{changed})
	if err != nil {
		t.Fatal(err)
	}
	check("replaced", next)
}

// TestEqualIsKept: what is put again unchanged stays the same value, and the
// table's shards with it.
func TestEqualIsKept(t *testing.T) {
	first := table(t, "a", "b")
	b := NewBuilder(first, "test")
	put(t, b, &Cluster{Name: "a"}, "a", "b") // a is changed and changed back
	second := build(t, b)
	if second.Route("a") != first.Route("a") || second.Cluster("a") != first.Cluster("a") {
		t.Error("equal values were replaced")
	}
	if second.routes.dir != first.routes.dir {
		t.Error("routes were copied without a change")
	}
}

func TestReplaceErrors(t *testing.T) {
	c, r := &Cluster{Name: "c"}, &Route{Name: "r", Cluster: "c"}
	prev := table(t, c, r)
	for _, test := range []struct {
		routes   []*Route
		clusters []*Cluster
		want     string
	}{
		{[]*Route{r, r}, []*Cluster{c}, "route r: defined twice"},
		{[]*Route{r}, []*Cluster{c, c}, "cluster c: defined twice"},
		{[]*Route{r}, nil, `route r: there is no cluster "c"`},
		{[]*Route{{Name: "*"}}, nil, "route *: no cluster given"},
		{nil, []*Cluster{{}}, `cluster "": has no name`},
	} {
		if _, err := Replace(prev, "test", test.routes, test.clusters); fmt.Sprint(err) != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

// model is a table's contents, kept plainly.
type model struct {
	routes   map[string]*Route
	clusters map[string]*Cluster
}

// mutate makes a random change to the model and the same to the builder.
func (m *model) mutate(t *testing.T, rng *rand.Rand, b *Builder) {
	cluster := fmt.Sprint("c", rng.IntN(6))
	switch rng.IntN(5) {
	case 0:
		c := randomCluster(rng, cluster)
		m.clusters[cluster] = c
		put(t, b, c)
	case 1:
		for _, r := range m.routes {
			if r.Cluster == cluster {
				return
			}
		}
		delete(m.clusters, cluster)
		b.DeleteCluster(cluster)
	case 2:
		name := randomPattern(rng)
		delete(m.routes, name)
		b.DeleteRoute(name)
	default:
		if m.clusters[cluster] == nil {
			return
		}
		r := &Route{Name: randomPattern(rng), Cluster: cluster, Options: Options{MaxFlows: rng.IntN(2)}}
		m.routes[r.Name] = r
		put(t, b, r)
	}
}

func randomCluster(rng *rand.Rand, name string) *Cluster {
	c := &Cluster{Name: name, Policy: Policy(rng.IntN(3)), PanicThreshold: rng.IntN(3) * 50, Discovery: Discovery(rng.IntN(2))}
	for _, i := range rng.Perm(4)[:rng.IntN(5)] {
		e := Endpoint{Addrs: addrs(addr(i).String()), Weight: rng.IntN(3), Health: Health(rng.IntN(3))}
		if i == 3 {
			e.Host, e.Port = "db.x", 8443
			e.Addrs = append(e.Addrs, addr(rng.IntN(5)))[rng.IntN(3):]
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	return c
}

func (m *model) replace(t *testing.T, prev *Table) *Table {
	t.Helper()
	var routes []*Route
	for _, r := range m.routes {
		routes = append(routes, r)
	}
	var clusters []*Cluster
	for _, c := range m.clusters {
		clusters = append(clusters, c)
	}
	tab, err := Replace(prev, "test", routes, clusters)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// TestIncrementalLikeComplete walks through random changes: building each on the
// last gives the same as building all from nothing, or from any other table.
func TestIncrementalLikeComplete(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := &model{map[string]*Route{}, map[string]*Cluster{}}
		b := NewBuilder(nil, "test")
		var early *Table
		for step := range 20 {
			for range rng.IntN(15) {
				m.mutate(t, rng, b)
			}
			tab := build(t, b)
			for how, other := range map[string]*Table{"nothing": m.replace(t, nil), "early": m.replace(t, early), "last": m.replace(t, tab)} {
				if d := Diff(tab, other); !d.Empty() {
					t.Fatalf("seed %d, step %d, from %s: %v", seed, step, how, d)
				}
				if other.wild != tab.wild || other.refs.len() != tab.refs.len() {
					t.Fatalf("seed %d, step %d, from %s: counts differ", seed, step, how)
				}
				for name, n := range tab.refs.all() {
					if o, _ := other.refs.get(name); o != n {
						t.Fatalf("seed %d, step %d, from %s: cluster %s has %d routes and %d", seed, step, how, name, n, o)
					}
				}
			}
			if rng.IntN(3) == 0 {
				early = tab
			}
		}
	}
}
