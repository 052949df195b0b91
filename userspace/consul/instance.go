package consul

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-bexpr"

	"sluice/userspace/route"
)

// endpoints are where the instances can be reached: from another datacenter by their
// WAN addresses. With onlyPassing, a warning is as bad as a critical check. Those
// that have no address to connect to are left out, and told about.
func endpoints(instances []*api.ServiceEntry, wan, onlyPassing bool) ([]route.Endpoint, error) {
	all := make([]route.Endpoint, 0, len(instances))
	var bad error
	for _, i := range instances {
		host, port := address(i, wan)
		e, err := endpointAt(host, port)
		if err != nil {
			bad = fmt.Errorf("instance %s on node %s: %w", i.Service.ID, i.Node.Node, err)
			continue
		}
		e.Weight, e.Health = judge(i, onlyPassing)
		all = append(all, e)
	}
	return route.Merge(all), bad
}

func endpointAt(host string, port int) (route.Endpoint, error) {
	if port < 1 || port > 65535 {
		return route.Endpoint{}, fmt.Errorf("port %d", port)
	}
	var e route.Endpoint
	if addr, err := netip.ParseAddr(host); err == nil {
		e.Addrs = []netip.AddrPort{netip.AddrPortFrom(addr.Unmap(), uint16(port))}
	} else {
		e.Host, e.Port = strings.ToLower(host), uint16(port) // in one form, for instances of one host to be merged
	}
	// The cluster is only to have the endpoint checked by itself, so that a bad one
	// does not cost the others.
	return e, (&route.Cluster{Name: "of", Endpoints: []route.Endpoint{e}}).Validate()
}

// hostPort splits the address of a peer's server.
func hostPort(addr string) (route.Endpoint, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return route.Endpoint{}, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return route.Endpoint{}, fmt.Errorf("address %s: port: %w", addr, err)
	}
	return endpointAt(host, port)
}

// address is an instance's own, or else its node's (CheckServiceNode.BestAddress in
// agent/structs/structs.go).
func address(i *api.ServiceEntry, wan bool) (host string, port int) {
	host, port = i.Service.Address, i.Service.Port
	if tagged, ok := i.Service.TaggedAddresses["wan"]; ok && wan {
		host = tagged.Address
		if tagged.Port != 0 {
			port = tagged.Port
		}
	}
	if host != "" {
		return host, port
	}
	if tagged, ok := i.Node.TaggedAddresses["wan"]; ok && wan {
		return tagged, port
	}
	return i.Node.Address, port
}

// judge is the weight and health of an instance, as xDS has them
// (calculateEndpointHealthAndWeight in agent/xds/endpoints.go): a warning makes itself
// known by its weight alone, and one of nothing is critical.
func judge(i *api.ServiceEntry, onlyPassing bool) (int, route.Health) {
	weight, health := 1, route.Passing
	weighted := i.Service.Weights != api.AgentWeights{}
	if weighted {
		weight = i.Service.Weights.Passing
	}
	for _, check := range i.Checks {
		if check.Status == api.HealthCritical || onlyPassing && check.Status != api.HealthPassing {
			health = route.Critical
		}
		if check.Status == api.HealthWarning && weighted {
			weight = i.Service.Weights.Warning
		}
	}
	if weight < 1 {
		return 1, route.Critical
	}
	return min(weight, route.MaxWeight), health
}

// subset are the instances that a resolver's filter is true for. The filter is read by
// the library, and the version of it, that Consul reads it by.
func subset(filter string, instances []*api.ServiceEntry) (out []*api.ServiceEntry, err error) {
	if filter == "" || len(instances) == 0 {
		return instances, nil
	}
	defer func() {
		if r := recover(); r != nil { // at nil pointers, which Consul's own types do not have
			err = fmt.Errorf("filter %q: %v", filter, r)
		}
	}()
	f, err := bexpr.CreateFilter(filter, nil, instances)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", filter, err)
	}
	matching, err := f.Execute(instances)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", filter, err)
	}
	return matching.([]*api.ServiceEntry), nil
}

// sound drops what is not whole, and has the parts there that a filter may ask for.
func sound(instances []*api.ServiceEntry) []*api.ServiceEntry {
	out := instances[:0]
	for _, i := range instances {
		if i == nil || i.Node == nil || i.Service == nil || slices.Contains(i.Checks, nil) {
			continue
		}
		if i.Service.Proxy == nil {
			i.Service.Proxy = &api.AgentServiceConnectProxyConfig{}
		}
		if i.Service.Connect == nil {
			i.Service.Connect = &api.AgentServiceConnect{}
		}
		out = append(out, i)
	}
	return out
}

// policy: what hashes is asked of HTTP, which is inside of TLS.
func policy(lb *api.LoadBalancer, hashed route.Policy) route.Policy {
	if lb == nil {
		return route.RoundRobin
	}
	switch lb.Policy {
	case "least_request":
		return route.LeastRequest
	case "random":
		return route.Random
	case "ring_hash", "maglev":
		return hashed
	default:
		return route.RoundRobin
	}
}

// newest is the index at which one of the instances last changed.
func newest(instances []*api.ServiceEntry) uint64 {
	var index uint64
	for _, i := range instances {
		index = max(index, i.Service.ModifyIndex)
	}
	return index
}
