package gateway

import (
	"context"

	"sluice/userspace/flow"
)

// booking is what a connection's route was told of it.
type booking struct {
	account        flow.Account // nil: nobody wants to know, or there is no route yet
	sent, received uint64
}

// open begins to count for the route.
func (b *booking) open(accounts func(route string) flow.Account, route string) {
	if accounts != nil {
		b.account = accounts(route)
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

// bookTurn is how many flows a loop counts before it moves bytes again.
const bookTurn = 1024

// Book tells the accounts of routes what their flows have moved so far; by themselves
// these learn of it when a flow ends. It goes by turns, as Flows does.
func (g *Gateway) Book(ctx context.Context) error {
	return g.visit(ctx, bookTurn, func(c *conn) {
		if c.stage == stageCarried {
			c.carriage.Tally()
			c.booking.update(&c.flow)
		}
	}, func() error { return nil })
}
