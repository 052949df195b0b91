package admission

import (
	"net/netip"

	"sluice/userspace/flow"
)

// Standing is how a gate stands to a source of flows, for people to be told.
type Standing struct {
	Address netip.Addr   `json:"address"`
	Refused string       `json:"refused,omitempty"` // the flow.End of any flow from there, by its name; "": only the rate could refuse one
	Network netip.Prefix `json:"network,omitzero"`  // that decides, of Limits.Deny or else of Limits.Allow
	Flows   int          `json:"flows"`             // it has now, IPv6: its /64; counted where there is a limit
	Max     int          `json:"max"`               // of these; 0: no limit
	Rate    float64      `json:"rate"`              // new flows per second, of all sources; 0: no limit
}

// Standing tells what would become of a flow from src, and takes nothing of any limit.
func (g *Gate) Standing(src netip.Addr) Standing {
	network, allowed := g.place(src)
	s := Standing{Address: src, Network: network, Max: g.limits.MaxPerSource, Rate: g.limits.AcceptRate}
	if g.sources != nil {
		s.Flows = g.sources.count(src)
	}
	switch {
	case !allowed:
		s.Refused = flow.Denied.String()
	case g.limits.MaxFlows > 0 && g.Flows() >= g.limits.MaxFlows:
		s.Refused = flow.LimitFlows.String()
	case s.Max > 0 && s.Flows >= s.Max:
		s.Refused = flow.LimitSource.String()
	}
	return s
}
