package mirror

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"sluice/userspace/route"
)

// Mirror is the writer of an instance's maps; there is one at a time. It is for any
// number of goroutines: Sync and the changes of policy take turns, and what flows call
// (Enter, Policy) never waits for them.
type Mirror struct {
	store  *Store
	limits Limits
	now    func() time.Time
	names  sync.Map // of routes that have an id: string -> *entry

	mu          sync.Mutex   // held by writers
	table       *route.Table // that is in the maps
	clusters    map[string]clusterState
	nextCluster uint32
	addresses   int
	texts       *texts
	ids         ids
	strays      strays
	meta        MetaRecord
	damage      []string // that Open found and no Sync has mended yet
	unsure      bool     // a write failed: what is in the maps must be read again
}

// clusterState is what the maps know of a cluster beside what it is.
type clusterState struct {
	id         uint32
	generation uint32 // of its addresses
	latest     uint32 // generation that was begun, which is a later one after a crash
	addresses  uint32
}

// Open reads what is in the maps, as the instance's one writer. Nobody else's flows
// count as active any more.
func Open(s *Store) (*Mirror, error) {
	m := &Mirror{store: s, limits: s.Limits(), now: time.Now}
	for i := range s.Stats {
		if a := &s.Stats[i].Active; a.Load() != 0 {
			a.Store(0)
		}
	}
	if err := m.adopt(); err != nil {
		return nil, err
	}
	if err := m.dropTraffic(); err != nil {
		return nil, err
	}
	return m, nil
}

// Table is the table in the maps, and what is known of it. When its state is Writing, a
// change to it was cut off: every name leads where it did before or where it should
// have, but others may be missing, so that a whole table from elsewhere is better. It
// is nil when there was none.
func (m *Mirror) Table() (*route.Table, Meta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	meta := m.meta.meta()
	if meta.State == Empty {
		return nil, meta
	}
	return m.table, meta
}

// Damage is what Open could not read, a line each, until a Sync has mended it.
func (m *Mirror) Damage() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.damage)
}

// Limits are those of the maps.
func (m *Mirror) Limits() Limits { return m.limits }

// adopt takes what is in the maps for what is known of them.
func (m *Mirror) adopt() error {
	c, err := readAll(m.store)
	if err != nil {
		return err
	}
	if m.table, m.damage, err = c.table(); err != nil {
		return fmt.Errorf("make a table of what is in the maps: %w", err)
	}
	m.meta = c.meta
	if !c.hasMeta && len(c.routes)+len(c.clusters) > 0 {
		m.meta.State = uint32(Writing)
	}
	m.strays = c.strays
	m.clusters, m.addresses = make(map[string]clusterState, len(c.clusters)), 0
	for id, s := range c.clusters {
		if s.accepted {
			m.clusters[s.cluster.Name] = s.state
			m.addresses += int(s.state.addresses)
			continue
		}
		m.strays.clusters = append(m.strays.clusters, id)
		for i := range s.entries {
			m.strays.endpoints = append(m.strays.endpoints, EndpointKey{id, s.state.generation, uint32(i)})
		}
	}
	m.nextCluster = max(c.meta.NextCluster, c.lastCluster+1)
	m.adoptTexts(c)
	m.adoptIDs(c)
	m.unsure = false
	return nil
}

// adoptTexts counts who uses the texts in the maps.
func (m *Mirror) adoptTexts(c *contents) {
	t := newTexts()
	t.next = max(c.meta.NextText, c.lastText+1)
	for id, text := range c.texts {
		if t.byText[text] != nil {
			m.strayText(id, text) // it is there twice: the other one will do
			continue
		}
		t.byText[text] = &textState{id: id}
		t.pieces += takes(text)
	}
	for r := range m.table.Routes() {
		if s := t.byText[r.Refuse]; s != nil && r.Refuse != "" {
			s.uses++
		}
	}
	for cluster := range m.table.Clusters() {
		textsOf(cluster, func(text string) {
			if s := t.byText[text]; s != nil {
				s.uses++
			}
		})
	}
	for text, s := range t.byText {
		if s.uses == 0 {
			m.strayText(s.id, text)
			delete(t.byText, text)
			t.pieces -= takes(text)
		}
	}
	m.texts = t
}

func (m *Mirror) strayText(id uint32, text string) {
	for part := range takes(text) {
		m.strays.texts = append(m.strays.texts, TextKey{id, uint32(part)})
	}
}
