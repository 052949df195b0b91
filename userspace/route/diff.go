package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Delta is what differs between two tables, sorted by names, so that it is the
// same for the same tables. Old is nil in what was added, and New in what was
// removed.
type Delta struct {
	Routes   []RouteChange
	Clusters []ClusterChange
}

// RouteChange is a route that was added, changed or removed.
type RouteChange struct{ Old, New *Route }

// ClusterChange is a cluster that was added, changed or removed.
type ClusterChange struct {
	Old, New  *Cluster
	Endpoints []EndpointChange // of a changed cluster, those that differ
}

// EndpointChange is an endpoint that was added to a cluster, changed in it, or
// removed from it. Endpoints are the same when their source names them the same:
// that is by host and port, or else by address.
type EndpointChange struct{ Old, New *Endpoint }

// Diff tells what changed from old to new; either may be nil, which is an empty
// table. Between a table and the one built from it, it costs by the change and
// not by the tables.
func Diff(old, new *Table) Delta {
	if old == nil {
		old = &Table{}
	}
	if new == nil {
		new = &Table{}
	}
	var d Delta
	compare(&old.routes, &new.routes, func(o, n *Route) {
		d.Routes = append(d.Routes, RouteChange{o, n})
	})
	compare(&old.clusters, &new.clusters, func(o, n *Cluster) {
		c := ClusterChange{Old: o, New: n}
		if o != nil && n != nil {
			c.Endpoints = diffEndpoints(o.Endpoints, n.Endpoints)
		}
		d.Clusters = append(d.Clusters, c)
	})
	slices.SortFunc(d.Routes, func(a, b RouteChange) int {
		return cmp.Compare(either(a.Old, a.New).Name, either(b.Old, b.New).Name)
	})
	slices.SortFunc(d.Clusters, func(a, b ClusterChange) int {
		return cmp.Compare(either(a.Old, a.New).Name, either(b.Old, b.New).Name)
	})
	return d
}

// compare calls differ with each pair of values that are not equal, nil for one
// that is not there.
func compare[V interface {
	comparable
	Equal(V) bool
}](old, new *shards[V], differ func(old, new V)) {
	for i := range uint64(shardCount) {
		if old.sameShard(new, i) {
			continue
		}
		was, is := old.shard(i), new.shard(i)
		for _, o := range was {
			var n V
			if j, ok := search(is, o.hash, o.key); ok {
				n = is[j].value
			}
			if o.value != n && !o.value.Equal(n) {
				differ(o.value, n)
			}
		}
		for _, n := range is {
			if _, ok := search(was, n.hash, n.key); !ok {
				var none V
				differ(none, n.value)
			}
		}
	}
}

// diffEndpoints walks both lists, which are sorted, side by side.
func diffEndpoints(old, new []Endpoint) []EndpointChange {
	var changes []EndpointChange
	for len(old) > 0 || len(new) > 0 {
		var order int // of the first old one, seen from the first new one
		switch {
		case len(new) == 0:
			order = -1
		case len(old) == 0:
			order = +1
		default:
			order = endpointOrder(old[0], new[0].key())
		}
		var c EndpointChange
		if order <= 0 {
			c.Old, old = &old[0], old[1:]
		}
		if order >= 0 {
			c.New, new = &new[0], new[1:]
		}
		if order != 0 || !c.Old.Equal(*c.New) {
			changes = append(changes, c)
		}
	}
	return changes
}

func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// Empty tells whether the tables are the same.
func (d Delta) Empty() bool { return len(d.Routes) == 0 && len(d.Clusters) == 0 }

// String sums the difference up for a log line, such as "2 routes and 1 cluster
// added, cluster web: 1 endpoint gone".
func (d Delta) String() string {
	if d.Empty() {
		return "no change"
	}
	var routes, clusters tally
	for _, c := range d.Routes {
		routes.count(c.Old == nil, c.New == nil)
	}
	var changed []ClusterChange
	for _, c := range d.Clusters {
		clusters.count(c.Old == nil, c.New == nil)
		if c.Old != nil && c.New != nil {
			changed = append(changed, c)
		}
	}
	var parts []string
	add := func(what string, routes, clusters int) {
		if s := both(routes, "route", clusters, "cluster"); s != "" {
			parts = append(parts, s+" "+what)
		}
	}
	add("added", routes.added, clusters.added)
	add("removed", routes.removed, clusters.removed)
	// One line names few clusters; when more changed, their number has to do.
	if len(changed) > 3 {
		add("changed", routes.changed, clusters.changed)
		return strings.Join(parts, ", ")
	}
	add("changed", routes.changed, 0)
	for _, c := range changed {
		parts = append(parts, c.String())
	}
	return strings.Join(parts, ", ")
}

// String sums a changed cluster up, such as "cluster web: 1 endpoint gone".
func (c ClusterChange) String() string {
	switch {
	case c.Old == nil:
		return "cluster " + c.New.Name + " added"
	case c.New == nil:
		return "cluster " + c.Old.Name + " removed"
	}
	var t tally
	for _, e := range c.Endpoints {
		t.count(e.Old == nil, e.New == nil)
	}
	var parts []string
	if !c.Old.sameSettings(c.New) {
		parts = append(parts, "settings changed")
	}
	for _, p := range []struct {
		n    int
		what string
	}{{t.added, "new"}, {t.changed, "changed"}, {t.removed, "gone"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n, "endpoint")+" "+p.what)
		}
	}
	return "cluster " + c.New.Name + ": " + strings.Join(parts, " and ")
}

// tally counts changes by kind.
type tally struct{ added, changed, removed int }

func (t *tally) count(added, removed bool) {
	switch {
	case added:
		t.added++
	case removed:
		t.removed++
	default:
		t.changed++
	}
}

// count is "1 route", "2 routes".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// both is "2 routes and 1 cluster", without what there is none of.
func both(a int, nounA string, b int, nounB string) string {
	switch {
	case a > 0 && b > 0:
		return count(a, nounA) + " and " + count(b, nounB)
	case a > 0:
		return count(a, nounA)
	case b > 0:
		return count(b, nounB)
	default:
		return ""
	}
}
