// Package dns gives addresses to the endpoints of a table that are host names.
//
// A Resolver stands between a source of tables and the store. It hands on a table
// without host names as it is. Of another one it asks all names, in all clusters
// once each, for A and AAAA records, waits a little for those it does not know
// yet, and publishes a table in which each endpoint has all addresses of its host;
// what they mean, strict or logical, is the cluster's business. It asks again when
// the smallest TTL of an answer is over, and publishes a table of which only the
// clusters with other addresses are new.
//
// A name keeps its last good addresses whatever happens to its servers: a time-out,
// SERVFAIL, "no such name" and an answer without addresses are all the same here.
// Routes go by what the source of the table says; a name server that lost a zone
// does not take a working service away.
//
// All this is one goroutine (resolver.go, table.go), which runs a bounded number of
// look-ups (lookup.go) at a time.
//
// The look-ups are those of the standard library's resolver in Go, so that the hosts
// file, search domains, ndots, several servers, EDNS, and TCP after a truncated
// answer are as everyone knows them. It tells no TTLs, nor that only one of its two
// questions, for A and AAAA records, was answered: then it gives the addresses of
// one family as if they were all. But it lets its connections be made for it, so
// both are read off the messages that pass (notes.go, conn.go). The other way, a
// client of our own, would be all of the above once more.
package dns
