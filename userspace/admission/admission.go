// Package admission decides who may have a flow: by network, by number of flows
// in all, of a source and of a route, and by rate. A Gate is shared by all event
// loops; nothing in it blocks.
package admission

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"

	"golang.org/x/time/rate"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// Limits are what an operator can set; 0 is no limit.
type Limits struct {
	Allow, Deny  []netip.Prefix // sources; Allow empty is all, Deny wins
	MaxFlows     int            // at a time
	MaxPerSource int            // at a time, of one address, or one /64 of IPv6
	MaxPerRoute  int            // at a time, where the route has no limit of its own
	AcceptRate   float64        // new flows per second
	AcceptBurst  int            // new flows at once; 0: those of a second
}

// Gate counts and refuses.
type Gate struct {
	limits      Limits
	allow, deny networks
	flows       atomic.Int64
	sources     *sources
	rate        *rate.Limiter
}

// New makes a gate. The error names the limit that makes no sense.
func New(l Limits) (*Gate, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	g := &Gate{limits: l, allow: newNetworks(l.Allow), deny: newNetworks(l.Deny)}
	if l.MaxPerSource > 0 {
		g.sources = newSources(l.MaxPerSource)
	}
	if l.AcceptRate > 0 {
		burst := l.AcceptBurst
		if burst == 0 {
			burst = int(min(max(1, l.AcceptRate), math.MaxInt32))
		}
		g.rate = rate.NewLimiter(rate.Limit(l.AcceptRate), burst)
	}
	return g, nil
}

func (l Limits) check() error {
	var errs []error
	for _, n := range []struct {
		name  string
		value float64
	}{
		{"flows", float64(l.MaxFlows)},
		{"flows per source", float64(l.MaxPerSource)},
		{"flows per route", float64(l.MaxPerRoute)},
		{"accept rate", l.AcceptRate},
		{"accept burst", float64(l.AcceptBurst)},
	} {
		if !(n.value >= 0) || math.IsInf(n.value, 1) { // NaN neither
			errs = append(errs, fmt.Errorf("limit of %s must be a number from 0 on, is %v", n.name, n.value))
		}
	}
	errs = append(errs, checkNetworks("allow", l.Allow), checkNetworks("deny", l.Deny))
	if l.AcceptBurst > 0 && l.AcceptRate == 0 {
		errs = append(errs, errors.New("an accept burst means nothing without an accept rate"))
	}
	return errors.Join(errs...)
}

func checkNetworks(what string, list []netip.Prefix) error {
	for i, p := range list {
		if !p.IsValid() {
			return fmt.Errorf("network %d of %d to %s is not valid", i+1, len(list), what)
		}
	}
	return nil
}

// Allowed tells whether src is in the networks that are served.
func (g *Gate) Allowed(src netip.Addr) bool {
	_, ok := g.place(src)
	return ok
}

// place is Allowed, with the network that decides, not valid for none.
func (g *Gate) place(src netip.Addr) (netip.Prefix, bool) {
	src = src.Unmap()
	if network, denied := g.deny.find(src); denied {
		return network, false
	}
	network, listed := g.allow.find(src)
	return network, listed || len(g.allow) == 0
}

// Enter asks for a flow from src. It returns flow.Unknown when it is granted, to
// be given back by Leave, and otherwise why not.
func (g *Gate) Enter(src netip.Addr) flow.End {
	if !g.Allowed(src) {
		return flow.Denied
	}
	if n := g.flows.Add(1); g.limits.MaxFlows > 0 && n > int64(g.limits.MaxFlows) {
		g.flows.Add(-1)
		return flow.LimitFlows
	}
	if g.sources != nil && !g.sources.enter(src) {
		g.flows.Add(-1)
		return flow.LimitSource
	}
	// Last, so that what is refused anyway takes nothing of the rate.
	if g.rate != nil && !g.rate.Allow() {
		g.Leave(src)
		return flow.LimitRate
	}
	return flow.Unknown
}

// Leave gives back what Enter granted to src.
func (g *Gate) Leave(src netip.Addr) {
	g.flows.Add(-1)
	if g.sources != nil {
		g.sources.leave(src)
	}
}

// Flows is the number of flows admitted now.
func (g *Gate) Flows() int { return int(g.flows.Load()) }

// EnterRoute asks for a flow on r, of at most limit (0: Limits.MaxPerRoute), to be
// given back by LeaveRoute.
func (g *Gate) EnterRoute(r *route.Route, limit int) bool {
	if limit == 0 {
		limit = g.limits.MaxPerRoute
	}
	if n := r.Load.Active.Add(1); limit > 0 && n > int64(limit) {
		r.Load.Active.Add(-1)
		return false
	}
	return true
}

// LeaveRoute gives back what EnterRoute granted.
func (g *Gate) LeaveRoute(r *route.Route) { r.Load.Active.Add(-1) }
