package metrics

import "github.com/prometheus/client_golang/prometheus"

// Map is how full a map in the kernel is.
type Map struct {
	Name      string
	Used, Max int
}

type mapCollector struct {
	read      func() []Map
	used, max *prometheus.Desc
}

func newMapCollector(read func() []Map) *mapCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_map_"+name, help, []string{"map"}, nil)
	}
	return &mapCollector{read, desc("entries", "What a map in the kernel holds."), desc("max_entries", "What it may hold.")}
}

// Describe is prometheus.Collector's.
func (c *mapCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.used
	ch <- c.max
}

// Collect is prometheus.Collector's.
func (c *mapCollector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.read() {
		ch <- prometheus.MustNewConstMetric(c.used, prometheus.GaugeValue, float64(m.Used), m.Name)
		ch <- prometheus.MustNewConstMetric(c.max, prometheus.GaugeValue, float64(m.Max), m.Name)
	}
}
