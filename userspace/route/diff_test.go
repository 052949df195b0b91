package route

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDelta(t *testing.T) {
	web := func(change ...func(*Cluster)) *Cluster {
		c := &Cluster{Name: "web", Endpoints: []Endpoint{at("10.0.0.1:80", 1), at("10.0.0.2:80", 1)}}
		for _, f := range change {
			f(c)
		}
		return c
	}
	lose := func(c *Cluster) { c.Endpoints = c.Endpoints[1:] }
	gain := func(c *Cluster) { c.Endpoints = append(c.Endpoints, at("10.0.0.3:80", 1), at("10.0.0.0:80", 1)) }
	sick := func(c *Cluster) { c.Endpoints[1].Health = Critical }
	turned := func(c *Cluster) { slices.Reverse(c.Endpoints) }
	slow := func(c *Cluster) { c.ConnectTimeout = time.Minute }
	two := &Cluster{Name: "two"}
	many := func(p Policy) (items []any) {
		for i := range 4 {
			items = append(items, &Cluster{Name: fmt.Sprint("m", i), Policy: p})
		}
		return items
	}
	for _, test := range []struct {
		old, new []any
		want     string
	}{
		{nil, nil, "no change"},
		{[]any{web(), "a"}, []any{web(), "a"}, "no change"},
		{[]any{web()}, []any{web(turned)}, "no change"},
		{nil, []any{"a"}, "1 route and 1 cluster added"},
		{[]any{"a", "b"}, nil, "2 routes and 2 clusters removed"},
		{nil, []any{two}, "1 cluster added"},
		{[]any{two}, []any{two, &Route{Name: "a", Cluster: "two"}}, "1 route added"},
		{[]any{"a"}, []any{"a", &Route{Name: "a", Refuse: "no"}}, "1 route changed"},
		{[]any{"a"}, []any{"a", &Route{Name: "a", Cluster: "a", Options: Options{Path: "splice"}}}, "1 route changed"},
		{[]any{web()}, []any{web(lose)}, "cluster web: 1 endpoint gone"},
		{[]any{web()}, []any{web(lose), two, &Route{Name: "a", Cluster: "two"}, &Route{Name: "b", Cluster: "two"}},
			"2 routes and 1 cluster added, cluster web: 1 endpoint gone"},
		{[]any{web()}, []any{web(gain)}, "cluster web: 2 endpoints new"},
		{[]any{web()}, []any{web(slow)}, "cluster web: settings changed"},
		{[]any{web()}, []any{web(sick, gain, lose, slow)},
			"cluster web: settings changed and 2 endpoints new and 1 endpoint changed and 1 endpoint gone"},
		{many(Random), many(RoundRobin), "4 clusters changed"},
		{many(Random)[:2], many(RoundRobin)[:2], "cluster m0: settings changed, cluster m1: settings changed"},
	} {
		d := Diff(table(t, test.old...), table(t, test.new...))
		if d.String() != test.want || d.Empty() != (test.want == "no change") {
			t.Errorf("got %q, want %q", d, test.want)
		}
	}
}

func TestDiffOfNil(t *testing.T) {
	tab := table(t, "a")
	if got := Diff(nil, tab).String(); got != "1 route and 1 cluster added" {
		t.Error(got)
	}
	if got := Diff(tab, nil).String(); got != "1 route and 1 cluster removed" {
		t.Error(got)
	}
	if d := Diff(nil, nil); !d.Empty() {
		t.Error(d)
	}
}

func TestClusterChangeString(t *testing.T) {
	d := Diff(table(t, &Cluster{Name: "a"}), table(t, &Cluster{Name: "b"}))
	if got := fmt.Sprint(d.Clusters[0], ", ", d.Clusters[1]); got != "cluster a removed, cluster b added" {
		t.Error(got)
	}
}

// apply does to the old table what the delta says, endpoint by endpoint.
func apply(t *testing.T, old *Table, d Delta) (routes map[string]*Route, clusters map[string]*Cluster) {
	t.Helper()
	routes, clusters = contents(old)
	for _, c := range d.Routes {
		if c.Old != nil && routes[c.Old.Name] != c.Old {
			t.Fatalf("%+v is not in the old table", c.Old)
		}
		if c.New == nil {
			delete(routes, c.Old.Name)
		} else {
			routes[c.New.Name] = c.New
		}
	}
	for _, c := range d.Clusters {
		switch {
		case c.New == nil:
			delete(clusters, c.Old.Name)
		case c.Old == nil:
			clusters[c.New.Name] = c.New
		default:
			got := *c.New
			got.Endpoints = slices.Clone(c.Old.Endpoints)
			for _, e := range c.Endpoints {
				if e.Old != nil {
					got.Endpoints = slices.DeleteFunc(got.Endpoints, func(x Endpoint) bool { return x.key() == e.Old.key() })
				}
				if e.New != nil {
					got.Endpoints = append(got.Endpoints, *e.New)
				}
			}
			slices.SortFunc(got.Endpoints, func(a, b Endpoint) int { return endpointOrder(a, b.key()) })
			clusters[c.New.Name] = &got
		}
	}
	return routes, clusters
}

func TestDiffApplied(t *testing.T) {
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := &model{map[string]*Route{}, map[string]*Cluster{}}
		b := NewBuilder(nil, "test")
		tables := []*Table{build(t, b)}
		for range 5 {
			for range rng.IntN(30) {
				m.mutate(t, rng, b)
			}
			tables = append(tables, build(t, b), m.replace(t, nil))
		}
		for _, old := range tables {
			for _, next := range tables {
				d := Diff(old, next)
				if d.String() != Diff(old, next).String() {
					t.Fatal("the same tables differ in two ways")
				}
				if !slices.IsSortedFunc(d.Routes, func(a, b RouteChange) int {
					return strings.Compare(either(a.Old, a.New).Name, either(b.Old, b.New).Name)
				}) {
					t.Fatal("routes are not sorted")
				}
				routes, clusters := apply(t, old, d)
				wantRoutes, wantClusters := contents(next)
				if !maps.EqualFunc(routes, wantRoutes, (*Route).Equal) {
					t.Fatalf("seed %d: routes %v, want %v", seed, routes, wantRoutes)
				}
				if !maps.EqualFunc(clusters, wantClusters, (*Cluster).Equal) {
					t.Fatalf("seed %d: clusters %v, want %v", seed, clusters, wantClusters)
				}
			}
		}
	}
}
