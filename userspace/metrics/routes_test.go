package metrics

import (
	"fmt"
	"testing"
	"time"

	"sluice/userspace/flow"
)

func TestRoutes(t *testing.T) {
	w := &world{mostRoutes: 2}
	m := w.metrics()
	if got := values(t, m); got["sluice_route_flows_total web"] != 0 {
		t.Errorf("without routes: %v", got)
	}
	w.routes = []Route{
		{Name: "web", Active: 2, Flows: 7, Sent: 100, Received: 200, ConnectFailures: 3, Refused: map[flow.End]uint64{flow.LimitRoute: 4}},
		{Name: "idle"}, // had no flow
		{Name: "api", Flows: 1},
		{Name: "db", Flows: 1, Sent: 5, Refused: map[flow.End]uint64{flow.NoEndpoint: 1}},
		{Name: "log", Flows: 1, Sent: 6},
	}
	got := values(t, m)
	for name, want := range map[string]float64{
		"sluice_route_flows_total web": 7, "sluice_route_flows_active web": 2, "sluice_route_connect_failures_total web": 3,
		"sluice_route_bytes_total sent web": 100, "sluice_route_bytes_total received web": 200,
		"sluice_route_refusals_total limit_route web": 4, "sluice_route_refusals_total no_endpoint web": 0,
		"sluice_route_flows_total api": 1, "sluice_route_flows_total _others": 2, "sluice_route_bytes_total sent _others": 11,
		"sluice_route_refusals_total no_endpoint _others": 1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (there: %t), want %v", name, v, ok, want)
		}
	}
	for _, name := range []string{"idle", "db", "log"} {
		if _, ok := got["sluice_route_flows_total "+name]; ok {
			t.Errorf("%s has series of its own", name)
		}
	}

	// Who has series keeps them, however busy others become.
	w.routes[3].Flows = 1000
	if got = values(t, m); got["sluice_route_flows_total api"] != 1 || got["sluice_route_flows_total _others"] != 1001 {
		t.Errorf("a busier one came: %v", got)
	}
	// Until the route is gone.
	w.routes = append(w.routes[:2:2], w.routes[3:]...)
	if got = values(t, m); got["sluice_route_flows_total db"] != 1000 || got["sluice_route_flows_total _others"] != 1 {
		t.Errorf("one is gone: %v", got)
	}
}

func TestMaps(t *testing.T) {
	w := &world{maps: []Map{{"routes", 3, 10}}}
	got := values(t, w.metrics())
	if got["sluice_map_entries routes"] != 3 || got["sluice_map_max_entries routes"] != 10 {
		t.Errorf("%v", got)
	}
}

func TestRTT(t *testing.T) {
	m := (&world{}).metrics()
	m.RTT(2*time.Millisecond, 4*time.Millisecond)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "sluice_rtt_seconds" {
			continue
		}
		for _, metric := range f.Metric {
			sums[metric.Label[0].GetValue()] = metric.Summary.GetSampleSum()
		}
	}
	if fmt.Sprint(sums) != "map[downstream:0.002 upstream:0.004]" {
		t.Errorf("round trips: %v", sums)
	}
}

// BenchmarkScrape is of 10,000 routes, each with series of its own.
func BenchmarkScrape(b *testing.B) {
	w := &world{mostRoutes: 10_000}
	for i := range 10_000 {
		w.routes = append(w.routes, Route{Name: fmt.Sprintf("service-%d.default.dc1.internal", i), Flows: 1})
	}
	m := w.metrics()
	for b.Loop() {
		if _, err := m.registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
