package explain

import (
	"fmt"

	"sluice/userspace/admission"
	"sluice/userspace/flow"
)

// from is the first that a flow meets: the gate, before a byte of it is read.
func (x *explainer) from() {
	s := x.Source
	if s == nil {
		return
	}
	x.e.Source = s
	switch s.Refused {
	case flow.Denied.String():
		x.refuse(denied, fmt.Sprintf("no flow from %s is served: %s", s.Address, networks(s)))
	case flow.LimitFlows.String():
		_, all := x.active("")
		x.tooMany(all)
	case flow.LimitSource.String():
		x.refuse(limitSource, fmt.Sprintf("%s has %d flows, and -max-flows-per-source is %d", unit(s), s.Flows, s.Max))
	}
}

// networks says in words what -deny and -allow mean for the source.
func networks(s *admission.Standing) string {
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
func unit(s *admission.Standing) string {
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
	text := fmt.Sprintf("%s: %s", s.Address, networks(s))
	if s.Max > 0 {
		text += fmt.Sprintf("; %s now of %d at most", count(s.Flows, "flow"), s.Max)
	}
	if s.Rate > 0 {
		text += fmt.Sprintf("; all sources together may begin %g a second", s.Rate)
	}
	line("Source", "%s", text)
}
