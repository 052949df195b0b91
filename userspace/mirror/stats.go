package mirror

import (
	"fmt"

	"sluice/userspace/flow"
)

// ends is TABLE_ENDS.
const ends = 16

// endOf is enum table_end: the first is for all that is not here.
var endOf = [ends]flow.End{
	flow.Unknown, flow.RouteRefused, flow.LimitRoute, flow.NoEndpoint, flow.ConnectFailed, flow.NoResources, flow.Draining,
	flow.Closed, flow.DownstreamReset, flow.UpstreamReset, flow.IdleTimeout, flow.LifetimeOver, flow.DrainTimeout,
	flow.EndpointRemoved, flow.Killed, flow.PathError,
}

// placeOf undoes endOf.
var placeOf = func() (places [256]uint8) {
	for place, end := range endOf {
		places[end] = uint8(place)
	}
	return places
}()

// End counts a flow that ended like this.
func (s *Stats) End(why flow.End) { s.Ended[placeOf[why]].Add(1) }

// reset begins anew. Nobody counts flows into it, so Active is left: a flow may be on
// its way out that looked in by mistake.
func (s *Stats) reset() {
	if s.counts() == (Counts{Active: s.Active.Load()}) {
		return // memory that was never written to is not there yet
	}
	s.Flows.Store(0)
	s.Sent.Store(0)
	s.Received.Store(0)
	s.ConnectFailures.Store(0)
	for i := range s.Ended {
		s.Ended[i].Store(0)
	}
}

// Counts are a route's counters at one moment.
type Counts struct {
	Flows           uint64 // begun
	Active          int64  // now
	Sent            uint64 // bytes to upstreams
	Received        uint64 // and from them
	ConnectFailures uint64 // attempts, not flows
	ended           [ends]uint64
}

// Ended yields how many flows ended how, leaving out what never happened.
func (c *Counts) Ended(yield func(flow.End, uint64) bool) {
	for place, n := range c.ended {
		if n > 0 && !yield(endOf[place], n) {
			return
		}
	}
}

// Refused is how many flows were refused, by reason; nil for none.
func (c *Counts) Refused() map[flow.End]uint64 {
	var all map[flow.End]uint64
	for end, n := range c.Ended {
		if !end.Refused() {
			continue
		}
		if all == nil {
			all = map[flow.End]uint64{}
		}
		all[end] = n
	}
	return all
}

func (s *Stats) counts() Counts {
	c := Counts{
		Flows: s.Flows.Load(), Active: s.Active.Load(), Sent: s.Sent.Load(), Received: s.Received.Load(),
		ConnectFailures: s.ConnectFailures.Load(),
	}
	for i := range s.Ended {
		c.ended[i] = s.Ended[i].Load()
	}
	return c
}

// Enter counts a flow of a route, and returns the route's id and counters: its Active
// must be counted down when the flow is over. Flows of a route that is not in the maps
// have id 0. Enter neither waits nor makes a system call.
func (m *Mirror) Enter(name string) (id uint32, s *Stats) {
	for e := m.entry(name); e != nil; e = m.entry(name) {
		s := &m.store.Stats[e.id]
		s.Active.Add(1)
		if m.entry(name) == e { // not given up meanwhile: now it is held
			s.Flows.Add(1)
			return e.id, s
		}
		s.Active.Add(-1)
	}
	s = &m.store.Stats[0]
	s.Active.Add(1)
	s.Flows.Add(1)
	return 0, s
}

// Counts are a route's id and what is counted of it, and false when it has none.
func (m *Mirror) Counts(name string) (uint32, Counts, bool) {
	e := m.entry(name)
	if e == nil {
		return 0, Counts{}, false
	}
	return e.id, m.store.Stats[e.id].counts(), true
}

// Traffic is what the kernel's programs have moved, by id of the route. Routes of which
// they have moved nothing are left out.
func (m *Mirror) Traffic() (map[uint32]TrafficRecord, error) { return m.store.traffic() }

func (s *Store) traffic() (map[uint32]TrafficRecord, error) {
	all := map[uint32]TrafficRecord{}
	if err := s.Traffic.All(func(id uint32, sum *TrafficRecord) { all[id] = *sum }); err != nil {
		return nil, fmt.Errorf("read the map of route_traffic: %w", err)
	}
	return all, nil
}

// EndNames are those of enum table_end, in its order.
func EndNames() []string {
	names := []string{"other"}
	for _, end := range endOf[1:] {
		names = append(names, end.String())
	}
	return names
}
