package explain

import (
	"cmp"
	"fmt"
)

// Path is how the bytes of a flow would travel.
type Path struct {
	Wanted string `json:"wanted"`           // "auto", "splice", "sockmap" ...
	From   string `json:"from"`             // who wants it: "override", "route", "gateway" or "default"
	Name   string `json:"name"`             // what the flow would get, "auto" for what may change while it runs
	Why    string `json:"why"`              // that
	Credit int    `json:"credit,omitempty"` // bytes that the kernel may have on their way to a receiver
}

const (
	pathAuto    = "auto"
	pathSplice  = "splice"
	pathSockmap = "sockmap"
)

// path goes by the rule of package gateway: the path that is wanted, if it can carry
// the flow, and otherwise splice.
func (x *explainer) path(o options) {
	p := &Path{Wanted: cmp.Or(o.path.value, pathAuto), From: cmp.Or(o.path.from, "default")}
	x.e.Path = p
	off, isOff := x.Settings.Off[p.Wanted]
	kernelOff, kernelIsOff := x.Settings.Off[pathSockmap]
	p.Name = p.Wanted
	switch {
	case p.Wanted == pathSplice:
		p.Why = "splice can carry any flow"
	case isOff:
		p.Name, p.Why = pathSplice, fmt.Sprintf("%s is off: %s", p.Wanted, off)
	case p.Wanted == pathAuto && kernelIsOff:
		p.Name, p.Why = pathSplice, fmt.Sprintf("sockmap, which auto would go on over, is off: %s", kernelOff)
	case p.Wanted == pathAuto:
		p.Why = "it begins with splice, and goes on over sockmap when both sides take turns with little at a time"
	case p.Wanted == pathSockmap:
		p.Why = "sockmap is on; what it cannot take, such as connections of MPTCP, goes by splice"
	default:
		p.Name, p.Why = pathSplice, fmt.Sprintf("there is no path named %s", p.Wanted)
	}
	if p.Name != pathSplice {
		p.Credit = o.credit.value
	}
	if p.Wanted == pathAuto && x.Settings.Local {
		p.Name, p.Why = pathAuto, p.Why+"; local where the client or the endpoint is on this host"
	}
}
