package mirror

import (
	"cmp"
	"errors"
	"fmt"

	"sluice/userspace/route"
)

// RefuseDamaged is why a route refuses that could not be read from the maps.
const RefuseDamaged = "this route could not be read from the kernel's maps; the next table mends it"

// contents is all that is in the maps.
type contents struct {
	meta     MetaRecord
	hasMeta  bool
	routes   []storedRoute
	clusters map[uint32]*storedCluster
	texts    map[uint32]string
	policies map[uint32]PolicyRecord
	strays   strays

	lastCluster, lastText uint32 // the highest ids met
}

type storedRoute struct {
	name   string
	record RouteRecord
	sound  bool
}

type storedCluster struct {
	state    clusterState
	cluster  *route.Cluster
	entries  []EndpointRecord
	got      int
	accepted bool // it is in the table
}

// strays are entries that nothing leads to, or that nobody can read.
type strays struct {
	routes    []RouteKey
	clusters  []uint32
	endpoints []EndpointKey
	texts     []TextKey
	policies  []uint32
}

func (s *strays) none() bool {
	return len(s.routes)+len(s.clusters)+len(s.endpoints)+len(s.texts)+len(s.policies) == 0
}

// readAll reads the maps, the routes beside the rest, for that takes longest.
func readAll(s *Store) (*contents, error) {
	meta, hasMeta, err := readMeta(s)
	if err != nil {
		return nil, fmt.Errorf("read the meta map: %w", err)
	}
	c := &contents{
		meta: meta, hasMeta: hasMeta, routes: make([]storedRoute, 0, min(int(meta.Routes), s.Routes.Max())),
		clusters: make(map[uint32]*storedCluster, min(int(meta.Clusters), s.Clusters.Max())),
		texts:    map[uint32]string{}, policies: map[uint32]PolicyRecord{},
	}
	routes := make(chan error, 1)
	go func() { routes <- c.readRoutes(s) }()
	for _, step := range []struct {
		what string
		read func(*Store) error
	}{{"clusters", c.readClusters}, {"endpoints", c.readEndpoints}, {"texts", c.readTexts}, {"policy", c.readPolicies}} {
		if e := step.read(s); e != nil {
			err = errors.Join(err, fmt.Errorf("read the map of %s: %w", step.what, e))
		}
	}
	if e := <-routes; e != nil {
		err = errors.Join(err, fmt.Errorf("read the map of routes: %w", e))
	}
	for i := range c.routes {
		if r := &c.routes[i]; r.sound {
			c.lastCluster, c.lastText = max(c.lastCluster, r.record.Cluster), max(c.lastText, r.record.Refuse)
		}
	}
	return c, err
}

// readRoutes runs beside the others, and touches nothing of theirs.
func (c *contents) readRoutes(s *Store) error {
	return s.Routes.All(func(k *RouteKey, rec *RouteRecord) {
		name := k.Route()
		if keyOf(name) != *k { // a key that this package does not make
			c.strays.routes = append(c.strays.routes, *k)
			return
		}
		c.routes = append(c.routes, storedRoute{name, *rec, sound(k, rec)})
	})
}

func (c *contents) readClusters(s *Store) error {
	most := uint32(s.Endpoints.Max())
	var entries []EndpointRecord // for the next clusters
	return s.Clusters.All(func(id *uint32, rec *ClusterRecord) {
		c.lastCluster = max(c.lastCluster, *id)
		if !sound(id, rec) || rec.ID != *id || rec.Addresses > most {
			c.strays.clusters = append(c.strays.clusters, *id)
			return
		}
		if int(rec.Addresses) > len(entries) {
			entries = make([]EndpointRecord, max(4096, rec.Addresses))
		}
		c.clusters[*id] = &storedCluster{
			state:   clusterState{rec.ID, rec.Generation, rec.Generation, rec.Addresses},
			cluster: rec.cluster(), entries: entries[:rec.Addresses:rec.Addresses],
		}
		entries = entries[rec.Addresses:]
	})
}

func (c *contents) readEndpoints(s *Store) error {
	return s.Endpoints.All(func(k *EndpointKey, rec *EndpointRecord) {
		c.lastCluster = max(c.lastCluster, k.Cluster)
		of := c.clusters[k.Cluster]
		if of != nil {
			of.state.latest = max(of.state.latest, k.Generation)
		}
		// A weight of 0 is that of an entry not met before: there is none of weight 0.
		if of == nil || of.state.generation != k.Generation || k.Index >= of.state.addresses ||
			of.entries[k.Index].Weight != 0 || !sound(k, rec) {
			c.strays.endpoints = append(c.strays.endpoints, *k)
			return
		}
		of.entries[k.Index] = *rec
		of.got++
	})
}

func (c *contents) readTexts(s *Store) error {
	parts := map[uint32]*textParts{}
	var keys []TextKey
	most := uint32(s.Texts.Max()) * textSize
	err := s.Texts.All(func(k *TextKey, rec *TextRecord) {
		c.lastText = max(c.lastText, k.ID)
		p := parts[k.ID]
		if p == nil && sound(k, rec) && rec.Bytes <= most {
			p = newTextParts(rec.Bytes)
			parts[k.ID] = p
		}
		if p == nil || !sound(k, rec) || !p.add(k, rec) {
			c.strays.texts = append(c.strays.texts, *k)
			return
		}
		keys = append(keys, *k)
	})
	for id, p := range parts {
		if p.left == 0 {
			c.texts[id] = string(p.text)
		}
	}
	for _, k := range keys {
		if _, whole := c.texts[k.ID]; !whole {
			c.strays.texts = append(c.strays.texts, k)
		}
	}
	return err
}

func (c *contents) readPolicies(s *Store) error {
	return s.Policies.All(func(id *uint32, rec *PolicyRecord) {
		if !sound(id, rec) {
			c.strays.policies = append(c.strays.policies, *id)
			return
		}
		c.policies[*id] = *rec
	})
}

// text is the one of an id, "" of 0.
func (c *contents) text(id uint32) (string, error) {
	text, ok := c.texts[id]
	if id != 0 && !ok {
		return "", fmt.Errorf("there is no text %d", id)
	}
	return text, nil
}

// table is the routing table in the maps. Routes that could not be read refuse, and
// damage has a line for each.
func (c *contents) table() (t *route.Table, damage []string, err error) {
	b := route.NewBuilder(nil, cmp.Or(text(c.meta.Source[:]), "maps"))
	b.At(text(c.meta.Index[:]))
	names := make(map[string]struct{}, len(c.clusters))
	for id, s := range c.clusters {
		err := c.putCluster(b, s)
		if _, twice := names[s.cluster.Name]; twice {
			err = errors.New("is there twice")
		}
		names[s.cluster.Name] = struct{}{}
		if err != nil {
			damage = append(damage, fmt.Sprintf("cluster %d %q: %v", id, s.cluster.Name, err))
			continue
		}
		s.accepted = true
	}
	for i := range c.routes {
		r := &c.routes[i]
		made, err := c.route(r)
		if err == nil {
			if err = b.PutRoute(made); err == nil {
				continue
			}
		}
		r.sound = false
		damage = append(damage, fmt.Sprintf("route %s: %v", r.name, err))
		if err := b.PutRoute(&route.Route{Name: r.name, Refuse: RefuseDamaged}); err != nil {
			c.strays.routes = append(c.strays.routes, keyOf(r.name))
		}
	}
	t, err = b.Build()
	return t, damage, err
}

func (c *contents) putCluster(b *route.Builder, s *storedCluster) error {
	if s.got != len(s.entries) {
		return fmt.Errorf("has %d of its %d addresses", s.got, len(s.entries))
	}
	var err error
	if s.cluster.Endpoints, err = decodeEndpoints(s.entries, c.text); err != nil {
		return err
	}
	return b.PutCluster(s.cluster)
}

func (c *contents) route(r *storedRoute) (*route.Route, error) {
	if !r.sound {
		return nil, errDamaged
	}
	made := &route.Route{Name: r.name, Options: r.record.options()}
	if r.record.Refuse != 0 {
		var err error
		made.Refuse, err = c.text(r.record.Refuse)
		return made, err
	}
	to := c.clusters[r.record.Cluster]
	if to == nil || !to.accepted {
		return nil, fmt.Errorf("leads to cluster %d, which cannot be read", r.record.Cluster)
	}
	made.Cluster = to.cluster.Name
	return made, nil
}
