package mirror

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"sluice/userspace/route"
)

var errDamaged = errors.New("is damaged: its checksum is another one")

func (r *RouteRecord) options() route.Options {
	return route.Options{MaxFlows: int(min(r.MaxFlows, math.MaxInt)), Path: text(r.Path[:]), Credit: int(r.Credit)}
}

func (r *PolicyRecord) options() route.Options {
	return route.Options{MaxFlows: int(min(r.MaxFlows, math.MaxInt)), Path: text(r.Path[:]), Credit: int(r.Credit)}
}

func (r *PolicyRecord) name() string { return string(r.Name[:min(r.NameBytes, nameSize)]) }

// cluster is what the record says, without endpoints.
func (r *ClusterRecord) cluster() *route.Cluster {
	return &route.Cluster{
		Name: string(r.Name[:min(r.NameBytes, nameSize)]), Policy: route.Policy(r.Policy), ConnectTimeout: time.Duration(r.ConnectTimeout),
		PanicThreshold: int(r.Panic), SendProxy: r.SendProxy != 0, Discovery: route.Discovery(r.Discovery),
	}
}

// decodeEndpoints makes endpoints of all entries of a cluster, in their order.
func decodeEndpoints(entries []EndpointRecord, text func(id uint32) (string, error)) ([]route.Endpoint, error) {
	all := make([]route.Endpoint, 0, len(entries))
	addrs := make([]netip.AddrPort, 0, len(entries)) // of all of them
	for i := range entries {
		rec := &entries[i]
		switch int(rec.Member) {
		case len(all):
			host, err := text(rec.Host)
			if err != nil {
				return nil, err
			}
			all = append(all, route.Endpoint{Host: host, Port: rec.HostPort, Weight: int(rec.Weight), Health: route.Health(rec.Health)})
		case len(all) - 1:
		default:
			return nil, fmt.Errorf("entry %d is of endpoint %d, which does not come next", i, rec.Member)
		}
		if rec.Family == 0 {
			continue
		}
		addr, err := rec.addr(text)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		addrs = append(addrs, addr)
		e := &all[len(all)-1]
		from := len(addrs) - 1 - len(e.Addrs)
		e.Addrs = addrs[from:len(addrs):len(addrs)]
	}
	return all, nil
}

func (r *EndpointRecord) addr(text func(uint32) (string, error)) (netip.AddrPort, error) {
	switch r.Family {
	case 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(r.Addr[:4])), r.Port), nil
	case 6:
		zone, err := text(r.Zone)
		return netip.AddrPortFrom(netip.AddrFrom16(r.Addr).WithZone(zone), r.Port), err
	}
	return netip.AddrPort{}, fmt.Errorf("family %d is not known", r.Family)
}
