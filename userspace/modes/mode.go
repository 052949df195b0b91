package modes

import "github.com/hashicorp/consul/api"

// Place is what decided a mode.
type Place string

// The places, the strongest first; see the package comment for the exceptions.
const (
	PlaceUpstream        Place = "upstream"         // proxy.upstreams[].mesh_gateway
	PlaceInstance        Place = "service instance" // proxy.mesh_gateway
	PlaceServiceDefaults Place = "service-defaults"
	PlaceProxyDefaults   Place = "proxy-defaults"
	PlaceNone            Place = "default" // nobody asked for a mode
)

// Decision is a mode and who decided it.
type Decision struct {
	Mode  api.MeshGatewayMode `json:"mode"` // none, local or remote
	Place Place               `json:"decided_by"`
	Entry string              `json:"entry,omitempty"` // name of the config entry
	Field string              `json:"field,omitempty"` // of the entry
}

// nobody is the decision when no place asks for a mode: it is as good as none.
var nobody = Decision{Mode: api.MeshGatewayModeNone, Place: PlaceNone}

// set tells whether anybody decided.
func (d Decision) set() bool { return d.Place != PlaceNone }

// String is such as "service-defaults web: UpstreamConfig.Overrides".
func (d Decision) String() string {
	s := string(d.Place)
	if d.Entry != "" {
		s += " " + d.Entry
	}
	if d.Field != "" {
		s += ": " + d.Field
	}
	return s
}

// destination is what an upstream leads to, as config entries name it.
type destination struct{ name, namespace, peer string }

// defaults is what config entries say to the sidecars of one service.
type defaults struct {
	service   string
	overrides map[destination]upstreamDefaults // UpstreamConfig.Overrides
	upstreams upstreamDefaults                 // UpstreamConfig.Defaults
	own       api.MeshGatewayMode              // MeshGateway
	proxy     api.MeshGatewayMode              // proxy-defaults: MeshGateway
	opaque    api.MeshGatewayMode              // proxy-defaults: Config["mesh_gateway"]

	transparent bool // sidecars are, unless their registration says otherwise
}

// upstreamDefaults is what UpstreamConfig says of an upstream.
type upstreamDefaults struct {
	mode     api.MeshGatewayMode
	protocol string
}

// ask is an upstream of which the mode is asked.
type ask struct {
	upstream    api.MeshGatewayMode // in the catalog, for this upstream
	instance    api.MeshGatewayMode // in the catalog, for the sidecar
	destination destination
	// implicit upstreams have no registration to ask for a mode. If merged, then
	// upstream is what the sidecar's agent has worked out for it nevertheless.
	implicit, merged bool
	// elsewhere: the sidecar has an explicit upstream of this name, in another
	// datacenter. Consul gives the override to that one alone.
	elsewhere bool
}

// decide applies the order of the package comment. An upstream's mode may have been
// filled in by its agent, and so may the instance's: whatever would have come out
// without them was not theirs.
func (d *defaults) decide(a ask) Decision {
	given := d.below(a, a.instance)
	final := given.Mode
	switch {
	case a.merged, a.upstream != "":
		final = a.upstream
	case !given.set():
		return nobody
	}
	if final == "" {
		return nobody
	}
	// An instance that has what an agent fills in is taken to ask for nothing.
	silent := a.instance == d.base().Mode
	if silent {
		if filled := d.below(a, ""); filled.set() && filled.Mode == final {
			return filled
		}
	}
	registered := a.upstream != "" && !a.implicit
	if given.set() && given.Mode == final && !(silent && registered) {
		return given
	}
	if registered {
		return Decision{Mode: final, Place: PlaceUpstream}
	}
	// The entries have changed since, and the agent has not noticed yet.
	return Decision{Mode: final, Place: PlaceInstance}
}

// below is what the places below the upstream's own decide.
func (d *defaults) below(a ask, instance api.MeshGatewayMode) Decision {
	if o := d.overrides[a.destination]; o.mode != "" && !a.elsewhere {
		return Decision{o.mode, PlaceServiceDefaults, d.service, "UpstreamConfig.Overrides"}
	}
	if instance != "" {
		return Decision{Mode: instance, Place: PlaceInstance}
	}
	if d.upstreams.mode != "" {
		return Decision{d.upstreams.mode, PlaceServiceDefaults, d.service, "UpstreamConfig.Defaults"}
	}
	if b := d.base(); b.Place != PlaceNone {
		return b
	}
	if d.opaque != "" {
		return Decision{d.opaque, PlaceProxyDefaults, api.ProxyConfigGlobal, "Config.mesh_gateway"}
	}
	return nobody
}

// base is what an agent fills in for an instance that asks for nothing. Its mode
// is "" if that is nothing.
func (d *defaults) base() Decision {
	switch {
	case d.own != "":
		return Decision{d.own, PlaceServiceDefaults, d.service, "MeshGateway"}
	case d.proxy != "":
		return Decision{d.proxy, PlaceProxyDefaults, api.ProxyConfigGlobal, "MeshGateway"}
	}
	return Decision{Place: PlaceNone}
}

// protocol is what the caller takes the upstream's protocol to be, if it says so:
// it decides whether the discovery chain has routers and splitters.
func (d *defaults) protocol(to destination) string {
	if p := d.overrides[to].protocol; p != "" {
		return p
	}
	return d.upstreams.protocol
}
