package modes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// implicit are the upstreams that transparent sidecars have without naming them: all
// services that intentions let them call (IntentionTopology in Consul's source), and
// all that peers export to this datacenter. Those that stay in the datacenter,
// which need no gateway whatever their mode is, are told as a number.
func (r *reader) implicit(ctx context.Context) ([]wish, error) {
	var sidecars []*sidecar
	owners := map[serviceName]*permissions{}
	for i := range r.sidecars {
		if s := &r.sidecars[i]; s.isTransparent() {
			sidecars = append(sidecars, s)
			owners[s.owner] = &permissions{}
		}
	}
	if len(sidecars) == 0 {
		return nil, nil
	}
	candidates, err := r.candidates(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.readPermissions(ctx, owners, candidates); err != nil {
		return nil, err
	}
	imported := r.imported()
	var all []wish
	for _, s := range sidecars {
		inner, outer, err := r.split(ctx, s, candidates, owners[s.owner])
		if err != nil {
			return nil, err
		}
		for _, to := range imported {
			if !s.names(to) {
				outer = append(outer, s.implied(to))
			}
		}
		if inner > 0 {
			rest := s.implied(destination{name: "*", namespace: s.owner.namespace})
			rest.others = inner
			outer = append(outer, rest)
		}
		for _, w := range outer {
			all = append(all, wish{s.id, w})
		}
	}
	return all, nil
}

// candidates are the services that could be implicit upstreams: those of the catalog,
// and those that there are only by a resolver, router or splitter.
func (r *reader) candidates(ctx context.Context) ([]string, error) {
	names, err := r.names(ctx, "", api.ServiceKindTypical)
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{api.ServiceResolver, api.ServiceRouter, api.ServiceSplitter} {
		list, meta, err := r.client.ConfigEntries().List(kind, query(ctx))
		if err != nil {
			return nil, failed(kind+" entries", "service:read", err)
		}
		r.note(meta)
		for _, entry := range list {
			names = append(names, entry.GetName())
		}
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "consul" })
	return names, nil
}

// imported are the services that peers export to this datacenter, as far as known.
func (r *reader) imported() []destination {
	var all []destination
	for _, p := range r.peers {
		for _, name := range p.StreamStatus.ImportedServices {
			// With namespaces it is PARTITION/NAMESPACE/NAME or NAMESPACE/NAME.
			var ns string
			if parts := strings.Split(name, "/"); len(parts) > 1 {
				ns, name = parts[len(parts)-2], parts[len(parts)-1]
			}
			all = append(all, destination{name, namespace(ns, ""), p.Name})
		}
	}
	return all
}

// split asks where the candidates that a sidecar may call lead to: inner is how
// many stay in the datacenter.
func (r *reader) split(ctx context.Context, s *sidecar, candidates []string, may *permissions) (inner int, outer []wanted, err error) {
	var allowed []wish
	for _, name := range candidates {
		to := destination{name: name, namespace: s.owner.namespace}
		if name != s.owner.name && may.call(name) && !s.names(to) {
			allowed = append(allowed, wish{s.id, s.implied(to)})
		}
	}
	if err := r.fetchChains(ctx, allowed); err != nil {
		return 0, nil, err
	}
	for i := range allowed {
		w := &allowed[i]
		leaves := slices.ContainsFunc(r.chains[w.chain()], func(t target) bool { return t.datacenter != r.here })
		if leaves {
			outer = append(outer, w.wanted)
		} else {
			inner++
		}
	}
	return inner, outer, nil
}

// names tells whether the sidecar's registration has the very upstream, which
// therefore is not implicit.
func (s *sidecar) names(to destination) bool {
	return slices.ContainsFunc(s.proxy.Upstreams, func(u api.Upstream) bool {
		return !u.CentrallyConfigured && u.Datacenter == "" && s.same(&u, to)
	})
}

// same tells whether an upstream leads to a destination, in whatever datacenter.
func (s *sidecar) same(u *api.Upstream, to destination) bool {
	return u.DestinationType != api.UpstreamDestTypePreparedQuery &&
		to == destination{u.DestinationName, namespace(u.DestinationNamespace, s.owner.namespace), u.DestinationPeer}
}

// implied is an upstream that the registration does not name.
func (s *sidecar) implied(to destination) wanted {
	a := ask{instance: s.proxy.MeshGateway.Mode, destination: to, implicit: true}
	var central *api.Upstream // what the agent worked out for this one, or for all
	for i := range s.proxy.Upstreams {
		u := &s.proxy.Upstreams[i]
		switch {
		case !u.CentrallyConfigured:
			a.elsewhere = a.elsewhere || s.same(u, to)
		case s.same(u, to), u.DestinationName == "*" && central == nil:
			central = u
		}
	}
	if central != nil {
		a.upstream, a.merged = central.MeshGateway.Mode, true
	}
	return wanted{
		owner: s.owner, destination: to, implicit: true,
		protocol: s.protocol(to), decision: s.decide(a),
	}
}

// permissions are what intentions say of one caller.
type permissions struct {
	intentions []*api.Intention // the strongest first
	otherwise  bool             // where there is none
}

// first is the intention that decides about a call, nil if there is none.
func (p *permissions) first(to string) *api.Intention {
	for _, i := range p.intentions {
		if i.SourcePeer == "" && (i.DestinationName == to || i.DestinationName == "*") {
			return i
		}
	}
	return nil
}

// call tells whether a service may be called, by some requests at least.
func (p *permissions) call(to string) bool {
	i := p.first(to)
	if i == nil {
		return p.otherwise
	}
	return i.Action == api.IntentionActionAllow || len(i.Permissions) > 0
}

// readPermissions reads the intentions of the owners, and what goes without one.
func (r *reader) readPermissions(ctx context.Context, owners map[serviceName]*permissions, candidates []string) error {
	var list []serviceName
	for owner := range owners {
		list = append(list, owner)
	}
	return each(ctx, list, func(ctx context.Context, owner serviceName) error {
		q := query(ctx)
		q.Namespace = owner.namespace
		matches, _, err := r.client.Connect().IntentionMatch(&api.IntentionMatch{
			By: api.IntentionMatchSource, Names: []string{owner.name},
		}, q)
		if err != nil {
			return failed("the intentions of "+owner.name, "intentions:read on "+owner.name, err)
		}
		p := owners[owner]
		p.intentions = matches[owner.name]
		for _, name := range candidates {
			if name == owner.name || p.first(name) != nil {
				continue
			}
			// The default is the same for all that no intention speaks of.
			p.otherwise, _, err = r.client.Connect().IntentionCheck(&api.IntentionCheck{
				Source: owner.name, SourceType: api.IntentionSourceConsul, Destination: name,
			}, q)
			if err != nil {
				return failed(fmt.Sprintf("whether %s may call %s", owner.name, name), "service:read on "+name, err)
			}
			break
		}
		return nil
	})
}
