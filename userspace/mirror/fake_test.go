package mirror

import (
	"errors"
	"maps"
	"sync"
	"testing"
)

var errKilled = errors.New("killed")

// kernel is a made-up one: its maps are Go's, and it can be told to stop.
type kernel struct {
	mu     sync.Mutex
	writes map[string]int // that were done, by map
	total  int
	stop   int    // 0: never; else how many writes are done before all fail
	after  func() // each write
}

func (k *kernel) wrote(name string) error {
	if k.stop > 0 && k.total >= k.stop {
		return errKilled
	}
	k.total++
	k.writes[name]++
	return nil
}

func (k *kernel) reset() { k.total, k.writes = 0, map[string]int{} }

// fakeMap is any map but a trie.
type fakeMap[K comparable, V any] struct {
	kernel *kernel
	name   string
	max    int
	data   map[K]V
}

func newFakeMap[K comparable, V any](k *kernel, name string, max int) *fakeMap[K, V] {
	return &fakeMap[K, V]{k, name, max, map[K]V{}}
}

func (m *fakeMap[K, V]) Max() int { return m.max }

func (m *fakeMap[K, V]) Lookup(key *K, value *V) (bool, error) {
	m.kernel.mu.Lock()
	defer m.kernel.mu.Unlock()
	v, ok := m.data[*key]
	if ok {
		*value = v
	}
	return ok, nil
}

func (m *fakeMap[K, V]) Put(keys []K, values []V) error {
	for i := range keys {
		if err := m.put(keys[i], values[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *fakeMap[K, V]) put(k K, v V) error {
	m.kernel.mu.Lock()
	if _, there := m.data[k]; !there && len(m.data) >= m.max {
		m.kernel.mu.Unlock()
		return errors.New("map is full")
	}
	err := m.kernel.wrote(m.name)
	if err == nil {
		m.data[k] = v
	}
	m.kernel.mu.Unlock()
	if err == nil && m.kernel.after != nil {
		m.kernel.after()
	}
	return err
}

func (m *fakeMap[K, V]) Delete(keys []K) error {
	for _, k := range keys {
		m.kernel.mu.Lock()
		err := m.kernel.wrote(m.name)
		if err == nil {
			delete(m.data, k)
		}
		m.kernel.mu.Unlock()
		if err != nil {
			return err
		}
		if m.kernel.after != nil {
			m.kernel.after()
		}
	}
	return nil
}

func (m *fakeMap[K, V]) All(each func(*K, *V)) error {
	m.kernel.mu.Lock()
	all := maps.Clone(m.data)
	m.kernel.mu.Unlock()
	for k, v := range all {
		each(&k, &v)
	}
	return nil
}

// fakeTrie finds the longest key that begins the one looked up.
type fakeTrie struct {
	*fakeMap[RouteKey, RouteRecord]
}

func (m fakeTrie) Lookup(key *RouteKey, value *RouteRecord) (bool, error) {
	m.kernel.mu.Lock()
	defer m.kernel.mu.Unlock()
	for n := key.Bits / 8; ; n-- {
		k := RouteKey{Bits: 8 * n}
		copy(k.Name[:n], key.Name[:n])
		if v, ok := m.data[k]; ok {
			*value = v
			return true, nil
		}
		if n == 0 {
			return false, nil
		}
	}
}

type fakeTraffic map[uint32]TrafficRecord

func (t fakeTraffic) All(each func(uint32, *TrafficRecord)) error {
	for id, r := range maps.Clone(t) {
		each(id, &r)
	}
	return nil
}

func (t fakeTraffic) Delete(ids []uint32) error {
	for _, id := range ids {
		delete(t, id)
	}
	return nil
}

// newStore has room for what the limits say.
func newStore(l Limits) (*Store, *kernel) {
	k := &kernel{}
	k.reset()
	l = l.WithDefaults()
	return &Store{
		Routes:    fakeTrie{newFakeMap[RouteKey, RouteRecord](k, "routes", Spare*l.Routes)},
		Clusters:  newFakeMap[uint32, ClusterRecord](k, "clusters", Spare*l.Clusters),
		Endpoints: newFakeMap[EndpointKey, EndpointRecord](k, "endpoints", Spare*l.Addresses),
		Texts:     newFakeMap[TextKey, TextRecord](k, "texts", Spare*l.Texts),
		Policies:  newFakeMap[uint32, PolicyRecord](k, "policy", Spare*l.Routes+1),
		Meta:      newFakeMap[uint32, MetaRecord](k, "meta", 1),
		Traffic:   fakeTraffic{},
		Stats:     make([]Stats, Spare*l.Routes+1),
	}, k
}

// sizes is how many entries each map has.
func sizes(s *Store) map[string]int {
	return map[string]int{
		"routes":    len(s.Routes.(fakeTrie).data),
		"clusters":  len(s.Clusters.(*fakeMap[uint32, ClusterRecord]).data),
		"endpoints": len(s.Endpoints.(*fakeMap[EndpointKey, EndpointRecord]).data),
		"texts":     len(s.Texts.(*fakeMap[TextKey, TextRecord]).data),
		"policy":    len(s.Policies.(*fakeMap[uint32, PolicyRecord]).data),
	}
}

func open(t testing.TB, s *Store) *Mirror {
	t.Helper()
	m, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
