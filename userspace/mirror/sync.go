package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"sluice/userspace/route"
)

// change is all that has to be written to get from one table to the next.
type change struct {
	route.Delta
	texts        []string // that are new
	moved        []moved  // clusters with other addresses than before, and new ones
	upserts      []route.RouteChange
	removals     []route.RouteChange
	goneClusters []clusterState
	strays       strays // and texts that nobody uses any more
}

// moved is a cluster whose addresses go to a new generation.
type moved struct {
	cluster *route.Cluster
	old     clusterState // of no addresses when the cluster is new
}

// Sync puts a table into the maps: only what differs from the one that is there. When
// the table does not fit, the error says what is too much, and nothing was written.
// After any other error the next Sync finds out how far this one came.
func (m *Mirror) Sync(t *route.Table, about About) error {
	if t == nil {
		return errors.New("mirror a table: there is none")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unsure {
		if err := m.adopt(); err != nil {
			return fmt.Errorf("find out what is in the maps: %w", err)
		}
	}
	delta := route.Diff(m.table, t)
	if err := m.fits(t, delta); err != nil {
		return fmt.Errorf("%s does not fit the maps: %w", t, err)
	}
	m.unsure = true
	if err := m.write(t, about, delta); err != nil {
		return fmt.Errorf("mirror %s: %w", t, err)
	}
	m.unsure = false
	return nil
}

// need is what a change takes.
type need struct {
	ids      int // of routes that have none
	clusters int // that are new
	entries  int // of endpoints that are written
	gone     int // and that are removed
	texts    map[string]struct{}
	pieces   int // of those
}

func (m *Mirror) need(d route.Delta) (*need, error) {
	n := &need{texts: map[string]struct{}{}}
	use := func(text string) {
		if _, met := n.texts[text]; text != "" && !met && m.texts.id(text) == 0 {
			n.texts[text] = struct{}{}
			n.pieces += takes(text)
		}
	}
	for _, c := range d.Routes {
		if c.New == nil {
			continue
		}
		if err := fitOptions(c.New.Options); err != nil {
			return nil, fmt.Errorf("route %s: %w", c.New.Name, err)
		}
		if m.entry(c.New.Name) == nil {
			n.ids++
		}
		use(c.New.Refuse)
	}
	for _, c := range d.Clusters {
		if c.Old != nil {
			n.gone += addresses(c.Old)
		}
		if c.New == nil {
			continue
		}
		if err := fitCluster(c.New); err != nil {
			return nil, fmt.Errorf("cluster %s: %w", c.New.Name, err)
		}
		n.entries += addresses(c.New)
		if c.Old == nil {
			n.clusters++
		}
		textsOf(c.New, use)
	}
	return n, nil
}

// fits tells whether there is room for a change, also while what it replaces is still
// there: that is less than the whole of it, unless many changes were cut off.
func (m *Mirror) fits(t *route.Table, d route.Delta) error {
	n, err := m.need(d)
	if err != nil {
		return err
	}
	routes, clusters := t.Len()
	before, _ := m.table.Len()
	for _, c := range []struct {
		what, setting string
		n, peak, most int // in the end, on the way, allowed in the end
	}{
		{"routes", "-pinned-routes", routes, before + n.ids + len(m.strays.routes), m.limits.Routes},
		{"clusters", "-pinned-clusters", clusters, len(m.clusters) + n.clusters + len(m.strays.clusters), m.limits.Clusters},
		{"addresses", "-pinned-addresses", m.addresses + n.entries - n.gone, m.addresses + n.entries + len(m.strays.endpoints), m.limits.Addresses},
		{"texts of 256 bytes", "none", 0, m.texts.pieces + n.pieces + len(m.strays.texts), m.limits.Texts},
	} {
		if c.n > c.most {
			return fmt.Errorf("it has %d %s, and the maps hold %d (setting: %s)", c.n, c.what, c.most, c.setting)
		}
		if c.peak > Spare*c.most {
			return fmt.Errorf("with those it replaces it has %d %s, and the maps hold %d (setting: %s)", c.peak, c.what, Spare*c.most, c.setting)
		}
	}
	if left := m.available(n.ids); left < n.ids {
		return fmt.Errorf("%d of its routes are new, and %d ids are left: the others are of routes to be replaced, or of such as are gone and still have flows (setting: -pinned-routes)", n.ids, left)
	}
	if m.nextCluster > math.MaxUint32-uint32(n.clusters) || m.texts.next > math.MaxUint32-uint32(len(n.texts)) {
		return errors.New("every id was used once: unload the maps")
	}
	return nil
}

// write carries a change out.
func (m *Mirror) write(t *route.Table, about About, d route.Delta) error {
	c, err := m.plan(d)
	if err != nil {
		return err
	}
	m.meta.setAbout(about)
	if !d.Empty() || !c.strays.none() {
		if err := m.writeMeta(Writing); err != nil {
			return err
		}
		if err := m.carryOut(c); err != nil {
			return err
		}
	}
	m.finish(t, c)
	return m.writeMeta(Whole)
}

// plan gives ids to all that is new. It writes nothing that can be seen.
func (m *Mirror) plan(d route.Delta) (*change, error) {
	c := &change{Delta: d, strays: m.strays}
	use := func(text string) {
		if text != "" && m.texts.use(text) {
			c.texts = append(c.texts, text)
		}
	}
	for _, r := range d.Routes {
		if r.New == nil {
			c.removals = append(c.removals, r)
			continue
		}
		c.upserts = append(c.upserts, r)
		use(r.New.Refuse)
		if _, err := m.take(r.New.Name); err != nil {
			return nil, err
		}
	}
	for _, r := range d.Clusters {
		textsOf(r.New, use)
		m.planCluster(c, r)
	}
	// What is in use again was not dropped: new texts are counted first.
	drop := func(text string) {
		if id, gone := m.texts.drop(text); gone {
			for part := range takes(text) {
				c.strays.texts = append(c.strays.texts, TextKey{id, uint32(part)})
			}
		}
	}
	for _, r := range d.Routes {
		if r.Old != nil && r.Old.Refuse != "" {
			drop(r.Old.Refuse)
		}
	}
	for _, r := range d.Clusters {
		textsOf(r.Old, drop)
	}
	slices.SortStableFunc(c.upserts, func(a, b route.RouteChange) int { return cmp.Compare(bits(b.New), bits(a.New)) })
	slices.SortStableFunc(c.removals, func(a, b route.RouteChange) int { return cmp.Compare(bits(a.Old), bits(b.Old)) })
	return c, nil
}

// planCluster decides on the cluster's generation.
func (m *Mirror) planCluster(c *change, r route.ClusterChange) {
	if r.New == nil {
		c.goneClusters = append(c.goneClusters, m.clusters[r.Old.Name])
		m.addresses -= int(m.clusters[r.Old.Name].addresses)
		delete(m.clusters, r.Old.Name)
		return
	}
	s, known := m.clusters[r.New.Name]
	if known && len(r.Endpoints) == 0 {
		return // only its settings differ
	}
	c.moved = append(c.moved, moved{r.New, s})
	if !known {
		s.id = m.nextCluster
		m.nextCluster++
	}
	m.addresses -= int(s.addresses)
	s.latest++
	s.generation = s.latest
	s.addresses = uint32(addresses(r.New))
	m.addresses += int(s.addresses)
	m.clusters[r.New.Name] = s
}

// finish makes the table the one that is in the maps.
func (m *Mirror) finish(t *route.Table, c *change) {
	m.table, m.strays, m.damage = t, strays{}, nil
	for _, r := range c.removals {
		if e := m.entry(r.Old.Name); e != nil && e.policy.Load() == nil {
			m.retire(r.Old.Name, e)
		}
	}
	routes, clusters := t.Len()
	m.meta.Version, m.meta.Built = t.Version(), t.Built().UnixNano()
	m.meta.Routes, m.meta.Clusters, m.meta.Addresses = uint32(routes), uint32(clusters), uint32(m.addresses)
	clear(m.meta.Source[:])
	copy(m.meta.Source[:], t.Source())
	clear(m.meta.Index[:])
	copy(m.meta.Index[:], t.Index())
}

// bits is how many bits of a name the route stands for.
func bits(r *route.Route) int {
	if r.Name[0] == '*' {
		return 8 * (len(r.Name) - 1)
	}
	return 8 * (len(r.Name) + 1)
}
