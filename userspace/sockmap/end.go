package sockmap

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/slot"
)

// resetPatience is how long bytes that came before a reset may take to be
// acknowledged by the other side, which would have had them from a direct connection.
const resetPatience = time.Second

// inQueue tells whether everything redirected on way i so far, and all that was
// sent from here, is in the destination's write queue. If not, it comes back
// later by itself. The program must not be redirecting.
func (c *carriage) inQueue(i int) bool {
	w := &c.ways[i]
	redirected := w.slot.Redirected.Load()
	if redirected == w.agreed && w.stalled == 0 {
		return true
	}
	length, _, err := position(c.legs[1-i].fd.Sys)
	if err != nil {
		c.finish(flow.PathError, err.Error(), -1)
		return false
	}
	got, want := length-w.start, redirected+w.sent
	switch {
	case got == want:
		w.agreed, w.stalled, c.retry = redirected, 0, 0
		return true
	case got > want:
		c.garbled(fmt.Sprintf("the %s was sent %d bytes, but is owed %d", sides[1-i], got, want))
		return false
	case w.stalled == 0 || got > w.reached:
		w.reached, w.stalled = got, c.path.loop.Now()+1
	case c.path.loop.Now()-w.stalled > c.path.engine.cfg.StallTimeout:
		c.garbled(fmt.Sprintf("the kernel kept %d bytes for the %s", want-got, sides[1-i]))
		return false
	}
	c.later()
	return false
}

// passEnd passes on the end of way i, everything before it being sent, and ends
// the flow when both ways have ended.
func (c *carriage) passEnd(i int) {
	w := &c.ways[i]
	if !w.copied {
		// The program marks the end after it has counted what came before.
		if w.slot.Marks.Load()&slot.Fin == 0 {
			c.await(i, "the end")
			return
		}
		if w.waiting() {
			c.again(i)
			return
		}
		if !c.inQueue(i) {
			return
		}
	}
	w.shut = true
	c.active = c.path.loop.Now()
	if c.ways[1-i].shut {
		// The first to end is the one that closed the flow.
		c.finish(flow.Closed, [2]string{"by upstream", "by downstream"}[i], i)
		return
	}
	// It fails only when the destination is reset already: its own event tells.
	_ = unix.Shutdown(c.legs[1-i].fd.Sys, unix.SHUT_WR)
}

// fail ends the flow because leg i is broken, but only after what came from there
// before.
func (c *carriage) fail(i int, err error) {
	l := &c.legs[i]
	if l.broken != nil || c.ended {
		return
	}
	l.broken, l.since = err, c.path.loop.Now()
	c.ways[1-i].spill = nil // for nobody
	c.again(i)
}

// passReset ends the flow, leg i being broken, when the other side has what came from
// there before, or does not take it soon: a reset throws away what the kernel still has
// to send.
func (c *carriage) passReset(i int, idle bool) {
	l := &c.legs[i]
	if c.path.loop.Now()-l.since < resetPatience && c.legs[1-i].broken == nil && !c.ways[i].shut {
		if !idle || !c.ways[i].copied && !c.inQueue(i) || !delivered(c.legs[1-i].fd.Sys) {
			if !c.ended {
				c.later()
			}
			return
		}
	}
	c.finish([2]flow.End{flow.DownstreamReset, flow.UpstreamReset}[i], errText(l.broken), -1)
}

// garbled resets a flow whose bytes cannot be told to be right.
func (c *carriage) garbled(detail string) {
	if c.ended {
		return
	}
	c.path.engine.failed(detail)
	c.finish(flow.PathError, detail, -1)
}

// failLater ends the flow, which has only just begun, in the next round.
func (c *carriage) failLater(err error) {
	c.fail(0, err)
}

// finish closes both sockets and gives back what the flow holds. The sockets
// are reset, except at an orderly end, when orderly is the way that ended last:
// its destination learns of that by the close.
func (c *carriage) finish(end flow.End, detail string, orderly int) {
	if c.ended {
		return
	}
	c.ended = true
	c.path.loop.Cancel(&c.timer)
	for i := range c.legs {
		// With a linger of zero, close sends a reset. It may have been set before.
		linger := unix.Linger{}
		if orderly < 0 {
			linger.Onoff = 1
		}
		_ = unix.SetsockoptLinger(c.legs[i].fd.Sys, unix.SOL_SOCKET, unix.SO_LINGER, &linger)
		c.path.loop.Close(c.legs[i].fd)
	}
	c.Tally()
	c.free()
	c.over(end, detail)
}

// counters are the flow's, by way.
func (c *carriage) counters() [2]*atomic.Uint64 {
	return [2]*atomic.Uint64{&c.flow.Sent, &c.flow.Received}
}

// errText is the system's word for an error of a peer, for the log.
func errText(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
