// Package auto chooses a flow's path while it runs.
//
// Every flow begins on the splice path, which is the better one for streams and costs
// a short flow nothing to set up. A flow whose two sides take turns with little at a
// time goes on over sockmap, where an exchange wakes nobody here; it does so at a
// moment when nothing of it is in our hands, and for good. But while a wake-up serves
// several flows at once, it costs each of them less than the kernel's own threads would,
// and they stay. README.md has the figures that the rule was found by.
package auto

import (
	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

const (
	// turnsEnough is how often the sides must have taken turns. A TLS handshake and
	// one request are five: what is over so soon is not worth moving.
	turnsEnough = 8
	// turnMost is the most bytes of a turn. What sends more is a stream.
	turnMost = 16 << 10
	// sharedWakes is how many events a wake-up brings where flows share it.
	sharedWakes = 1.5
)

// Loop is what is asked of the event loop.
type Loop interface{ PerWake() float64 }

// Splice is the path to begin with.
type Splice interface {
	CarryWatched(f *flow.Flow, down, up poll.FD, over func(flow.End, string), watch flow.Watch) flow.Movable
}

// Sockmap is the path to go on with.
type Sockmap interface {
	Admit(*flow.Flow) error
	Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage
}

// Path is both, for the flows of one loop.
type Path struct {
	loop    Loop
	splice  Splice
	sockmap Sockmap
}

// New makes the path of the two, which are its caller's to close.
func New(loop Loop, splice Splice, sockmap Sockmap) *Path { return &Path{loop, splice, sockmap} }

// Name is "auto". The flow itself is told which of the two it took.
func (*Path) Name() string { return "auto" }

// Admit is always nil.
func (*Path) Admit(*flow.Flow) error { return nil }

// Close has nothing to free.
func (*Path) Close() {}

// Carry takes over both sockets as gateway.Path has it.
func (p *Path) Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	f.Path = "splice"
	c := &carriage{path: p, flow: f, down: down, up: up, over: over}
	c.movable = p.splice.CarryWatched(f, down, up, over, flow.Watch{Quiet: c.look})
	c.Carriage = c.movable
	return c
}

// carriage is a flow on either path.
type carriage struct {
	flow.Carriage
	movable  flow.Movable // nil once it may not be moved any more
	path     *Path
	flow     *flow.Flow
	down, up poll.FD
	over     func(flow.End, string)

	seen  [2]uint64 // bytes each way when it was last looked at
	last  int       // the way that moved then
	moved uint64    // by the turn so far
	turns int
}

// look counts turns, and moves the flow when there were enough.
func (c *carriage) look() {
	if c.movable == nil {
		return
	}
	now := [2]uint64{c.flow.Sent.Load(), c.flow.Received.Load()}
	for i := range now {
		n := now[i] - c.seen[i]
		if n == 0 {
			continue
		}
		c.seen[i] = now[i]
		if i != c.last {
			c.last, c.moved = i, 0
			c.turns++
		}
		if c.moved += n; c.moved > turnMost {
			c.turns = 0
		}
	}
	if c.turns >= turnsEnough && c.path.loop.PerWake() < sharedWakes {
		c.move()
	}
}

// move has the flow go on over sockmap, if it may.
func (c *carriage) move() {
	if c.path.sockmap.Admit(c.flow) != nil {
		c.movable = nil // it is asked once
		return
	}
	if !c.movable.Leave() {
		return // another moment
	}
	c.movable = nil
	c.Carriage = c.path.sockmap.Carry(c.flow, c.down, c.up, c.over)
}
