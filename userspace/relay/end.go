package relay

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

// passEnd passes on the end of way i, all before it being in the destination's
// queue, and ends the flow when both ways have ended.
func (c *carriage) passEnd(i int) {
	w := &c.ways[i]
	if c.watch.Unread != nil && c.watch.Unread(i) {
		c.passLater(i)
		return
	}
	w.shut = true
	if c.ways[1-i].shut {
		by := "by upstream"
		if c.ways[0].first {
			by = "by downstream"
		}
		c.finish(flow.Closed, by, i)
		return
	}
	// It fails only when the destination is reset already: its own event tells.
	_ = unix.Shutdown(c.legs[1-i].fd.Sys, unix.SHUT_WR)
}

// lateEnd is an end that waits for the receiver.
type lateEnd struct {
	timer poll.Timer
	after time.Duration // until the next look, each time for longer
}

const firstLook, longestLook = time.Millisecond, 128 * time.Millisecond

// passLater tries passEnd again, after a while.
func (c *carriage) passLater(i int) {
	w := &c.ways[i]
	if w.late == nil {
		w.late = &lateEnd{after: firstLook / 2}
		w.late.timer.F = func() { c.passEnd(i) }
	}
	w.late.after = min(2*w.late.after, longestLook)
	c.path.loop.After(&w.late.timer, w.late.after)
}

// Leave gives the flow up to another path, if nothing of it is here.
func (c *carriage) Leave() bool {
	if c.ended {
		return false
	}
	for i := range c.ways {
		w := &c.ways[i]
		if c.Holds(i) || w.eof || c.legs[i].broken != nil {
			return false
		}
	}
	c.ended = true // for turns that it asked for
	return true
}

// Holds tells whether bytes that were read on way i have yet to be written.
func (c *carriage) Holds(i int) bool { return c.ways[i].held > 0 || c.ways[i].spill != nil }

// fail ends the flow because leg i is broken, but only after what came from there
// before: the answer of a server that then resets the upload it refuses may be
// waiting while the upload meets the reset.
func (c *carriage) fail(i int, err error) {
	l := &c.legs[i]
	if l.broken != nil {
		return
	}
	l.broken, l.readable, l.writable = err, true, false
	c.drop(1 - i)
	l.again()
}

// resetPatience is how long what came before a reset may take to be acknowledged by
// the other side, which would have had it from a direct connection.
const resetPatience = time.Second

// resetCheck is how often it is looked whether that is so.
const resetCheck = 2 * time.Millisecond

// pendingReset is the reset of a flow that is yet to be passed on.
type pendingReset struct {
	end    flow.End // by the leg that was the first to be broken
	detail string
	since  time.Duration
	timer  poll.Timer
}

// passReset ends the flow, leg i being broken and nothing more to be had from it, once
// the other side has what came from there, or has not taken it for too long: a reset
// throws away what the kernel still has to send.
func (c *carriage) passReset(i int) {
	w, dst := &c.ways[i], &c.legs[1-i]
	now := c.path.loop.Now()
	if c.reset == nil {
		first, err := c.first(i)
		c.reset = &pendingReset{
			end:    [2]flow.End{flow.DownstreamReset, flow.UpstreamReset}[first],
			detail: errText(err),
			since:  now,
		}
		c.reset.timer.F = func() { c.pump(i) }
	}
	owes := w.held > 0 || w.spill != nil || !delivered(dst.fd.Sys)
	if owes && dst.broken == nil && !w.shut && now-c.reset.since < resetPatience {
		c.path.loop.After(&c.reset.timer, resetCheck)
		return
	}
	c.finish(c.reset.end, c.reset.detail, -1)
}

// first tells which leg was the first to be broken, and by what, when leg i is. Whoever
// writes to the other one from elsewhere may have been told of its reset, which took the
// error, and have reset leg i because of it.
func (c *carriage) first(i int) (int, error) {
	other := &c.legs[1-i]
	taken := other.broken == unix.EPIPE || other.broken == nil && errorTaken(other.fd.Sys)
	if taken && closed(other.fd.Sys) {
		return 1 - i, unix.ECONNRESET
	}
	return i, c.legs[i].broken
}

// delivered tells whether the peer has all that was sent.
func delivered(fd int) bool {
	left, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	return err != nil || left == 0
}

// drop throws away what way i holds.
func (c *carriage) drop(i int) {
	w := &c.ways[i]
	if w.pipe != (pipe{}) {
		c.path.pipes.recycle(w.pipe)
	}
	w.pipe, w.held, w.spill, w.shared = pipe{}, 0, nil, false
}

// finish closes both sockets and returns what is on loan. They are reset,
// except at an orderly end, when orderly is the way that ended last: its
// destination learns that end by the close.
func (c *carriage) finish(end flow.End, detail string, orderly int) {
	if c.ended {
		return
	}
	c.ended = true
	if c.reset != nil {
		c.path.loop.Cancel(&c.reset.timer)
	}
	for i := range c.ways {
		if late := c.ways[i].late; late != nil {
			c.path.loop.Cancel(&late.timer)
		}
	}
	for i := range c.legs {
		// With a linger of zero, close sends a reset. It may have been set before.
		linger := unix.Linger{}
		if orderly < 0 {
			linger.Onoff = 1
		}
		_ = unix.SetsockoptLinger(c.legs[i].fd.Sys, unix.SOL_SOCKET, unix.SO_LINGER, &linger)
		c.path.loop.Close(c.legs[i].fd)
		c.drop(i)
	}
	c.over(end, detail)
}

// socketError takes the error that an event has announced. When something else
// has taken it already, it is known there, or else as good as a reset.
func socketError(fd poll.FD) error {
	n, err := unix.GetsockoptInt(fd.Sys, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && n == 0 {
		return unix.ECONNRESET
	}
	if err == nil {
		err = unix.Errno(n)
	}
	return err
}

// errorTaken tells whether a socket has no error to tell, as when it was told already.
func errorTaken(fd int) bool {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return err == nil && n == 0
}

// closed tells whether both sides of a connection are over: without an end of ours, by
// a reset.
func closed(fd int) bool {
	const tcpClose = 7 // TCP_CLOSE of the kernel's net/tcp_states.h
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == tcpClose
}

// errText is the system's word for an error of a peer, for the log.
func errText(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	if err == nil {
		return ""
	}
	return err.Error()
}
