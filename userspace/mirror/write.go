package mirror

import (
	"fmt"
	"iter"
	"slices"
)

// carryOut writes, in the order that the package's comment gives reasons for.
func (m *Mirror) carryOut(c *change) error {
	for _, step := range []struct {
		what string
		do   func(*change) error
	}{
		{"write texts", m.putTexts},
		{"write endpoints", m.putEndpoints},
		{"write clusters", m.putClusters},
		{"write routes", m.putRoutes},
		{"remove routes", m.deleteRoutes},
		{"remove clusters", m.deleteClusters},
		{"remove endpoints", m.deleteEndpoints},
		{"remove texts", m.deleteTexts},
	} {
		if err := step.do(c); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

func (m *Mirror) putTexts(c *change) error {
	return put(m.store.Texts, func(yield func(TextKey, TextRecord) bool) {
		for _, text := range c.texts {
			if !encodeText(m.texts.id(text), text, yield) {
				return
			}
		}
	})
}

func (m *Mirror) putEndpoints(c *change) error {
	return put(m.store.Endpoints, func(yield func(EndpointKey, EndpointRecord) bool) {
		for _, to := range c.moved {
			if !encodeEndpoints(to.cluster, m.clusters[to.cluster.Name], m.texts, yield) {
				return
			}
		}
	})
}

func (m *Mirror) putClusters(c *change) error {
	return put(m.store.Clusters, func(yield func(uint32, ClusterRecord) bool) {
		for _, r := range c.Clusters {
			if r.New == nil {
				continue
			}
			s := m.clusters[r.New.Name]
			if !yield(s.id, encodeCluster(r.New, s)) {
				return
			}
		}
	})
}

func (m *Mirror) putRoutes(c *change) error {
	return put(m.store.Routes, func(yield func(RouteKey, RouteRecord) bool) {
		for _, r := range c.upserts {
			to := m.clusters[r.New.Cluster] // of id 0 when it refuses
			if !yield(encodeRoute(r.New, m.entry(r.New.Name).id, to.id, m.texts.id(r.New.Refuse))) {
				return
			}
		}
	})
}

func (m *Mirror) deleteRoutes(c *change) error {
	return remove(m.store.Routes, func(yield func(RouteKey) bool) {
		for _, r := range c.removals {
			if !yield(keyOf(r.Old.Name)) {
				return
			}
		}
		for _, k := range c.strays.routes {
			if !yield(k) {
				return
			}
		}
	})
}

func (m *Mirror) deleteClusters(c *change) error {
	return remove(m.store.Clusters, func(yield func(uint32) bool) {
		for _, s := range c.goneClusters {
			if !yield(s.id) {
				return
			}
		}
		for _, id := range c.strays.clusters {
			if !yield(id) {
				return
			}
		}
	})
}

func (m *Mirror) deleteEndpoints(c *change) error {
	return remove(m.store.Endpoints, func(yield func(EndpointKey) bool) {
		all := func(s clusterState) bool {
			for i := range s.addresses {
				if !yield(EndpointKey{s.id, s.generation, i}) {
					return false
				}
			}
			return true
		}
		for _, to := range c.moved {
			if !all(to.old) {
				return
			}
		}
		for _, s := range c.goneClusters {
			if !all(s) {
				return
			}
		}
		for _, k := range c.strays.endpoints {
			if !yield(k) {
				return
			}
		}
	})
}

func (m *Mirror) deleteTexts(c *change) error {
	if err := remove(m.store.Texts, slices.Values(c.strays.texts)); err != nil {
		return err
	}
	return remove(m.store.Policies, slices.Values(c.strays.policies))
}

// batch is how many entries are written at a time.
const batch = 1024

// put writes entries in their order.
func put[K, V any](to Map[K, V], entries iter.Seq2[K, V]) error {
	var keys []K
	var values []V
	for k, v := range entries {
		keys, values = append(keys, k), append(values, v)
		if len(keys) < batch {
			continue
		}
		if err := to.Put(keys, values); err != nil {
			return err
		}
		keys, values = keys[:0], values[:0]
	}
	if len(keys) == 0 {
		return nil
	}
	return to.Put(keys, values)
}

// remove removes entries in their order.
func remove[K, V any](from Map[K, V], entries iter.Seq[K]) error {
	var keys []K
	for k := range entries {
		if keys = append(keys, k); len(keys) < batch {
			continue
		}
		if err := from.Delete(keys); err != nil {
			return err
		}
		keys = keys[:0]
	}
	if len(keys) == 0 {
		return nil
	}
	return from.Delete(keys)
}
