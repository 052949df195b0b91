package consul

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"sluice/userspace/route"
)

// view is the facts as they are now. It is the loop's.
type view struct {
	*Source

	trustDomain string
	names       map[string]struct{} // of services
	instances   map[string][]*api.ServiceEntry
	resolvers   map[string]*api.ServiceResolverConfigEntry
	exports     map[string][]export                    // by service, one for each namespace
	chains      map[string]*api.CompiledDiscoveryChain // of exported services
	peering     bool                                   // servers peer through gateways
	servers     []*api.ServiceEntry
	datacenters []string
	gateways    map[string]map[string][]*api.ServiceEntry // by datacenter and service
	federation  map[string][]*api.ServiceEntry            // by datacenter
	peerings    []*api.Peering
	imports     map[fact]imported
	imported    map[string]struct{} // services of peers in the table of an earlier process

	dirty map[part]struct{} // to compile
	wants map[fact]struct{} // to ask for
	fresh map[fact]struct{} // of these, those that were never answered
	moved bool              // wants changed
	said  map[string]bool   // warnings
}

func newView(s *Source) *view {
	v := &view{
		Source:    s,
		instances: map[string][]*api.ServiceEntry{},
		chains:    map[string]*api.CompiledDiscoveryChain{},
		gateways:  map[string]map[string][]*api.ServiceEntry{},
		imports:   map[fact]imported{},
		imported:  importsOf(s.Last),
		dirty:     map[part]struct{}{},
		wants:     map[fact]struct{}{},
		fresh:     map[fact]struct{}{},
		said:      map[string]bool{},
	}
	for _, k := range []kind{aboutRoots, aboutNames, aboutResolvers, aboutMesh, aboutDatacenters, aboutExports, aboutPeerings} {
		v.want(fact{kind: k})
	}
	if v.WANFederation {
		v.want(fact{kind: aboutFederation})
		v.want(fact{kind: aboutServers})
	}
	return v
}

// take makes an answer part of the view: what it changes is dirty then, and what must
// be known because of it is wanted.
func (v *view) take(f fact, value any) {
	delete(v.fresh, f)
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
		v.takeExports(value.(map[string][]export))
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

func (v *view) want(f fact) {
	if _, wanted := v.wants[f]; !wanted {
		v.wants[f], v.fresh[f], v.moved = struct{}{}, struct{}{}, true
	}
}

func (v *view) drop(f fact) {
	delete(v.wants, f)
	delete(v.fresh, f)
	v.moved = true
}

// wantOnly wants facts of a kind for these names, and for no others.
func wantOnly[T any](v *view, k kind, where string, names map[string]T) {
	for f := range v.wants {
		if _, still := names[f.name]; f.kind == k && f.where == where && !still {
			v.drop(f)
		}
	}
	for name := range names {
		v.want(fact{k, name, where})
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
	if maps.Equal(names, v.names) {
		v.names = names // which may have been nil
		return
	}
	for name := range v.names {
		if _, still := names[name]; !still {
			delete(v.instances, name)
			v.serviceChanged(name)
		}
	}
	v.names = names
	wantOnly(v, aboutInstances, "", names)
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

func (v *view) takeExports(exports map[string][]export) {
	for name := range v.exports {
		if _, still := exports[name]; !still {
			delete(v.chains, name)
			v.touch(part{exportedPart, name, ""})
		}
	}
	for name, now := range exports {
		if !slices.EqualFunc(now, v.exports[name], export.equal) {
			v.touch(part{exportedPart, name, ""})
		}
	}
	v.exports = exports
	wantOnly(v, aboutChain, "", exports)
}

func (v *view) takeMesh(peering bool) {
	v.peering = peering
	if peering || v.WANFederation {
		v.want(fact{kind: aboutServers})
	} else {
		v.drop(fact{kind: aboutServers})
		v.servers = nil
	}
	v.touch(part{serversPart, "", ""})
	v.touch(part{peersPart, "", ""})
}

func (v *view) takeDatacenters(all []string) {
	remote := slices.DeleteFunc(slices.Clone(all), func(dc string) bool { return dc == v.Datacenter })
	for _, dc := range v.datacenters {
		if !slices.Contains(remote, dc) {
			v.drop(fact{kind: aboutGatewayNames, where: dc})
			wantOnly[struct{}](v, aboutGateways, dc, nil)
			delete(v.gateways, dc)
			v.touch(part{datacenterPart, "", dc})
		}
	}
	for _, dc := range remote {
		v.want(fact{kind: aboutGatewayNames, where: dc})
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
	wantOnly(v, aboutGateways, dc, names)
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

// importsOf are the services of peers that a table leads to.
func importsOf(t *route.Table) map[string]struct{} {
	names := map[string]struct{}{}
	if t == nil {
		return names
	}
	for c := range t.Clusters() {
		if name, rest, _ := strings.Cut(c.Name, "."); strings.Contains("."+rest, importedMark) {
			names[name] = struct{}{}
		}
	}
	return names
}

// takePeerings wants what peers export to here. Which services those are the leader
// knows only while it hears from the peer, so a service that has instances stays, and
// those of an earlier process are asked for in any case.
func (v *view) takePeerings(all []*api.Peering) {
	peers, listed := map[string]bool{}, map[fact]bool{}
	for _, p := range all {
		peers[p.Name] = true
		for _, name := range p.StreamStatus.ImportedServices {
			f := fact{aboutImports, name, p.Name}
			listed[f] = true
			v.want(f)
		}
		for name := range v.imported {
			v.want(fact{aboutImports, name, p.Name})
		}
	}
	clear(v.imported)
	for f := range v.wants {
		if f.kind != aboutImports || listed[f] {
			continue
		}
		_, fresh := v.fresh[f]
		if !peers[f.where] || !fresh && len(v.imports[f].instances) == 0 {
			v.drop(f)
			delete(v.imports, f)
			v.touch(part{importedPart, f.name, f.where})
		}
	}
	v.peerings = all
	v.touch(part{peersPart, "", ""})
}
