package mirror

import (
	"errors"
	"fmt"
	"time"

	"sluice/userspace/route"
)

// View is what the maps held at one moment.
type View struct {
	Meta   Meta
	Table  *route.Table // nil when nothing was ever written
	Damage []string     // what could not be read, a line each

	sequence uint64 // of the meta record
	states   []RouteState
	places   map[string]int // in states, by name
	lastID   uint32         // of states
}

// RouteState is what is known of a route beside what is in the table.
type RouteState struct {
	ID      uint32
	Counts  Counts        // by the agent
	Traffic TrafficRecord // by the kernel's programs
	Policy  route.Options // set by an operator
	SetAt   time.Time     // that; zero: nothing is set
}

const (
	readTries = 20
	readPause = 5 * time.Millisecond
)

// Read returns what is in the maps, for one goroutine at a time, without a lock and without disturbing their writer.
// While that writes, Read begins again; if it never stops, what was read last is
// returned with the state Writing: it may lack names, or have some twice over.
func Read(s *Store) (*View, error) {
	var v *View
	for try := range readTries {
		if try > 0 {
			time.Sleep(readPause)
		}
		before, _, err := readMeta(s)
		if err != nil {
			return nil, fmt.Errorf("read the meta map: %w", err)
		}
		if State(before.State) == Writing && try < readTries-1 {
			continue
		}
		c, err := readAll(s)
		if err != nil {
			return nil, err
		}
		if v, err = c.view(s); err != nil {
			return nil, err
		}
		after, _, err := readMeta(s)
		if err != nil {
			return nil, fmt.Errorf("read the meta map: %w", err)
		}
		if after.Sequence == before.Sequence {
			return v, nil
		}
	}
	v.Meta.State = Writing
	return v, nil
}

func (c *contents) view(s *Store) (*View, error) {
	v := &View{Meta: c.meta.meta()}
	var err error
	if v.Table, v.Damage, err = c.table(); err != nil {
		return nil, fmt.Errorf("make a table of what is in the maps: %w", err)
	}
	if !c.hasMeta && len(c.routes)+len(c.clusters) > 0 {
		v.Meta.State = Writing
	}
	if v.Meta.State == Empty {
		v.Table = nil
	}
	v.sequence = c.meta.Sequence
	v.states, v.places = make([]RouteState, 0, len(c.routes)), make(map[string]int, len(c.routes))
	for i := range c.routes {
		r := &c.routes[i]
		if id := r.record.ID; r.sound && int(id) < len(s.Stats) {
			v.add(r.name).ID = id
			v.lastID = max(v.lastID, id)
		}
	}
	for id, rec := range c.policies { // also those of routes that are not in the table now
		state := v.add(rec.name())
		state.ID, state.Policy, state.SetAt = id, rec.options(), time.Unix(0, int64(rec.SetAt))
		v.lastID = max(v.lastID, id)
	}
	return v, v.count(s)
}

// Recount brings the counters up to date. It is false when the table has changed since
// it was read, so that they may be those of other routes by now: then the view is not to
// be used any more.
func (v *View) Recount(s *Store) (bool, error) {
	if err := v.count(s); err != nil {
		return false, err
	}
	meta, _, err := readMeta(s)
	if err != nil {
		return false, fmt.Errorf("read the meta map: %w", err)
	}
	return meta.Sequence == v.sequence, nil
}

// count reads the counters of all routes.
func (v *View) count(s *Store) error {
	traffic, err := s.traffic()
	if err != nil {
		return err
	}
	if s.Refresh != nil {
		if err := s.Refresh(v.lastID); err != nil {
			return err
		}
	}
	for i := range v.states {
		state := &v.states[i]
		if int(state.ID) < len(s.Stats) {
			state.Counts, state.Traffic = s.Stats[state.ID].counts(), traffic[state.ID]
		}
	}
	return nil
}

// add is the state of a route, made when there is none.
func (v *View) add(name string) *RouteState {
	i, ok := v.places[name]
	if !ok {
		i = len(v.states)
		v.places[name] = i
		v.states = append(v.states, RouteState{})
	}
	return &v.states[i]
}

// State is that of a route, and false for one without an id.
func (v *View) State(name string) (RouteState, bool) {
	i, ok := v.places[name]
	if !ok {
		return RouteState{}, false
	}
	return v.states[i], true
}

// Policy is what an operator has set for a route.
func (v *View) Policy(name string) route.Options {
	s, _ := v.State(name)
	return s.Policy
}

// Len is how many routes States yields.
func (v *View) Len() int { return len(v.states) }

// States yields the routes that have an id, also those that are not in the table now
// but have a policy, in no order.
func (v *View) States(yield func(name string, s *RouteState) bool) {
	for name, i := range v.places {
		if !yield(name, &v.states[i]) {
			return
		}
	}
}

// ErrDamaged is for a name whose records cannot be read.
var ErrDamaged = errors.New("what is in the maps is damaged")

// Lookup finds where a server name leads, like route.Table.Lookup, in a few look-ups in
// the maps, while others may write them. Both are nil when no route has the name. The
// cluster has no state for Pick.
func Lookup(s *Store, name []byte) (*route.Route, *route.Cluster, error) {
	key, ok := LookupKey(name)
	if !ok {
		return nil, nil, nil
	}
	var r *route.Route
	var c *route.Cluster
	var err error
	for try := range readTries {
		if try > 0 {
			time.Sleep(readPause)
		}
		if r, c, err = lookup(s, &key, name); !errors.Is(err, ErrDamaged) {
			break // or else it was replaced between two look-ups, most likely
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look %q up in the maps: %w", name, err)
	}
	return r, c, nil
}

func lookup(s *Store, key *RouteKey, name []byte) (*route.Route, *route.Cluster, error) {
	var rec RouteRecord
	found, err := s.Routes.Lookup(key, &rec)
	if err != nil || !found {
		return nil, nil, err
	}
	r := &route.Route{Options: rec.options()}
	if r.Name, found = matched(name, &rec); !found {
		return nil, nil, fmt.Errorf("%w: the route of %q", ErrDamaged, name)
	}
	if rec.Refuse != 0 {
		r.Refuse, err = lookupText(s, rec.Refuse)
		return r, nil, err
	}
	c, err := lookupCluster(s, rec.Cluster)
	if err == nil {
		r.Cluster = c.Name
	}
	return r, c, err
}

// matched is the name of the route that a trie found for a server name: it tells the
// value alone, but the checksum has the key in it.
func matched(name []byte, rec *RouteRecord) (string, bool) {
	if len(name) <= nameSize {
		if k := keyOf(string(name)); sound(&k, rec) {
			return string(name), true
		}
	}
	for i, c := range name {
		if c != '.' || i == 0 {
			continue
		}
		wild := "*" + string(name[i:])
		if k := keyOf(wild); sound(&k, rec) {
			return wild, true
		}
	}
	k := keyOf("*")
	return "*", sound(&k, rec)
}

func lookupCluster(s *Store, id uint32) (*route.Cluster, error) {
	var rec ClusterRecord
	found, err := s.Clusters.Lookup(&id, &rec)
	if err != nil {
		return nil, err
	}
	if !found || !sound(&id, &rec) {
		return nil, fmt.Errorf("%w: cluster %d", ErrDamaged, id)
	}
	entries := make([]EndpointRecord, min(int(rec.Addresses), s.Endpoints.Max()))
	for i := range entries {
		k := EndpointKey{id, rec.Generation, uint32(i)}
		found, err := s.Endpoints.Lookup(&k, &entries[i])
		if err != nil {
			return nil, err
		}
		if !found || !sound(&k, &entries[i]) {
			return nil, fmt.Errorf("%w: address %d of cluster %d", ErrDamaged, i, id)
		}
	}
	c := rec.cluster()
	if c.Endpoints, err = decodeEndpoints(entries, func(id uint32) (string, error) { return lookupText(s, id) }); err != nil {
		return nil, err
	}
	return c, nil
}

func lookupText(s *Store, id uint32) (string, error) {
	if id == 0 {
		return "", nil
	}
	var parts *textParts
	for k := (TextKey{ID: id}); parts == nil || parts.left > 0; k.Part++ {
		var rec TextRecord
		found, err := s.Texts.Lookup(&k, &rec)
		if err != nil {
			return "", err
		}
		if found && parts == nil && int(rec.Bytes) <= textSize*s.Texts.Max() {
			parts = newTextParts(rec.Bytes)
		}
		if !found || !sound(&k, &rec) || parts == nil || !parts.add(&k, &rec) {
			return "", fmt.Errorf("%w: part %d of text %d", ErrDamaged, k.Part, id)
		}
	}
	return string(parts.text), nil
}
