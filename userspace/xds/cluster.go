package xds

import (
	"fmt"
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"sluice/userspace/route"
)

// cluster is a Cluster resource, as far as it matters here.
type cluster struct {
	route.Cluster        // with its endpoints if the resource itself has them
	assignment    string // else the name of the resource that does
	refuse        string // if set, no flow can go there, and this is why
}

// cluster translates a Cluster resource.
func (t *translator) cluster(c *clusterv3.Cluster) *cluster {
	name := c.GetName()
	// What is named here is either understood, or of no meaning to a relay of TLS
	// streams: statistics, HTTP, how DNS is asked, which Sluice decides by TTL, and
	// outlier detection, in place of which it dials another endpoint.
	t.unsupported(c, name, "name", "type", "cluster_type", "eds_cluster_config", "connect_timeout", "load_assignment",
		"lb_policy", "least_request_lb_config", "ring_hash_lb_config", "maglev_lb_config", "round_robin_lb_config",
		"common_lb_config", "transport_socket", "circuit_breakers", "outlier_detection", "alt_stat_name", "metadata",
		"typed_extension_protocol_options", "dns_refresh_rate", "dns_failure_refresh_rate", "dns_lookup_family",
		"respect_dns_ttl", "per_connection_buffer_limit_bytes", "upstream_connection_options")
	out := &cluster{Cluster: route.Cluster{
		Name:           name,
		Policy:         t.policy(c),
		PanicThreshold: t.panicThreshold(c),
	}}
	if d := c.GetConnectTimeout(); d.IsValid() && d.AsDuration() > 0 {
		out.ConnectTimeout = d.AsDuration()
	}
	for _, limit := range c.GetCircuitBreakers().GetThresholds() {
		if n := limit.GetMaxConnections(); n != nil {
			t.warn("limit of connections: not applied; set max flows on the route", "cluster", name, "max_connections", n.GetValue())
		}
	}
	if c.GetTransportSocket() != nil {
		out.refuse = "its cluster needs TLS begun by the gateway, and Sluice neither decrypts nor encrypts"
		return out
	}
	t.discovery(c, out)
	return out
}

// discovery is where the endpoints come from.
func (t *translator) discovery(c *clusterv3.Cluster, out *cluster) {
	if custom := c.GetClusterType(); custom != nil {
		out.refuse = fmt.Sprintf("its cluster is of type %s, which Sluice does not know", custom.GetName())
		return
	}
	switch kind := c.GetType(); kind {
	case clusterv3.Cluster_EDS:
		out.assignment = c.GetEdsClusterConfig().GetServiceName()
		if out.assignment == "" {
			out.assignment = c.GetName()
		}
		return
	case clusterv3.Cluster_LOGICAL_DNS:
		out.Discovery = route.Logical
	case clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_STATIC:
	default:
		out.refuse = fmt.Sprintf("its cluster is of type %s, which Sluice does not know", kind)
		return
	}
	out.Endpoints = t.endpoints(c.GetLoadAssignment())
}

// policy: what hashes becomes random, for hashes are taken of what is inside of
// TLS. Envoy does the same for a connection without a hash. Consul does not give
// such a policy to a mesh gateway's clusters (agent/xds/clusters.go,
// injectGatewayServiceAddons), those of exported services excepted.
func (t *translator) policy(c *clusterv3.Cluster) route.Policy {
	if n := c.GetLeastRequestLbConfig().GetChoiceCount().GetValue(); n > 2 {
		t.warn("least request among more than two: taken for two", "cluster", c.GetName(), "choice_count", n)
	}
	switch c.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		return route.RoundRobin
	case clusterv3.Cluster_LEAST_REQUEST:
		return route.LeastRequest
	case clusterv3.Cluster_RANDOM:
		return route.Random
	case clusterv3.Cluster_RING_HASH, clusterv3.Cluster_MAGLEV:
		t.warn("load balancing by hash: becomes random, for TLS hides what to hash", "cluster", c.GetName(), "policy", c.GetLbPolicy())
		return route.Random
	default:
		t.warn("load balancing policy not known: becomes round robin", "cluster", c.GetName(), "policy", c.GetLbPolicy())
		return route.RoundRobin
	}
}

// panicThreshold is percent, and Envoy's 0 is a threshold that is never reached.
func (t *translator) panicThreshold(c *clusterv3.Cluster) int {
	common := c.GetCommonLbConfig()
	if common != nil {
		t.unsupported(common, c.GetName(), "healthy_panic_threshold")
	}
	threshold := common.GetHealthyPanicThreshold()
	switch v := threshold.GetValue(); {
	case threshold == nil:
		return route.DefaultPanicThreshold
	case !(v > 0): // not a number, too
		return route.NoPanic
	default:
		return int(min(100, math.Ceil(v)))
	}
}
