package consul

import (
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"
)

// view is the facts as they are now. It is the loop's.
type view struct {
	*Source

	trustDomain string
	names       map[string]struct{} // of services
	instances   map[string][]*api.ServiceEntry
	resolvers   map[string]*api.ServiceResolverConfigEntry
	exports     map[string]export
	chains      map[string]*api.CompiledDiscoveryChain // of exported services
	peering     bool                                   // servers peer through gateways
	servers     []*api.ServiceEntry
	datacenters []string
	gateways    map[string]map[string][]*api.ServiceEntry // by datacenter and service
	federation  map[string][]*api.ServiceEntry            // by datacenter
	peerings    []*api.Peering
	imports     map[fact]imported

	dirty map[part]struct{} // to compile
	wants map[fact]struct{} // to ask for
	said  map[string]bool   // warnings
}

func newView(s *Source) *view {
	v := &view{
		Source:    s,
		instances: map[string][]*api.ServiceEntry{},
		chains:    map[string]*api.CompiledDiscoveryChain{},
		gateways:  map[string]map[string][]*api.ServiceEntry{},
		imports:   map[fact]imported{},
		dirty:     map[part]struct{}{},
		wants:     map[fact]struct{}{},
		said:      map[string]bool{},
	}
	for _, k := range []kind{aboutRoots, aboutNames, aboutResolvers, aboutMesh, aboutDatacenters, aboutExports, aboutPeerings} {
		v.wants[fact{kind: k}] = struct{}{}
	}
	if v.WANFederation {
		v.wants[fact{kind: aboutFederation}] = struct{}{}
		v.wants[fact{kind: aboutServers}] = struct{}{}
	}
	return v
}

// take makes an answer part of the view: what it changes is dirty then, and what must
// be known because of it is wanted.
func (v *view) take(f fact, value any) {
	switch f.kind {
	case aboutRoots:
		v.takeRoots(value.(string))
	case aboutNames:
		v.takeNames(value.(map[string]struct{}))
	case aboutInstances:
		v.instances[f.name] = value.([]*api.ServiceEntry)
		v.serviceChanged(f.name)
	case aboutResolvers:
		v.takeResolvers(value.(map[string]*api.ServiceResolverConfigEntry))
	case aboutExports:
		v.takeExports(value.(map[string]export))
	case aboutChain:
		v.chains[f.name] = value.(*api.CompiledDiscoveryChain)
		v.touch(part{exportedPart, f.name, ""})
	case aboutMesh:
		v.takeMesh(value.(bool))
	case aboutServers:
		v.servers = value.([]*api.ServiceEntry)
		v.touch(part{serversPart, "", ""})
	case aboutDatacenters:
		v.takeDatacenters(value.([]string))
	case aboutGatewayNames:
		v.takeGatewayNames(f.where, value.(map[string]struct{}))
	case aboutGateways:
		v.gateways[f.where][f.name] = value.([]*api.ServiceEntry)
		v.touch(part{datacenterPart, "", f.where})
	case aboutFederation:
		v.takeFederation(value.(map[string][]*api.ServiceEntry))
	case aboutPeerings:
		v.takePeerings(value.([]*api.Peering))
	case aboutImports:
		v.imports[f] = value.(imported)
		v.touch(part{importedPart, f.name, f.where})
	}
}

func (v *view) touch(p part) { v.dirty[p] = struct{}{} }

// want sets which facts of a kind are to be asked for.
func (v *view) want(k kind, where string, names map[string]struct{}) {
	for f := range v.wants {
		if _, still := names[f.name]; f.kind == k && f.where == where && !still {
			delete(v.wants, f)
		}
	}
	for name := range names {
		v.wants[fact{k, name, where}] = struct{}{}
	}
}

func (v *view) takeRoots(trustDomain string) {
	if v.trustDomain == trustDomain {
		return
	}
	if v.trustDomain != "" {
		v.Log.Warn("consul: the trust domain is another one: all server names change", "was", v.trustDomain, "is", trustDomain)
	}
	v.trustDomain = trustDomain
	for name := range v.instances {
		v.serviceChanged(name)
	}
	for dc := range v.gateways {
		v.touch(part{datacenterPart, "", dc})
	}
	for f := range v.imports {
		v.touch(part{importedPart, f.name, f.where})
	}
	v.touch(part{serversPart, "", ""})
}

func (v *view) takeNames(names map[string]struct{}) {
	for name := range v.names {
		if _, still := names[name]; !still {
			delete(v.instances, name)
			v.serviceChanged(name)
		}
	}
	v.names = names
	v.want(aboutInstances, "", names)
}

// serviceChanged marks a service, and the exported ones that stand for it.
func (v *view) serviceChanged(name string) {
	v.touch(part{servicePart, name, ""})
	v.touch(part{exportedPart, name, ""})
	for exporter, chain := range v.chains {
		if exporter != name && leadsTo(chain, name) {
			v.touch(part{exportedPart, exporter, ""})
		}
	}
}

func leadsTo(chain *api.CompiledDiscoveryChain, name string) bool {
	if chain == nil || chain.Default {
		return false
	}
	for _, target := range chain.Targets {
		if target.Service == name {
			return true
		}
	}
	return false
}

func (v *view) takeResolvers(resolvers map[string]*api.ServiceResolverConfigEntry) {
	index := func(r *api.ServiceResolverConfigEntry) uint64 {
		if r == nil {
			return 0
		}
		return r.ModifyIndex
	}
	was := v.resolvers
	v.resolvers = resolvers
	for name, r := range resolvers {
		if index(was[name]) != index(r) {
			v.serviceChanged(name)
		}
	}
	for name := range was {
		if resolvers[name] == nil {
			v.serviceChanged(name)
		}
	}
}

func (v *view) takeExports(exports map[string]export) {
	for name := range v.exports {
		if _, still := exports[name]; !still {
			delete(v.chains, name)
			v.touch(part{exportedPart, name, ""})
		}
	}
	names := map[string]struct{}{}
	for name := range exports {
		names[name] = struct{}{}
		v.touch(part{exportedPart, name, ""})
	}
	v.exports = exports
	v.want(aboutChain, "", names)
}

func (v *view) takeMesh(peering bool) {
	v.peering = peering
	if peering || v.WANFederation {
		v.wants[fact{kind: aboutServers}] = struct{}{}
	} else {
		delete(v.wants, fact{kind: aboutServers})
	}
	v.touch(part{serversPart, "", ""})
	v.touch(part{peersPart, "", ""})
}

func (v *view) takeDatacenters(all []string) {
	remote := slices.DeleteFunc(slices.Clone(all), func(dc string) bool { return dc == v.Datacenter })
	for _, dc := range v.datacenters {
		if !slices.Contains(remote, dc) {
			delete(v.wants, fact{kind: aboutGatewayNames, where: dc})
			v.want(aboutGateways, dc, nil)
			delete(v.gateways, dc)
			v.touch(part{datacenterPart, "", dc})
		}
	}
	for _, dc := range remote {
		v.wants[fact{kind: aboutGatewayNames, where: dc}] = struct{}{}
		if v.gateways[dc] == nil {
			v.gateways[dc] = map[string][]*api.ServiceEntry{}
		}
	}
	v.datacenters = remote
}

func (v *view) takeGatewayNames(dc string, names map[string]struct{}) {
	maps.DeleteFunc(v.gateways[dc], func(name string, _ []*api.ServiceEntry) bool {
		_, still := names[name]
		return !still
	})
	v.want(aboutGateways, dc, names)
	v.touch(part{datacenterPart, "", dc})
}

func (v *view) takeFederation(states map[string][]*api.ServiceEntry) {
	for dc := range v.federation {
		v.touch(part{datacenterPart, "", dc})
	}
	for dc := range states {
		v.touch(part{datacenterPart, "", dc})
	}
	v.federation = states
	v.touch(part{serversPart, "", ""})
}

// takePeerings wants what peers export to here. Which services those are the leader
// knows only while it hears from the peer, so a service that has instances stays.
func (v *view) takePeerings(all []*api.Peering) {
	peers, listed := map[string]bool{}, map[fact]bool{}
	for _, p := range all {
		peers[p.Name] = true
		for _, name := range p.StreamStatus.ImportedServices {
			f := fact{aboutImports, name, p.Name}
			listed[f] = true
			v.wants[f] = struct{}{}
		}
	}
	for f := range v.wants {
		if f.kind == aboutImports && !listed[f] && (!peers[f.where] || len(v.imports[f].instances) == 0) {
			delete(v.wants, f)
			delete(v.imports, f)
			v.touch(part{importedPart, f.name, f.where})
		}
	}
	v.peerings = all
	v.touch(part{peersPart, "", ""})
}
