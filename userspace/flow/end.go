package flow

// End is why a flow is over. Those before Closed are refusals: no byte of the
// client's went anywhere.
type End uint8

// The reasons, in the order in which a flow can meet them.
const (
	Unknown End = iota

	// Refused on accept.
	Denied      // the source is not allowed to connect
	LimitRate   // too many accepts per second
	LimitFlows  // too many flows in all
	LimitSource // too many flows from this source

	// Refused while reading what the client says first.
	BadProxyHeader
	NotTLS
	BadHello
	BadVersion
	HelloTooLarge
	HelloTimeout
	Probe      // connected and left without a word, as the TCP checks of Consul do
	ClientGone // closed or reset before its hello was whole
	NoServerName

	// Refused by the table.
	NoTable
	UnknownName
	RouteRefused // the route itself says so; Detail has its words
	LimitRoute   // too many flows on this route
	NoEndpoint   // the cluster has none to use

	// Refused for want of an upstream.
	ConnectFailed
	NoResources // the system has no descriptor, port or memory left
	Draining

	// Carried.
	Closed          // both sides closed in order
	DownstreamReset // the client reset, or was lost
	UpstreamReset   // the endpoint reset, or was lost
	IdleTimeout
	LifetimeOver
	DrainTimeout    // cut by the end of a drain
	EndpointRemoved // its endpoint left the table
	Killed          // by an operator
	PathError       // the path itself failed; Detail says how

	ends // their number
)

var endNames = [ends]string{
	Unknown:         "unknown",
	Denied:          "denied",
	LimitRate:       "limit_rate",
	LimitFlows:      "limit_flows",
	LimitSource:     "limit_source",
	BadProxyHeader:  "bad_proxy_header",
	NotTLS:          "not_tls",
	BadHello:        "bad_hello",
	BadVersion:      "bad_version",
	HelloTooLarge:   "hello_too_large",
	HelloTimeout:    "hello_timeout",
	Probe:           "probe",
	ClientGone:      "client_gone",
	NoServerName:    "no_server_name",
	NoTable:         "no_table",
	UnknownName:     "unknown_name",
	RouteRefused:    "route_refused",
	LimitRoute:      "limit_route",
	NoEndpoint:      "no_endpoint",
	ConnectFailed:   "connect_failed",
	NoResources:     "no_resources",
	Draining:        "draining",
	Closed:          "closed",
	DownstreamReset: "downstream_reset",
	UpstreamReset:   "upstream_reset",
	IdleTimeout:     "idle_timeout",
	LifetimeOver:    "lifetime_over",
	DrainTimeout:    "drain_timeout",
	EndpointRemoved: "endpoint_removed",
	Killed:          "killed",
	PathError:       "path_error",
}

// String is the reason as logs and metrics have it.
func (e End) String() string {
	if e >= ends {
		return endNames[Unknown]
	}
	return endNames[e]
}

// Refused tells whether the flow ended before a path carried it.
func (e End) Refused() bool { return e > Unknown && e < Closed }

// Ends lists every reason, so that counters start at zero rather than absent.
func Ends() []End {
	all := make([]End, 0, ends-1)
	for e := Denied; e < ends; e++ {
		all = append(all, e)
	}
	return all
}
