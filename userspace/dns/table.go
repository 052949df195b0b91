package dns

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"sluice/userspace/route"
)

// take makes t the table to resolve and publish. If the one before still waits for
// its names, t is published no later than that would have been.
func (r *Resolver) take(t *route.Table) {
	names := map[string][]string{}
	for c := range t.Clusters() {
		for i := range c.Endpoints {
			name := key(&c.Endpoints[i])
			if in := names[name]; name != "" && (len(in) == 0 || in[len(in)-1] != c.Name) {
				names[name] = append(in, c.Name)
			}
		}
	}
	r.meet(names)
	r.source = t
	if !r.pending.IsZero() {
		return
	}
	wait := r.opt.Wait
	if r.last == nil {
		wait = r.opt.FirstWait
	}
	r.pending = time.Now().Add(wait)
}

// flush publishes what there is to publish, unless it is worth while to wait for
// answers.
func (r *Resolver) flush(now time.Time) {
	if r.pending.IsZero() && len(r.changed) == 0 {
		return
	}
	if r.awaited > 0 && now.Before(r.pending) {
		return
	}
	for _, h := range r.hosts {
		if r.awaited == 0 {
			break
		}
		r.unawait(h) // it had its time
	}
	r.pending = time.Time{}
	t := r.source
	// A table that was resolved here has live counts of its own, and the next must
	// be built on it even if no names are left.
	if len(r.hosts) > 0 || r.last != r.based {
		var err error
		if t, err = r.build(); err != nil {
			r.opt.Log.Error("cannot build the resolved table, the last one stays", "table", r.source.String(), "err", err)
			return
		}
	}
	clear(r.changed)
	r.based, r.last = r.source, t
	r.publish(t)
}

// build makes the table to publish of the last published one: what the source
// changed since then, and the clusters whose addresses changed.
func (r *Resolver) build() (*route.Table, error) {
	b := route.NewBuilder(r.last, r.source.Source())
	b.At(r.source.Index())
	delta := route.Diff(r.based, r.source)
	for _, c := range delta.Clusters {
		if c.New == nil {
			b.DeleteCluster(c.Old.Name)
			continue
		}
		if err := b.PutCluster(r.resolve(c.New)); err != nil {
			return nil, err
		}
	}
	for name := range r.changed {
		if c := r.source.Cluster(name); c != nil {
			if err := b.PutCluster(r.resolve(c)); err != nil {
				return nil, err
			}
		}
	}
	for _, c := range delta.Routes {
		if c.New == nil {
			b.DeleteRoute(c.Old.Name)
			continue
		}
		if err := b.PutRoute(c.New); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// resolve returns a copy of the cluster in which hosts have their addresses.
func (r *Resolver) resolve(c *route.Cluster) *route.Cluster {
	next := *c
	next.Endpoints = slices.Clone(c.Endpoints)
	for i := range next.Endpoints {
		e := &next.Endpoints[i]
		h := r.hosts[key(e)]
		if h == nil || len(h.addrs) == 0 {
			continue
		}
		e.Addrs = make([]netip.AddrPort, 0, len(h.addrs))
		for _, a := range h.addrs {
			e.Addrs = append(e.Addrs, netip.AddrPortFrom(a, e.Port))
		}
	}
	return &next
}

// key is the name to ask for an endpoint, empty if it has an address.
func key(e *route.Endpoint) string { return strings.ToLower(e.Host) }
