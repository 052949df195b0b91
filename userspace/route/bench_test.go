package route

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
)

const many = 100_000

// definitions are n routes in the shape of Consul's names, every hundredth of
// them a wildcard, and as many clusters with three endpoints as asked for.
func definitions(n, clusters int) (routes []*Route, all []*Cluster) {
	for i := range clusters {
		c := &Cluster{Name: fmt.Sprintf("web%d.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul", i)}
		for j := range 3 {
			c.Endpoints = append(c.Endpoints, Endpoint{Addrs: []netip.AddrPort{addr(3*i + j)}, Weight: 1 + j})
		}
		all = append(all, c)
	}
	for i := range n {
		name := fmt.Sprintf("web%d.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul", i)
		if i%100 == 0 {
			name = fmt.Sprintf("*.dc%d.internal.x.consul", i)
		}
		routes = append(routes, &Route{Name: name, Cluster: all[i%clusters].Name})
	}
	return routes, all
}

// big is the same table for all benchmarks, for it takes a while.
var big = sync.OnceValues(func() (*Table, error) {
	routes, clusters := definitions(many, many)
	return Replace(nil, "bench", routes, clusters)
})

func BenchmarkLookup(b *testing.B) {
	t, err := big()
	if err != nil {
		b.Fatal(err)
	}
	const shapes = 1 << 16 // many names, so that caches do not flatter
	for _, bench := range []struct {
		name, format string
		found        bool
	}{
		{"exact", "web%d.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul", true},
		{"wildcard", "a.b.c.d.dc%d.internal.x.consul", true},
		{"miss", "web%d.default.dc1.internal.x.y.consul", false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var names [shapes][]byte
			for i := range names {
				n := i * 7919 % many
				if bench.name == "wildcard" {
					n = i % (many / 100) * 100
				} else if n%100 == 0 {
					n++
				}
				names[i] = fmt.Appendf(nil, bench.format, n)
			}
			runtime.GC() // what building the table left is not the look-up's
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if r, _ := t.Lookup(names[i%shapes]); (r != nil) != bench.found {
					b.Fatalf("%s: %v", names[i%shapes], r)
				}
				i++
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	routes, clusters := definitions(many, many)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Replace(nil, "bench", routes, clusters); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplaceSame is a reload of a source in which nothing changed.
func BenchmarkReplaceSame(b *testing.B) {
	routes, clusters := definitions(many, many)
	t, err := Replace(nil, "bench", routes, clusters)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		next, err := Replace(t, "bench", routes, clusters)
		if err != nil || !Diff(t, next).Empty() {
			b.Fatal(err)
		}
	}
}

// BenchmarkOneChange builds a table in which one endpoint's health changed, and
// finds the difference.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{10_000, many} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			routes, clusters := definitions(n, n)
			t, err := Replace(nil, "bench", routes, clusters)
			if err != nil {
				b.Fatal(err)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				c := clusters[i%n]
				c.Endpoints[0].Health = (c.Endpoints[0].Health + 1) % 3
				builder := NewBuilder(t, "bench")
				if err := builder.PutCluster(c); err != nil {
					b.Fatal(err)
				}
				next, err := builder.Build()
				if err != nil {
					b.Fatal(err)
				}
				if d := Diff(t, next); len(d.Clusters) != 1 || len(d.Clusters[0].Endpoints) != 1 {
					b.Fatal(d)
				}
				t = next
				i++
			}
		})
	}
}

func BenchmarkPick(b *testing.B) {
	for _, policy := range []Policy{RoundRobin, LeastRequest, Random} {
		for _, n := range []int{3, 1000} {
			b.Run(fmt.Sprintf("%v/%d", policy, n), func(b *testing.B) {
				c := Cluster{Name: "web", Policy: policy}
				for i := range n {
					c.Endpoints = append(c.Endpoints, at(addr(i).String(), 1+i%7))
				}
				picked := table(b, &c).Cluster("web")
				b.ReportAllocs()
				for b.Loop() {
					picked.Pick(nil)
				}
			})
		}
	}
}
