package route

import (
	"fmt"
	"net/netip"
	"testing"
)

// at is an endpoint with a given address, which passes its checks.
func at(addr string, weight int) Endpoint {
	return Endpoint{Addrs: addrs(addr), Weight: weight}
}

func addrs(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range list {
		out = append(out, netip.MustParseAddrPort(a))
	}
	return out
}

// addr is the i-th of many addresses.
func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 8443)
}

// table builds a table of these items, each a *Route, a *Cluster, or the name of
// a route that leads to a cluster of the same name with one endpoint.
func table(t testing.TB, items ...any) *Table {
	t.Helper()
	b := NewBuilder(nil, "test")
	put(t, b, items...)
	return build(t, b)
}

func put(t testing.TB, b *Builder, items ...any) {
	t.Helper()
	for _, item := range items {
		var err error
		switch item := item.(type) {
		case *Route:
			err = b.PutRoute(item)
		case *Cluster:
			err = b.PutCluster(item)
		case string:
			err = b.PutCluster(&Cluster{Name: item, Endpoints: []Endpoint{at("10.0.0.1:8443", 1)}})
			if err == nil {
				err = b.PutRoute(&Route{Name: item, Cluster: item})
			}
		default:
			err = fmt.Errorf("cannot put a %T", item)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func build(t testing.TB, b *Builder) *Table {
	t.Helper()
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// cluster returns the endpoints as they are in a table, ready to pick from.
func cluster(t testing.TB, c Cluster) *Cluster {
	t.Helper()
	c.Name = "web"
	return table(t, &c).Cluster("web")
}

// contents is all that the table defines.
func contents(t *Table) (routes map[string]*Route, clusters map[string]*Cluster) {
	routes, clusters = map[string]*Route{}, map[string]*Cluster{}
	for r := range t.Routes() {
		routes[r.Name] = r
	}
	for c := range t.Clusters() {
		clusters[c.Name] = c
	}
	return routes, clusters
}
