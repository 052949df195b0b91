package mirror

import (
	"fmt"
	"sync/atomic"

	"sluice/userspace/route"
)

// ids are the numbers of routes, from 1. One that was given up is only given out again
// when no flow counts into it, and the longer ago it was given up the sooner.
type ids struct {
	next, most uint32 // fresh ones
	retired    []uint32
}

// entry is a route's name that has an id.
type entry struct {
	id     uint32
	policy atomic.Pointer[route.Options] // nil: an operator has set none
}

func (m *Mirror) entry(name string) *entry {
	if e, ok := m.names.Load(name); ok {
		return e.(*entry)
	}
	return nil
}

// adoptIDs takes over the ids of routes in the maps, and of those which have policies.
// Those of this process's flows, if it has any, stay.
func (m *Mirror) adoptIDs(c *contents) {
	most := uint32(len(m.store.Stats) - 1)
	names := make(map[uint32]string, len(c.routes))
	for id, rec := range c.policies {
		if id == 0 || id > most {
			m.strays.policies = append(m.strays.policies, id)
			continue
		}
		names[id] = rec.name()
	}
	for i := range c.routes {
		r := &c.routes[i]
		if owner, taken := names[r.record.ID]; r.sound && r.record.ID > 0 && r.record.ID <= most && (!taken || owner == r.name) {
			names[r.record.ID] = r.name
		}
	}
	m.names.Range(func(name, e any) bool { // of a table of which only a part was written
		if id := e.(*entry).id; names[id] == "" {
			names[id] = name.(string)
		}
		return true
	})
	m.ids = ids{next: 1, most: most}
	for id, name := range names {
		m.ids.next = max(m.ids.next, id+1)
		made := &entry{id: id}
		kept, _ := m.names.LoadOrStore(name, made)
		if rec, ok := c.policies[id]; ok {
			o := rec.options()
			kept.(*entry).policy.Store(&o)
		}
	}
	for id := uint32(1); id < m.ids.next; id++ {
		if names[id] == "" {
			m.ids.retired = append(m.ids.retired, id)
		}
	}
	m.names.Range(func(name, e any) bool {
		if e := e.(*entry); m.table.Route(name.(string)) == nil && e.policy.Load() == nil {
			m.retire(name.(string), e)
		}
		return true
	})
}

// dropTraffic forgets what the kernel counted for routes of former lives.
func (m *Mirror) dropTraffic() error {
	used := make([]bool, len(m.store.Stats))
	m.names.Range(func(_, e any) bool { used[e.(*entry).id] = true; return true })
	var gone []uint32
	err := m.store.Traffic.All(func(id uint32, _ *TrafficRecord) {
		if int(id) >= len(used) || !used[id] {
			gone = append(gone, id)
		}
	})
	if err == nil {
		err = m.store.Traffic.Delete(gone)
	}
	if err != nil {
		return fmt.Errorf("tidy the map of route_traffic: %w", err)
	}
	return nil
}

// take gives a name an id that nobody counts into, whose counters are 0.
func (m *Mirror) take(name string) (*entry, error) {
	if e := m.entry(name); e != nil {
		return e, nil
	}
	id, used, err := m.free()
	if err != nil {
		return nil, err
	}
	if used {
		if err := m.store.Traffic.Delete([]uint32{id}); err != nil {
			return nil, fmt.Errorf("reset what the kernel counts: %w", err)
		}
	}
	m.store.Stats[id].reset()
	e := &entry{id: id}
	m.names.Store(name, e)
	return e, nil
}

// free is an id that nobody has, and whether somebody has had it.
func (m *Mirror) free() (id uint32, used bool, err error) {
	if m.ids.next <= m.ids.most {
		m.ids.next++
		return m.ids.next - 1, false, nil
	}
	for range len(m.ids.retired) {
		id := m.ids.retired[0]
		m.ids.retired = m.ids.retired[1:]
		if m.store.Stats[id].Active.Load() == 0 {
			return id, true, nil
		}
		m.ids.retired = append(m.ids.retired, id)
	}
	return 0, false, fmt.Errorf("no id is left for a route: %d are held by flows of routes that are gone", len(m.ids.retired))
}

// available is how many ids can be had now, looked for no further than enough.
func (m *Mirror) available(enough int) int {
	n := int(m.ids.most) - int(m.ids.next) + 1
	for _, id := range m.ids.retired {
		if n >= enough {
			break
		}
		if m.store.Stats[id].Active.Load() == 0 {
			n++
		}
	}
	return n
}

// retire gives a name's id up.
func (m *Mirror) retire(name string, e *entry) {
	m.names.Delete(name)
	m.ids.retired = append(m.ids.retired, e.id)
}
