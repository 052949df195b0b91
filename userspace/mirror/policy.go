package mirror

import (
	"fmt"

	"sluice/userspace/route"
)

// Policy is what an operator has set for a route; what is not set is as the route has
// it. It neither waits nor makes a system call.
func (m *Mirror) Policy(name string) route.Options {
	if e := m.entry(name); e != nil {
		if o := e.policy.Load(); o != nil {
			return *o
		}
	}
	return route.Options{}
}

// SetPolicy overrules the options of a route until it is cleared: restarts do not
// matter, nor that the route leaves the table and comes back. Setting nothing clears
// it. There is a route of this name, or a policy.
func (m *Mirror) SetPolicy(name string, o route.Options) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o == (route.Options{}) {
		return m.clearPolicy(name)
	}
	if err := fitOptions(o); err != nil {
		return fmt.Errorf("set the policy of route %s: %w", name, err)
	}
	e := m.entry(name)
	if e == nil {
		return fmt.Errorf("set the policy of route %s: there is no such route", name)
	}
	if err := m.store.Policies.Put([]uint32{e.id}, []PolicyRecord{encodePolicy(e.id, name, o, m.now())}); err != nil {
		return fmt.Errorf("set the policy of route %s: %w", name, err)
	}
	e.policy.Store(&o)
	return nil
}

func (m *Mirror) clearPolicy(name string) error {
	e := m.entry(name)
	if e == nil || e.policy.Load() == nil {
		return nil
	}
	if err := m.store.Policies.Delete([]uint32{e.id}); err != nil {
		return fmt.Errorf("clear the policy of route %s: %w", name, err)
	}
	e.policy.Store(nil)
	if m.table.Route(name) == nil {
		m.retire(name, e)
	}
	return nil
}

// Policies yields what is set for routes, in no order.
func (m *Mirror) Policies(yield func(name string, o route.Options) bool) {
	m.names.Range(func(name, e any) bool {
		o := e.(*entry).policy.Load()
		return o == nil || yield(name.(string), *o)
	})
}
