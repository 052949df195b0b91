package modes

import (
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Through is what a connection is dialed to.
type Through string

// What there is.
const (
	Sidecars       Through = "sidecars"        // of the target's instances
	LocalGateways  Through = "local gateways"  // of the caller's datacenter, LAN addresses
	RemoteGateways Through = "remote gateways" // of the target's datacenter, WAN addresses
	PeerGateways   Through = "peer gateways"   // of the target's peer, WAN addresses
	QueryResults   Through = "query results"   // what a prepared query finds
)

// Way is one target of an upstream and how connections get there.
type Way struct {
	Service    string `json:"service"`
	Subset     string `json:"subset,omitempty"`
	Datacenter string `json:"datacenter,omitempty"` // "" with a peer
	Peer       string `json:"peer,omitempty"`
	Failover   bool   `json:"failover,omitempty"` // only when another target fails

	Decision
	Through   Through  `json:"through"`
	Addresses []string `json:"addresses"` // HOST:PORT, sorted; nil with a prepared query
	Healthy   int      `json:"healthy"`   // of them, those without a critical check

	from source
}

// source is a set of addresses that Consul can be asked for.
type source struct {
	gateways                   bool   // of the datacenter; else sidecars of a service
	service, namespace, filter string // of sidecars
	datacenter                 string
	peer                       string // that exports the service
	wan                        bool
}

// way is how connections get to a target when the caller's places have decided d.
func way(here string, t target, d Decision) Way {
	w := Way{
		Service: t.service, Subset: t.subset, Datacenter: t.datacenter, Peer: t.peer,
		Failover: t.failover, Decision: d,
	}
	if t.peer == "" && !t.external && !d.set() && t.mode != "" {
		w.Decision = Decision{t.mode, PlaceServiceDefaults, t.service, "MeshGateway"}
	}
	sidecars := source{service: t.service, namespace: t.namespace, filter: t.filter, datacenter: t.datacenter, peer: t.peer}
	localGateways := source{gateways: true, datacenter: here}
	switch mode := w.Mode; {
	case t.peer != "" && mode == api.MeshGatewayModeLocal:
		w.Through, w.from = LocalGateways, localGateways
	case t.peer != "":
		w.Mode = api.MeshGatewayModeRemote // whatever was asked for
		// The addresses with which a peer exports a service are those of its gateways.
		w.Through, w.from = PeerGateways, sidecars
		w.from.wan = true
	case t.datacenter == here, t.external, mode != api.MeshGatewayModeLocal && mode != api.MeshGatewayModeRemote:
		w.Through, w.from = Sidecars, sidecars
		w.from.wan = t.datacenter != here
	case mode == api.MeshGatewayModeLocal:
		w.Through, w.from = LocalGateways, localGateways
	default:
		w.Through, w.from = RemoteGateways, source{gateways: true, datacenter: t.datacenter, wan: true}
	}
	return w
}

// Target names what is called: "SUBSET.SERVICE", "SERVICE in DATACENTER", "SERVICE
// of peer PEER".
func (w *Way) Target() string {
	s := w.Service
	if w.Subset != "" {
		s = w.Subset + "." + s
	}
	switch {
	case w.Peer != "":
		s += " of peer " + w.Peer
	case w.Datacenter != "":
		s += " in " + w.Datacenter
	}
	if w.Failover {
		s += " (failover)"
	}
	return s
}

// Where says where the connection is dialed, with a few of the addresses.
func (w *Way) Where() string {
	const few = 3
	var s string
	switch w.Through {
	case Sidecars:
		s = "directly to sidecars in " + w.Datacenter
	case LocalGateways:
		s = "gateways of " + w.from.datacenter + " (lan)"
	case RemoteGateways:
		s = "gateways of " + w.Datacenter + " (wan)"
	case PeerGateways:
		s = "gateways of peer " + w.Peer + " (wan)"
	case QueryResults:
		return "directly to what the query finds"
	}
	if len(w.Addresses) == 0 {
		return s + ": none"
	}
	s += ": " + strings.Join(w.Addresses[:min(few, len(w.Addresses))], " ")
	if more := len(w.Addresses) - few; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// best is where an instance is reached, from its own datacenter or (wan) from
// another one (CheckServiceNode.BestAddress in Consul's source). far tells whether
// it has an address for others.
func best(e *api.ServiceEntry, wan bool) (host string, port int, far bool) {
	host, port = e.Service.Address, e.Service.Port
	tagged, far := e.Service.TaggedAddresses["wan"]
	if wan && far {
		host = tagged.Address
		if tagged.Port != 0 {
			port = tagged.Port
		}
	}
	if host != "" {
		return host, port, far
	}
	host = e.Node.Address
	if addr, ok := e.Node.TaggedAddresses["wan"]; ok {
		far = true
		if wan {
			host = addr
		}
	}
	return host, port, far
}
