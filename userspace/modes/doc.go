// Package modes tells, for every upstream of every sidecar of a datacenter, which
// mesh-gateway mode is in force, who decided that, and where the upstream's
// connections go. It reads all of it from the HTTP API of one agent.
//
// # Who decides
//
// A mode is asked for in up to four places. Consul takes the first of these that
// asks for one (agent/configentry/resolve.go and merge_service_config.go in its
// source, 1.22):
//
//  1. the upstream in the sidecar's registration: proxy.upstreams[].mesh_gateway
//  2. service-defaults of the caller: UpstreamConfig.Overrides, for this upstream
//  3. the sidecar's registration: proxy.mesh_gateway
//  4. service-defaults of the caller: UpstreamConfig.Defaults
//  5. service-defaults of the caller: MeshGateway
//  6. proxy-defaults: MeshGateway, and last its Config["mesh_gateway"]
//
// That is the order upstream, instance, service-defaults, proxy-defaults, but for
// overrides, which are stronger than the instance. If none of them asks, the
// service-defaults of the service that is called count (its MeshGateway, by way of
// the discovery chain); but not for one that a peer exports.
//
// An agent writes its sidecars to the catalog with the answer already filled in
// (agent/service_manager.go): what was registered is not there any more. So where
// a registration asks for what it would get anyway, the config entry is named.
// Sidecars that a consul-dataplane registered are in the catalog as they were
// registered. Both are told apart by what the entries say.
//
// # Where it goes
//
// The upstream's discovery chain, as the agent compiles it, has the targets: after
// redirects and splits, and those to fail over to. For each one (agent/xds,
// endpoints.go):
//
//   - in this datacenter: to the sidecars, whatever the mode is
//   - in another one: in mode none to its sidecars, at their WAN addresses; in mode
//     local to the mesh gateways here, at their LAN addresses; in mode remote to
//     the mesh gateways there, at their WAN addresses
//   - with a peer: in mode local to the mesh gateways here; else to the peer's, which
//     is mode remote
//   - a service with an ExternalSNI and what a prepared query finds: never through
//     a gateway
//
// # Files
//
//	mode.go      the places, and which of them decides
//	way.go       from a target and its mode to where the connection goes
//	chain.go     the targets of a discovery chain
//	read.go      what is asked of Consul, and how much of it at a time
//	follow.go    upstreams, their chains, and the addresses at the end
//	entries.go   config entries, in the shape that mode.go wants
//	implicit.go  upstreams that a transparent proxy has by intentions
//	warn.go      what an operator should be told
//	report.go    the answer, and how it is printed
package modes
