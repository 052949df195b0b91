// Package relay is the splice path: userspace moves a flow's bytes between its
// two sockets with splice(2), without copying them. It works on every kernel
// and for every socket, so every other path falls back to it.
//
// A flow that waits holds nothing but its two sockets. When one of them has
// something to read, its loop borrows a pipe, fills it from there, empties it
// into the other socket, and gives it back. A direction that moves only a little
// at a time has it copied through a buffer that all flows of the loop share,
// which is cheaper than the pipe. Nothing is read for a receiver that
// has no room, which is all there is to back-pressure: the sender's window
// closes as it would against the receiver itself. What did not fit, at most a
// pipe's worth, stays in the pipe; when too many flows hold one, or when there
// was none, it moves to a buffer of its exact size.
//
// The two directions end apart. The end of one (FIN) is passed on by shutting
// down the other socket's sending half once all before it is in that socket's
// queue. A reset, or a peer lost, is passed on as a reset, after whatever the
// other side takes at once of what came before it.
package relay

import (
	"bytes"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

const (
	// pipeSize makes one splice move enough to outweigh the system calls, and the
	// wake-ups of the receiver: with eight flows, 1 MiB moves a fifth more than
	// 256 KiB.
	pipeSize = 1 << 20
	// One direction may move so many bytes, in so many moves, before others get
	// their turn.
	quantum = 1 << 20
	moves   = 4
	// DefaultPipes is how many pipes a loop keeps for flows that are stalled.
	DefaultPipes = 64
)

// Splice is the path on one loop.
type Splice struct {
	loop  *poll.Loop
	pipes pipes
	buf   []byte // for what is copied
}

// New makes the path for the flows of a loop, with a pool of at most maxPipes
// pipes (0: DefaultPipes), two descriptors each.
func New(loop *poll.Loop, maxPipes int) (*Splice, error) {
	if maxPipes <= 0 {
		maxPipes = DefaultPipes
	}
	s := &Splice{loop: loop, pipes: pipes{max: maxPipes, size: pipeSize}, buf: make([]byte, small)}
	if err := s.pipes.grow(); err != nil {
		return nil, err
	}
	return s, nil
}

// Name is "splice".
func (*Splice) Name() string { return "splice" }

// Admit is always nil: every pair of stream sockets can be spliced.
func (*Splice) Admit(*flow.Flow) error { return nil }

// Close frees the pool. No flow may be left on the path.
func (s *Splice) Close() { s.pipes.close() }

// Carry takes over both sockets, non-blocking ones watched by the loop for
// poll.Stream, and closes them when the flow is over. It calls over once, on
// the loop, when they are closed, and never before it returns.
func (s *Splice) Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage {
	return s.CarryWatched(f, down, up, over, flow.Watch{})
}

// CarryWatched is Carry for a flow that somebody accompanies.
func (s *Splice) CarryWatched(f *flow.Flow, down, up poll.FD, over func(flow.End, string), watch flow.Watch) flow.Movable {
	c := &carriage{path: s, flow: f, over: over, watch: watch, active: s.loop.Now()}
	for i, fd := range [2]poll.FD{down, up} {
		c.legs[i] = leg{c: c, fd: fd, readable: true, writable: true}
		s.loop.Handle(fd, &c.legs[i])
		c.legs[i].again() // what came before Handle will not be told another time
	}
	c.ways[0].moved = &f.Sent
	c.ways[1].moved = &f.Received
	return c
}

// carriage is one flow on the path. Way i leads from leg i to the other one.
type carriage struct {
	path   *Splice
	flow   *flow.Flow
	legs   [2]leg // downstream, upstream
	ways   [2]way
	over   func(flow.End, string)
	watch  flow.Watch
	active time.Duration
	reset  *pendingReset // nil until a leg is broken
	ended  bool
}

// leg is one of the sockets.
type leg struct {
	c                  *carriage
	fd                 poll.FD
	readable, writable bool // as far as is known: until the next EAGAIN
	told               bool // of all that arrives from now on: a short read leaves nothing
	queued             bool // for another turn
	broken             error
}

// way is one direction.
type way struct {
	bulk   bool // more than a little came last: splice it
	pipe   pipe
	held   int    // bytes in the pipe, which is on loan while there are any
	spill  []byte // bytes in memory
	shared bool   // which is the path's buffer, to be left before others move
	moved  *atomic.Uint64
	eof    bool // the source has ended
	first  bool // before that of the other way
	shut   bool // and its end has been passed on
	late   *lateEnd
}

// Active is the loop's time at which a byte, or an end, last moved.
func (c *carriage) Active() time.Duration { return c.active }

// Abort ends the flow now: both sides get a reset, because an orderly end would
// tell them that they have seen everything.
func (c *carriage) Abort(end flow.End) { c.finish(end, "", -1) }

// Tally has nothing to do: the counters are kept as the bytes move.
func (c *carriage) Tally() {}

// Ready is called on an event of the leg's socket, or with none to go on.
func (l *leg) Ready(ev poll.Events) {
	c := l.c
	if c.ended {
		return
	}
	if ev == 0 {
		l.queued = false
	}
	i := 0
	if l == &c.legs[1] {
		i = 1
	}
	if ev.Has(poll.In | poll.RdHup | poll.Hup | poll.Err) {
		l.readable = true
	}
	if ev.Has(poll.RdHup | poll.Hup | poll.Err | poll.Pri) {
		l.told = false // an end comes after the bytes, and a read stops at the urgent mark
	}
	if ev.Has(poll.Err) {
		c.fail(i, socketError(l.fd))
	}
	if ev.Has(poll.Out) && l.broken == nil {
		l.writable = true
		c.pump(1 - i)
	}
	c.pump(i)
	if c.watch.Quiet != nil && !c.ended {
		c.watch.Quiet()
	}
}

// again asks for another turn of the way that begins at the leg.
func (l *leg) again() {
	if !l.queued {
		l.queued = true
		l.c.path.loop.Again(l, 0)
	}
}

// pump moves bytes along way i until its source has none, its destination takes
// none, or its turn is over. When nothing more is to be had from a broken
// source, the flow ends.
func (c *carriage) pump(i int) {
	w := &c.ways[i]
	before := w.moved.Load()
	for left := moves; !c.ended; left-- {
		if w.held == 0 && w.spill == nil && !c.fill(i) {
			break
		}
		if !c.drain(i) {
			break
		}
		if left == 0 || w.moved.Load()-before >= quantum {
			c.legs[i].again()
			return
		}
	}
	if c.legs[i].broken != nil && !c.ended {
		c.passReset(i)
	}
}

// fill reads from way i's source. It reports whether there is something to drain
// now.
func (c *carriage) fill(i int) bool {
	src, dst, w := &c.legs[i], &c.legs[1-i], &c.ways[i]
	if w.eof || !src.readable || !dst.writable {
		return false
	}
	spliced := w.bulk // which stops when the pipe has no slot left
	n, err := c.path.take(w, src.fd.Sys)
	switch {
	case n > 0:
		src.readable = spliced || n == len(c.path.buf) || !src.told
		w.bulk = n >= len(c.path.buf)
		c.active = c.path.loop.Now()
		return true
	case err == unix.EAGAIN:
		src.readable, src.told = false, true
	case err != nil:
		c.fail(i, err)
	case src.broken != nil: // a socket whose error was taken looks like one that ended
	case !c.ways[1-i].shut && closed(src.fd.Sys):
		c.fail(i, unix.ECONNRESET) // who writes to it from elsewhere may have taken the error
	default:
		w.eof, w.first = true, !c.ways[1-i].eof
		c.active = c.path.loop.Now()
		c.passEnd(i)
	}
	return false
}

// take reads from fd into a pipe or the buffer of the path.
func (s *Splice) take(w *way, fd int) (int, error) {
	if !w.bulk {
		n, err := receive(fd, s.buf)
		if n > 0 {
			w.spill, w.shared = s.buf[:n], true
		}
		return n, err
	}
	most := s.pipes.most()
	p := s.pipes.get()
	n, err := splice(fd, p.w, most)
	if n > 0 {
		w.pipe, w.held = p, n
	} else {
		s.pipes.put(p)
	}
	return n, err
}

// drain writes what way i holds to its destination. It reports whether all went.
func (c *carriage) drain(i int) bool {
	dst, w := &c.legs[1-i], &c.ways[i]
	for w.held > 0 || w.spill != nil {
		if !dst.writable {
			return false
		}
		n, err := w.write(dst.fd.Sys)
		if n > 0 {
			w.moved.Add(uint64(n))
			c.active = c.path.loop.Now()
			continue
		}
		if err != unix.EAGAIN {
			c.fail(1-i, err)
			return false
		}
		dst.writable = false
		if w.held > 0 && !c.path.pipes.spare() {
			c.evacuate(w)
		} else if w.shared {
			w.spill, w.shared = bytes.Clone(w.spill), false
		}
	}
	if w.pipe != (pipe{}) {
		c.path.pipes.put(w.pipe)
		w.pipe = pipe{}
	}
	return true
}

// write sends some of what the way holds.
func (w *way) write(fd int) (int, error) {
	if w.spill == nil {
		n, err := splice(w.pipe.r, fd, w.held)
		w.held -= max(n, 0)
		return n, err
	}
	n, err := send(fd, w.spill)
	if w.spill = w.spill[n:]; len(w.spill) == 0 {
		w.spill, w.shared = nil, false
	}
	return n, err
}

// evacuate moves a stalled way's bytes to memory, so that its pipe can serve
// others.
func (c *carriage) evacuate(w *way) {
	buf := make([]byte, w.held)
	for got := 0; got < len(buf); {
		n, err := unix.Read(w.pipe.r, buf[got:])
		if n <= 0 {
			// The bytes are in a pipe of our own: there is no ordinary way to be here.
			c.finish(flow.PathError, "take bytes back from a pipe: "+errText(err), -1)
			return
		}
		got += n
	}
	w.spill, w.held = buf, 0
	c.path.pipes.put(w.pipe)
	w.pipe = pipe{}
}

// splice moves up to n bytes from one descriptor to another, one of them a pipe.
func splice(from, to, n int) (int, error) {
	for {
		moved, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return int(moved), err
		}
	}
}
