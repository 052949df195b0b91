// Package doctor looks at everything that a gateway needs of its host and of
// Consul, and says what it found and what would help: "sluice check".
//
// A check is a small function that gives a line, or a few, each of which is ok, warn
// or fail:
//
//	ok    the gateway has what it needs; or what it would like to have is not asked for
//	warn  the gateway runs, but something will go wrong some day, or is slow, or off
//	fail  the gateway does not start, or flows that it was set up for are refused
//
// and has a remedy unless it is ok. Checks come in the order in which one
// would mend things: kernel and rights, limits, file systems, paths, addresses, and then
// the routes, of a file or of Consul. All of them run at the same time, each bounded
// in time, and nothing that they do is seen by a gateway that runs: they bind addresses
// but do not listen, ask Consul but change nothing there, and what they make they take
// away.
//
//	report.go    lines and their levels
//	run.go       all checks at once, each for so long
//	host.go      the facts: the host as its file system has it, and a few calls
//	kernel.go    release, types, capabilities
//	limits.go    open files, settings of the kernel's network
//	place.go     where pins and the last table go; cgroup
//	address.go   what is listened on, and who has it
//	splice.go    bytes through the splice path
//	sockmap.go   whether the other path can be had
//	routes.go    the file of routes
//	consul.go    the agent: reached, which, with what token
//	rights.go    what the token may do
//	gateways.go  gateways, here and in other datacenters
//	stream.go    xDS
//	time.go      certificates and clocks
//
// What needs BPF is passed in as a function.
package doctor
