package explain

import (
	"cmp"
	"fmt"
	"net/netip"

	"sluice/userspace/route"
)

// Cluster is what a route leads to.
type Cluster struct {
	Name           string     `json:"name"`
	Policy         string     `json:"policy"`
	ConnectTimeout float64    `json:"connect_timeout"`      // of each attempt, 0: the gateway's, which is not known
	TimeoutFrom    string     `json:"connect_timeout_from"` // "cluster" or "gateway"
	Attempts       int        `json:"attempts,omitempty"`   // endpoints to try
	SendProxy      bool       `json:"send_proxy,omitempty"` // connections begin with a PROXY header
	DNS            string     `json:"dns,omitempty"`        // what a host's addresses mean: "strict" or "logical"
	Kept           bool       `json:"kept,omitempty"`       // the source has lost it
	Panic          Panic      `json:"panic"`
	Endpoints      []Endpoint `json:"endpoints"`
}

// Panic is how the rule stands by which a cluster uses all its endpoints when too few
// are healthy. It counts hosts: an endpoint is one for each of its addresses.
type Panic struct {
	On        bool `json:"on"`        // it is in force
	Threshold int  `json:"threshold"` // percent healthy below which it is; -1: never
	Healthy   int  `json:"healthy"`
	Hosts     int  `json:"hosts"`
}

// Endpoint is one place of a cluster, and whether flows are sent there.
type Endpoint struct {
	Name   string           `json:"name"` // as its source has it
	Addrs  []netip.AddrPort `json:"addrs"`
	Weight int              `json:"weight"`
	Health string           `json:"health"`
	Taken  bool             `json:"taken"`
	Why    string           `json:"why"`
	Share  float64          `json:"share"` // of the flows, 0 to 1, by weight; least_request departs from it as flows last
}

// cluster tells of a route's cluster and, if it has no endpoint to take, why not.
func (x *explainer) cluster(c *route.Cluster) {
	out := &Cluster{
		Name: c.Name, Policy: c.Policy.String(), SendProxy: c.SendProxy,
		ConnectTimeout: cmp.Or(c.ConnectTimeout, x.Settings.ConnectTimeout).Seconds(), TimeoutFrom: "gateway",
		Attempts: x.Settings.ConnectAttempts,
		Kept:     x.Meta.IsKept != nil && x.Meta.IsKept(c.Name),
		Panic:    Panic{Threshold: c.PanicThreshold},
	}
	if c.ConnectTimeout > 0 {
		out.TimeoutFrom = "cluster"
	}
	x.e.Cluster = out
	x.endpoints(out, c)
	if out.Kept {
		x.warn("the source has lost the cluster: it is kept as it was, in case that is an accident")
	}
	if p := out.Panic; p.On {
		x.warn("only %d of %d hosts are healthy, which is less than %d %%: by the panic rule all are used", p.Healthy, p.Hosts, p.Threshold)
	}
	x.lacks(out)
}

// endpoints tells which are taken, as the cluster itself says, and why.
func (x *explainer) endpoints(out *Cluster, c *route.Cluster) {
	usable, panicking := c.Usable()
	taken := make(map[*route.Endpoint]bool, len(usable))
	whole := 0
	for _, e := range usable {
		taken[e] = true
		whole += e.Weight * hosts(c, e)
	}
	out.Panic.On = panicking
	out.Endpoints = make([]Endpoint, len(c.Endpoints))
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		n := hosts(c, e)
		out.Panic.Hosts += n
		if e.Health != route.Critical {
			out.Panic.Healthy += n
		}
		if e.Host != "" {
			out.DNS = c.Discovery.String()
		}
		to := Endpoint{Name: e.String(), Addrs: e.Addrs, Weight: e.Weight, Health: e.Health.String(), Taken: taken[e]}
		if to.Addrs == nil {
			to.Addrs = []netip.AddrPort{}
		}
		if to.Taken {
			to.Share = float64(e.Weight*n) / float64(whole)
		}
		to.Why = why(e, to.Taken)
		out.Endpoints[i] = to
	}
}

// hosts is for how many an endpoint counts, see route.Cluster.Usable.
func hosts(c *route.Cluster, e *route.Endpoint) int {
	if c.Discovery == route.Logical {
		return min(1, len(e.Addrs))
	}
	return len(e.Addrs)
}

func why(e *route.Endpoint, taken bool) string {
	switch {
	case len(e.Addrs) == 0:
		return "its host name is not resolved yet"
	case taken && e.Health == route.Critical:
		return "it is critical, but the panic rule is in force"
	case taken && e.Health == route.Warning:
		return "a warning does not count against it"
	case taken:
		return "it is healthy"
	}
	return "it is critical"
}

// lacks refuses the flow when no endpoint is taken. With a panic rule, that cannot be
// for health alone.
func (x *explainer) lacks(c *Cluster) {
	critical := 0
	for _, e := range c.Endpoints {
		if e.Taken {
			return
		}
		if len(e.Addrs) > 0 {
			critical++
		}
	}
	switch all := len(c.Endpoints); {
	case all == 0:
		x.refuse(noEndpoints, fmt.Sprintf("cluster %s has no endpoint", c.Name))
	case critical == 0:
		x.refuse(unresolved, fmt.Sprintf("no host name of cluster %s is resolved to an address yet (it has %d)", c.Name, all))
	case critical < all:
		x.refuse(allCritical, fmt.Sprintf("of the %d endpoints of cluster %s, %d cannot be used for being critical, the others for not being resolved", all, c.Name, critical))
	default:
		x.refuse(allCritical, fmt.Sprintf("every endpoint of cluster %s is critical (it has %d), and it has no panic rule by which they would be used all the same", c.Name, all))
	}
}
