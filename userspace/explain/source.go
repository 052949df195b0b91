package explain

import (
	"fmt"
	"net/netip"

	"sluice/userspace/flow"
)

// Source is whom a flow is from, and how the gateway stands to that address.
type Source struct {
	Address netip.Addr   `json:"address"`
	Refused string       `json:"refused,omitempty"` // the flow.End of any flow from there; "": none
	Network netip.Prefix `json:"network,omitzero"`  // that decides, of -deny or else of -allow
	Flows   int          `json:"flows"`             // it has now, IPv6: its /64; counted where there is a limit
	Max     int          `json:"max"`               // of these; 0: no limit
	Rate    float64      `json:"rate"`              // new flows per second, of all sources; 0: no limit
}

// from is the first that a flow meets: the gate, before a byte of it is read.
func (x *explainer) from() {
	s := x.Source
	if s == nil {
		return
	}
	x.e.Source = s
	switch s.Refused {
	case flow.Denied.String():
		x.refuse(denied, fmt.Sprintf("no flow from %s is served: %s", s.Address, s.networks()))
	case flow.LimitFlows.String():
		_, all := x.active("")
		x.tooMany(all)
	case flow.LimitSource.String():
		x.refuse(limitSource, fmt.Sprintf("%s has %d flows, and -max-flows-per-source is %d", s.unit(), s.Flows, s.Max))
	}
}

// networks says in words what -deny and -allow mean for the source.
func (s *Source) networks() string {
	isDenied := s.Refused == flow.Denied.String()
	switch {
	case isDenied && s.Network.IsValid():
		return fmt.Sprintf("%s is in -deny", s.Network)
	case isDenied:
		return "it is in no network of -allow"
	case s.Network.IsValid():
		return fmt.Sprintf("%s is in -allow", s.Network)
	}
	return "-allow and -deny say nothing of it"
}

// unit is what counts as one source.
func (s *Source) unit() string {
	if a := s.Address.Unmap(); a.Is4() {
		return a.String()
	}
	return fmt.Sprintf("the /64 of %s", s.Address)
}

func (e *Explanation) textSource(line liner) {
	s := e.Source
	if s == nil {
		return
	}
	text := fmt.Sprintf("%s: %s", s.Address, s.networks())
	if s.Max > 0 {
		text += fmt.Sprintf("; %s now of %d at most", count(s.Flows, "flow"), s.Max)
	}
	if s.Rate > 0 {
		text += fmt.Sprintf("; all sources together may begin %g a second", s.Rate)
	}
	line("Source", "%s", text)
}
