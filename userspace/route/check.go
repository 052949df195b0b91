package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxName  = 253 // bytes of a DNS name as text: RFC 1035 2.3.4 allows 255 on the wire
	maxLabel = 63  // RFC 1035 2.3.4
)

// Validate checks the route by itself: its name's syntax, and that it either
// leads to a cluster or refuses. Errors name the route.
func (r *Route) Validate() error {
	if err := checkName(strings.TrimPrefix(r.Name, "*.")); err != nil && r.Name != "*" {
		return fmt.Errorf("route %q: name %w", r.Name, err)
	}
	switch {
	case len(r.Name) > maxName:
		return fmt.Errorf("route %q: name is longer than %d bytes", r.Name, maxName)
	case r.Cluster == "" && r.Refuse == "":
		return fmt.Errorf("route %s: no cluster given", r.Name)
	case r.Cluster != "" && r.Refuse != "":
		return fmt.Errorf("route %s: a route that refuses has no cluster, but %q is given", r.Name, r.Cluster)
	case r.MaxFlows < 0:
		return fmt.Errorf("route %s: max flows %d is negative", r.Name, r.MaxFlows)
	case r.Credit != 0 && (r.Credit < MinCredit || r.Credit > MaxCredit):
		return fmt.Errorf("route %s: credit %d is not between %d and %d", r.Name, r.Credit, MinCredit, MaxCredit)
	}
	return nil
}

// checkName checks a host name without wildcards. Underscores are allowed, as
// names of services have them.
func checkName(name string) error {
	if name == "" {
		return errors.New("is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("is longer than %d bytes", maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("has an empty label")
		case len(label) > maxLabel:
			return fmt.Errorf("has a label longer than %d bytes", maxLabel)
		}
	}
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		case 'A' <= c && c <= 'Z':
			return errors.New("has upper case letters")
		case c == '*':
			return errors.New(`has a "*" that is not the whole first label`)
		default:
			return fmt.Errorf("has the character %q", c)
		}
	}
	return nil
}

// Validate checks the cluster by itself: its settings are in range, and each
// endpoint can be connected to and is there once. Errors name the cluster and the
// endpoint.
func (c *Cluster) Validate() error {
	_, err := c.canonical()
	return err
}

// canonical returns a checked copy of the cluster that is the same however its
// source wrote it down.
func (c *Cluster) canonical() (*Cluster, error) {
	if err := c.checkSettings(); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", c.Name, err)
	}
	out := *c
	out.balance = nil
	if out.PanicThreshold == 0 {
		out.PanicThreshold = DefaultPanicThreshold
	}
	out.Endpoints = slices.Clone(c.Endpoints)
	for i := range out.Endpoints {
		e := &out.Endpoints[i]
		e.canonicalize()
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("cluster %q: endpoint %d (%s): %w", c.Name, i+1, e, err)
		}
	}
	slices.SortFunc(out.Endpoints, func(a, b Endpoint) int { return endpointOrder(a, b.key()) })
	for i := range out.Endpoints[min(1, len(out.Endpoints)):] {
		if e := &out.Endpoints[i]; e.key() == out.Endpoints[i+1].key() {
			return nil, fmt.Errorf("cluster %q: endpoint %s: defined twice", c.Name, e)
		}
	}
	return &out, nil
}

func (c *Cluster) checkSettings() error {
	switch {
	case c.Name == "":
		return errors.New("has no name")
	case strings.ContainsFunc(c.Name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("name has a character other than visible ASCII")
	case c.Policy > Random:
		return fmt.Errorf("policy %d is not known", c.Policy)
	case c.Discovery > Logical:
		return fmt.Errorf("discovery %d is not known", c.Discovery)
	case c.ConnectTimeout < 0:
		return fmt.Errorf("connect timeout %v is negative", c.ConnectTimeout)
	case c.PanicThreshold != NoPanic && (c.PanicThreshold < 0 || c.PanicThreshold > 100):
		return fmt.Errorf("panic threshold %d is not a percentage", c.PanicThreshold)
	}
	return nil
}

func (e *Endpoint) canonicalize() {
	e.Load = nil
	if e.Weight == 0 {
		e.Weight = 1
	}
	e.Host = strings.ToLower(e.Host)
	e.Addrs = slices.Clone(e.Addrs)
	for i, a := range e.Addrs {
		e.Addrs[i] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	if e.Host == "" {
		return
	}
	// DNS servers rotate their answers, and some say 0.0.0.0 for names they block,
	// which Linux would connect to this host.
	e.Addrs = slices.DeleteFunc(e.Addrs, func(a netip.AddrPort) bool { return checkAddr(a) != nil })
	slices.SortFunc(e.Addrs, netip.AddrPort.Compare)
	e.Addrs = slices.Compact(e.Addrs)
}

func (e *Endpoint) check() error {
	switch {
	case e.Weight < 1 || e.Weight > MaxWeight:
		return fmt.Errorf("weight %d is not 1 to %d", e.Weight, MaxWeight)
	case e.Health > Critical:
		return fmt.Errorf("health %d is not known", e.Health)
	case e.Host != "":
		return checkHost(e.Host, e.Port)
	case len(e.Addrs) == 0:
		return errors.New("has neither an address nor a host")
	case len(e.Addrs) > 1:
		return fmt.Errorf("has %d addresses, where one without a host has one", len(e.Addrs))
	}
	return checkAddr(e.Addrs[0])
}

// checkHost checks a DNS name to resolve; a trailing dot keeps the resolver from
// trying it under its search domains.
func checkHost(host string, port uint16) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return errors.New("host is an address and not a name")
	}
	if err := checkName(strings.TrimSuffix(host, ".")); err != nil {
		return fmt.Errorf("host %w", err)
	}
	if port == 0 {
		return errors.New("host has no port")
	}
	return nil
}

func checkAddr(a netip.AddrPort) error {
	switch {
	case !a.Addr().IsValid():
		return errors.New("address is not valid")
	case a.Addr().IsUnspecified() || a.Addr().IsMulticast():
		return errors.New("address cannot be connected to")
	case a.Port() == 0:
		return errors.New("address has no port")
	}
	return nil
}
