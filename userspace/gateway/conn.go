package gateway

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
)

// stage is how far a connection has come.
type stage uint8

const (
	stageHello   stage = iota // waiting for its first words to be whole
	stageConnect              // waiting for an upstream
	stageCarried              // a path has it
	stageLinger               // refused; waiting for the client to take the alert
	stageClosed
)

// conn is a connection from accept to its end. As a poll.Handler it is its
// downstream leg until a path takes that over.
type conn struct {
	w        *worker
	flow     flow.Flow
	stage    stage
	down, up poll.FD
	timer    poll.Timer // of the present stage

	header     bool // a PROXY header is still to come
	lowWater   bool // SO_RCVLOWAT was raised
	admitted   bool // counted by the gate
	onRoute    bool // counted for its route
	onEndpoint bool // and for its endpoint
	tried      []netip.AddrPort
	dialErr    error // of the last attempt
	booking    booking
	carriage   flow.Carriage
	left       int            // bytes that a refused client may still send
	upLocal    netip.AddrPort // of the upstream leg, if it was asked for
}

// begin takes a connection just accepted.
func (w *worker) begin(fd int, local, peer netip.AddrPort) {
	c := &conn{w: w, down: poll.FD{Sys: fd}}
	c.flow = flow.Flow{
		ID:     w.g.nextID.Add(1),
		Local:  local,
		Peer:   peer,
		Source: peer,
		Start:  w.loop.Clock(w.loop.Now()),
	}
	c.timer.F = c.expired
	w.conns[c] = struct{}{}
	w.g.active.Add(1)
	var err error
	if c.down, err = w.loop.Add(fd, poll.Stream, c); err != nil {
		unix.Close(fd)
		c.refuse(flow.NoResources, err.Error())
		return
	}
	c.header = contains(w.g.cfg.ProxyFrom, peer.Addr())
	if !c.header && !c.admit() {
		return
	}
	c.expireAfter(w.g.cfg.HelloTimeout)
	// Deferred accept means that it is probably there.
	c.readHello(0)
}

// admit asks the gate about the flow's source.
func (c *conn) admit() bool {
	if end := c.w.g.parts.Gate.Enter(c.flow.Source.Addr()); end != flow.Unknown {
		c.refuse(end, "")
		return false
	}
	c.admitted = true
	return true
}

// Ready is called on events of the downstream socket before a path has it, or
// after it was refused.
func (c *conn) Ready(ev poll.Events) {
	switch c.stage {
	case stageHello:
		c.readHello(ev)
	case stageConnect:
		// A mere end (RdHup) is left to the path: it may follow a whole hello.
		if ev.Has(poll.Err | poll.Hup) {
			c.refuse(flow.ClientGone, "while connecting")
		}
	case stageLinger:
		c.discard()
	}
}

// expireAfter sets how long the present stage may last; 0 is for ever.
func (c *conn) expireAfter(d time.Duration) {
	if d > 0 {
		c.w.loop.After(&c.timer, d)
	} else {
		c.w.loop.Cancel(&c.timer)
	}
}

// expired is called when the present stage has lasted too long.
func (c *conn) expired() {
	switch c.stage {
	case stageHello:
		c.refuse(flow.HelloTimeout, "")
	case stageConnect:
		c.connectFailed(unix.ETIMEDOUT)
	case stageCarried:
		c.checkAge()
	case stageLinger:
		c.release()
	}
}

// cut ends the connection at the end of a drain.
func (c *conn) cut() {
	switch c.stage {
	case stageHello, stageConnect:
		c.refuse(flow.Draining, "")
		c.release()
	case stageCarried:
		c.carriage.Abort(flow.DrainTimeout)
	case stageLinger:
		c.release()
	}
}

// account gives back what the flow was counted for and tells of its end.
func (c *conn) account(end flow.End, detail string) {
	f := &c.flow
	f.End, f.Detail = end, detail
	f.Duration = time.Since(f.Start)
	c.leaveEndpoint()
	if c.onRoute {
		c.w.g.parts.Gate.LeaveRoute(f.Route)
		c.onRoute = false
	}
	c.w.ended.sent.Add(f.Sent.Load())
	c.w.ended.received.Add(f.Received.Load())
	c.booking.close(f)
	c.w.g.parts.Observer.Ended(f)
}

// release forgets a connection whose sockets are closed, or closes them.
func (c *conn) release() {
	if c.stage == stageClosed {
		return
	}
	w := c.w
	w.loop.Cancel(&c.timer)
	if c.stage != stageCarried && c.down.Valid() {
		w.loop.Close(c.down)
	}
	c.stage = stageClosed
	if c.admitted {
		w.g.parts.Gate.Leave(c.flow.Source.Addr())
	}
	delete(w.conns, c)
	w.g.active.Add(-1)
	w.stopWhenEmpty()
}

func contains(set []netip.Prefix, a netip.Addr) bool {
	for _, p := range set {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
