package main

import (
	"fmt"
	"net/netip"
	"time"

	"sluice/tests/bench/figure"
	"sluice/userspace/route"
)

// lookups times Sluice's table alone, without a network, at several sizes.
func lookups(sizes []int) ([]figure.Lookup, error) {
	var all []figure.Lookup
	for _, n := range sizes {
		t, names, err := table(n)
		if err != nil {
			return nil, err
		}
		all = append(all, figure.Lookup{Routes: n, Nanoseconds: timeLookups(t, names)})
	}
	return all, nil
}

// table has n exact names, all of one cluster.
func table(n int) (*route.Table, [][]byte, error) {
	b := route.NewBuilder(nil, "bench")
	web := route.Endpoint{Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:443")}}
	if err := b.PutCluster(&route.Cluster{Name: "web", Endpoints: []route.Endpoint{web}}); err != nil {
		return nil, nil, err
	}
	var names [][]byte
	for i := range n {
		name := fmt.Sprintf("s%06d.default.dc1.internal.bench.consul", i)
		if err := b.PutRoute(&route.Route{Name: name, Cluster: "web"}); err != nil {
			return nil, nil, err
		}
		names = append(names, []byte(name))
	}
	t, err := b.Build()
	return t, names, err
}

// timeLookups is how long one takes, in nanoseconds, over all names in an order of
// which a cache knows little: the median of some times.
func timeLookups(t *route.Table, names [][]byte) float64 {
	const times, step = 200_000, 7919 // a prime
	var took []float64
	for range 7 {
		begun := time.Now()
		for i, at := 0, 0; i < times; i++ {
			at = (at + step) % len(names)
			t.Lookup(names[at])
		}
		took = append(took, float64(time.Since(begun).Nanoseconds())/times)
	}
	return figure.SpreadOf(took).Median
}
