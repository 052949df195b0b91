package modes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// forbidden tells whether Consul refused for lack of a right.
func forbidden(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusForbidden
}

// warn tells what an operator should know of the report.
func (r *reader) warn(ctx context.Context, report *Report) {
	say := func(format string, args ...any) {
		report.Warnings = append(report.Warnings, fmt.Sprintf(format, args...))
	}
	elsewhere := r.elsewhere(ctx, report, say)
	for i := range report.Upstreams {
		u := &report.Upstreams[i]
		aboutUpstream := func(format string, args ...any) {
			say("%s -> %s: %s", u.Service, u.Label(), fmt.Sprintf(format, args...))
		}
		r.warnUpstream(u, aboutUpstream)
		for j := range u.Ways {
			r.warnWay(u, &u.Ways[j], elsewhere, aboutUpstream)
		}
	}
	r.warnNames(say)
	if len(r.sidecars) == 0 {
		say("there are no sidecars in this datacenter, or the token lacks service:read and node:read")
	}
	if r.hidden.Load() {
		say("Consul held back what the token may not read: with less than service:read and node:read on all, sidecars, gateways and addresses may be missing here")
	}
	slices.Sort(report.Warnings)
	report.Warnings = slices.Compact(report.Warnings)
}

type sayFunc func(format string, args ...any)

func (r *reader) warnUpstream(u *Upstream, say sayFunc) {
	if u.wanted.partition != "" && u.wanted.partition != "default" {
		say("it is in partition %s: what is told here is for the sidecar's own", u.wanted.partition)
	}
	if u.wanted.chained() && len(u.Ways) == 0 {
		say("its discovery chain leads nowhere")
	}
	if u.Peer == "" || r.peersErr != nil {
		return
	}
	i := slices.IndexFunc(r.peers, func(p *api.Peering) bool { return p.Name == u.Peer })
	switch {
	case i < 0:
		say("there is no peer %s", u.Peer)
	case r.peers[i].State != api.PeeringStateActive:
		say("the peering with %s is %s, not active", u.Peer, strings.ToLower(string(r.peers[i].State)))
	}
}

func (r *reader) warnWay(u *Upstream, w *Way, elsewhere map[serviceName][]string, say sayFunc) {
	if w.from == (source{}) {
		return
	}
	if asked := u.wanted.decision; w.Peer != "" && asked.Mode == api.MeshGatewayModeNone && asked.set() {
		say("mode none (%s) cannot be with a peer: Consul takes remote", asked)
	}
	if w.Datacenter != "" && !slices.Contains(r.datacenters, w.Datacenter) {
		say("%s", r.unknown(w.Datacenter))
		return
	}
	p := r.pools[w.from]
	if p == nil {
		return
	}
	place := cmp.Or(w.from.datacenter, "peer "+w.from.peer)
	switch {
	case p.err != nil:
		say("where it goes in %s is not known: %v", place, p.err)
	case w.from.gateways && len(p.addresses) == 0:
		say("mode %s (%s) needs a mesh gateway in %s, and none is registered", w.Mode, w.Decision, place)
	case w.from.gateways && p.healthy == 0:
		say("mode %s (%s) needs a mesh gateway in %s, and none of the %d is healthy", w.Mode, w.Decision, place, len(p.addresses))
	case len(p.addresses) == 0:
		r.warnMissing(u, w, place, elsewhere, say)
	case p.healthy == 0 && w.Through == PeerGateways:
		say("none of the peer's gateways for %s is healthy", w.Service)
	case p.healthy == 0:
		say("none of the %d sidecars of %s in %s is healthy", len(p.addresses), w.Service, place)
	}
	if w.Through == RemoteGateways && len(p.near) > 0 {
		say("%s in %s: no WAN address, so the LAN address is dialed from here", strings.Join(p.near, " "), place)
	}
}

// warnMissing is for targets without any address.
func (r *reader) warnMissing(u *Upstream, w *Way, place string, elsewhere map[serviceName][]string, say sayFunc) {
	there := elsewhere[serviceName{w.Service, w.from.namespace}]
	switch {
	case w.Through == PeerGateways:
		say("%s does not export %s to this datacenter, or has no mesh gateway", place, w.Service)
	case u.Datacenter == "" && w.Datacenter == r.here && len(there) > 0:
		say("the upstream names no datacenter, so its connections stay in %s, where %s has no sidecar; but it is in %s: set the upstream's datacenter, or redirect with a service-resolver",
			place, w.Service, strings.Join(there, " and "))
	default:
		say("%s has no sidecar in %s", w.Service, place)
	}
}

// elsewhere finds the other datacenters that have the services which upstreams
// look for here in vain.
func (r *reader) elsewhere(ctx context.Context, report *Report, say sayFunc) map[serviceName][]string {
	missing := map[serviceName][]string{}
	for w := range report.ways() {
		if w.Through == Sidecars && w.from.service != "" && w.Datacenter == r.here && len(w.Addresses) == 0 {
			missing[serviceName{w.Service, w.from.namespace}] = nil
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, dc := range r.datacenters {
		if dc == r.here {
			continue
		}
		names, err := r.names(ctx, dc, api.ServiceKindTypical)
		if err != nil {
			say("whether services that are missing here are in %s is not known: %v", dc, err)
			continue
		}
		for s := range missing {
			if _, found := slices.BinarySearch(names, s.name); found {
				missing[s] = append(missing[s], dc)
			}
		}
	}
	return missing
}

// unknown says that a datacenter is not known, and which one may be meant.
func (r *reader) unknown(datacenter string) string {
	s := "there is no datacenter " + datacenter
	for _, dc := range r.datacenters {
		if strings.EqualFold(dc, datacenter) {
			s += ": did you mean " + dc + "?"
		}
	}
	return s
}

// warnNames tells of names that do not name one datacenter: "each datacenter must
// have a unique name" is what mesh gateways require (Consul's documentation).
func (r *reader) warnNames(say sayFunc) {
	for i, dc := range r.datacenters {
		for _, other := range r.datacenters[:i] {
			if strings.EqualFold(dc, other) {
				say("datacenters %s and %s differ by case alone: their names are not unique", other, dc)
			}
		}
	}
	switch {
	case r.peersErr == nil:
	case forbidden(r.peersErr), errors.Is(r.peersErr, context.DeadlineExceeded):
		say("peers are not known, the token lacks peering:read or there is no leader: whether one is named like a datacenter, and what transparent sidecars call there, is not told")
	case strings.Contains(r.peersErr.Error(), "peering must be enabled"):
	default:
		say("peers are not known: %v", r.peersErr)
	}
	for _, p := range r.peers {
		for _, dc := range r.datacenters {
			if strings.EqualFold(p.Name, dc) {
				say("peer %s is named like datacenter %s: its name is not unique", p.Name, dc)
			}
			if strings.EqualFold(p.Remote.Datacenter, dc) {
				say("the datacenter of peer %s is called %s, like one of this federation: its name is not unique", p.Name, dc)
			}
		}
	}
}
