package consul

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"
)

// kind is what sort of fact a query asks for.
type kind uint8

const (
	aboutRoots        kind = iota // the trust domain
	aboutNames                    // of all services
	aboutInstances                // of a service: their sidecars
	aboutResolvers                // all service-resolvers
	aboutMesh                     // whether servers peer through gateways
	aboutServers                  // Consul's own
	aboutDatacenters              // their names
	aboutFederation               // gateways of all datacenters, as the primary knows them
	aboutGatewayNames             // names of the mesh gateways' services, in a datacenter
	aboutGateways                 // instances of one of those
	aboutExports                  // which services peers may use
	aboutChain                    // what an exported service stands for
	aboutPeerings                 // with whom, and what they export to here
	aboutImports                  // instances of a peer's service: its gateways
)

// fact is what one query asks for.
type fact struct {
	kind  kind
	name  string // of the service
	where string // datacenter or peer; empty: here
}

// LogValue has logs of JSON, too, say what String does.
func (f fact) LogValue() slog.Value { return slog.StringValue(f.String()) }

func (f fact) String() string {
	switch f.kind {
	case aboutRoots:
		return "CA roots"
	case aboutNames:
		return "names of services"
	case aboutInstances:
		return "instances of " + f.name
	case aboutResolvers:
		return "service-resolvers"
	case aboutMesh:
		return "mesh config entry"
	case aboutServers:
		return "Consul servers"
	case aboutDatacenters:
		return "datacenters"
	case aboutFederation:
		return "federation states"
	case aboutGatewayNames:
		return "mesh gateways of datacenter " + f.where
	case aboutGateways:
		return fmt.Sprintf("instances of mesh gateway %s in datacenter %s", f.name, f.where)
	case aboutExports:
		return "exported services"
	case aboutChain:
		return "discovery chain of " + f.name
	case aboutPeerings:
		return "peerings"
	default:
		return fmt.Sprintf("instances of %s at peer %s", f.name, f.where)
	}
}

// remote tells whether another datacenter has to answer.
func (f fact) remote() bool { return f.kind == aboutGatewayNames || f.kind == aboutGateways }

// essential tells whether there is no table without it. No right to see all of it is
// asked for: what the token may not read is missing in the answer.
func (f fact) essential() bool {
	return f.kind == aboutRoots || f.kind == aboutNames || f.kind == aboutInstances
}

// polled tells whether a query for it cannot wait for a change.
func (f fact) polled() bool { return f.kind == aboutDatacenters || f.kind == aboutPeerings }

// optional tells whether a first table waits for it for a moment only: another
// datacenter may be cut off without a word, and an agent takes ten seconds to say that
// a token may not read peerings.
func (f fact) optional() bool {
	return f.remote() || f.kind == aboutPeerings || f.kind == aboutImports
}

// export is a service, of its name in one namespace, that peers may use.
type export struct {
	namespace string
	peers     []string // sorted
}

func (e export) equal(o export) bool {
	return e.namespace == o.namespace && slices.Equal(e.peers, o.peers)
}

// imported is a service of a peer: its gateways, and the server name that they know
// it by.
type imported struct {
	name      string
	instances []*api.ServiceEntry
}

// get asks for the fact. The value's type goes by the fact's kind, see view.take.
func (s *Source) get(f fact, q *api.QueryOptions) (any, *api.QueryMeta, error) {
	c := s.Client
	switch f.kind {
	case aboutRoots:
		roots, meta, err := c.Connect().CARoots(q)
		if err == nil && roots.TrustDomain == "" {
			err = errNoTrustDomain
		}
		if err != nil {
			return nil, nil, err
		}
		return roots.TrustDomain, meta, nil
	case aboutNames:
		// Sidecars are not called by their own names.
		q.Filter = `ServiceKind != "connect-proxy"`
		return names(c.Catalog().Services(q))
	case aboutGatewayNames:
		q.Datacenter, q.Filter = f.where, `ServiceKind == "mesh-gateway"`
		return names(c.Catalog().Services(q))
	case aboutInstances:
		return instances(c.Health().Connect(f.name, "", false, q))
	case aboutGateways:
		q.Datacenter, q.Filter = f.where, `Service.Kind == "mesh-gateway"`
		return instances(c.Health().Service(f.name, "", false, q))
	case aboutServers:
		return instances(c.Health().Service("consul", "", false, q))
	case aboutImports:
		return s.imported(f, q)
	case aboutResolvers:
		return resolvers(c.ConfigEntries().List(api.ServiceResolver, q))
	case aboutMesh:
		return peersThroughGateways(c.ConfigEntries().List(api.MeshConfig, q))
	case aboutDatacenters:
		var all []string // package api has no context for this
		_, err := c.Raw().Query("/v1/catalog/datacenters", &all, q)
		return all, &api.QueryMeta{KnownLeader: true}, err
	case aboutFederation:
		var states map[string][]*api.ServiceEntry
		meta, err := c.Raw().Query("/v1/internal/federation-states/mesh-gateways", &states, q)
		for dc, gateways := range states {
			states[dc] = sound(gateways)
		}
		return states, meta, err
	case aboutExports:
		return exports(c.ExportedServices(q))
	case aboutChain:
		chain, meta, err := c.DiscoveryChain().Get(f.name, nil, q)
		if err == nil && chain.Chain == nil {
			err = errNoChain
		}
		if err != nil {
			return nil, nil, err
		}
		return soundChain(chain.Chain), meta, nil
	default:
		all, meta, err := c.Peerings().List(q.Context(), q)
		return slices.DeleteFunc(all, func(p *api.Peering) bool { return p == nil }), meta, err
	}
}

func names(services map[string][]string, meta *api.QueryMeta, err error) (any, *api.QueryMeta, error) {
	set := make(map[string]struct{}, len(services))
	for name := range services {
		set[name] = struct{}{}
	}
	return set, meta, err
}

func instances(all []*api.ServiceEntry, meta *api.QueryMeta, err error) (any, *api.QueryMeta, error) {
	return sound(all), meta, err
}

func resolvers(entries []api.ConfigEntry, meta *api.QueryMeta, err error) (any, *api.QueryMeta, error) {
	set := make(map[string]*api.ServiceResolverConfigEntry, len(entries))
	for _, e := range entries {
		if r, ok := e.(*api.ServiceResolverConfigEntry); ok {
			set[r.Name] = r
		}
	}
	return set, meta, err
}

func peersThroughGateways(entries []api.ConfigEntry, meta *api.QueryMeta, err error) (any, *api.QueryMeta, error) {
	for _, e := range entries {
		if mesh, ok := e.(*api.MeshConfigEntry); ok && mesh.Peering != nil && mesh.Peering.PeerThroughMeshGateways {
			return true, meta, err
		}
	}
	return false, meta, err
}

func exports(all []api.ResolvedExportedService, meta *api.QueryMeta, err error) (any, *api.QueryMeta, error) {
	set := make(map[string][]export, len(all))
	for _, e := range all {
		if len(e.Consumers.Peers) > 0 {
			set[e.Service] = append(set[e.Service], export{e.Namespace, slices.Sorted(slices.Values(e.Consumers.Peers))})
		}
	}
	return set, meta, err
}

// soundChain drops what is not whole.
func soundChain(chain *api.CompiledDiscoveryChain) *api.CompiledDiscoveryChain {
	maps.DeleteFunc(chain.Nodes, func(_ string, n *api.DiscoveryGraphNode) bool { return n == nil })
	maps.DeleteFunc(chain.Targets, func(_ string, t *api.DiscoveryTarget) bool { return t == nil })
	return chain
}

// imported asks for a peer's service. Package api leaves the server name out.
func (s *Source) imported(f fact, q *api.QueryOptions) (any, *api.QueryMeta, error) {
	type service struct {
		api.AgentService
		Connect *struct {
			PeerMeta *struct{ SNI []string }
		}
	}
	var all []*struct {
		Node    *api.Node
		Service *service
		Checks  api.HealthChecks
	}
	q.Peer = f.where
	meta, err := s.Client.Raw().Query("/v1/health/connect/"+f.name, &all, q)
	if err != nil {
		return nil, nil, err
	}
	var out imported
	for _, i := range all {
		if i == nil || i.Service == nil {
			continue
		}
		out.instances = append(out.instances, &api.ServiceEntry{Node: i.Node, Service: &i.Service.AgentService, Checks: i.Checks})
		if c := i.Service.Connect; out.name == "" && c != nil && c.PeerMeta != nil && len(c.PeerMeta.SNI) > 0 {
			out.name = c.PeerMeta.SNI[0]
		}
	}
	out.instances = sound(out.instances)
	return out, meta, nil
}
