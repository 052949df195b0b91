package sockmap

import (
	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/slot"
)

// Carry takes over both sockets, non-blocking ones watched by the loop, which
// have everything of the flow that has not been sent on: bytes in them wait to be
// moved. It closes them when the flow is over, and then calls over once, on the
// loop, but not before it has returned. A flow that cannot be taken goes to the
// fallback, which f.Path then names.
func (p *Path) Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	f.Path = p.Name()
	c := &carriage{path: p, flow: f, over: over, active: p.loop.Now()}
	c.legs = [2]leg{{c: c, fd: down}, {c: c, fd: up}}
	if why, ok := c.begin(); !ok {
		p.engine.fallen[why].Add(1)
		f.Path = p.fallback.Name()
		return p.fallback.Carry(f, down, up, over)
	}
	for i := range c.legs {
		l := &c.legs[i]
		p.loop.Handle(l.fd, l)
		if err := p.loop.Watch(l.fd, c.watch(i)); err != nil {
			c.failLater(err)
		}
		kick(l.fd.Sys)
	}
	return c
}

// begin puts the flow's sockets into the kernel's hands. When it reports false
// it has left no trace.
func (c *carriage) begin() (why reason, ok bool) {
	for i := range c.legs {
		if why, ok := fit(c.legs[i].fd.Sys); !ok {
			return why, false
		}
	}
	e := c.path.engine
	if c.pair, ok = e.take(); !ok {
		return isFull, false
	}
	policy, why, ok := c.fill()
	if ok {
		for i := range c.legs {
			fitBuffer(c.legs[i].fd.Sys, policy.Credit)
		}
		if why, ok = c.insert(); ok {
			c.path.flows[c.pair] = c
			return 0, true
		}
	}
	c.free()
	return why, false
}

// fill prepares the flow's ways, and the program's way to them.
func (c *carriage) fill() (slot.Policy, reason, bool) {
	e := c.path.engine
	var policy slot.Policy
	c.route, policy = e.enter(c.flow.RouteName(), uint32(c.flow.Options.Credit))
	for i := range c.legs {
		var err error
		if c.legs[i].cookie, err = cookieOf(c.legs[i].fd.Sys); err != nil {
			return policy, refused, false
		}
	}
	for i := range c.ways {
		w := &c.ways[i]
		w.slot = e.way(c.pair, i)
		start, exact, err := position(c.legs[1-i].fd.Sys)
		if err != nil || !exact {
			return policy, refused, false
		}
		w.start = start
		w.slot.Peer.Store(c.legs[1-i].cookie)
		w.slot.Route.Store(c.route)
		w.slot.Ring.Store(c.path.worker)
		w.slot.Credit.Store(policy.Credit)
		w.slot.Traffic.Store(c.flow.RouteID)
		w.slot.Mode.Store(slot.Redirect)
		if err := e.kernel.Bind(c.legs[i].cookie, 2*c.pair+uint32(i)); err != nil {
			return policy, whyRefused(err), false
		}
	}
	return policy, 0, true
}

// insert gives both sockets to the program, the upstream first.
func (c *carriage) insert() (reason, bool) {
	k := c.path.engine.kernel
	if err := k.Insert(c.legs[1].cookie, c.legs[1].fd.Sys); err != nil {
		return whyRefused(err), false
	}
	if err := k.Insert(c.legs[0].cookie, c.legs[0].fd.Sys); err != nil {
		// The upstream must stay where it is: what it has received in between may
		// be out of the fallback's sight.
		c.path.engine.fallen[halfRefused].Add(1)
		for i := range c.ways {
			c.ways[i].copied = true
			c.ways[i].slot.Mode.Store(slot.Hold)
		}
	}
	return 0, true
}

// watch is what the loop is to tell of a leg.
func (c *carriage) watch(i int) poll.Events {
	if c.ways[i].copied {
		return poll.Stream
	}
	return watched
}

// free gives back the flow's ways and all that leads to them. Its sockets must
// be closed, or never have been inserted.
func (c *carriage) free() {
	e := c.path.engine
	for i := range c.legs {
		if cookie := c.legs[i].cookie; cookie != 0 {
			// It is there or it is not: both are what is wanted.
			_ = e.kernel.Unbind(cookie)
		}
	}
	e.leave(c.flow.RouteName(), c.route)
	delete(c.path.flows, c.pair)
	e.give(c.pair)
}
