package loader

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sluice/userspace/mirror"
	"sluice/userspace/route"
)

// TestTableBig loads, changes and reads 100,000 routes to as many clusters. The limits
// are far off, for a machine that is busy with other things.
func TestTableBig(t *testing.T) {
	root := bpffs(t)
	const n = 100_000
	limits := mirror.Limits{Routes: n, Clusters: n, Addresses: 2 * n, Texts: 10}
	table, m := openTable(t, root, limits)
	all := services(t, nil, n)
	took := func(what string, f func()) {
		start := time.Now()
		f()
		d := time.Since(start)
		t.Logf("%s took %v", what, d)
		if d > 30*time.Second {
			t.Errorf("%s took %v", what, d)
		}
	}
	took("the load", func() { sync(t, m, all) })
	var v *mirror.View
	took("reading", func() { v = viewTable(t, root) })
	sameTable(t, all, v.Table)
	b := route.NewBuilder(all, "test")
	best := time.Hour
	for range 20 {
		name := fmt.Sprintf(serviceName, rand.IntN(n))
		if err := b.PutCluster(service(name, rand.IntN(n))); err != nil {
			t.Fatal(err)
		}
		all = build(t, b)
		start := time.Now()
		sync(t, m, all)
		best = min(best, time.Since(start))
	}
	t.Logf("a change took %v at best", best)
	if best > 5*time.Millisecond {
		t.Errorf("a change took %v at best", best)
	}
	took("opening", func() {
		table.Close()
		_, m = openTable(t, root, limits)
	})
	took("verifying", func() { sync(t, m, all) })
	took("listing the maps", func() {
		infos, err := Maps(root, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range infos {
			if i.Name == tableMapRoutes && i.Entries != n {
				t.Errorf("%d routes are listed", i.Entries)
			}
			t.Logf("%s: %d of %d, %d bytes", i.Name, i.Entries, i.Max, i.Bytes)
		}
	})
	for turn := range 3 { // until ids are used again
		b := route.NewBuilder(nil, "test")
		for i := range n {
			name := fmt.Sprintf("v%d."+serviceName, turn, i)
			if err := errors.Join(b.PutCluster(service(name, i)), b.PutRoute(&route.Route{Name: name, Cluster: name})); err != nil {
				t.Fatal(err)
			}
		}
		all = build(t, b)
		took("replacing all", func() { sync(t, m, all) })
	}
	sameTable(t, all, viewTable(t, root).Table)
	took("emptying", func() { sync(t, m, services(t, nil, 0)) })
	if n, _ := viewTable(t, root).Table.Len(); n != 0 {
		t.Errorf("%d routes are left", n)
	}
}
