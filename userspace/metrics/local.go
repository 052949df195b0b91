package metrics

import "github.com/prometheus/client_golang/prometheus"

// Local is how the local path stands.
type Local struct {
	On        bool              // it takes new flows
	Why       string            // it does not
	Fallbacks map[string]uint64 // flows that it could not take, by reason
	Messages  map[string]uint64 // of senders on this host, by what the kernel's program did with them
}

// localCollector tells what the path's own counters have.
type localCollector struct {
	read                         func() Local
	on, off, fallbacks, messages *prometheus.Desc
}

func newLocalCollector(read func() Local) *localCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	return &localCollector{
		read:      read,
		on:        desc("local_on", "1 when the local path takes new flows."),
		off:       desc("local_off", "1, with the reason as a label, while the local path takes no new flows.", "reason"),
		fallbacks: desc("local_fallbacks_total", "Flows that the local path left to the others, by the reason.", "reason"),
		messages:  desc("local_messages_total", "Messages of senders on this host, by what the kernel's program did with them.", "verdict"),
	}
}

// Describe is prometheus.Collector's.
func (c *localCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.on, c.off, c.fallbacks, c.messages} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (c *localCollector) Collect(ch chan<- prometheus.Metric) {
	l := c.read()
	on := 0.0
	if l.On {
		on = 1
	} else {
		ch <- prometheus.MustNewConstMetric(c.off, prometheus.GaugeValue, 1, l.Why)
	}
	ch <- prometheus.MustNewConstMetric(c.on, prometheus.GaugeValue, on)
	for reason, n := range l.Fallbacks {
		ch <- prometheus.MustNewConstMetric(c.fallbacks, prometheus.CounterValue, float64(n), reason)
	}
	for verdict, n := range l.Messages {
		ch <- prometheus.MustNewConstMetric(c.messages, prometheus.CounterValue, float64(n), verdict)
	}
}
