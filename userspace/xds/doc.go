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
//	loss.go     what may leave the table, and when
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
// The agent says in the same words that a service was deregistered, and that it has
// just restarted and has not asked the servers yet, or that the servers lost their
// state, or that the token lost its right to see services. Nothing in xDS tells them
// apart, so this package goes by when and how much:
//
//   - On a stream that has settled, a service that leaves does so at once, and so do
//     several that are fewer than half.
//   - A stream settles a few seconds after its first answers (Options.Settle), and as
//     long after the last time that something missing came back. What leaves before
//     is kept until then. A restarted agent answers in parts, and the rest follows
//     within a second or so. The first stream of all, without Options.Last, has no
//     table to lose and counts as settled.
//   - Half of all services at once, and at least two, are not one that was
//     deregistered. They are kept until they come back or Options.Hold is over. All
//     services at once are kept until some service is there again.
//
// A service has left when its cluster is gone or has no endpoint any more; its
// subsets count with it. Where some endpoints of a cluster remain, those are the
// truth. What is kept is as it was, health included, and is named in the log and
// counted in Status. A flow that goes to an address that someone else has now
// cannot reach the wrong service: its client checks the certificate.
//
// While there is no stream, the table stays as it is. Options.Last begins with the
// table of an earlier process by the same rules.
package xds
