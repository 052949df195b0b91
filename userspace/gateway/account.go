package gateway

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
)

// booking is what a connection's route was told of it.
type booking struct {
	account        flow.Account // nil: nobody wants to know, or there is no route yet
	sent, received uint64
}

// open begins to count for the flow's route.
func (b *booking) open(accounts func(route string) flow.Account, f *flow.Flow) {
	if accounts == nil {
		return
	}
	if b.account = accounts(f.Route.Name); b.account != nil {
		f.RouteID = b.account.RouteID()
	}
}

// update counts what has moved since it was last counted.
func (b *booking) update(f *flow.Flow) {
	if b.account == nil {
		return
	}
	sent, received := f.Sent.Load(), f.Received.Load()
	if sent == b.sent && received == b.received {
		return
	}
	b.account.Moved(sent-b.sent, received-b.received)
	b.sent, b.received = sent, received
}

// close counts the rest, and the end.
func (b *booking) close(f *flow.Flow) {
	if b.account == nil {
		return
	}
	b.update(f)
	b.account.Ended(f.End)
	b.account = nil
}

// rttSamples is about how many flows are asked for their round-trip times at a Book.
const rttSamples = 64

// bookTurn is how many flows a loop counts before it moves bytes again.
const bookTurn = 1024

// Book tells the accounts of routes what their flows have moved so far; by themselves
// these learn of it when a flow ends. It samples round-trip times as well. It goes by
// turns, as Flows does.
func (g *Gateway) Book(ctx context.Context) error {
	seen, each := 0, max(1, g.Active()/rttSamples)
	return g.visit(ctx, bookTurn, func(c *conn) {
		if c.stage != stageCarried {
			return
		}
		c.carriage.Tally()
		c.booking.update(&c.flow)
		if seen++; seen%each == 0 {
			c.sampleRTT()
		}
	}, func() error { return nil })
}

func (c *conn) sampleRTT() {
	down, err := unix.GetsockoptTCPInfo(c.down.Sys, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return
	}
	up, err := unix.GetsockoptTCPInfo(c.up.Sys, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return
	}
	c.w.g.parts.Observer.RTT(time.Duration(down.Rtt)*time.Microsecond, time.Duration(up.Rtt)*time.Microsecond)
}
