package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// versions counts the tables of this process.
var versions atomic.Uint64

// Builder makes a table from the one before it. What is put in it is checked and
// copied at once, and whether the routes' clusters exist is checked by Build, so
// the order does not matter. After Build it goes on from the table it built. A
// Builder is for one goroutine at a time.
type Builder struct {
	source   string
	index    string
	last     *Table // the one built before: live counts come from it
	routes   edit[*Route]
	clusters edit[*Cluster]
	refs     edit[int]
	wild     [maxLabels]uint32
	doubtful map[string]struct{} // clusters that may be missing though routes lead to them
}

// NewBuilder starts from prev, or from nothing when it is nil. The source is what
// the tables will say they came from.
func NewBuilder(prev *Table, source string) *Builder {
	if prev == nil {
		prev = &Table{}
	}
	b := &Builder{source: source, last: prev, wild: prev.wild, doubtful: map[string]struct{}{}}
	b.routes.shards, b.clusters.shards, b.refs.shards = prev.routes, prev.clusters, prev.refs
	return b
}

// At says what the source calls the state that the tables to come are of, such as an
// index or a nonce of Consul's.
func (b *Builder) At(index string) { b.index = index }

// PutRoute adds the route, or puts it in the place of the one with its name. It
// keeps a copy. The error is that of Validate.
func (b *Builder) PutRoute(r *Route) error {
	if err := r.Validate(); err != nil {
		return err
	}
	next := *r
	next.Load = nil
	was := b.last.Route(r.Name)
	if next.Equal(was) {
		b.setRoute(was)
		return nil
	}
	if was != nil {
		next.Load = was.Load
	} else {
		next.Load = new(Load)
	}
	b.setRoute(&next)
	return nil
}

func (b *Builder) setRoute(r *Route) {
	key := routeKey(r.Name)
	old, ok := b.routes.get(key)
	if old == r {
		return
	}
	if ok {
		b.refer(old.Cluster, -1)
	} else if n, ok := wildLabels(r.Name); ok {
		b.wild[n]++
	}
	b.refer(r.Cluster, +1)
	b.routes.put(key, r)
	if _, ok := b.clusters.get(r.Cluster); !ok {
		b.doubtful[r.Cluster] = struct{}{}
	}
}

// DeleteRoute removes the route of exactly this name if there is one.
func (b *Builder) DeleteRoute(name string) {
	key := routeKey(name)
	old, ok := b.routes.get(key)
	if !ok || old.Name != name {
		return
	}
	b.refer(old.Cluster, -1)
	b.routes.delete(key)
	if n, ok := wildLabels(name); ok {
		b.wild[n]--
	}
}

// refer counts the routes that lead to a cluster.
func (b *Builder) refer(cluster string, by int) {
	if cluster == "" { // of a route that refuses
		return
	}
	n, _ := b.refs.get(cluster)
	if n += by; n > 0 {
		b.refs.put(cluster, n)
	} else {
		b.refs.delete(cluster)
	}
}

// PutCluster adds the cluster, or puts it in the place of the one with its name.
// It keeps a copy in canonical form: endpoints sorted, defaults filled in. The
// error is that of Validate.
func (b *Builder) PutCluster(c *Cluster) error {
	next, err := c.canonical()
	if err != nil {
		return err
	}
	was := b.last.Cluster(c.Name)
	if next.Equal(was) {
		b.clusters.put(c.Name, was)
		return nil
	}
	next.inherit(was)
	b.clusters.put(c.Name, next)
	return nil
}

// inherit takes over what lives on from the cluster's last version, which may be
// nil, and makes the cluster ready for Pick.
func (c *Cluster) inherit(was *Cluster) {
	var turn *atomic.Uint64
	var before []Endpoint
	if was != nil {
		turn, before = was.balance.turn, was.Endpoints
	} else {
		// Many gateways that start at once must not all begin with the same endpoint.
		turn = new(atomic.Uint64)
		turn.Store(uint64(rand.Uint32()))
	}
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		if j, same := slices.BinarySearchFunc(before, e.key(), endpointOrder); same {
			e.Load = before[j].Load
		} else {
			e.Load = new(Load)
		}
	}
	c.balance = newBalance(c, turn)
}

// DeleteCluster removes the cluster if there is one. Build fails if a route still
// leads to it then.
func (b *Builder) DeleteCluster(name string) {
	b.clusters.delete(name)
	b.doubtful[name] = struct{}{}
}

// Build returns the table. It fails when a route leads to a cluster that is not
// there; the Builder is as before then, and the lack can be made up for.
func (b *Builder) Build() (*Table, error) {
	if err := b.missing(); err != nil {
		return nil, err
	}
	clear(b.doubtful)
	b.last = &Table{
		version:  versions.Add(1),
		source:   b.source,
		index:    b.index,
		built:    time.Now(),
		routes:   b.routes.seal(),
		clusters: b.clusters.seal(),
		refs:     b.refs.seal(),
		wild:     b.wild,
	}
	return b.last, nil
}

// missing checks the doubtful clusters alone. The last table was whole, so others
// cannot be missing.
func (b *Builder) missing() error {
	lost := map[string]bool{}
	for name := range b.doubtful {
		_, there := b.clusters.get(name)
		if n, _ := b.refs.get(name); n > 0 && !there {
			lost[name] = true
		}
	}
	if len(lost) == 0 {
		return nil
	}
	var routes []string
	for _, r := range b.routes.all() {
		if lost[r.Cluster] {
			routes = append(routes, r.Name)
		}
	}
	slices.Sort(routes)
	first, _ := b.routes.get(routeKey(routes[0]))
	err := fmt.Errorf("route %s: there is no cluster %q", first.Name, first.Cluster)
	if more := len(routes) - 1; more > 0 {
		err = fmt.Errorf("%w (and %d more such routes)", err, more)
	}
	return err
}

// Replace builds a table of exactly these routes and clusters. What is equal in
// prev, which may be nil, is taken from there, and live counts live on, as if a
// Builder had been given the differences only.
func Replace(prev *Table, source string, routes []*Route, clusters []*Cluster) (*Table, error) {
	b := NewBuilder(prev, source)
	prev = b.last
	names := make(map[string]struct{}, max(len(routes), len(clusters)))
	for _, c := range clusters {
		if _, twice := names[c.Name]; twice {
			return nil, fmt.Errorf("cluster %s: defined twice", c.Name)
		}
		names[c.Name] = struct{}{}
		if err := b.PutCluster(c); err != nil {
			return nil, err
		}
	}
	for name := range prev.clusters.all() {
		if _, stays := names[name]; !stays {
			b.DeleteCluster(name)
		}
	}
	clear(names)
	for _, r := range routes {
		if _, twice := names[r.Name]; twice {
			return nil, fmt.Errorf("route %s: defined twice", r.Name)
		}
		names[r.Name] = struct{}{}
		if err := b.PutRoute(r); err != nil {
			return nil, err
		}
	}
	for r := range prev.Routes() {
		if _, stays := names[r.Name]; !stays {
			b.DeleteRoute(r.Name)
		}
	}
	return b.Build()
}
