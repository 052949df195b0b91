// Package gateway accepts the mesh's connections, finds out where each one wants
// to go, dials that place, and hands the pair of sockets to a path.
//
// It runs a few workers, each an event loop with listening sockets of its own
// (SO_REUSEPORT), and a connection stays on the worker that accepted it:
//
//	accept    admission by address and number            conn.go
//	hello     peek at what the client has sent           hello.go
//	look-up   the server name in the current table
//	dial      an endpoint of the cluster, or the next    dial.go
//	carry     a path moves the bytes                     live.go
//	          or refuse, with an alert that says so      refuse.go
//
// The ClientHello is peeked at, never read: it stays in the kernel until the
// upstream is there, and the path carries it like all that follows. So a slow
// client costs no buffer, another endpoint can be tried at no cost, and no byte
// can be lost between reading and writing.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/admission"
	"sluice/userspace/flow"
	"sluice/userspace/poll"
	"sluice/userspace/route"
)

// Config is what an operator can set. Durations of 0 mean never or off, where
// not said otherwise.
type Config struct {
	Listen     []netip.AddrPort // addresses to accept on; port 0 takes a free one
	Workers    int              // event loops; at least 1
	SharePorts bool             // listen even where another process does, for a take-over

	HelloTimeout    time.Duration // from accept to the whole hello
	HelloMax        int           // bytes, TLS record headers included
	ConnectTimeout  time.Duration // per attempt, unless the cluster has its own
	ConnectAttempts int           // endpoints to try; at least 1
	IdleTimeout     time.Duration // without a byte either way
	MaxLifetime     time.Duration // of a flow
	RemovedGrace    time.Duration // for flows to endpoints that left the table
	Path            string        // of routes that name none; empty for the first that admits the flow

	Socket    SocketOptions  // on both legs
	ProxyFrom []netip.Prefix // peers that must begin with a PROXY header
}

// Path carries the bytes of established flows. There is one per worker, used on
// its loop only.
type Path interface {
	// Name is the path's in logs, metrics and settings.
	Name() string
	// Admit returns nil when the path can carry f, and otherwise why not.
	Admit(f *flow.Flow) error
	// Carry takes over both sockets, which the loop watches for poll.Stream, and
	// closes them when the flow is over. Then it calls over, once, on the loop,
	// but not before it has returned.
	Carry(f *flow.Flow, down, up poll.FD, over func(flow.End, string)) flow.Carriage
	// Close frees what the path holds when its last flow is over.
	Close()
}

// Observer counts. Its methods are called on the loops and must not block.
type Observer interface {
	flow.Sink
	ConnectAttempt()
	ConnectFailure(err error)
	AcceptError(err error)
	// RTT is told the round-trip times of some flows' two sides, at each Book.
	RTT(downstream, upstream time.Duration)
}

// Parts are what the gateway works with.
type Parts struct {
	Table    *route.Store
	Gate     *admission.Gate
	Observer Observer
	// Accounts are what the flows of a route count into, by its name. It is called on
	// the loops, for each flow. nil: there are none.
	Accounts func(route string) flow.Account
	// Outdated is why the table does not count any more, and "" while it does. It is
	// called on the loops, for each flow. nil: it always counts.
	Outdated func() string
	// Overrides are the options by which an operator overrules those of a route,
	// by its name. It is called on the loops, for each flow. nil: there are none.
	Overrides func(route string) route.Options
	// Paths makes a worker's paths, the preferred one first. The last one must
	// admit every flow.
	Paths func(*poll.Loop) ([]Path, error)
	Log   *slog.Logger
}

// Gateway is a set of workers. Make it with New, which binds the addresses, so
// that Run only fails for reasons that no operator can mend.
type Gateway struct {
	cfg     Config
	parts   Parts
	workers []*worker
	addrs   []netip.AddrPort
	nextID  atomic.Uint64
	active  atomic.Int64
	ended   chan struct{}
}

// New binds and listens on all addresses of cfg. Clients can connect from then
// on, and are served once Run is called.
func New(cfg Config, parts Parts) (*Gateway, error) {
	g := &Gateway{cfg: cfg, parts: parts, ended: make(chan struct{})}
	if err := g.open(); err != nil {
		for _, w := range g.workers {
			w.close()
		}
		return nil, err
	}
	return g, nil
}

func (g *Gateway) open() error {
	for range max(g.cfg.Workers, 1) {
		w, err := newWorker(g)
		if err != nil {
			return fmt.Errorf("start a worker: %w", err)
		}
		g.workers = append(g.workers, w)
	}
	for _, addr := range g.cfg.Listen {
		err := g.listen(addr)
		if addr.Addr() == netip.IPv6Unspecified() && errors.Is(err, unix.EAFNOSUPPORT) {
			g.parts.Log.Warn("this host has no IPv6: not listening on it", "listener", addr)
			continue
		}
		if err != nil {
			return fmt.Errorf("listen on %s: %w", addr, err)
		}
	}
	return nil
}

// listen gives every worker a socket on addr.
func (g *Gateway) listen(addr netip.AddrPort) error {
	if !g.cfg.SharePorts {
		if err := probeFree(addr); err != nil {
			return err
		}
	}
	for i, w := range g.workers {
		fd, bound, err := listen(addr, g.cfg)
		if err != nil {
			return err
		}
		if i == 0 {
			addr = bound // with port 0, the others take the port of the first
			g.addrs = append(g.addrs, bound)
		}
		if err := w.addListener(fd, bound); err != nil {
			unix.Close(fd)
			return err
		}
	}
	return nil
}

// Addrs are the addresses listened on, with their real ports.
func (g *Gateway) Addrs() []netip.AddrPort { return g.addrs }

// Active is the number of connections now, those still without upstream and
// those being refused included.
func (g *Gateway) Active() int { return int(g.active.Load()) }

// Standing tells what would become of a flow from src at the gate.
func (g *Gateway) Standing(src netip.Addr) admission.Standing { return g.parts.Gate.Standing(src) }

// Run serves until Drain has ended it.
func (g *Gateway) Run() error {
	defer close(g.ended)
	errs := make([]error, len(g.workers))
	var wg sync.WaitGroup
	for i, w := range g.workers {
		wg.Go(func() { errs[i] = w.run() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Drain stops accepting and waits for the flows to end. When ctx ends first,
// those that are left are reset. Run returns after it.
func (g *Gateway) Drain(ctx context.Context) {
	g.each((*worker).drain)
	select {
	case <-g.ended:
		return
	case <-ctx.Done():
	}
	g.each((*worker).cut)
	<-g.ended
}

// Bytes sums up what all flows have moved so far, those that are over included.
// It never becomes less: of a loop too busy to be asked it takes the last answer.
func (g *Gateway) Bytes() (sent, received uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, w := range g.workers {
		m := &w.moved
		if errors.Is(w.loop.Do(ctx, w.sum), poll.ErrClosed) {
			m = &w.ended
		}
		sent += m.sent.Load()
		received += m.received.Load()
	}
	return sent, received
}

func (g *Gateway) each(f func(*worker)) {
	for _, w := range g.workers {
		w.loop.Post(func() { f(w) })
	}
}
