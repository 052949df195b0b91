// Package mesh tests Sluice against a real Consul: that both of its sources make the
// same table of the same cluster, that the gateway carries a mesh's own mutual TLS
// between datacenters, and that neither loses its way when agents and servers fail.
//
// It runs agents, sidecars and gateways on the host's loopback, needs no root, and
// has Consul from scripts/consul.
package mesh
