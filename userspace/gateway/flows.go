package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/route"
)

// How many flows a loop looks at, or resets, before it moves bytes again. Either takes
// it about a millisecond, when it asks the system for something about each of them.
const (
	flowsTurn = 256
	killTurn  = 32
)

// Live is a flow as it was when Flows came by. It is a copy: whoever reads it keeps
// nobody waiting.
type Live struct {
	ID       uint64
	Local    netip.AddrPort // the gateway's own address, towards the peer
	Peer     netip.AddrPort
	Source   netip.AddrPort // the peer, or whom its PROXY header names
	SNI      string
	Route    *route.Route    // nil: not known yet, or there is none
	Cluster  *route.Cluster  // nil: the same
	Endpoint *route.Endpoint // nil: none was tried yet
	From     netip.AddrPort  // the gateway's own address, towards Upstream; the zero one: not connecting
	Upstream netip.AddrPort
	Path     string
	State    string   // hello, connecting, carried, or refusing
	Refused  flow.End // why, when refusing
	Sent     uint64   // bytes from the peer to upstream
	Received uint64   // and from there to the peer
	Start    time.Time
	Active   time.Time // when it last moved a byte
}

// stateNames say how far a connection has come.
var stateNames = [...]string{
	stageHello:   "hello",
	stageConnect: "connecting",
	stageCarried: "carried",
	stageLinger:  "refusing",
}

// Selection is those flows for which all holds that is set in it.
type Selection struct {
	ID     uint64       `json:"id,omitempty"`    // 0: any
	Route  string       `json:"route,omitempty"` // the route's own name, such as "*.x"; "": any
	Source netip.Prefix `json:"source,omitzero"` // of the flow's source; the zero one: any
}

// Has tells whether f is one of them.
func (s Selection) Has(f *flow.Flow) bool {
	return (s.ID == 0 || s.ID == f.ID) &&
		(s.Route == "" || s.Route == f.RouteName()) &&
		(!s.Source.IsValid() || s.Source.Contains(f.Source.Addr().Unmap()))
}

// Begun is the number of connections accepted so far.
func (g *Gateway) Begun() uint64 { return g.nextID.Load() }

// Flows tells of the flows that are under way, a few hundred at a time, which yield
// must not keep. Flows come in no order. Each one that lives throughout comes once, and
// what begins or ends meanwhile may. No loop waits for yield, nor long for this: it
// looks at no more than that many flows before it goes on with its own work. An error
// is yield's, or that of ctx.
func (g *Gateway) Flows(ctx context.Context, which Selection, yield func([]Live) error) error {
	var batch []Live
	look := func(c *conn) {
		if which.Has(&c.flow) {
			batch = append(batch, c.look())
		}
	}
	return g.visit(ctx, flowsTurn, look, func() error {
		if len(batch) == 0 {
			return nil
		}
		err := yield(batch)
		batch = batch[:0]
		return err
	})
}

// Kill resets those flows of the selection that a path carries, and tells how many they
// were. Others have little time as it is, see Config.HelloTimeout and ConnectTimeout.
// It goes by turns, as Flows does.
func (g *Gateway) Kill(ctx context.Context, which Selection) (int, error) {
	var killed atomic.Int64 // the last turn may outlive ctx
	err := g.visit(ctx, killTurn, func(c *conn) {
		if c.stage == stageCarried && which.Has(&c.flow) {
			c.carriage.Abort(flow.Killed)
			killed.Add(1)
		}
	}, func() error { return nil })
	return int(killed.Load()), err
}

// visit calls f with all connections, each on its loop, in turns of no more than atOnce,
// and turned after each turn, on the caller's goroutine.
func (g *Gateway) visit(ctx context.Context, atOnce int, f func(*conn), turned func() error) error {
	for _, w := range g.workers {
		err := w.visit(ctx, atOnce, f, turned)
		// A loop that has ended has no flows any more.
		if err != nil && !errors.Is(err, poll.ErrClosed) {
			return fmt.Errorf("go through the flows: %w", err)
		}
	}
	return nil
}

func (w *worker) visit(ctx context.Context, atOnce int, f func(*conn), turned func() error) error {
	// When ctx ends, a loop may still be at what it was given last: that is not
	// looked at any more.
	var conns []*conn
	if err := w.loop.Do(ctx, func() { conns = w.list() }); err != nil {
		return err
	}
	for turn := range slices.Chunk(conns, atOnce) {
		err := w.loop.Do(ctx, func() {
			for _, c := range turn {
				if c.stage != stageClosed {
					f(c)
				}
			}
		})
		if err != nil {
			return err
		}
		if err := turned(); err != nil {
			return err
		}
	}
	return nil
}

// list is all connections of now. A map cannot be gone through by turns; their addresses
// alone take a loop some ten nanoseconds each.
func (w *worker) list() []*conn {
	conns := make([]*conn, 0, len(w.conns))
	for c := range w.conns {
		conns = append(conns, c)
	}
	return conns
}

// look copies what is known of a connection.
func (c *conn) look() Live {
	f := &c.flow
	l := Live{
		ID: f.ID, Local: f.Local, Peer: f.Peer, Source: f.Source, SNI: f.SNI,
		Route: f.Route, Cluster: f.Cluster, Endpoint: f.Endpoint, Upstream: f.Upstream,
		Path: f.Path, State: stateNames[c.stage], Start: f.Start, Active: f.Start,
	}
	switch c.stage {
	case stageCarried:
		c.carriage.Tally()
		l.Active = c.w.loop.Clock(c.carriage.Active())
	case stageLinger:
		l.Refused = f.End
	}
	l.Sent, l.Received = f.Sent.Load(), f.Received.Load()
	if c.up.Valid() {
		l.From = c.from()
	}
	return l
}

// from is the gateway's own address on the upstream leg. It is asked for when somebody
// wants to know, and then kept.
func (c *conn) from() netip.AddrPort {
	if !c.upLocal.IsValid() {
		if sa, err := unix.Getsockname(c.up.Sys); err == nil {
			c.upLocal = addrPort(sa)
		}
	}
	return c.upLocal
}
