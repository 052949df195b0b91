package consul

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/route"
)

var errOtherNamespace = errors.New("xDS has all namespaces: use -source xds")

// part is what of the table is made of the same facts.
type part struct {
	kind  partKind
	name  string // of the service
	where string // datacenter or peer
}

type partKind uint8

const (
	servicePart    partKind = iota // a service here, and its subsets
	exportedPart                   // the same, for peers
	datacenterPart                 // the way to another datacenter
	serversPart                    // Consul's own servers here
	peersPart                      // the way to those of peers
	importedPart                   // the way to a peer's service
)

// product is what a part adds to the table.
type product struct {
	clusters []*route.Cluster
	routes   []*route.Route
}

// lead adds a cluster, with routes of these names to it.
func (p *product) lead(c *route.Cluster, names ...string) {
	p.clusters = append(p.clusters, c)
	for _, name := range names {
		p.routes = append(p.routes, &route.Route{Name: strings.ToLower(name), Cluster: c.Name})
	}
}

// make makes a part of the facts. What cannot be used of them is left out and told.
func (v *view) make(p part) *product {
	out := &product{}
	if v.trustDomain == "" {
		return out
	}
	switch p.kind {
	case servicePart:
		v.makeService(out, p.name)
	case exportedPart:
		v.makeExported(out, p.name)
	case datacenterPart:
		v.makeDatacenter(out, p.where)
	case serversPart:
		v.makeServers(out)
	case peersPart:
		v.makePeers(out)
	case importedPart:
		v.makeImported(out, fact{aboutImports, p.name, p.where})
	}
	return out
}

func (v *view) cluster(name string, instances []*api.ServiceEntry, wan, onlyPassing bool) *route.Cluster {
	ends, err := endpoints(instances, wan, onlyPassing)
	if err != nil {
		v.warn("instance that cannot be connected to: left out", name, err)
	}
	return &route.Cluster{Name: name, ConnectTimeout: v.Timeout, Discovery: v.discovery(ends), Endpoints: ends}
}

// discovery matters for host names only.
func (v *view) discovery(ends []route.Endpoint) route.Discovery {
	for _, e := range ends {
		if e.Host != "" {
			return v.Discovery
		}
	}
	return route.Strict
}

// makeService: the service by its own name is its default subset, if it has one.
// Redirects, failover and splits do not count: the caller's sidecar follows those, and
// comes with another server name.
func (v *view) makeService(out *product, name string) {
	all := v.instances[name]
	if len(all) == 0 {
		return
	}
	namespace := all[0].Service.Namespace
	resolver := v.resolvers[name]
	if resolver == nil {
		resolver = &api.ServiceResolverConfigEntry{}
	}
	add := func(server string, instances []*api.ServiceEntry, onlyPassing bool) {
		c := v.cluster(server, instances, false, onlyPassing)
		c.Policy = policy(resolver.LoadBalancer, route.RoundRobin)
		c.ConnectTimeout = cmp.Or(max(resolver.ConnectTimeout, 0), v.Timeout)
		out.lead(c, server)
	}
	whole := v.serviceName("", name, namespace)
	if resolver.DefaultSubset == "" || !hasSubset(resolver, resolver.DefaultSubset) {
		add(whole, all, false)
	}
	for subsetName, s := range resolver.Subsets {
		instances := v.subset(name, subsetName, s.Filter, all)
		add(v.serviceName(subsetName, name, namespace), instances, s.OnlyPassing)
		if subsetName == resolver.DefaultSubset {
			add(whole, instances, s.OnlyPassing)
		}
	}
}

func hasSubset(r *api.ServiceResolverConfigEntry, name string) bool {
	_, has := r.Subsets[name]
	return has
}

func (v *view) subset(service, name, filter string, all []*api.ServiceEntry) []*api.ServiceEntry {
	instances, err := subset(filter, all)
	if err != nil {
		v.warn("subset whose filter cannot be used: it has no instances", service+" subset "+name, err)
	}
	return instances
}

// makeExported: peers have names of their own for what is exported to them, and these
// lead to clusters of their own, in which Consul has no panic rule. Of the discovery
// chain, the start alone counts: what is behind it needs HTTP to be read.
func (v *view) makeExported(out *product, name string) {
	peers := v.exportedTo(name)
	chain := v.chains[name]
	if len(peers) == 0 || chain == nil {
		return
	}
	namespace := v.instances[name][0].Service.Namespace
	cluster, refuse := v.exportedCluster(chain)
	for _, peer := range peers {
		r := &route.Route{Name: strings.ToLower(v.exportName(name, namespace, peer)), Refuse: refuse}
		if refuse == "" {
			r.Cluster = cluster
		}
		out.routes = append(out.routes, r)
	}
	if refuse == route.RefuseTerminated {
		return
	}
	for _, node := range chain.Nodes {
		if node.Type != api.DiscoveryGraphNodeTypeResolver || node.Resolver == nil {
			continue
		}
		if target := chain.Targets[node.Resolver.Target]; target != nil && target.Datacenter == v.Datacenter {
			out.clusters = append(out.clusters, v.exportedTarget(chain, node, target))
		}
	}
}

// exportedTo are the peers that may use a service that has instances. The catalog is
// read of one namespace, and the same name in another is another service.
func (v *view) exportedTo(name string) (peers []string) {
	instances := v.instances[name]
	if len(instances) == 0 {
		return nil
	}
	for _, e := range v.exports[name] {
		if cmp.Or(e.namespace, defaultName) == cmp.Or(instances[0].Service.Namespace, defaultName) {
			peers = append(peers, e.peers...)
		} else {
			v.warn("exported service of a namespace that the catalog is not read of: left out", name, errOtherNamespace)
		}
	}
	return peers
}

// exportedCluster is the cluster that a chain starts with, or why there is none.
func (v *view) exportedCluster(chain *api.CompiledDiscoveryChain) (cluster, refuse string) {
	switch chain.Protocol {
	case "http", "http2", "grpc":
		return "", route.RefuseTerminated
	}
	start := chain.Nodes[chain.StartNode]
	if start == nil || start.Resolver == nil {
		return "", "its discovery chain does not start with a resolver, and Sluice never decrypts"
	}
	target := chain.Targets[start.Resolver.Target]
	if target == nil || target.Datacenter != v.Datacenter {
		return "", "its discovery chain leads to another datacenter, where a gateway does not follow"
	}
	return exportedClusterName(chain, target), ""
}

func exportedClusterName(chain *api.CompiledDiscoveryChain, target *api.DiscoveryTarget) string {
	if chain.CustomizationHash != "" {
		return exportedPrefix + chain.CustomizationHash + "~" + target.Name
	}
	return exportedPrefix + target.Name
}

func (v *view) exportedTarget(chain *api.CompiledDiscoveryChain, node *api.DiscoveryGraphNode, target *api.DiscoveryTarget) *route.Cluster {
	instances := v.instances[target.Service]
	if target.ServiceSubset != "" {
		filter := ""
		if r := v.resolvers[target.Service]; r != nil {
			filter = r.Subsets[target.ServiceSubset].Filter
		}
		instances = v.subset(target.Service, target.ServiceSubset, filter, instances)
	}
	c := v.cluster(exportedClusterName(chain, target), instances, false, target.Subset.OnlyPassing)
	c.PanicThreshold = route.NoPanic
	c.Policy = policy(node.LoadBalancer, route.Random)
	c.ConnectTimeout = max(node.Resolver.ConnectTimeout, 0)
	return c
}

// makeDatacenter: all server names of another datacenter lead to its gateways. Of
// what its catalog and what the federation state say, the one that changed last
// counts: either way of knowing may be the one that is cut.
func (v *view) makeDatacenter(out *product, dc string) {
	if dc == v.Datacenter {
		return // see makeServers
	}
	gateways, known := v.gatewaysOf(dc)
	if !known {
		return
	}
	name := v.gatewayName(dc)
	out.lead(v.cluster(name, gateways, true, false), name, "*."+name)
	if v.WANFederation {
		name := v.serverName("", dc)
		out.lead(v.cluster(name, gateways, true, false), name, "*."+name)
	}
}

func (v *view) gatewaysOf(dc string) ([]*api.ServiceEntry, bool) {
	var here []*api.ServiceEntry
	for _, instances := range v.gateways[dc] {
		here = append(here, instances...)
	}
	federated, known := v.federation[dc]
	if newest(federated) > newest(here) {
		return federated, true
	}
	return here, known || len(here) > 0
}

// makeServers: with federation through gateways, the servers of other datacenters call
// each one here by its name; peers call any of those that vote.
func (v *view) makeServers(out *product) {
	if v.WANFederation {
		all := []route.Endpoint{}
		for _, s := range v.servers {
			e, err := endpointAt(address(s, false))
			if err != nil {
				v.warn("server that cannot be connected to: left out", s.Node.Node, err)
				continue
			}
			all = append(all, e)
			name := v.serverName(s.Node.Node, v.Datacenter)
			out.lead(&route.Cluster{Name: name, ConnectTimeout: v.Timeout, Endpoints: []route.Endpoint{e}}, name)
		}
		if _, known := v.federation[v.Datacenter]; known {
			name := v.serverName("", v.Datacenter)
			out.lead(&route.Cluster{Name: name, ConnectTimeout: v.Timeout, Endpoints: route.Merge(all)}, name)
		}
	}
	if v.peering {
		v.makePeeringServers(out)
	}
}

// makePeeringServers: a read replica cannot answer peers.
func (v *view) makePeeringServers(out *product) {
	var all []route.Endpoint
	voters := false
	for _, s := range v.servers {
		if s.Service.Meta["read_replica"] == "true" {
			continue
		}
		voters = true
		host, _ := address(s, false)
		port, err := strconv.Atoi(s.Service.Meta["grpc_tls_port"])
		if err != nil {
			v.warn("server without a port for gRPC with TLS, which peers need: left out", s.Node.Node, err)
			continue
		}
		if e, err := endpointAt(host, port); err == nil {
			all = append(all, e)
		}
	}
	if voters {
		name := v.peeringName()
		out.lead(&route.Cluster{Name: name, ConnectTimeout: v.Timeout, Endpoints: route.Merge(all)}, name)
	}
}

// makePeers: servers here reach those of peers that they dial. Several peerings may
// be with the same servers: the latest knows best.
func (v *view) makePeers(out *product) {
	if !v.peering {
		return
	}
	latest := map[string]*api.Peering{}
	for _, p := range v.peerings {
		if was := latest[p.PeerServerName]; len(p.PeerServerAddresses) > 0 && (was == nil || was.ModifyIndex < p.ModifyIndex) {
			latest[p.PeerServerName] = p
		}
	}
	for name, p := range latest {
		var all []route.Endpoint
		for _, addr := range p.PeerServerAddresses {
			e, err := hostPort(addr)
			if err != nil {
				v.warn("server of a peer that cannot be connected to: left out", p.Name, err)
				continue
			}
			all = append(all, e)
		}
		out.lead(&route.Cluster{Name: name, ConnectTimeout: v.Timeout, Endpoints: route.Merge(all)}, name)
	}
}

// makeImported: a peer's service is reached by the peer's gateways, under the name
// that they know it by.
func (v *view) makeImported(out *product, f fact) {
	if i := v.imports[f]; i.name != "" && len(i.instances) > 0 {
		out.lead(v.cluster(i.name, i.instances, true, false), i.name)
	}
}

// warn tells of something that cannot be used, once.
func (v *view) warn(message, what string, err error) {
	key := fmt.Sprintf("%s %s %v", message, what, err)
	if v.said[key] {
		return
	}
	if len(v.said) >= maxWarnings {
		clear(v.said)
	}
	v.said[key] = true
	v.Log.Warn("consul: "+message, "of", what, "err", err)
}

// maxWarnings bounds what is remembered to have been said.
const maxWarnings = 1000
