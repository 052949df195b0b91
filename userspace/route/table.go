package route

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"time"
)

// maxLabels is more labels than a name of maxName bytes can have.
const maxLabels = 128

// A Table is an immutable, complete set of routes and clusters. Builder and
// Replace make it.
type Table struct {
	version  uint64
	source   string
	index    string
	built    time.Time
	routes   shards[*Route] // by routeKey
	clusters shards[*Cluster]
	refs     shards[int]       // routes that lead to the cluster of this name
	wild     [maxLabels]uint32 // wildcards by the number of labels under their "*"
}

// routeKey is what a route is filed under: a wildcard without its "*", so that
// ".x" and "" are found as the tail of a name. No exact name begins like that.
func routeKey(name string) string { return strings.TrimPrefix(name, "*") }

// wildLabels is how many labels the name has under its "*", and false for exact
// names.
func wildLabels(name string) (int, bool) {
	return strings.Count(name, "."), strings.HasPrefix(name, "*")
}

// Lookup returns the route of a server name and its cluster, which is nil when
// the route refuses; both are nil when no route has the name. The exact name goes
// before wildcards, and the longest wildcard before others; "*.x" stands for one
// or more labels before ".x", and not for "x" itself, as in xds
// (type/matcher/v3/domain.proto). The name is in lower case, without a trailing
// dot. Lookup does not allocate.
func (t *Table) Lookup(name []byte) (*Route, *Cluster) {
	r := t.match(name)
	if r == nil || r.Refuse != "" {
		return r, nil
	}
	c, _ := t.clusters.get(r.Cluster)
	return r, c
}

func (t *Table) match(name []byte) *Route {
	if len(name) == 0 || name[0] == '.' { // would be the key of a wildcard
		return nil
	}
	if r, ok := t.routes.find(name); ok {
		return r
	}
	// Only tails with as many labels as some wildcard has are looked for: a table
	// has few such numbers, and a client may send a name of 126 labels.
	labels := bytes.Count(name, []byte{'.'})
	for rest := name; labels > 0; labels-- {
		rest = rest[1+bytes.IndexByte(rest[1:], '.'):]
		if labels < maxLabels && t.wild[labels] > 0 {
			if r, ok := t.routes.find(rest); ok {
				return r
			}
		}
	}
	if t.wild[0] == 0 {
		return nil
	}
	r, _ := t.routes.get(routeKey("*"))
	return r
}

// Route returns the route of exactly this name, such as "*.x", or nil.
func (t *Table) Route(name string) *Route {
	r, ok := t.routes.get(routeKey(name))
	if !ok || r.Name != name {
		return nil
	}
	return r
}

// Cluster returns the cluster of this name, or nil.
func (t *Table) Cluster(name string) *Cluster {
	c, _ := t.clusters.get(name)
	return c
}

// Routes yields all routes, in no order.
func (t *Table) Routes() iter.Seq[*Route] { return values(&t.routes) }

// Clusters yields all clusters, in no order.
func (t *Table) Clusters() iter.Seq[*Cluster] { return values(&t.clusters) }

func values[V comparable](s *shards[V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range s.all() {
			if !yield(v) {
				return
			}
		}
	}
}

// Len is how many routes and clusters there are.
func (t *Table) Len() (routes, clusters int) { return t.routes.len(), t.clusters.len() }

// Source says where the table came from, for logs.
func (t *Table) Source() string { return t.source }

// Index is what the source calls the state that the table is of: "index 1234" of
// Consul's HTTP API, "nonce 00000007" of xDS. It is empty for what has no such thing.
func (t *Table) Index() string { return t.index }

// Version counts the tables built in this process; a later one is larger.
func (t *Table) Version() uint64 { return t.version }

// Built is when the table was built.
func (t *Table) Built() time.Time { return t.built }

// String sums the table up for a log line.
func (t *Table) String() string {
	return fmt.Sprintf("table %d from %s: %s, %s", t.version, t.source,
		count(t.routes.len(), "route"), count(t.clusters.len(), "cluster"))
}
