// Package local is the path for flows whose client or server runs on the gateway's own
// host: what such a sender gives to its socket, the kernel writes into the gateway's
// other socket in the same call, and neither the loopback between the two nor this
// process has a part in it.
//
// # Taking a flow over
//
// Both of the gateway's sockets stay with the splice path, which relays whatever comes
// over TCP, and every end. This package finds the other process's socket by the
// addresses of the connection, in this network namespace, and enrols it: from then on a
// program sees each message that is sent on it (bpf/local.c). Nothing else about that
// socket changes. What it receives comes over TCP as ever, so that its process may read
// it in all the ways there are. A program of sock_ops on a cgroup could enrol as well; but
// it would run for every connection of that cgroup, would have to be told whose are ours,
// and would miss peers in other cgroups.
//
// # Order
//
// A message may overtake the gateway only when all that was sent before it is in the
// other socket's write queue. So the program compares the sender's sequence number,
// which counts what went over TCP, with what the splice path has relayed since the
// sender was enrolled, which is published after it was written. Only if they agree is
// nothing on its way, neither in the network nor here, and the message redirected;
// otherwise it goes over TCP like those before. It is the same when the target has no
// room: the message goes over TCP and waits where it would have waited without this
// path, up to the sender's own window, and the first one to overtake is that which
// finds everything relayed.
//
// An end needs no more than the splice path does for it: a sender's FIN leaves after
// its messages were written, and reaches the gateway by TCP.
//
// # Further still
//
// Where the receiver is enrolled too, as the sender of the other way, and Deliver was
// called, a message goes into the receiver's own queue, past both of the connections. A
// receiver reads that queue before TCP's, so the program puts nothing there before all
// that went over TCP has been read (bpf/local.h, may_deliver). The kernel neither limits
// the queue nor keeps it when the maps go: so what waits there is bounded by a credit, and
// the end of a way is passed on only when its receiver has read it all. Should the gateway
// be killed before, the receiver meets a reset, as for anything else that it was to get.
//
// It is not exact for every receiver; README.md has which.
package local

import (
	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

// Splice is the path that relays what is not redirected.
type Splice interface {
	CarryWatched(f *flow.Flow, down, up poll.FD, over func(flow.End, string), watch flow.Watch) flow.Movable
}

// Next takes the flows that have no sender on this host.
type Next interface {
	Name() string
	Admit(*flow.Flow) error
	Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage
}

// Path is the local path on one loop, before another one.
type Path struct {
	engine *Engine
	loop   *poll.Loop
	splice Splice
	next   Next
}

// PathName is what flows are told that take the path. No route can ask for it.
const PathName = "local"

// Name is that of the next path: a flow that may go by that one may go by this. The
// flow itself is told which of the two it took.
func (p *Path) Name() string { return p.next.Name() }

// Admit is the next path's.
func (p *Path) Admit(f *flow.Flow) error { return p.next.Admit(f) }

// Close has nothing to free.
func (*Path) Close() {}

// Carry takes over both sockets as gateway.Path has it. A flow without a sender on this
// host goes to the next path.
func (p *Path) Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	c := &carriage{path: p, flow: f, down: down, up: up, over: over}
	if why := c.begin([2]int{down.Sys, up.Sys}); why != taken {
		p.engine.fallen[why].Add(1)
		return p.next.Carry(f, down, up, over)
	}
	f.Path = PathName
	c.movable = p.splice.CarryWatched(f, down, up, c.finish, flow.Watch{Quiet: c.quiet, Unread: c.unread})
	c.Carriage = c.movable
	return c
}
