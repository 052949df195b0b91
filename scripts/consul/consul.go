// Package consul runs a real Consul for the lab and the tests: agents as child
// processes, alone, as the three servers of a datacenter, or as two datacenters,
// federated or peered; and it registers with them what a mesh consists of.
//
//	binary.go   finds the consul program, or builds it once into a cache
//	agent.go    one agent: start, wait until healthy, kill, restart, stop
//	config.go   the configuration that an agent is given
//	wait.go     what to wait for, with the end of the log when it does not come
//	process.go  a child process that dies with its parent
//	cert.go     the certificates of agents, for HTTPS and gRPC with TLS
//	cluster.go  clusters that are ready to be used
//	loopback.go addresses for them
//	peer.go     peering, plain or through mesh gateways
//	service.go  services with their sidecars, their checks, mesh gateways
//	catalog.go  services by the thousand
//	mesh.go     configuration entries, intentions, roots and leaf certificates
//	acl.go      tokens, and what a gateway's token must be allowed
//	sidecar.go  "consul connect proxy", a sidecar with the mesh's mutual TLS
//
// # Addresses
//
// Every agent has an address of its own, and at it Consul's usual ports: 8300 to
// 8302 for servers and gossip, 8500 for HTTP, 8502 for gRPC and, with TLS, 8501 for
// HTTPS and 8503 for gRPC. The address is one of a lab's namespace, or on the host's
// loopback, where each cluster claims a block 127.N.0.0/16 for itself: the first
// datacenter is at 127.N.1.x, the second at 127.N.2.x.
//
// # Time
//
// Functions that wait do so until the context ends, at most Patience, and then
// say what they waited for, with the end of the agent's log. An agent that died
// meanwhile ends the wait at once. Agents die with the process that started them,
// but for those that are to outlive it.
package consul

import (
	"net/netip"
	"time"

	"sluice/scripts/lab"
)

// Patience is how long one thing that Consul does may take on a busy machine
// before it counts as never happening.
const Patience = 90 * time.Second

// Host is a place for an agent.
type Host struct {
	Namespace *lab.Namespace // nil: the host's own
	Addr      netip.Addr     // that the agent binds to, of its own
}
