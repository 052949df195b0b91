// Package xds makes the table from what a Consul agent tells an Envoy that is a
// mesh gateway: the listeners, clusters and endpoints of a delta ADS stream, from
// the agent's gRPC port. It is the cheap source: one stream carries everything,
// and only what changed.
//
//	source.go   Run: a stream after the other, back-off between them, Status
//	options.go  what can be set
//	stream.go   one stream: subscribe, acknowledge, watch for silence, publish
//	explain.go  what is probably wrong when a stream fails or stays silent
//	mesh.go     the resources as they are now, and what of them changed
//	compile.go  from the resources to the table, by what changed
//	cluster.go, endpoint.go, listener.go, translator.go
//	            one resource to its part of the table
//
// # Protocol
//
// All three types are subscribed to by wildcard; the agent sends listeners when
// clusters and endpoints are acknowledged. Everything is acknowledged. A resource
// that makes no sense here is left out or becomes a route that refuses, and the log
// says so; a NACK would change nothing, for the agent has no other to offer, and one
// for clusters makes it send them again in a hot loop. A new stream tells the
// versions that are here already, and is sent what differs.
//
// A burst of answers makes one table. The first table waits for the first answers
// with clusters and listeners, and for each cluster's endpoints. Later, a new
// cluster waits for its own endpoints only, and not for ever: the agent sends none
// where it knows none.
//
// # What may leave the table
//
// What the agent takes away leaves by the rules of package loss: Consul is away while
// there is no stream, and has answered when a new one has given its first answers.
// What is kept is counted in Status. Of services that the token may not read any more
// the agent says that they are gone, too, and one after the other: Options.Hidden
// tells that apart.
//
// While there is no stream, the table stays as it is. Options.Last begins with the
// table of an earlier process by the same rules.
package xds
