// Package route says where a server name leads.
//
// A Table holds routes, each a server name or a wildcard, and the clusters of
// endpoints that they lead to. It is immutable: a Builder makes the next one
// from the last, a Store holds the current one, and whoever looks a name up
// works on one table from beginning to end, without a lock:
//
//	b := route.NewBuilder(store.Load(), "catalog")
//	err := b.PutCluster(&route.Cluster{Name: "web", Endpoints: endpoints})
//	err = b.PutRoute(&route.Route{Name: "web.internal", Cluster: "web"})
//	t, err := b.Build()
//	delta := store.Swap(t)
//	...
//	r, c := store.Load().Lookup(name)
//	endpoint, addr, ok := c.Pick(tried)
//
// A table shares with the one before it all that did not change (see shards), so
// a change costs by its own size and not by the table's, both to build and to
// find with Diff.
//
// What does change while tables come and go are the counts of flows: routes and
// endpoints point to a Load, and the builder hands it on to the same route or
// endpoint of the next table.
package route
