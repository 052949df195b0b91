package xds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/userspace/loss"
	"sluice/userspace/route"
)

// compiler keeps the table that the mesh stands for.
type compiler struct {
	*mesh
	table   *route.Table // the last one, nil before the first
	builder *route.Builder
	loss    *loss.Guard
	doubt   func() string // why what is missing is not believed; "": it is

	heard   bool                           // an agent has told of clusters and listeners
	whole   bool                           // a table of this mesh was made
	present map[string]struct{}            // clusters in the table
	linger  map[string]map[string]struct{} // routes that stay for a kept cluster's sake, by the cluster
	warm    time.Duration                  // how long a new cluster waits for its endpoints
}

// newCompiler begins with the table of an earlier process, or nil.
func newCompiler(m *mesh, last *route.Table, times timing) *compiler {
	c := &compiler{
		mesh:    m,
		table:   last,
		builder: route.NewBuilder(last, "xds"),
		loss:    loss.New("xds", m.log, times.settle, times.hold),
		doubt:   func() string { return "" },
		present: map[string]struct{}{},
		linger:  map[string]map[string]struct{}{},
		warm:    times.warm,
	}
	if last == nil {
		return c
	}
	for was := range last.Clusters() {
		c.present[was.Name] = struct{}{}
		c.changed[was.Name] = struct{}{}
	}
	for was := range last.Routes() {
		c.touched[was.Name] = struct{}{}
	}
	return c
}

// complete tells whether there is enough for a first table.
func (c *compiler) complete(now time.Time) bool {
	for name := range c.waiting {
		if c.isWaiting(name, now) {
			return false
		}
	}
	return c.heard
}

// compile returns the table with all that changed, and nil if it is as it was. It
// costs by what changed.
func (c *compiler) compile(now time.Time) (*route.Table, error) {
	c.compileClusters(now)
	for name := range c.touched {
		c.compileRoute(name)
	}
	clear(c.touched)
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

func (c *compiler) compileClusters(now time.Time) {
	c.recall()
	var lost []string
	for name := range c.changed {
		if c.isWaiting(name, now) {
			continue // stays marked
		}
		delete(c.changed, name)
		want := c.content(name)
		if c.isLoss(name, want) {
			lost = append(lost, name)
			continue
		}
		c.loss.Returned(name, now)
		c.setTable(name, want)
	}
	if c.loss.Doubts(now) || slices.ContainsFunc(lost, func(name string) bool { return !c.loss.Keeps(name) }) {
		if why := c.doubt(); why != "" {
			c.loss.Doubt(why, now)
		}
	}
	for _, name := range c.loss.Judge(c.table, lost, now) {
		c.setTable(name, c.content(name))
	}
}

// recall has the kept clusters judged again.
func (c *compiler) recall() {
	for _, name := range c.loss.Kept() {
		c.changed[name] = struct{}{}
	}
}

// isWaiting tells whether a cluster's endpoints are still to come, and gives up on
// them after a while.
func (c *compiler) isWaiting(name string, now time.Time) bool {
	since, waits := c.waiting[name]
	if waits && now.Sub(since) >= c.warm {
		delete(c.waiting, name)
		return false
	}
	return waits
}

// isLoss tells whether a cluster with endpoints has none now, and not because it
// became one that Sluice cannot use.
func (c *compiler) isLoss(name string, want *route.Cluster) bool {
	if now := c.clusters[name]; now != nil && now.refuse != "" {
		return false
	}
	was := c.inTable(name)
	return was != nil && len(was.Endpoints) > 0 && (want == nil || len(want.Endpoints) == 0)
}

func (c *compiler) inTable(name string) *route.Cluster {
	if c.table == nil {
		return nil
	}
	return c.table.Cluster(name)
}

// setTable puts the cluster into the next table, or takes it out when it is nil,
// and has the routes compiled that lead to it.
func (c *compiler) setTable(name string, want *route.Cluster) {
	if want != nil {
		if err := c.builder.PutCluster(want); err != nil {
			c.log.Warn("xds: cluster that cannot be used: left out", "err", err)
			want = nil
		}
	}
	if want != nil {
		c.present[name] = struct{}{}
	} else {
		c.builder.DeleteCluster(name)
		delete(c.present, name)
	}
	c.touched[strings.ToLower(name)] = struct{}{}
	for to := range c.plan.to[name] {
		c.touched[to] = struct{}{}
	}
	for to := range c.linger[name] {
		c.touched[to] = struct{}{}
	}
	delete(c.linger, name)
}

// compileRoute puts the route of a name into the next table, or takes it out.
func (c *compiler) compileRoute(name string) {
	want := c.route(name)
	if want != nil {
		err := c.builder.PutRoute(want)
		if err == nil {
			return
		}
		c.log.Warn("xds: server name that cannot be used: left out", "err", err)
	}
	if was := c.routeInTable(name); want == nil && was != nil {
		if c.loss.Keeps(was.Cluster) {
			if c.linger[was.Cluster] == nil {
				c.linger[was.Cluster] = map[string]struct{}{}
			}
			c.linger[was.Cluster][name] = struct{}{}
			return
		}
	}
	c.builder.DeleteRoute(name)
}

func (c *compiler) routeInTable(name string) *route.Route {
	if c.table == nil {
		return nil
	}
	return c.table.Route(name)
}

// route is what a name's route is to be, and nil for none.
func (c *compiler) route(name string) *route.Route {
	t, planned := c.plan.names[name]
	if !planned {
		return c.routeOfCluster(name)
	}
	if t.refuse == "" {
		if to := c.clusters[t.cluster]; to != nil && to.refuse != "" {
			t.refuse = to.refuse
		} else if _, there := c.present[t.cluster]; !there {
			t.refuse = fmt.Sprintf("the agent has not told of its cluster, %s", t.cluster)
		}
	}
	if t.refuse != "" {
		return &route.Route{Name: name, Refuse: t.refuse}
	}
	return &route.Route{Name: name, Cluster: t.cluster}
}

// routeOfCluster is the route of a name that is a cluster's.
func (c *compiler) routeOfCluster(name string) *route.Route {
	if !c.plan.sni || c.plan.covers(name) {
		return nil
	}
	to := c.clusters[name]
	if to == nil {
		to = c.clusters[c.folded[name]]
	}
	if to == nil {
		return nil
	}
	r := &route.Route{Name: name, Refuse: to.refuse}
	if to.refuse == "" {
		if _, there := c.present[to.Name]; !there {
			return nil // until its endpoints are here
		}
		r.Cluster = to.Name
	}
	if r.Validate() != nil {
		return nil // no client can ask for it: Consul has clusters named "exported~..."
	}
	return r
}

// due is when there will be something to compile though nothing more is heard, and
// zero for never.
func (c *compiler) due() time.Time {
	at := c.loss.Due()
	for _, since := range c.waiting {
		at = earlier(at, since.Add(c.warm))
	}
	return at
}

// earlier is the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
