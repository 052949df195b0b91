package figure

import "fmt"

// Kind is what a workload's clients do.
type Kind string

// The kinds there are.
const (
	Bulk        Kind = "bulk"        // send one way
	Both        Kind = "both"        // send both ways at once
	PingPong    Kind = "pingpong"    // send a piece, and wait for it to come back
	Mixed       Kind = "mixed"       // some flows are bulk, the others ping-pong
	Handshake   Kind = "handshake"   // connect, real TLS 1.3, one byte, close
	Iperf       Kind = "iperf"       // bulk, by iperf3
	Requests    Kind = "requests"    // HTTPS requests on kept connections, by wrk
	Connections Kind = "connections" // HTTPS requests, each on a new connection, by wrk
)

// The layouts: what lies between client and server.
const (
	OneHop  = "one hop"  // a gateway's namespace
	TwoHops = "two hops" // those of two gateways, dc1 and dc2
	Local   = "local"    // nothing: all are in one namespace, and speak over loopback
	// A wire on one side alone.
	ClientHere = "client here"
	ServerHere = "server here"
)

// Workload is what contenders are measured at.
type Workload struct {
	Name   string
	Group  string // of the report: workloads of a group share a picture
	Kind   Kind
	Layout string
	Flows  int
	Size   int  `json:",omitempty"` // of a ping-pong's piece, in bytes
	Routes int  `json:",omitempty"` // in the contenders' tables; 0: those of the bench
	Quick  bool `json:",omitempty"` // BENCH=quick measures it too
}

// Metrics are what counts at a workload, the first one most.
func (w Workload) Metrics() []Metric {
	switch w.Kind {
	case Bulk, Both, Iperf:
		return []Metric{throughput}
	case Mixed:
		return []Metric{exchanges, throughput}
	case Handshake:
		return []Metric{connections, helloP50}
	case Connections:
		return []Metric{connections}
	case Requests:
		return []Metric{requests}
	default: // PingPong
		if w.Group == ManyFlows {
			return []Metric{perFlow(w.Flows)}
		}
		return []Metric{exchanges, p50}
	}
}

// ManyFlows is the group of workloads that compare by the rate of each flow.
const ManyFlows = "Flows"

func (w Workload) valid() error {
	switch w.Kind {
	case Bulk, Both, Iperf, Mixed, Handshake, Connections, Requests, PingPong:
		return nil
	}
	return fmt.Errorf("workload %q: no kind is called %q", w.Name, w.Kind)
}

// Metric is a figure of a sample by which contenders are compared.
type Metric struct {
	Name  string
	Unit  string
	Less  bool // is better
	Drawn bool // in pictures: those of a group would else show the same twice
	Of    func(Sample) float64
}

var (
	throughput  = Metric{"throughput", "Gbit/s", false, true, func(s Sample) float64 { return float64(s.Bytes) * 8 / 1e9 / s.Seconds }}
	exchanges   = Metric{"exchanges", "/s", false, true, rate}
	requests    = Metric{"requests", "/s", false, true, rate}
	connections = Metric{"connections", "/s", false, true, rate}
	p50         = Metric{"p50", "µs", true, false, func(s Sample) float64 { return s.Exchange.P50 }}
	helloP50    = Metric{"hello to first byte, p50", "µs", true, true, func(s Sample) float64 { return s.Hello.P50 }}
)

func rate(s Sample) float64 { return float64(s.Exchanges) / s.Seconds }

func perFlow(flows int) Metric {
	return Metric{"exchanges of each flow", "/s", false, true, func(s Sample) float64 { return rate(s) / float64(flows) }}
}
