// Package consul makes the table from Consul's catalog, by blocking queries to the
// agent's HTTP API. It is the source for where xDS does not answer, and compiles
// itself what the agent otherwise compiles for Envoys (agent/proxycfg/mesh_gateway.go
// and agent/xds in Consul's source), so that both sources give the same table.
//
//	source.go   Run: from answers to tables, Status
//	options.go  what can be set
//	query.go    what is asked: one query a fact
//	watch.go    how it is asked: again and again, each query for itself
//	explain.go  what is probably wrong when a query fails
//	view.go     the facts as they are now, what to ask next, which parts changed
//	part.go     a part of the table from the facts: a service, a datacenter, ...
//	instance.go instances to endpoints
//	name.go     server names
//	compile.go  from parts to the table, by what changed
//
// # Queries
//
// A query waits at the agent until its fact changes. Its index begins at nothing,
// is never waited on below 1, and begins anew when it goes backwards. A query that
// fails is asked again after a random part of a time that doubles.
//
// Each service needs a query of its own. Over TLS these share a few connections
// (HTTP/2), of which the first is made by the first query, alone. In plain text each
// waiting query has a connection, of which an agent allows 200 to an address
// (limits.http_max_conns_per_client), so there is a budget, Options.Connections. A
// mesh that is larger takes turns: its queries wait for a moment only, and a change
// is seen when its query's turn comes. The log says so.
//
// Facts of this datacenter may be read from any server (stale reads), for nothing
// is believed of a server that knows no leader, and what takes away all instances of
// a service is asked once more, of the leader.
//
// # What may leave the table
//
// An error changes nothing. An answer that the token's rights shortened, and had not
// before, changes nothing either: the agent marks those
// (X-Consul-Results-Filtered-By-ACLs). What is missing in a good answer leaves by
// the rules of package loss: Consul is away while a query of this datacenter fails, or
// when an index went backwards, which it does when servers were restored.
//
// Of the first table, too, all must be known: each service, each peer, and each
// remote datacenter, unless it does not answer, which must not keep the others
// waiting; nor must peers, which an agent takes ten seconds to refuse. What the token may not read is then as if it were not there, and the log
// says which right is missing, but without service names and instances there is no
// table.
package consul
