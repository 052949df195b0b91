// Command bench measures Sluice beside its peers and beside the limit, in one run.
//
// In the lab's namespaces, client, gateway and server, joined by veth, every
// contender does the same work: it routes connections by their server name without
// decrypting them, with two threads. All of them run at the same time, each on a port of
// its own, and one is loaded at a time; within a round each gets its turn at each
// workload, and who begins rotates, so that what the machine does besides hits all
// alike. What counts are ratios within a round, and of those the median over the
// rounds: see the package figure.
//
// There are five layouts: one hop, two hops (a contender in each of two gateways'
// namespaces), local (all in one namespace, over loopback), and those that have only the
// client or the server beside the gateway. The limit is who carries bytes without a proxy:
// IP forwarding through the same namespaces, or, where a peer is beside the gateway,
// nobody. Each turn begins with bytes that are compared at both ends, so that nobody wins
// by losing some.
//
//	main.go       flags, and the verbs; verbs.go those that measure nothing
//	plan.go       whose turn it is, and how long all take; progress.go tells
//	measure.go    the course of a run
//	site.go       a layout as it stands; process.go what it runs of this program
//	contender.go  who is measured; place.go where each runs
//	sluice.go, peers.go, plain.go  how
//	workload.go   what they are measured at
//	server.go     the far end of all connections, a process of its own
//	load.go       the near end, a process for each turn; handshake.go that of real TLS
//	loop.go       flows at both ends that share an event loop
//	wire.go       what both say to each other
//	tools.go      iperf3, wrk and nginx in the place of both
//	idle.go       what flows cost that do nothing
//	lookup.go     Sluice's table alone
//	cpu.go        what processors did meanwhile
//	machine.go    what all of it ran on
//
// The packages below have what needs no machine: figure the results and what is made of
// them, tool what iperf3 and wrk print, chart the pictures, report the tables, expect
// the verdicts of "make bench-check".
//
// It needs root, and what scripts/packages.sh installs for it.
package main
