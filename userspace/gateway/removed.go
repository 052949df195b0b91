package gateway

import (
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// place is an endpoint in a cluster, as the table's source names both.
type place struct{ cluster, endpoint string }

// Follow is told how each table differs from the one before. With
// Config.RemovedGrace, flows to endpoints that left the table are ended when they have
// been away for that long.
func (g *Gateway) Follow(delta route.Delta) {
	if g.cfg.RemovedGrace <= 0 {
		return
	}
	var removed []place
	for _, c := range delta.Clusters {
		if c.New == nil {
			for _, e := range c.Old.Endpoints {
				removed = append(removed, place{c.Old.Name, e.String()})
			}
		}
		for _, e := range c.Endpoints {
			if e.New == nil {
				removed = append(removed, place{c.New.Name, e.Old.String()})
			}
		}
	}
	if len(removed) > 0 {
		time.AfterFunc(g.cfg.RemovedGrace, func() { g.endRemoved(removed) })
	}
}

// endRemoved ends the flows to those places that have not come back.
func (g *Gateway) endRemoved(removed []place) {
	table := g.parts.Table.Load()
	gone := map[place]bool{}
	for _, p := range removed {
		if !has(table.Cluster(p.cluster), p.endpoint) {
			gone[p] = true
		}
	}
	if len(gone) > 0 {
		g.Abort(flow.EndpointRemoved, func(f *flow.Flow) bool { return gone[place{f.Cluster.Name, f.Endpoint.String()}] })
	}
}

func has(c *route.Cluster, endpoint string) bool {
	if c == nil {
		return false
	}
	for i := range c.Endpoints {
		if c.Endpoints[i].String() == endpoint {
			return true
		}
	}
	return false
}

// Abort resets the flows that match, for the given reason. The function is called on
// the loops of the flows, and must not keep them.
func (g *Gateway) Abort(end flow.End, match func(*flow.Flow) bool) {
	g.each(func(w *worker) {
		for c := range w.conns {
			if c.stage == stageCarried && match(&c.flow) {
				c.carriage.Abort(end)
			}
		}
	})
}
