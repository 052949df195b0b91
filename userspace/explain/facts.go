package explain

import (
	"time"

	"sluice/userspace/admission"
	"sluice/userspace/flow"
	"sluice/userspace/route"
)

// Facts are what an explanation goes by: what a gateway knows, at one moment.
type Facts struct {
	Table    *route.Table // nil: there is none
	Meta     Meta
	Settings Settings
	// Overrides are the options by which an operator overrules those of a route, by its
	// name. nil: there are none.
	Overrides func(route string) route.Options
	Counts    Sample
	Source    *admission.Standing // whom the flow is from; nil: it does not matter
}

// Meta is what is known of a table beside what is in it.
type Meta struct {
	Version   uint64
	Source    string        // "catalog", "xds", or a file's name
	Index     string        // what the source calls the state that the table is of; may be empty
	Silent    string        // why the gateway itself could not be asked; then all below is not known
	Age       time.Duration // since it last changed
	Connected bool          // the source can be asked
	Away      time.Duration // since when it cannot be, if known
	Kept      int           // clusters that stay though the source has lost them
	State     string        // why the gateway is not ready, such as "draining"; empty: it is
	// IsKept tells which clusters these are. nil: it is not known.
	IsKept func(cluster string) bool
	// Datacenter and TrustDomain are those of Consul here. Empty: the table's names
	// tell.
	Datacenter, TrustDomain string
}

// Settings are those of the gateway's that count for any route. A field of 0 is not
// set, or no limit.
type Settings struct {
	MaxAge          time.Duration     // that a table may be older than its source, which is away
	ConnectTimeout  time.Duration     // of clusters without their own
	ConnectAttempts int               // endpoints to try
	MaxFlows        int               // at one time, of all routes
	MaxPerRoute     int               // at one time, of routes without their own limit
	Path            string            // of routes that name none; "" is "auto"
	Credit          int               // of routes without their own, bytes
	Off             map[string]string // paths that no flow can take, and why
	Local           bool              // auto goes by the local path where a peer is on the gateway's host
}

// Sample is what the routes had done at one moment.
type Sample struct {
	At     time.Time
	Routes map[string]Counters // by the routes' names; one that is not there has done nothing
}

// Counters are what one route has done since it is counted.
type Counters struct {
	Active          int64     // flows now
	Flows           uint64    // begun
	Sent, Received  uint64    // bytes to upstreams, and from them
	Kernel          [2]uint64 // of those, what the kernel's programs moved
	ConnectFailures uint64    // attempts that failed
	Refused         map[flow.End]uint64
}

func (f *Facts) override(name string) route.Options {
	if f.Overrides == nil {
		return route.Options{}
	}
	return f.Overrides(name)
}

// active is how many flows a route has now, and all have together.
func (f *Facts) active(name string) (its, all int64) {
	for _, c := range f.Counts.Routes {
		all += c.Active
	}
	return f.Counts.Routes[name].Active, all
}

// stale tells whether the table is older than the operator allows.
func (f *Facts) stale() bool {
	return f.Settings.MaxAge > 0 && !f.Meta.Connected && f.Meta.Away > f.Settings.MaxAge
}
