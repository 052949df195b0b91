// Package flow holds the words that the rest of the gateway shares: a flow, how
// it ended, why it was refused, and what can carry it.
//
// A flow is one accepted connection, the downstream, and the one dialed for it,
// the upstream. The gateway fills the flow in while it accepts, reads the hello
// and dials; a Path carries it; a Sink is told when it is over.
package flow

import (
	"net/netip"
	"sync/atomic"
	"time"

	"sluice/userspace/route"
)

// Flow is one connection through the gateway and what is known of it. Until it
// ends, only the loop that owns it may touch it, the byte counters excepted.
type Flow struct {
	ID       uint64
	Local    netip.AddrPort // the gateway's own address it was accepted on
	Peer     netip.AddrPort // who connected
	Source   netip.AddrPort // who the flow is from: the peer, or whom its PROXY header names
	Start    time.Time
	SNI      string // as sent, in lower case
	ALPN     string // the first protocol offered
	Version  uint16 // highest TLS version offered
	Route    *route.Route
	RouteID  uint32        // Account's
	Options  route.Options // that hold for the flow: an operator's, or else the route's
	Cluster  *route.Cluster
	Endpoint *route.Endpoint
	Upstream netip.AddrPort // the address of Endpoint that answered or was tried last
	Attempts int            // connects tried
	Path     string
	HelloIn  time.Duration // from accept to the whole hello
	Connect  time.Duration // from the hello to an upstream connected
	Duration time.Duration // from accept to the end

	Sent     atomic.Uint64 // bytes passed from downstream to upstream
	Received atomic.Uint64 // bytes passed from upstream to downstream

	End    End
	Detail string // what End leaves open, such as the system's error
}

// RouteName is that of the flow's route, and empty while it has none.
func (f *Flow) RouteName() string {
	if f.Route == nil {
		return ""
	}
	return f.Route.Name
}

// Sink learns of flows that are over. It must not block: it is called on the
// loop that moves bytes.
type Sink interface {
	Ended(*Flow)
}
