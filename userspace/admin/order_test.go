package admin

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"sluice/userspace/gateway"
)

// unlike have an order of their own by each column.
func unlike() []Flow {
	now := time.Now()
	addr := netip.MustParseAddrPort
	return []Flow{
		{
			ID: 3, Source: addr("10.0.0.9:1"), SNI: "b.test", Route: "b.test", Endpoint: "10.1.0.1:80", Path: "splice", State: "carried",
			Sent: 10 << 20, Received: 5, SentRate: 1, Start: now.Add(-time.Hour),
			Downstream: &TCP{RTT: 0.0123456, Retransmits: 7}, UpstreamTCP: &TCP{RTT: 0.000123},
		},
		{ID: 1, Source: addr("[2001:db8::1]:1"), State: "hello", Start: now.Add(-time.Second)},
		{
			ID: 2, Source: addr("10.0.0.8:1"), SNI: "a.test", Route: "*.test", Endpoint: "10.1.0.2:80", Path: "sockmap", State: "carried",
			Sent: 1500, SentRate: 2048, Start: now.Add(-time.Minute),
			Downstream: &TCP{RTT: 2.5}, UpstreamTCP: &TCP{RTT: 0.000007, Retransmits: 1},
		},
		{ID: 4, Source: addr("10.0.0.7:1"), SNI: "c.test", State: "refusing", Start: now.Add(-50 * time.Hour), UpstreamTCP: &TCP{RTT: 0.1}},
	}
}

// TestOrder: the client gets flows in an order, with and without a limit.
func TestOrder(t *testing.T) {
	c, _ := listenFor(t, &fake{flows: unlike()})
	orders := map[string][]uint64{
		"": {1, 2, 3, 4}, "id": {1, 2, 3, 4}, "source": {4, 2, 3, 1}, "sni": {1, 2, 3, 4}, "route": {1, 4, 2, 3}, "endpoint": {1, 4, 3, 2},
		"path": {1, 4, 2, 3}, "state": {2, 3, 1, 4}, "bytes": {3, 2, 1, 4}, "rate": {2, 3, 1, 4}, "rtt": {2, 4, 3, 1},
		"retransmits": {3, 2, 1, 4}, "age": {4, 3, 2, 1},
	}
	for _, by := range append(Columns(), "") {
		for limit := range 6 {
			flows, err := c.Flows(t.Context(), gateway.Selection{}, Order{by, limit})
			if err != nil {
				t.Fatal(err)
			}
			var ids []uint64
			for _, f := range flows {
				ids = append(ids, f.ID)
			}
			want := orders[by]
			if limit > 0 {
				want = want[:min(limit, len(want))]
			}
			if fmt.Sprint(ids) != fmt.Sprint(want) {
				t.Errorf("by %q, limit %d: %v, want %v", by, limit, ids, want)
			}
		}
	}
}

func TestOrderOfNothing(t *testing.T) {
	f := &fake{}
	c, _ := listenFor(t, f)
	if flows, err := c.Flows(t.Context(), gateway.Selection{}, Order{"rate", 5}); err != nil || flows == nil || len(flows) != 0 {
		t.Errorf("%v, %v; want an empty list", flows, err)
	}
	f.fail = errAgent
	f.flows = unlike()
	if flows, err := c.Flows(t.Context(), gateway.Selection{}, Order{"rate", 1}); err == nil || len(flows) != 1 {
		t.Errorf("%d flows and %v, want what there was and the agent's error", len(flows), err)
	}
}

// TestFirst keeps the largest of many, and holds few.
func TestFirst(t *testing.T) {
	const limit = 7
	k := first{order: Order{"bytes", limit}}
	for _, n := range rand.Perm(10_000) {
		k.add(&Flow{ID: uint64(n), Sent: uint64(n)})
		if len(k.flows) > 2*limit+100 {
			t.Fatalf("%d are held", len(k.flows))
		}
	}
	list := k.list()
	if len(list) != limit {
		t.Fatalf("%d flows", len(list))
	}
	for i, f := range list {
		if f.ID != uint64(9999-i) {
			t.Errorf("at %d is flow %d", i, f.ID)
		}
	}
}

func TestOrderCheck(t *testing.T) {
	for _, test := range []struct {
		order Order
		bad   bool
	}{
		{Order{}, false}, {Order{"rtt", 3}, false}, {Order{"RTT", 0}, true}, {Order{"", -1}, true},
	} {
		if err := test.order.Check(); (err != nil) != test.bad {
			t.Errorf("%+v: %v", test.order, err)
		}
	}
}
