package consul

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice/userspace/loss"
	"sluice/userspace/route"
)

// compiler keeps the table that the view stands for.
type compiler struct {
	*view
	table   *route.Table // the last one, nil before the first
	builder *route.Builder
	loss    *loss.Guard
	whole   bool // a table of this view was made

	made     map[part]*product
	clusters map[string][]made[*route.Cluster] // by name; more than one when several parts make the same
	routes   map[string][]made[*route.Route]
	changed  map[string]struct{} // clusters that may differ from the table
	open     map[string]struct{} // clusters that are gone for all that was answered, see view.mayCome
	touched  map[string]struct{} // and routes
}

// made is an item and the part that makes it.
type made[T any] struct {
	by   part
	item T
}

// newCompiler begins with the table of an earlier process, or nil.
func newCompiler(v *view) *compiler {
	c := &compiler{
		view:     v,
		table:    v.Last,
		builder:  route.NewBuilder(v.Last, "catalog"),
		loss:     loss.New("consul", v.Log, v.times.settle, v.times.hold),
		made:     map[part]*product{},
		clusters: map[string][]made[*route.Cluster]{},
		routes:   map[string][]made[*route.Route]{},
		changed:  map[string]struct{}{},
		open:     map[string]struct{}{},
		touched:  map[string]struct{}{},
	}
	if c.table != nil {
		for was := range c.table.Clusters() {
			c.changed[was.Name] = struct{}{}
		}
		for was := range c.table.Routes() {
			c.touched[was.Name] = struct{}{}
		}
	}
	return c
}

// compile returns the table with all that changed, and nil if it is as it was. It
// costs by what changed.
func (c *compiler) compile(now time.Time) (*route.Table, error) {
	for p := range c.dirty {
		c.remake(p)
	}
	clear(c.dirty)
	c.compileClusters(now)
	for name := range c.touched {
		c.compileRoute(name)
	}
	t, err := c.builder.Build()
	if err != nil {
		return nil, fmt.Errorf("build the table: %w", err)
	}
	if c.whole && route.Diff(c.table, t).Empty() {
		return nil, nil
	}
	c.table, c.whole = t, true
	return t, nil
}

// remake makes a part anew, and marks what it had made and what it makes now.
func (c *compiler) remake(p part) {
	next := c.make(p)
	if was := c.made[p]; was != nil {
		for _, item := range was.clusters {
			unmake(c.clusters, item.Name, p)
			c.changed[item.Name] = struct{}{}
		}
		for _, item := range was.routes {
			unmake(c.routes, item.Name, p)
			c.touched[item.Name] = struct{}{}
		}
	}
	for _, item := range next.clusters {
		c.clusters[item.Name] = append(c.clusters[item.Name], made[*route.Cluster]{p, item})
		c.changed[item.Name] = struct{}{}
	}
	for _, item := range next.routes {
		c.routes[item.Name] = append(c.routes[item.Name], made[*route.Route]{p, item})
		c.touched[item.Name] = struct{}{}
	}
	if len(next.clusters)+len(next.routes) > 0 {
		c.made[p] = next
	} else {
		delete(c.made, p)
	}
}

func unmake[T any](items map[string][]made[T], name string, by part) {
	left := slices.DeleteFunc(items[name], func(m made[T]) bool { return m.by == by })
	if len(left) == 0 {
		delete(items, name)
	} else {
		items[name] = left
	}
}

// pick is the item of a name; of several parts that make it, always the same one's.
func pick[T any](items []made[*T]) *T {
	var first *made[*T]
	for i := range items {
		if first == nil || before(items[i].by, first.by) {
			first = &items[i]
		}
	}
	if first == nil {
		return nil
	}
	return first.item
}

func before(a, b part) bool {
	switch {
	case a.kind != b.kind:
		return a.kind < b.kind
	case a.name != b.name:
		return a.name < b.name
	default:
		return a.where < b.where
	}
}

func (c *compiler) compileClusters(now time.Time) {
	for _, name := range c.loss.Kept() {
		c.changed[name] = struct{}{}
	}
	maps.Copy(c.changed, c.open)
	clear(c.open)
	var lost []string
	for name := range c.changed {
		want := pick(c.clusters[name])
		gone := c.isLoss(name, want)
		if gone && !c.mayCome(name) {
			lost = append(lost, name)
			continue
		}
		c.loss.Returned(name, now)
		if gone {
			c.open[name] = struct{}{}
		} else {
			c.setCluster(name, want)
		}
	}
	clear(c.changed)
	for _, name := range c.loss.Judge(c.table, lost, now) {
		c.setCluster(name, pick(c.clusters[name]))
	}
}

// isLoss tells whether a cluster with endpoints has none now.
func (c *compiler) isLoss(name string, want *route.Cluster) bool {
	if c.table == nil {
		return false
	}
	was := c.table.Cluster(name)
	return was != nil && len(was.Endpoints) > 0 && (want == nil || len(want.Endpoints) == 0)
}

// keeps tells whether a cluster stays though there is none now.
func (c *compiler) keeps(name string) bool {
	_, open := c.open[name]
	return open || c.loss.Keeps(name)
}

// kept is how many do.
func (c *compiler) kept() int { return len(c.open) + len(c.loss.Kept()) }

// setCluster puts the cluster into the next table, or takes it out when it is nil.
func (c *compiler) setCluster(name string, want *route.Cluster) {
	if want == nil {
		c.builder.DeleteCluster(name)
		return
	}
	if err := c.builder.PutCluster(want); err != nil {
		// It is its name, for the rest was checked. So it never was in a table, and
		// compileRoute sees to the routes that would lead to it.
		c.warn("cluster that cannot be used: left out", name, err)
		delete(c.clusters, name)
	}
}

// compileRoute puts the route of a name into the next table, or takes it out. A route
// to a cluster that is kept is kept with it, and stays marked.
func (c *compiler) compileRoute(name string) {
	want := pick(c.routes[name])
	if want == nil && c.table != nil {
		if was := c.table.Route(name); was != nil && was.Cluster != "" && c.keeps(was.Cluster) {
			return
		}
	}
	delete(c.touched, name)
	if want != nil && want.Cluster != "" && c.clusters[want.Cluster] == nil && !c.keeps(want.Cluster) {
		want = &route.Route{Name: name, Refuse: "its cluster, " + want.Cluster + ", cannot be used"}
	}
	if want != nil {
		err := c.builder.PutRoute(want)
		if err == nil {
			return
		}
		c.warn("server name that cannot be used: left out", name, err)
	}
	c.builder.DeleteRoute(name)
}
