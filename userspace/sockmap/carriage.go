package sockmap

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/slot"
)

const (
	// What cannot go on yet, and is not told when it can, is tried again after a
	// time between these, which doubles.
	minRetry = time.Millisecond
	maxRetry = 64 * time.Millisecond
	// quantum is what a slow way may move before others get their turn.
	quantum = 1 << 20
)

// carriage is one flow on the path. Way i leads from leg i to the other one.
type carriage struct {
	path   *Path
	flow   *flow.Flow
	legs   [2]leg // downstream, upstream
	ways   [2]way
	over   func(flow.End, string)
	pair   uint32        // of slots
	route  uint32        // number of the policy
	active time.Duration // when userspace last moved something
	timer  poll.Timer
	retry  time.Duration // how long the timer was set last
	ended  bool
}

// leg is one of the sockets.
type leg struct {
	c      *carriage
	fd     poll.FD
	cookie uint64
	broken error
	since  time.Duration // when it broke
	queued bool          // for another turn
}

// way is one direction.
type way struct {
	slot   *slot.Way
	start  uint64 // length of the destination's stream when it was inserted
	sent   uint64 // bytes sent from here
	spill  []byte // read, but not taken by the destination
	agreed uint64 // redirected bytes known to be in the destination's write queue
	told   uint64 // bytes that the flow's counter has
	copied bool   // the program has no part in it
	eof    bool   // the source has ended
	shut   bool   // and its end has been passed on

	reached uint64        // the stream's length when it last was longer than before
	stalled time.Duration // since when it is not; 0: it is not waited for
	missing time.Duration // since when something that was counted does not show; 0: nothing
}

// moved is how many bytes have gone the way so far.
func (w *way) moved() uint64 { return w.slot.Redirected.Load() + w.sent }

// Active is the loop's time at which a byte, or an end, last moved.
func (c *carriage) Active() time.Duration {
	active, now := c.active, c.path.loop.Now()
	for i := range c.ways {
		if at := c.ways[i].slot.MovedAt.Load(); at > 0 {
			active = max(active, now-(clock()-time.Duration(at)))
		}
	}
	return min(active, now)
}

// Tally brings the flow's counters up to date with those of the kernel.
func (c *carriage) Tally() {
	for i, n := range c.counters() {
		w := &c.ways[i]
		if moved := w.moved(); moved > w.told {
			n.Add(moved - w.told)
			w.told = moved
		}
	}
}

// Abort resets both sides and ends the flow for that reason.
func (c *carriage) Abort(end flow.End) { c.finish(end, "", -1) }

// Ready is called on an event of the leg's socket, or with none to go on.
func (l *leg) Ready(ev poll.Events) {
	c := l.c
	if c.ended {
		return
	}
	i := c.index(l)
	if ev == 0 {
		l.queued = false
	}
	if ev.Has(poll.Err) || ev.Has(poll.Hup) && !ev.Has(poll.RdHup) {
		c.fail(i, socketError(l.fd.Sys))
	}
	if ev.Has(poll.RdHup) && l.broken == nil && !c.ways[i].copied {
		c.ways[i].eof = true
	}
	if ev.Has(poll.Out) && !c.ended {
		c.advance(1 - i)
	}
	if !c.ended {
		c.advance(i)
	}
}

func (c *carriage) index(l *leg) int {
	if l == &c.legs[1] {
		return 1
	}
	return 0
}

// look is a turn for both ways.
func (c *carriage) look() {
	for i := range c.ways {
		if !c.ended {
			c.advance(i)
		}
	}
}

// advance moves what way i has for userspace, and its end when it has come.
func (c *carriage) advance(i int) {
	w := &c.ways[i]
	if w.slot.Marks.Load()&slot.Broken != 0 {
		c.garbled(fmt.Sprintf("bytes from the %s were missing", sides[i]))
		return
	}
	idle := c.relay(i)
	if c.ended {
		return
	}
	if c.legs[i].broken != nil {
		c.passReset(i, idle)
		return
	}
	if idle && w.eof && !w.shut {
		c.passEnd(i)
	}
}

var sides = [2]string{"downstream", "upstream"}

// relay sends on what the program has left to userspace. It reports whether all
// of it is sent.
func (c *carriage) relay(i int) bool {
	src, dst, w := &c.legs[i], &c.legs[1-i], &c.ways[i]
	for budget := quantum; budget > 0; budget -= bufferSize {
		if w.spill == nil && !w.waiting() {
			return true
		}
		if dst.broken != nil {
			return false // for nobody: the other way ends the flow
		}
		if !w.copied && !c.inQueue(i) || !writable(dst.fd.Sys) {
			return false
		}
		if w.spill == nil {
			n, err := receive(src.fd.Sys, c.path.buf)
			if n <= 0 {
				return c.nothing(i, err)
			}
			w.spill = c.path.buf[:n]
		}
		if !c.deliver(i) {
			return false
		}
	}
	c.again(i)
	return false
}

// waiting tells whether there may be bytes to read.
func (w *way) waiting() bool {
	if w.copied {
		return !w.eof
	}
	return w.slot.Passed.Load() != w.sent
}

// deliver sends what was read. What the destination does not take stays, in
// memory of its own.
func (c *carriage) deliver(i int) bool {
	dst, w := &c.legs[1-i], &c.ways[i]
	n, err := send(dst.fd.Sys, w.spill)
	if n > 0 {
		w.sent += uint64(n)
		w.missing = 0
		c.active, c.retry = c.path.loop.Now(), 0
		// From now on the program may redirect, if that was all.
		if !w.copied {
			w.slot.Drained.Store(w.sent)
		}
	}
	if n == len(w.spill) {
		w.spill = nil
		return true
	}
	w.spill = bytes.Clone(w.spill[max(n, 0):])
	if n <= 0 && err != unix.EAGAIN {
		c.fail(1-i, err)
	}
	return false
}

// nothing deals with a read that brought no byte. It reports whether that was
// all.
func (c *carriage) nothing(i int, err error) bool {
	w := &c.ways[i]
	switch {
	case err != nil && err != unix.EAGAIN:
		c.fail(i, err)
		return true
	case w.copied:
		w.eof = err == nil && c.legs[i].broken == nil
		return true
	}
	// The kernel hands them over in a moment: they may have to wait behind what it
	// has queued for this socket to send. Should the source have ended by then, the
	// read even looks like the end.
	c.await(i, "bytes")
	return false
}

// await comes back to way i for what the program has counted but the socket does
// not show yet, for as long as that may take.
func (c *carriage) await(i int, what string) {
	w, now := &c.ways[i], c.path.loop.Now()
	if w.missing == 0 {
		w.missing = now + 1
	}
	if now-w.missing > c.path.engine.cfg.StallTimeout {
		c.garbled(fmt.Sprintf("%s of the %s did not come through", what, sides[i]))
		return
	}
	c.later()
}

// again asks for another turn of way i.
func (c *carriage) again(i int) {
	if l := &c.legs[i]; !l.queued {
		l.queued = true
		c.path.loop.Again(l, 0)
	}
}

// later asks for another turn of both ways after a while.
func (c *carriage) later() {
	if c.timer.F == nil {
		c.timer.F = func() { c.look() }
	}
	c.retry = min(max(2*c.retry, minRetry), maxRetry)
	c.path.loop.After(&c.timer, c.retry)
}
