package local

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/slot"
)

// carriage is one flow on the path: that of the splice path, beside which its senders
// write. Way i leads from the downstream (0) or the upstream (1) to the other one.
type carriage struct {
	flow.Carriage
	movable  flow.Movable // the same, unless the next path has the flow
	path     *Path
	flow     *flow.Flow
	down, up poll.FD
	over     func(flow.End, string)
	pair     uint32 // of slots
	ways     [2]way
	late     *[2]end // those that are here have yet to be enrolled; nil: none
}

// way is one direction. Without a sender on this host, it has no slot.
type way struct {
	slot  *slot.Local
	moved *atomic.Uint64 // the flow's counter, of what is relayed and redirected
	start uint64         // its value when the sender was enrolled
	told  uint64         // redirected bytes that it has
	near  uint64         // cookie of our end of the sender's connection
}

// quiet is called when the splice path has moved what there was.
func (c *carriage) quiet() {
	c.publish()
	if c.late != nil {
		c.enrolLate()
	}
}

// publish tells the program what has been relayed.
func (c *carriage) publish() {
	for i := range c.ways {
		if w := &c.ways[i]; w.slot != nil {
			w.slot.Relayed.Store(w.moved.Load() - w.told - w.start)
		}
	}
}

// unread tells whether the receiver of a way has yet to read what was put into its queue.
func (c *carriage) unread(i int) bool {
	w := &c.ways[i]
	if w.slot == nil || w.slot.Delivered.Load() == 0 {
		return false
	}
	// Without an answer there is nothing better to do than to pass the end on.
	unread, err := c.path.engine.kernel.Unread(w.near)
	return unread && err == nil
}

// Active is the loop's time at which a byte, or an end, last moved.
func (c *carriage) Active() time.Duration {
	active, now := c.Carriage.Active(), c.path.loop.Now()
	for i := range c.ways {
		if w := &c.ways[i]; w.slot != nil {
			if at := w.slot.MovedAt.Load(); at > 0 {
				active = max(active, now-(clock()-time.Duration(at)))
			}
		}
	}
	return min(active, now)
}

// Tally adds what was redirected to the flow's counters. A message counts in full when it
// is given to the target. Should the kernel have had no memory for all of it, the program
// corrects its count by the next one: until that has caught up, nothing is added.
func (c *carriage) Tally() {
	c.Carriage.Tally()
	for i := range c.ways {
		if w := &c.ways[i]; w.slot != nil {
			if n := w.slot.Redirected.Load() + w.slot.Delivered.Load(); n > w.told {
				w.moved.Add(n - w.told)
				w.told = n
			}
		}
	}
}

// finish gives back what the flow holds. Its sockets are closed.
func (c *carriage) finish(end flow.End, detail string) {
	c.Tally()
	c.path.engine.give(c.pair)
	c.over(end, detail)
}

// clock is CLOCK_MONOTONIC, which the program's times are of.
func clock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
