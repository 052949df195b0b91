// Command bench measures Sluice beside its peers and beside the limit, in one run.
//
// In the lab's namespaces, client, gateway and server, joined by veth, every
// contender does the same work: it routes connections by their server name without
// decrypting them. All of them run at the same time, each on a port of its own, and
// one is loaded at a time; within a round each gets its turn at each workload, so
// that what the machine does besides hits all alike. What counts are ratios within a
// round, and of those the median over the rounds.
//
//	main.go       flags, and the course of a run
//	site.go       the lab
//	contender.go  who is measured; sluice.go, peers.go, plain.go how each is run
//	workload.go   what they are measured at
//	server.go     the far end of all connections, a process of its own
//	client.go     the near end, a process for each measurement; load.go what it does
//	wire.go       what both say to each other
//	handshake.go  connections of real TLS
//	idle.go       what flows cost that do nothing
//	cpu.go        what the whole machine spent
//	result.go     what was measured, and its summary
//	report.go     tables
//
// It needs root, haproxy and nginx.
package main
