// Package mirror keeps the routing table in maps in the kernel, where it outlives
// the agent: the kernel's programs count into it, an operator can look at it without
// the agent, and an agent that starts while Consul is away takes its table from it.
//
// The layouts are those of bpf/table.h, and the maps themselves are a Store, which
// package loader has. A name leads from map to map:
//
//	routes:    name -> id of a cluster, or of a text that says why it is refused
//	clusters:  id -> settings, name, generation
//	endpoints: id, generation, 0, 1, 2 ... -> an address each
//
// A Mirror writes. Sync puts the difference between two tables into the maps, in an
// order in which every name leads to its old cluster or to its new one after any
// number of writes, so that neither a reader nor a crash can be in a wrong moment:
//
//  1. texts, addresses under a new generation of their cluster, clusters;
//  2. routes that are new or changed, the longest names first, and exact ones before
//     wildcards: else a name would fall, for a moment, under a shorter wildcard that is
//     new too;
//  3. routes that are gone, the shortest first: else a name would fall under one that
//     is to go as well;
//  4. clusters, addresses and texts that nothing leads to any more.
//
// Ids of clusters and texts, and generations, are never used twice, so who holds an
// old one finds nothing rather than something else. Routes have ids out of a fixed
// range, for they index counters in shared memory (Stats). Such an id is free for
// another route once its own is gone, no flow counts into it, and no operator's policy
// waits for the name to come back.
//
// What is in the maps is believed record by record: each has a checksum with its key.
// Open reads all of it, and the next Sync mends what differs from the table that it is
// given, whatever the cause: a crash, a newer table, or damage. A route that cannot be
// read refuses its flows until then, rather than letting its name fall under a wildcard.
//
// A View is the same read-only, for others than the writer, while it writes.
package mirror
