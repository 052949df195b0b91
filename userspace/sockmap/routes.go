package sockmap

import "sluice/userspace/slot"

// routes gives names of routes the small numbers by which the kernel knows their
// policies. A route has one as long as it has a policy of its own or a flow, so
// that a policy set later holds for the flow too. When there are no more numbers,
// further routes share 0, everybody's default.
type routes struct {
	byName map[string]*routeEntry
	free   []uint32
	all    slot.Policy // of number 0
}

type routeEntry struct {
	index  uint32
	policy slot.Policy
	set    bool // the policy is in force
	flows  int
}

func (r *routes) init(policies int) {
	r.byName = make(map[string]*routeEntry)
	for i := policies - 1; i > 0; i-- {
		r.free = append(r.free, uint32(i))
	}
}

// SetPolicy sets the policy of a route, and with "" everybody's default, whose
// credit of 0 is Config.Credit. It
// holds for the flows that are under way too, but none gets more credit than it
// began with.
func (e *Engine) SetPolicy(route string, p slot.Policy) error {
	p.Credit = min(p.Credit, maxCredit)
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &e.routes
	if route == "" {
		if p.Credit == 0 {
			p.Credit = e.cfg.Credit
		}
		if err := e.kernel.SetPolicy(0, p); err != nil {
			return err
		}
		r.all = p
		return nil
	}
	entry := r.entry(route)
	if entry == nil {
		return errTooManyPolicies
	}
	if err := e.kernel.SetPolicy(entry.index, p); err != nil {
		r.drop(route, entry)
		return err
	}
	entry.policy, entry.set = p, true
	return nil
}

// ClearPolicy has a route follow the default again.
func (e *Engine) ClearPolicy(route string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.routes.byName[route]
	if entry == nil {
		return nil
	}
	if err := e.kernel.SetPolicy(entry.index, slot.Policy{}); err != nil {
		return err
	}
	entry.policy, entry.set = slot.Policy{}, false
	e.routes.drop(route, entry)
	return nil
}

// policy is what a route falls under.
func (e *Engine) policy(route string) slot.Policy {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.routes.policy(e.routes.byName[route])
}

func (r *routes) policy(entry *routeEntry) slot.Policy {
	p := r.all
	if entry == nil {
		return p
	}
	if p.Rule != slot.Off && entry.policy.Rule != slot.Default {
		p.Rule = entry.policy.Rule
	}
	if entry.policy.Credit > 0 {
		p.Credit = entry.policy.Credit
	}
	return p
}

// enter counts a flow of a route and returns the policy it falls under: its
// number and its values. The credit is the one that the table has for the route, 0
// for none: it holds unless a policy was set, for flows that are under way too.
func (e *Engine) enter(route string, credit uint32) (uint32, slot.Policy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.routes.entry(route)
	if entry == nil {
		return 0, e.routes.all
	}
	entry.flows++
	if p := (slot.Policy{Credit: min(credit, maxCredit)}); !entry.set && entry.policy != p {
		// An index that is in use is in range: it cannot fail.
		_ = e.kernel.SetPolicy(entry.index, p)
		entry.policy = p
	}
	return entry.index, e.routes.policy(entry)
}

// leave undoes enter.
func (e *Engine) leave(route string, index uint32) {
	if index == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.routes.byName[route]
	entry.flows--
	if entry.flows == 0 && !entry.set && entry.policy != (slot.Policy{}) {
		_ = e.kernel.SetPolicy(index, slot.Policy{}) // for the next route of this number
	}
	e.routes.drop(route, entry)
}

// entry is a route's, made when it has none and there is a number left for it.
func (r *routes) entry(route string) *routeEntry {
	entry := r.byName[route]
	if last := len(r.free) - 1; entry == nil && last >= 0 {
		entry = &routeEntry{index: r.free[last]}
		r.free = r.free[:last]
		r.byName[route] = entry
	}
	return entry
}

// drop forgets an entry that nobody holds.
func (r *routes) drop(route string, entry *routeEntry) {
	if !entry.set && entry.flows == 0 {
		delete(r.byName, route)
		r.free = append(r.free, entry.index)
	}
}
