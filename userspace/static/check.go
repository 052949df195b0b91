package static

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"sluice/userspace/route"
)

// checker makes routes and clusters of blocks, and notes what is wrong with them.
type checker struct {
	paths []string
	diags hcl.Diagnostics
}

func (c *checker) errorf(at hcl.Range, format string, args ...any) {
	c.diags = append(c.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  fmt.Sprintf(format, args...),
		Subject:  &at,
	})
}

func (c *checker) check(s *shape) ([]*route.Route, []*route.Cluster) {
	known := make(map[string]hcl.Range, len(s.Clusters))
	clusters := make([]*route.Cluster, 0, len(s.Clusters))
	for i := range s.Clusters {
		b := &s.Clusters[i]
		if c.unique(known, "cluster", b.Name, b.At) {
			clusters = append(clusters, c.cluster(b))
		}
	}
	seen := make(map[string]hcl.Range, len(s.Routes))
	routes := make([]*route.Route, 0, len(s.Routes))
	for i := range s.Routes {
		b := &s.Routes[i]
		r := c.route(b)
		if c.unique(seen, "route", r.Name, b.At) {
			routes = append(routes, r)
		}
		if _, ok := known[r.Cluster]; r.Cluster != "" && !ok {
			c.errorf(b.ClusterAt, "no cluster is named %q", r.Cluster)
		}
	}
	return routes, clusters
}

// unique notes what is defined where, and tells whether it is the first.
func (c *checker) unique(seen map[string]hcl.Range, what, name string, at hcl.Range) bool {
	if first, twice := seen[name]; twice {
		c.errorf(at, "%s %q is defined already, at line %d", what, name, first.Start.Line)
		return false
	}
	seen[name] = at
	return true
}

func (c *checker) route(b *routeBlock) *route.Route {
	r := &route.Route{
		Name:    strings.TrimSuffix(strings.ToLower(b.Name), "."),
		Cluster: value(b.Cluster),
		Refuse:  value(b.Refuse),
		Options: route.Options{MaxFlows: value(b.MaxFlows), Path: value(b.Path), Credit: value(b.Credit)},
	}
	switch known := append([]string{"auto"}, c.paths...); {
	case b.Cluster != nil && b.Refuse != nil:
		c.errorf(b.RefuseAt, "route %q has a cluster and refuses; it can only do one", r.Name)
	case b.Cluster == nil && b.Refuse == nil:
		c.errorf(b.At, "route %q has neither cluster nor refuse", r.Name)
	case b.Cluster != nil && r.Cluster == "":
		c.errorf(b.ClusterAt, "cluster is empty")
	case b.Refuse != nil && r.Refuse == "":
		c.errorf(b.RefuseAt, "refuse is empty; it says why the route refuses")
	case r.MaxFlows < 0:
		c.errorf(b.MaxFlowsAt, "max_flows is %d; it must not be negative", r.MaxFlows)
	case b.Path != nil && !slices.Contains(known, r.Path):
		c.errorf(b.PathAt, "path %q is not known; the paths are %s", r.Path, strings.Join(known, ", "))
	case b.Credit != nil && (r.Credit < route.MinCredit || r.Credit > route.MaxCredit):
		c.errorf(b.CreditAt, "credit is %d; it must be between %d and %d (bytes)", r.Credit, route.MinCredit, route.MaxCredit)
	default:
		if err := r.Validate(); err != nil {
			c.errorf(b.At, "%s", err)
		}
	}
	return r
}

func (c *checker) cluster(b *clusterBlock) *route.Cluster {
	out := &route.Cluster{
		Name:           b.Name,
		Policy:         oneOf(c, "policy", b.Policy, b.PolicyAt, route.RoundRobin, route.LeastRequest, route.Random),
		PanicThreshold: value(b.PanicThreshold),
		SendProxy:      value(b.SendProxy),
		Discovery:      oneOf(c, "dns", b.DNS, b.DNSAt, route.Strict, route.Logical),
	}
	if err := (&route.Cluster{Name: b.Name}).Validate(); err != nil {
		c.errorf(b.At, "%s", err)
	}
	if b.ConnectTimeout != nil {
		d, err := time.ParseDuration(*b.ConnectTimeout)
		if err != nil || d <= 0 {
			c.errorf(b.ConnectTimeoutAt, "connect_timeout %q is not a time such as \"3s\" or \"500ms\"", *b.ConnectTimeout)
		}
		out.ConnectTimeout = d
	}
	// Envoy has 0 for never. In a table, 0 is for the default: so it is neither here.
	if p := out.PanicThreshold; b.PanicThreshold != nil && p != route.NoPanic && (p < 1 || p > 100) {
		c.errorf(b.PanicThresholdAt, "panic_threshold is %d; it must be 1 to 100 percent, or -1 for never", p)
	}
	seen := make(map[string]hcl.Range, len(b.Endpoints))
	for i := range b.Endpoints {
		if e, ok := c.endpoint(&b.Endpoints[i]); ok && c.unique(seen, "endpoint", e.String(), b.Endpoints[i].At) {
			out.Endpoints = append(out.Endpoints, e)
		}
	}
	return out
}

func (c *checker) endpoint(b *endpointBlock) (route.Endpoint, bool) {
	before := len(c.diags)
	e, err := address(b.Address)
	if err == nil {
		// A cluster has the rules for its endpoints, and wraps what breaks them.
		err = errors.Unwrap((&route.Cluster{Name: "any", Endpoints: []route.Endpoint{e}}).Validate())
	}
	if err != nil {
		c.errorf(b.At, "endpoint %q: %s", b.Address, err)
	}
	e.Weight = 1
	if b.Weight != nil {
		e.Weight = *b.Weight
	}
	if e.Weight < 1 || e.Weight > route.MaxWeight {
		c.errorf(b.WeightAt, "weight is %d; it must be 1 to %d", e.Weight, route.MaxWeight)
	}
	e.Health = oneOf(c, "health", b.Health, b.HealthAt, route.Passing, route.Warning, route.Critical)
	return e, len(c.diags) == before
}

// address reads the label of an endpoint, "ip:port" or "host:port".
func address(s string) (route.Endpoint, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if e, ok := errors.AsType[*net.AddrError](err); ok {
			return route.Endpoint{}, fmt.Errorf("%s; it must be address:port, [address]:port or host:port", e.Err)
		}
		return route.Endpoint{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return route.Endpoint{}, fmt.Errorf("port %q is not 1 to 65535", port)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return route.Endpoint{Addrs: []netip.AddrPort{netip.AddrPortFrom(addr.Unmap(), uint16(n))}}, nil
	}
	// No top-level domain is a number (RFC 3696, 2), so this is a mistyped address.
	name := strings.ToLower(host)
	last := strings.TrimSuffix(name, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	switch {
	case name == "":
		return route.Endpoint{}, errors.New("there is no address before the port")
	case strings.Contains(name, ":") || last != "" && strings.Trim(last, "0123456789") == "":
		return route.Endpoint{}, fmt.Errorf("%q is not an address", host)
	}
	return route.Endpoint{Host: name, Port: uint16(n)}, nil
}

// oneOf returns the choice whose name is given, and the first if none is.
func oneOf[T interface {
	~uint8
	fmt.Stringer
}](c *checker, what string, name *string, at hcl.Range, choices ...T) T {
	if name == nil {
		return choices[0]
	}
	var names []string
	for _, choice := range choices {
		if *name == choice.String() {
			return choice
		}
		names = append(names, choice.String())
	}
	c.errorf(at, "%s %q is not known; it can be %s", what, *name, strings.Join(names, ", "))
	return choices[0]
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
