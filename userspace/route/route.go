package route

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// RefuseTerminated is the reason on the routes of http services that are exported
// to a peer: for these alone Consul wants its gateway to be an end of TLS.
const RefuseTerminated = "Consul has gateways decrypt http services exported to peers, and Sluice never decrypts; export it as tcp"

// Route leads one server name, exact or wildcard, to a cluster.
type Route struct {
	Name    string // lower case, no trailing dot: "web.default.dc1.internal.x.consul", "*.dc2.internal.x.consul", or "*" for any
	Cluster string // name of the cluster; empty when Refuse is set
	Refuse  string // when set, flows of this name are refused, and this says why
	Options

	Load *Load // live counts, set by the Builder; shared with the same name's route in the next table
}

// Options are per-route settings; a zero field means the gateway's own setting.
type Options struct {
	MaxFlows int    // flows at one time
	Path     string // "", "auto", "splice", ...
	Credit   int    // bytes that the kernel may have on their way to a receiver, on the sockmap path
}

// The least and the most that a credit can be.
const (
	MinCredit = 64 << 10
	MaxCredit = 64 << 20
)

// Or returns the options with what is not set taken from others.
func (o Options) Or(others Options) Options {
	return Options{
		MaxFlows: cmp.Or(o.MaxFlows, others.MaxFlows),
		Path:     cmp.Or(o.Path, others.Path),
		Credit:   cmp.Or(o.Credit, others.Credit),
	}
}

// Equal tells whether both define the same; live counts do not matter.
func (r *Route) Equal(o *Route) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r == o || r.Name == o.Name && r.Cluster == o.Cluster && r.Refuse == o.Refuse && r.Options == o.Options
}

// Policy is how a cluster spreads flows over its endpoints. All of them respect
// weights.
type Policy uint8

// The load-balancing policies, by their names in Consul.
const (
	RoundRobin Policy = iota
	LeastRequest
	Random
)

// String is the policy's name in Consul's service-resolver.
func (p Policy) String() string { return nameOf(p, "round_robin", "least_request", "random") }

// Health is what the source of the table knows of an endpoint.
type Health uint8

// The states of health. Warning endpoints are usable: their smaller weight is
// the source's business.
const (
	Passing Health = iota
	Warning
	Critical
)

// String is the state's name in Consul.
func (h Health) String() string { return nameOf(h, "passing", "warning", "critical") }

// Discovery is what the addresses of a DNS endpoint mean.
type Discovery uint8

const (
	// Strict: each address is an endpoint of its own with the full weight.
	Strict Discovery = iota
	// Logical: the name is one endpoint, and its flows take the addresses in turn.
	Logical
)

// String is "strict" or "logical".
func (d Discovery) String() string { return nameOf(d, "strict", "logical") }

// nameOf is the name of the i-th value of an enumeration, or its number.
func nameOf[T ~uint8](i T, names ...string) string {
	if int(i) < len(names) {
		return names[i]
	}
	return strconv.Itoa(int(i))
}

// Cluster is a named set of endpoints. It is immutable once in a table.
type Cluster struct {
	Name           string
	Policy         Policy
	ConnectTimeout time.Duration // 0: the gateway's default
	PanicThreshold int           // percent healthy below which all are used; NoPanic to switch the rule off, 0: DefaultPanicThreshold
	SendProxy      bool          // begin upstream connections with a PROXY v2 header
	Discovery      Discovery
	Endpoints      []Endpoint

	balance *balance // pick state, set by the Builder
}

const (
	// DefaultPanicThreshold is Envoy's.
	DefaultPanicThreshold = 50
	// NoPanic as a PanicThreshold uses healthy endpoints only, always.
	NoPanic = -1
	// MaxWeight is the largest weight of an endpoint, as Envoy and Consul have it.
	MaxWeight = 128
)

// Equal tells whether both define the same, with the same endpoints in the same
// order (in a table they are sorted); live counts do not matter.
func (c *Cluster) Equal(o *Cluster) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c == o || c.sameSettings(o) && slices.EqualFunc(c.Endpoints, o.Endpoints, Endpoint.Equal)
}

// sameSettings is Equal without the endpoints.
func (c *Cluster) sameSettings(o *Cluster) bool {
	return c.Name == o.Name && c.Policy == o.Policy && c.ConnectTimeout == o.ConnectTimeout &&
		c.PanicThreshold == o.PanicThreshold && c.SendProxy == o.SendProxy && c.Discovery == o.Discovery
}

// Endpoint is one place that a cluster's flows may be sent to. Either Addrs has
// the one address given, or Host is a DNS name and Addrs what it resolved to,
// empty until it has.
type Endpoint struct {
	Addrs  []netip.AddrPort
	Host   string
	Port   uint16 // of Host
	Weight int    // 1 to MaxWeight; 0 is taken for 1
	Health Health

	Load *Load // live counts, set by the Builder; shared with the same endpoint in the next table
}

// Equal tells whether both define the same; live counts do not matter.
func (e Endpoint) Equal(o Endpoint) bool {
	return e.Host == o.Host && e.Port == o.Port && e.Weight == o.Weight && e.Health == o.Health &&
		slices.Equal(e.Addrs, o.Addrs)
}

// String is the endpoint as its source names it, "10.0.0.1:8443" or
// "api.example.net:8443", and empty when it has neither.
func (e Endpoint) String() string {
	switch {
	case e.Host != "":
		return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
	case len(e.Addrs) > 0:
		return e.Addrs[0].String()
	default:
		return ""
	}
}

// endpointKey is what makes an endpoint the same one in the next table.
type endpointKey struct {
	host string
	port uint16
	addr netip.AddrPort
}

// key is for endpoints that passed their check.
func (e *Endpoint) key() endpointKey {
	if e.Host != "" {
		return endpointKey{host: e.Host, port: e.Port}
	}
	return endpointKey{addr: e.Addrs[0]}
}

// endpointOrder is how a cluster's endpoints are sorted in a table.
func endpointOrder(e Endpoint, o endpointKey) int {
	k := e.key()
	return cmp.Or(cmp.Compare(k.host, o.host), cmp.Compare(k.port, o.port), k.addr.Compare(o.addr))
}

// Load is what changes about a route or an endpoint while the tables that name
// it come and go.
type Load struct {
	Active atomic.Int64  // flows now
	next   atomic.Uint64 // whose turn it is among an endpoint's addresses
}
