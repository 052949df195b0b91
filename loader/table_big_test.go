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

// version is n routes that have the same names at each turn, and lead to other clusters.
func version(t *testing.T, turn, n int) *route.Table {
	t.Helper()
	b := route.NewBuilder(nil, "test")
	for i := range n {
		c := service(fmt.Sprintf("v%d."+serviceName, turn, i), i)
		if err := errors.Join(b.PutCluster(c), b.PutRoute(&route.Route{Name: fmt.Sprintf(serviceName, i), Cluster: c.Name})); err != nil {
			t.Fatal(err)
		}
	}
	return build(t, b)
}

// TestTableBigChurn replaces all clusters of 100,000 routes while names are looked up:
// each leads to its own cluster at any time, the former or the next.
func TestTableBigChurn(t *testing.T) {
	root := bpffs(t)
	const n = 100_000
	_, m := openTable(t, root, mirror.Limits{Routes: n, Clusters: n, Addresses: 2 * n, Texts: 10})
	sync(t, m, version(t, 0, n))
	reader, err := ViewTable(root, "")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	next := version(t, 1, n)
	done := make(chan error, 1)
	go func() {
		err := m.Sync(next, mirror.About{})
		for turn := 2; turn < 3 && err == nil; turn++ {
			// Some go, and come back.
			if err = m.Sync(version(t, turn, n/2), mirror.About{}); err == nil {
				err = m.Sync(next, mirror.About{})
			}
		}
		done <- err
	}()
	for looked, gone := 0, 0; ; looked++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d look-ups, %d of names that were gone", looked, gone)
			return
		default:
		}
		i := rand.IntN(n)
		name := fmt.Sprintf(serviceName, i)
		r, c, err := mirror.Lookup(reader.Store(), []byte(name))
		switch {
		case err != nil:
			t.Fatal(err)
		case r == nil && i >= n/2:
			gone++
			continue
		case r == nil || c == nil:
			t.Fatalf("%s leads nowhere", name)
		case len(c.Name) < 3 || c.Name[3:] != name || len(c.Endpoints) != 2:
			t.Fatalf("%s leads to %s, of %d endpoints", name, c.Name, len(c.Endpoints))
		}
		for _, e := range c.Endpoints {
			if a := e.Addrs[0].Addr().As4(); int(a[1])<<16|int(a[2])<<8|int(a[3]) != i {
				t.Fatalf("%s leads to %s with the address %s", name, c.Name, e)
			}
		}
	}
}

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
		all = version(t, turn, n)
		took("replacing all", func() { sync(t, m, all) })
	}
	sameTable(t, all, viewTable(t, root).Table)
	took("emptying", func() { sync(t, m, services(t, nil, 0)) })
	if n, _ := viewTable(t, root).Table.Len(); n != 0 {
		t.Errorf("%d routes are left", n)
	}
}
