package xds

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"sluice/userspace/route"
)

// endpoints translates a load assignment. The endpoints of the first priority with
// a healthy one are taken, or of the first with any. That is Envoy's rule when its
// overprovisioning factor is as high as Consul sets it (agent/xds/endpoints.go,
// makeLoadAssignment): the next priority is for when all of this one are dead.
func (t *translator) endpoints(a *endpointv3.ClusterLoadAssignment) []route.Endpoint {
	t.unsupported(a, a.GetClusterName(), "cluster_name", "endpoints", "policy")
	levels := map[uint32][]route.Endpoint{}
	last := uint32(0)
	for _, l := range a.GetEndpoints() {
		t.unsupported(l, a.GetClusterName(), "locality", "lb_endpoints", "load_balancing_weight", "priority", "proximity")
		last = max(last, l.GetPriority())
		for _, e := range l.GetLbEndpoints() {
			if got, ok := t.endpoint(a.GetClusterName(), e); ok {
				levels[l.GetPriority()] = append(levels[l.GetPriority()], got)
			}
		}
	}
	var first []route.Endpoint
	for p := uint32(0); p <= last && p < 128; p++ { // Envoy's limit of priorities
		level := route.Merge(levels[p])
		for i := range level {
			if level[i].Health != route.Critical {
				return level
			}
		}
		if len(first) == 0 {
			first = level
		}
	}
	return first
}

// endpoint is false for one that cannot be dialed, such as a Unix socket.
func (t *translator) endpoint(cluster string, e *endpointv3.LbEndpoint) (route.Endpoint, bool) {
	host, port, err := socketAddress(e.GetEndpoint().GetAddress())
	if err != nil {
		t.warn("endpoint that is not an address and a TCP port: left out", "cluster", cluster, "err", err)
		return route.Endpoint{}, false
	}
	out := route.Endpoint{Weight: t.weight(cluster, e), Health: health(e.GetHealthStatus())}
	if addr, err := netip.ParseAddr(host); err == nil {
		out.Addrs = []netip.AddrPort{netip.AddrPortFrom(addr.Unmap(), port)}
	} else {
		out.Host, out.Port = host, port
	}
	// The cluster is only to have the endpoint checked by itself, so that a bad one
	// does not cost the others.
	if err := (&route.Cluster{Name: "of", Endpoints: []route.Endpoint{out}}).Validate(); err != nil {
		t.warn("endpoint that cannot be connected to: left out", "cluster", cluster, "err", err)
		return route.Endpoint{}, false
	}
	return out, true
}

func (t *translator) weight(cluster string, e *endpointv3.LbEndpoint) int {
	weight := e.GetLoadBalancingWeight().GetValue()
	if weight > route.MaxWeight {
		t.warn("endpoint weight above the maximum: taken for the maximum", "cluster", cluster, "weight", weight, "max", route.MaxWeight)
		weight = route.MaxWeight
	}
	return max(1, int(weight))
}

// health: Consul sends healthy or unhealthy, and nothing for its servers. A
// warning it makes known by the weight alone.
func health(s corev3.HealthStatus) route.Health {
	switch s {
	case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY:
		return route.Passing
	case corev3.HealthStatus_DEGRADED:
		return route.Warning
	default: // unhealthy, draining, timeout
		return route.Critical
	}
}

// socketAddress is the host or IP address and the port of a TCP address.
func socketAddress(a *corev3.Address) (host string, port uint16, err error) {
	s := a.GetSocketAddress()
	if s == nil {
		return "", 0, fmt.Errorf("address of kind %T", a.GetAddress())
	}
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		return "", 0, fmt.Errorf("%s: protocol %s", s.GetAddress(), s.GetProtocol())
	}
	if name := s.GetNamedPort(); name != "" {
		return "", 0, fmt.Errorf("%s: port by name, %q", s.GetAddress(), name)
	}
	if s.GetPortValue() > 65535 {
		return "", 0, fmt.Errorf("%s: port %d", s.GetAddress(), s.GetPortValue())
	}
	return s.GetAddress(), uint16(s.GetPortValue()), nil
}
