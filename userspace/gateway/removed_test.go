package gateway

import (
	"net/netip"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// retable gives the gateway a table of these endpoints for api.test, and tells it.
func (r *rig) retable(to ...netip.AddrPort) route.Delta {
	r.t.Helper()
	s := new(setup)
	s.lead("api.test", to...)
	table, err := route.Replace(r.parts.Table.Load(), "test", s.routes, s.clusters)
	if err != nil {
		r.t.Fatal(err)
	}
	delta := r.parts.Table.Swap(table)
	r.Follow(delta)
	return delta
}

// toBoth starts a gateway with two endpoints and opens a flow to each of them.
func toBoth(t *testing.T, grace time.Duration) (r *rig, one, two netip.AddrPort, flows map[netip.AddrPort]*client) {
	t.Helper()
	one, two = echo(t), echo(t)
	r = start(t, func(s *setup) {
		s.RemovedGrace = grace
		s.lead("api.test", one, two)
	})
	flows = map[netip.AddrPort]*client{}
	h := hello(t, "api.test")
	for range 2 { // round robin
		before := map[netip.AddrPort]bool{}
		r.inside(func(w *worker) {
			for c := range w.conns {
				before[c.flow.Upstream] = true
			}
		})
		c := r.open(h)
		c.expect(h)
		r.inside(func(w *worker) {
			for conn := range w.conns {
				if !before[conn.flow.Upstream] {
					flows[conn.flow.Upstream] = c
				}
			}
		})
	}
	if len(flows) != 2 {
		t.Fatalf("flows to %d endpoints, want both", len(flows))
	}
	return r, one, two, flows
}

func stillThere(c *client) {
	c.send([]byte("still there"))
	c.expect([]byte("still there"))
}

func TestRemovedEndpointKeepsFlows(t *testing.T) {
	r, one, two, flows := toBoth(t, 0)
	r.retable(two)
	stillThere(flows[one])
	stillThere(flows[two])
}

func TestRemovedEndpointAfterGrace(t *testing.T) {
	r, one, two, flows := toBoth(t, time.Nanosecond)
	r.retable(two)
	flows[one].expectCut()
	stillThere(flows[two])
	if f := r.ends(1)[0]; f.End != flow.EndpointRemoved || f.Upstream != one {
		t.Errorf("the flow to %v ended as %v, want the one to %v as %v", f.Upstream, f.End, one, flow.EndpointRemoved)
	}
}

func TestRemovedClusterAfterGrace(t *testing.T) {
	r, _, _, flows := toBoth(t, time.Nanosecond)
	empty, err := route.Replace(r.parts.Table.Load(), "test", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Follow(r.parts.Table.Swap(empty))
	for _, c := range flows {
		c.expectCut()
	}
}

// TestEndpointComesBack: what is in the table again when the grace is over is left alone.
func TestEndpointComesBack(t *testing.T) {
	r, one, two, flows := toBoth(t, time.Hour)
	r.retable(two)
	r.retable(one, two)
	r.endRemoved([]place{{"api.test", one.String()}})
	stillThere(flows[one])
	stillThere(flows[two])
}
