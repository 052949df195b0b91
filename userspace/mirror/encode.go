package mirror

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sluice/userspace/route"
)

// fitOptions says what cannot be written down, whatever else is in the maps.
func fitOptions(o route.Options) error {
	if len(o.Path) > pathSize || strings.IndexByte(o.Path, 0) >= 0 {
		return fmt.Errorf("path %q is no name of at most %d bytes", o.Path, pathSize)
	}
	return nil
}

func fitCluster(c *route.Cluster) error {
	if len(c.Name) > nameSize {
		return fmt.Errorf("name is longer than %d bytes", nameSize)
	}
	return nil
}

func encodeRoute(r *route.Route, id, cluster, refuse uint32) (RouteKey, RouteRecord) {
	key := keyOf(r.Name)
	rec := RouteRecord{
		MaxFlows: uint64(r.MaxFlows), ID: id, Cluster: cluster, Refuse: refuse, Credit: uint32(r.Credit),
	}
	copy(rec.Path[:], r.Path)
	seal(&key, &rec)
	return key, rec
}

func encodeCluster(c *route.Cluster, s clusterState) ClusterRecord {
	rec := ClusterRecord{
		ConnectTimeout: uint64(c.ConnectTimeout), ID: s.id, Generation: s.generation, Addresses: s.addresses,
		Panic: int32(c.PanicThreshold), Policy: uint8(c.Policy), Discovery: uint8(c.Discovery), NameBytes: uint32(len(c.Name)),
	}
	if c.SendProxy {
		rec.SendProxy = 1
	}
	copy(rec.Name[:], c.Name)
	seal(&s.id, &rec)
	return rec
}

// addresses is how many entries a cluster has in the endpoints.
func addresses(c *route.Cluster) int {
	n := 0
	for i := range c.Endpoints {
		n += max(1, len(c.Endpoints[i].Addrs))
	}
	return n
}

// encodeEndpoints yields the entries of a cluster. The texts are there already.
func encodeEndpoints(c *route.Cluster, s clusterState, texts *texts, yield func(EndpointKey, EndpointRecord) bool) bool {
	key := EndpointKey{Cluster: s.id, Generation: s.generation}
	put := func(rec EndpointRecord) bool {
		seal(&key, &rec)
		ok := yield(key, rec)
		key.Index++
		return ok
	}
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		rec := EndpointRecord{Member: uint32(i), Host: texts.id(e.Host), HostPort: e.Port, Weight: uint16(e.Weight), Health: uint8(e.Health)}
		if len(e.Addrs) == 0 && !put(rec) {
			return false
		}
		for _, a := range e.Addrs {
			rec := rec
			rec.setAddr(a, texts)
			if !put(rec) {
				return false
			}
		}
	}
	return true
}

func (r *EndpointRecord) setAddr(a netip.AddrPort, texts *texts) {
	r.Port, r.Zone = a.Port(), texts.id(a.Addr().Zone())
	if a.Addr().Is4() {
		four := a.Addr().As4()
		r.Family = 4
		copy(r.Addr[:], four[:])
		return
	}
	r.Family, r.Addr = 6, a.Addr().As16()
}

// textsOf yields the texts of a cluster that may be nil, as often as they are used.
func textsOf(c *route.Cluster, yield func(string)) {
	if c == nil {
		return
	}
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		if e.Host != "" {
			yield(e.Host)
		}
		for _, a := range e.Addrs {
			if zone := a.Addr().Zone(); zone != "" {
				yield(zone)
			}
		}
	}
}

func encodePolicy(id uint32, name string, o route.Options, at time.Time) PolicyRecord {
	rec := PolicyRecord{
		SetAt: uint64(at.UnixNano()), MaxFlows: uint64(o.MaxFlows), Credit: uint32(o.Credit), NameBytes: uint32(len(name)),
	}
	copy(rec.Path[:], o.Path)
	copy(rec.Name[:], name)
	seal(&id, &rec)
	return rec
}
