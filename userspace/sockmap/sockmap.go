// Package sockmap is the path that moves a flow's bytes inside the kernel: a
// program sees what arrives on each of its two sockets and queues it for the
// other one, and no byte of it wakes this process.
//
// # Taking a flow over
//
// Nothing needs to be read first: what already waits in a socket, such as the
// hello, goes through the program like all that follows. Both sockets get a Way
// (package slot), are made known by their cookies, and are inserted, the upstream
// first, so that what the client has sent finds its destination there. Then
// both are kicked, for the program to see what came before. A flow whose sockets
// cannot be inserted goes to the fallback, with the reason counted; if only one of
// them can, this path copies its bytes itself, since a socket must not leave the
// kernel's hands while bytes may be in them.
//
// # Back-pressure
//
// The kernel queues what is redirected without limit. So the program counts, and
// when a credit's worth is on its way, or the send buffer is full, it leaves
// what comes next to userspace, and tells it once, by an event. That way is then
// slow: its bytes pile up in the receiving socket, whose window closes, and here
// they are read into a buffer that all flows share, and sent, whenever the
// destination has room. When all that was left has been sent on, and not before,
// the program redirects again.
//
// What is sent from here must not overtake what the program has redirected, which
// a worker of the kernel's puts into the destination's write queue at some later
// moment. So before any of it is sent, the length of that stream is asked for
// (see position) and has to be as long as the counters say.
//
// # The end
//
// The kernel does not carry an end of stream. The loop watches the sockets for
// ends and errors only, and passes an end on by shutting down the other socket's
// sending half, once everything before it is in that socket's write queue, by
// the same check. A check that can never be met any more, or bytes missing by
// their sequence numbers, reset the flow: never is a stream passed off as whole
// that is not. After a few of those no new flow is taken.
package sockmap

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/slot"
)

// bufferSize is what a slow way moves at a time.
const bufferSize = 64 << 10

// watched is what the loop is told of a flow in the kernel's hands: with poll.In
// every packet would wake it.
const watched = poll.RdHup | poll.Out | poll.Edge

// Fallback is the path that takes every flow.
type Fallback interface {
	Name() string
	Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage
}

// Path is the sockmap path on one loop.
type Path struct {
	engine   *Engine
	loop     *poll.Loop
	worker   uint32
	fallback Fallback
	events   slot.Source
	ring     poll.FD
	flows    map[uint32]*carriage // by pair of ways
	buf      []byte               // lent to whatever way moves now
	rounds   poll.Timer           // should the events fail
}

// Name is "sockmap".
func (*Path) Name() string { return "sockmap" }

// Admit returns nil when f may go over the path, and otherwise why not. Whether
// its sockets can be inserted shows later: those that cannot fall back.
func (p *Path) Admit(f *flow.Flow) error {
	if why, ok := p.admit(f); !ok {
		p.engine.fallen[why].Add(1)
		return fallenError(why)
	}
	return nil
}

func (p *Path) admit(f *flow.Flow) (reason, bool) {
	if p.engine.off.Load() != nil {
		return isOff, false
	}
	if p.engine.Idle() == 0 {
		return isFull, false
	}
	if p.engine.policy(f.RouteName()).Rule == slot.Off {
		return byPolicy, false
	}
	return 0, true
}

// watchEvents has the loop look at the ring.
func (p *Path) watchEvents() error {
	// The loop closes what it watches, and so does the ring.
	fd, err := unix.FcntlInt(uintptr(p.events.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate the descriptor of a ring: %w", err)
	}
	if p.ring, err = p.loop.Add(fd, poll.In, p); err != nil {
		unix.Close(fd)
		return err
	}
	return nil
}

// Ready is called when there are events.
func (p *Path) Ready(poll.Events) {
	for {
		ev, ok, err := p.events.Next()
		if err != nil {
			p.engine.SwitchOff("the kernel's events cannot be read: " + err.Error())
			_ = p.loop.Watch(p.ring, 0)
			p.rounds.F = p.lookAround
			p.lookAround()
			return
		}
		if !ok {
			return
		}
		// One of a flow that is over may come late, and does no harm.
		if c := p.flows[ev.Way/2]; c != nil {
			c.advance(int(ev.Way % 2))
		}
	}
}

// lookAround finds what events would have told, for the flows that are left.
func (p *Path) lookAround() {
	for _, c := range p.flows {
		c.look()
	}
	if len(p.flows) > 0 {
		p.loop.After(&p.rounds, maxRetry)
	}
}

// Close frees what the path holds. No flow may be left on it.
func (p *Path) Close() {
	p.loop.Close(p.ring)
	p.events.Close()
}

// clock is CLOCK_MONOTONIC, which the program's times are of.
func clock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
