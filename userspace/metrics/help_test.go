package metrics

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// world is what metrics are read from, with settings for tests.
type world struct {
	active         atomic.Int64
	sent, received atomic.Uint64
	reads          atomic.Int64 // of the bytes
	table          route.Store
	age            time.Duration
	sockmap        Sockmap
	local          Local
	routes         []Route
	mostRoutes     int
	maps           []Map
	connected      bool
	since          time.Time
	lost           atomic.Uint64
	draining       atomic.Bool
	unready        atomic.Pointer[string]
}

func (w *world) metrics() *Metrics {
	return New(Sources{
		Version: "v1.2.3",
		Active:  func() int { return int(w.active.Load()) },
		Bytes: func() (uint64, uint64) {
			w.reads.Add(1)
			return w.sent.Load(), w.received.Load()
		},
		Table:         func() (*route.Table, time.Duration) { return w.table.Load(), w.age },
		Source:        func() (bool, time.Time, int) { return w.connected, w.since, 3 },
		StateFailures: func() uint64 { return 0 },
		Sockmap:       func() Sockmap { return w.sockmap },
		Local:         func() Local { return w.local },
		Routes: func(each func(*Route)) {
			for i := range w.routes {
				each(&w.routes[i])
			}
		},
		MostRoutes:    w.mostRoutes,
		Maps:          func() []Map { return w.maps },
		AccessDropped: w.lost.Load,
		Draining:      w.draining.Load,
		Unready: func() error {
			if why := w.unready.Load(); why != nil {
				return errors.New(*why)
			}
			return nil
		},
	})
}

// values is all that m would tell, a value for each name with its label's value,
// such as "sluice_flows_total closed". Histograms have their number and sum as
// two values, with _count and _sum after their names.
func values(t testing.TB, m *Metrics) map[string]float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.Metric {
			name, label := family.GetName(), ""
			for _, l := range m.Label {
				label += " " + l.GetValue()
			}
			switch {
			case m.Histogram != nil:
				all[name+"_count"+label] = float64(m.Histogram.GetSampleCount())
				all[name+"_sum"+label] = m.Histogram.GetSampleSum()
			case m.Counter != nil:
				all[name+label] = m.Counter.GetValue()
			case m.Gauge != nil:
				all[name+label] = m.Gauge.GetValue()
			}
		}
	}
	return all
}

// expectChange compares by how much our metrics differ between two looks.
func expectChange(t *testing.T, before, after, want map[string]float64) {
	t.Helper()
	for name, v := range after {
		if old, ok := before[name]; strings.HasPrefix(name, namespace) && (!ok || v-old != want[name]) {
			t.Errorf("%s: was %v (there: %v), is %v, want %v more", name, old, ok, v, want[name])
		}
	}
	for name := range want {
		if _, ok := after[name]; !ok {
			t.Errorf("no %s", name)
		}
	}
}

// carried is a flow that a path carried.
func carried() *flow.Flow {
	return &flow.Flow{
		End: flow.Closed, Path: "splice",
		HelloIn: 2 * time.Second, Connect: 4 * time.Second, Duration: 8 * time.Second,
	}
}
