package admission

import (
	"net/netip"

	"sluice/userspace/flow"
)

// Standing is how a source stands with a gate, for people to be told.
type Standing struct {
	Refused flow.End     // why a flow would be refused now; flow.Unknown: only the rate could
	Network netip.Prefix // of Limits.Deny, or else of Limits.Allow, that it is in; not valid: none
	Flows   int          // that it has now, or its /64; not counted without a Max
	Max     int          // of these; 0: no limit
	Rate    float64      // of all sources, flows per second; 0: no limit
}

// Standing tells what would become of a flow from src, and takes nothing of any limit.
func (g *Gate) Standing(src netip.Addr) Standing {
	src = src.Unmap()
	s := Standing{Max: g.limits.MaxPerSource, Rate: g.limits.AcceptRate}
	var denied bool
	if s.Network, denied = g.deny.find(src); !denied {
		s.Network, _ = g.allow.find(src)
	}
	if g.sources != nil {
		s.Flows = g.sources.count(src)
	}
	switch {
	case !g.Allowed(src):
		s.Refused = flow.Denied
	case g.limits.MaxFlows > 0 && g.Flows() >= g.limits.MaxFlows:
		s.Refused = flow.LimitFlows
	case s.Max > 0 && s.Flows >= s.Max:
		s.Refused = flow.LimitSource
	}
	return s
}
