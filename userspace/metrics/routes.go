package metrics

import (
	"cmp"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/userspace/flow"
)

// Route is what the flows of one route have done so far.
type Route struct {
	Name            string
	Active          int64
	Flows           uint64
	Sent, Received  uint64
	Kernel          [2]uint64 // bytes sent and received that the kernel's programs moved
	ConnectFailures uint64
	Refused         map[flow.End]uint64
}

// add sums up routes that have no series of their own.
func (r *Route) add(o *Route) {
	r.Active += o.Active
	r.Flows += o.Flows
	r.Sent += o.Sent
	r.Received += o.Received
	r.Kernel[0] += o.Kernel[0]
	r.Kernel[1] += o.Kernel[1]
	r.ConnectFailures += o.ConnectFailures
	for end, n := range o.Refused {
		if r.Refused == nil {
			r.Refused = map[flow.End]uint64{}
		}
		r.Refused[end] += n
	}
}

// others is the label of all routes together that have no series of their own.
const others = "_others"

// routeCollector tells of routes, those that have had a flow. There are no more series
// than most routes have: who comes first keeps them, for as long as the route is there.
type routeCollector struct {
	read func(each func(*Route))
	most int

	flows, active, bytes, kernel, refusals, failures *prometheus.Desc

	mu   sync.Mutex
	kept map[string]bool // routes with series of their own
}

// DefaultRoutes is how many routes have series of their own, unless told otherwise.
const DefaultRoutes = 1000

func newRouteCollector(read func(each func(*Route)), most int) *routeCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_route_"+name, help, append([]string{"route"}, labels...), nil)
	}
	return &routeCollector{
		read: read, most: most, kept: map[string]bool{},
		flows:    desc("flows_total", "Flows of the route begun, refused ones included. Routes beyond those with series of their own are "+others+"."),
		active:   desc("flows_active", "Flows of the route now."),
		bytes:    desc("bytes_total", "Bytes passed on for the route, sent to upstreams or received from them.", "direction"),
		kernel:   desc("kernel_bytes_total", "Of the bytes of the route, those that programs in the kernel moved.", "direction"),
		refusals: desc("refusals_total", "Flows of the route refused, by reason.", "reason"),
		failures: desc("connect_failures_total", "Connects to endpoints of the route that failed."),
	}
}

// Describe is prometheus.Collector's.
func (c *routeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.flows, c.active, c.bytes, c.kernel, c.refusals, c.failures} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (c *routeCollector) Collect(ch chan<- prometheus.Metric) {
	own, rest := c.choose()
	for i := range own {
		c.tell(ch, &own[i])
	}
	if rest.Flows > 0 {
		rest.Name = others
		c.tell(ch, &rest)
	}
}

// choose tells the routes with series of their own from the others.
func (c *routeCollector) choose() (own []Route, rest Route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var fresh []Route
	there := map[string]bool{}
	c.read(func(r *Route) {
		switch {
		case c.kept[r.Name]:
			own = append(own, *r)
			there[r.Name] = true
		case r.Flows > 0:
			fresh = append(fresh, *r)
		}
	})
	// The busiest of those that are new come first, and of equals always the same.
	slices.SortFunc(fresh, func(a, b Route) int {
		return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Name, b.Name))
	})
	for i := range fresh {
		if len(there) >= c.most {
			rest.add(&fresh[i])
			continue
		}
		own = append(own, fresh[i])
		there[fresh[i].Name] = true
	}
	c.kept = there
	return own, rest
}

func (c *routeCollector) tell(ch chan<- prometheus.Metric, r *Route) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{r.Name}, labels...)...)
	}
	counter(c.flows, r.Flows)
	ch <- prometheus.MustNewConstMetric(c.active, prometheus.GaugeValue, float64(r.Active), r.Name)
	counter(c.bytes, r.Sent, "sent")
	counter(c.bytes, r.Received, "received")
	counter(c.kernel, r.Kernel[0], "sent")
	counter(c.kernel, r.Kernel[1], "received")
	counter(c.failures, r.ConnectFailures)
	// These two are of the endpoints: there from the start, for an alert on a rate.
	for _, end := range []flow.End{flow.NoEndpoint, flow.ConnectFailed} {
		counter(c.refusals, r.Refused[end], end.String())
	}
	for end, n := range r.Refused {
		if end != flow.NoEndpoint && end != flow.ConnectFailed {
			counter(c.refusals, n, end.String())
		}
	}
}
