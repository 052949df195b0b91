// Package metrics counts what the gateway does, for Prometheus, and answers
// whether it is alive and ready.
//
// Every reason and path is a label value that is there from the start, at zero, so
// that an alert on a rate works the first time. The counters that loops touch are
// looked up once, when they are made.
package metrics

import (
	"cmp"
	"errors"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"

	"sluice/userspace/flow"
	"sluice/userspace/route"
)

const namespace = "sluice"

// Sources are what is read when metrics are, and not counted before.
type Sources struct {
	Version string
	Active  func() int                           // flows now
	Bytes   func() (sent, received uint64)       // by all flows, live ones included
	Table   func() (*route.Table, time.Duration) // the current one, nil for none, and its age
	// Source tells whether the table's source hears from Consul, since when it is so,
	// and how many clusters stay in the table that Consul does not have any more.
	Source        func() (connected bool, since time.Time, kept int)
	StateFailures func() uint64 // attempts to put the table on disk that failed
	Sockmap       func() Sockmap
	Local         func() Local
	Routes        func(each func(*Route)) // what routes have done
	MostRoutes    int                     // that have series of their own; 0: DefaultRoutes
	Maps          func() []Map
	AccessDropped func() uint64 // access log lines lost
	Draining      func() bool   // flows are left to end, and no new ones taken
	Unready       func() error  // why no traffic should be sent here, nil when it should
}

// Metrics is the registry with all its counters. It is the gateway's Observer.
type Metrics struct {
	registry *prometheus.Registry
	unready  func() error

	ended           [256]prometheus.Counter // by flow.End
	refused         [256]prometheus.Counter
	paths           *prometheus.CounterVec
	attempts        prometheus.Counter
	connectFailures reasons
	acceptErrors    reasons
	reloads         *prometheus.CounterVec
	hello           prometheus.Histogram
	connect         prometheus.Histogram
	duration        prometheus.Histogram
	downstreamRTT   prometheus.Observer
	upstreamRTT     prometheus.Observer
}

// The errors that have a reason of their own.
var (
	connectErrors = map[unix.Errno]string{
		unix.ECONNREFUSED:  "refused",
		unix.ECONNRESET:    "reset",
		unix.ETIMEDOUT:     "timeout",
		unix.EHOSTUNREACH:  "unreachable",
		unix.ENETUNREACH:   "unreachable",
		unix.EMFILE:        "no_resources",
		unix.ENFILE:        "no_resources",
		unix.ENOBUFS:       "no_resources",
		unix.ENOMEM:        "no_resources",
		unix.EADDRNOTAVAIL: "no_resources",
	}
	acceptErrors = map[unix.Errno]string{
		unix.EMFILE:       "emfile",
		unix.ENFILE:       "enfile",
		unix.ENOBUFS:      "enobufs",
		unix.ENOMEM:       "enomem",
		unix.ECONNABORTED: "aborted",
	}
)

// reasons is a counter by reason.
type reasons map[string]prometheus.Counter

// New makes the registry.
func New(s Sources) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), unready: s.Unready}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.addFlows()
	m.addConnects()
	m.addSources(s)
	m.addTable(s)
	return m
}

func (m *Metrics) addFlows() {
	ended := m.counterVec("flows_total", "Flows that are over, by the reason of their end.", "reason")
	refused := m.counterVec("refusals_total", "Connections refused before a byte was passed on, by reason.", "reason")
	for _, end := range flow.Ends() {
		m.ended[end] = ended.WithLabelValues(end.String())
		if end.Refused() {
			m.refused[end] = refused.WithLabelValues(end.String())
		}
	}
	m.paths = m.counterVec("path_flows_total", "Flows carried and over, by path.", "path")
	for _, path := range []string{"splice", "sockmap", "local"} {
		m.paths.WithLabelValues(path)
	}
	m.hello = m.histogram("hello_seconds", "Time from accept to the whole ClientHello.")
	m.connect = m.histogram("connect_seconds", "Time from the ClientHello to an upstream connected.")
	m.duration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "flow_seconds", Help: "Time from accept to the end of flows carried.",
		Buckets: []float64{.001, .01, .1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600},
	})
	m.registry.MustRegister(m.duration)
	rtt := prometheus.NewSummaryVec(prometheus.SummaryOpts{
		Namespace: namespace, Name: "rtt_seconds", Help: "Round-trip times of carried flows, as TCP has them, sampled while they live.",
		Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001}, MaxAge: time.Minute,
	}, []string{"side"})
	m.registry.MustRegister(rtt)
	m.downstreamRTT, m.upstreamRTT = rtt.WithLabelValues("downstream"), rtt.WithLabelValues("upstream")
}

func (m *Metrics) addConnects() {
	m.attempts = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "connect_attempts_total", Help: "Connects begun to endpoints.",
	})
	m.registry.MustRegister(m.attempts)
	m.connectFailures = m.reasons("connect_failures_total", "Connects to endpoints that failed, by reason.",
		"refused", "reset", "timeout", "unreachable", "no_resources", "other")
	m.acceptErrors = m.reasons("accept_errors_total", "Errors on accepting connections, by reason.",
		"emfile", "enfile", "enobufs", "enomem", "aborted", "other")
	m.reloads = m.counterVec("table_reloads_total", "Readings of the routes after the first, by result.", "result")
	for _, result := range []string{"ok", "error"} {
		m.reloads.WithLabelValues(result)
	}
}

func (m *Metrics) addSources(s Sources) {
	m.gauge("flows_active", "Connections now, those without an upstream yet included.", func() float64 { return float64(s.Active()) })
	m.registry.MustRegister(newByteCounter(s.Bytes), newSockmapCollector(s.Sockmap), newLocalCollector(s.Local),
		newRouteCollector(s.Routes, cmp.Or(s.MostRoutes, DefaultRoutes)), newMapCollector(s.Maps))
	m.counterFunc("accesslog_dropped_total", "Access log lines lost to a slow or failing output.",
		func() float64 { return float64(s.AccessDropped()) })
	m.counterFunc("state_write_failures_total", "Attempts to put the table on disk that failed.",
		func() float64 { return float64(s.StateFailures()) })
	m.gauge("ready", "1 when traffic should be sent here.", func() float64 {
		if s.Unready() != nil {
			return 0
		}
		return 1
	})
	m.gauge("draining", "1 while flows are left to end, and no new ones are taken.", func() float64 {
		if s.Draining() {
			return 1
		}
		return 0
	})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1, with the version as a label.",
	}, []string{"version", "go_version"})
	build.WithLabelValues(s.Version, runtime.Version()).Set(1)
	m.registry.MustRegister(build)
}

func (m *Metrics) addTable(s Sources) {
	table := func(f func(*route.Table, time.Duration) float64) func() float64 {
		return func() float64 {
			t, age := s.Table()
			if t == nil {
				return 0
			}
			return f(t, age)
		}
	}
	m.gauge("table_version", "Version of the routing table, 0 for none.",
		table(func(t *route.Table, _ time.Duration) float64 { return float64(t.Version()) }))
	m.gauge("table_routes", "Routes in the table.",
		table(func(t *route.Table, _ time.Duration) float64 { routes, _ := t.Len(); return float64(routes) }))
	m.gauge("table_clusters", "Clusters in the table.",
		table(func(t *route.Table, _ time.Duration) float64 { _, clusters := t.Len(); return float64(clusters) }))
	m.gauge("table_age_seconds", "Time since the table came in.",
		table(func(_ *route.Table, age time.Duration) float64 { return age.Seconds() }))
	m.gauge("source_connected", "1 when the table's source hears from Consul, or is a file.", func() float64 {
		if connected, _, _ := s.Source(); connected {
			return 1
		}
		return 0
	})
	m.gauge("source_silent_seconds", "Time since Consul was heard last: the table may be as old as that. 0 while it is heard.", func() float64 {
		connected, since, _ := s.Source()
		if connected || since.IsZero() {
			return 0
		}
		return time.Since(since).Seconds()
	})
	m.gauge("table_kept_clusters", "Clusters in the table that Consul does not have any more, kept because of how they went.", func() float64 {
		_, _, kept := s.Source()
		return float64(kept)
	})
}

// Ended counts a flow that is over.
func (m *Metrics) Ended(f *flow.Flow) {
	ended := m.ended[f.End]
	if ended == nil {
		return // not an end
	}
	ended.Inc()
	if f.HelloIn > 0 {
		m.hello.Observe(f.HelloIn.Seconds())
	}
	if c := m.refused[f.End]; c != nil {
		c.Inc()
		return
	}
	m.connect.Observe(f.Connect.Seconds())
	m.duration.Observe(f.Duration.Seconds())
	m.paths.WithLabelValues(f.Path).Inc()
}

// RTT samples the round-trip times of a flow's two sides.
func (m *Metrics) RTT(downstream, upstream time.Duration) {
	m.downstreamRTT.Observe(downstream.Seconds())
	m.upstreamRTT.Observe(upstream.Seconds())
}

// ConnectAttempt counts a connect begun.
func (m *Metrics) ConnectAttempt() { m.attempts.Inc() }

// ConnectFailure counts a connect that failed.
func (m *Metrics) ConnectFailure(err error) {
	m.connectFailures.count(err, connectErrors)
}

// AcceptError counts an error on accept.
func (m *Metrics) AcceptError(err error) {
	m.acceptErrors.count(err, acceptErrors)
}

// Reloaded counts a reading of the routes.
func (m *Metrics) Reloaded(err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.reloads.WithLabelValues(result).Inc()
}

// count counts err under the name of its errno, or under "other".
func (r reasons) count(err error, names map[unix.Errno]string) {
	var errno unix.Errno
	if errors.As(err, &errno) {
		if c := r[names[errno]]; c != nil {
			c.Inc()
			return
		}
	}
	r["other"].Inc()
}

func (m *Metrics) reasons(name, help string, values ...string) reasons {
	vec := m.counterVec(name, help, "reason")
	r := make(reasons)
	for _, v := range values {
		r[v] = vec.WithLabelValues(v)
	}
	return r
}

func (m *Metrics) counterVec(name, help, label string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	m.registry.MustRegister(v)
	return v
}

func (m *Metrics) gauge(name, help string, f func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, f))
}

func (m *Metrics) counterFunc(name, help string, f func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, f))
}

// histogram is one of times from what loopback takes to what operators wait.
func (m *Metrics) histogram(name, help string) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help,
		Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	m.registry.MustRegister(h)
	return h
}

// byteCounter reads both directions at once, as one look at all flows.
type byteCounter struct {
	read func() (sent, received uint64)
	desc *prometheus.Desc
}

func newByteCounter(read func() (sent, received uint64)) *byteCounter {
	return &byteCounter{read, prometheus.NewDesc(namespace+"_bytes_total",
		"Bytes passed on, sent to upstreams or received from them.", []string{"direction"}, nil)}
}

// Describe is prometheus.Collector's.
func (c *byteCounter) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect is prometheus.Collector's.
func (c *byteCounter) Collect(ch chan<- prometheus.Metric) {
	sent, received := c.read()
	ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(sent), "sent")
	ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(received), "received")
}
