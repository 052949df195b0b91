package metrics

import "github.com/prometheus/client_golang/prometheus"

// Sockmap is how the sockmap path stands. Its zero value is that of a gateway
// without it.
type Sockmap struct {
	On        bool              // it takes new flows
	Why       string            // it does not
	Fallbacks map[string]uint64 // flows that it could not take, by reason
	Pieces    map[string]uint64 // of streams, by what the kernel's program did with them
	Broken    uint64            // flows reset because a check of their bytes failed
}

// sockmapCollector tells what the path's own counters have.
type sockmapCollector struct {
	read                               func() Sockmap
	on, off, fallbacks, pieces, broken *prometheus.Desc
}

func newSockmapCollector(read func() Sockmap) *sockmapCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	return &sockmapCollector{
		read:      read,
		on:        desc("sockmap_on", "1 when the sockmap path takes new flows."),
		off:       desc("sockmap_off", "1, with the reason as a label, while the sockmap path takes no new flows.", "reason"),
		fallbacks: desc("sockmap_fallbacks_total", "Flows that stayed with splice, by the reason.", "reason"),
		pieces:    desc("sockmap_pieces_total", "Pieces of streams, by what the kernel's program did with them.", "verdict"),
		broken:    desc("sockmap_broken_flows_total", "Flows reset because a check of their bytes failed."),
	}
}

// Describe is prometheus.Collector's.
func (c *sockmapCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.on, c.off, c.fallbacks, c.pieces, c.broken} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (c *sockmapCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.read()
	on := 0.0
	if s.On {
		on = 1
	} else {
		ch <- prometheus.MustNewConstMetric(c.off, prometheus.GaugeValue, 1, s.Why)
	}
	ch <- prometheus.MustNewConstMetric(c.on, prometheus.GaugeValue, on)
	ch <- prometheus.MustNewConstMetric(c.broken, prometheus.CounterValue, float64(s.Broken))
	for reason, n := range s.Fallbacks {
		ch <- prometheus.MustNewConstMetric(c.fallbacks, prometheus.CounterValue, float64(n), reason)
	}
	for verdict, n := range s.Pieces {
		ch <- prometheus.MustNewConstMetric(c.pieces, prometheus.CounterValue, float64(n), verdict)
	}
}
