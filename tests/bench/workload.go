package main

import (
	"fmt"

	"sluice/tests/bench/figure"
)

// The groups of workloads, each of which is a picture of the report.
const (
	streams     = "Streams"
	exchanges   = "Exchanges"
	mixture     = "Mixed"
	connections = "New connections"
	twoHops     = "Two hops"
	localPath   = "Local"
	tableSizes  = "Routes"
)

// workloads are all there are.
func workloads() []workload {
	one := func(group string, kind figure.Kind, name string, flows, size int, quick bool) workload {
		return workload{Name: name, Group: group, Kind: kind, Layout: figure.OneHop, Flows: flows, Size: size, Quick: quick}
	}
	all := []workload{
		one(streams, figure.Bulk, "bulk, 1 flow", 1, 0, true),
		one(streams, figure.Bulk, "bulk, 8 flows", 8, 0, false),
		one(streams, figure.Both, "both ways, 1 flow", 1, 0, false),
		one(streams, figure.Iperf, "iperf3, 1 flow", 1, 0, false),
		one(streams, figure.Iperf, "iperf3, 8 flows", 8, 0, false),
		one(exchanges, figure.PingPong, "ping-pong 128 B, 1 flow", 1, 128, true),
		one(exchanges, figure.PingPong, "ping-pong 128 B, 16 flows", 16, 128, false),
		one(exchanges, figure.PingPong, "ping-pong 128 B, 64 flows", 64, 128, true),
		one(exchanges, figure.PingPong, "ping-pong 4 KiB, 1 flow", 1, 4096, false),
		one(exchanges, figure.PingPong, "ping-pong 4 KiB, 16 flows", 16, 4096, false),
		one(exchanges, figure.PingPong, "ping-pong 4 KiB, 64 flows", 64, 4096, false),
		one(exchanges, figure.Requests, "wrk, 16 connections kept", 16, 0, false),
		one(mixture, figure.Mixed, "60 ping-pong 128 B and 4 bulk", 64, 128, true),
		one(connections, figure.Handshake, "TLS handshakes, 1 at a time", 1, 0, false),
		one(connections, figure.Handshake, "TLS handshakes, 16 at a time", 16, 0, true),
		one(connections, figure.Connections, "wrk, 16 new at a time", 16, 0, false),
	}
	for _, layout := range []struct{ of, group, prefix string }{{figure.TwoHops, twoHops, "two hops: "}, {figure.Local, localPath, "local: "}} {
		for _, w := range []workload{
			one(layout.group, figure.Bulk, "bulk, 1 flow", 1, 0, false),
			one(layout.group, figure.PingPong, "ping-pong 128 B, 1 flow", 1, 128, false),
			one(layout.group, figure.Handshake, "TLS handshakes, 16 at a time", 16, 0, false),
		} {
			w.Layout, w.Name = layout.of, layout.prefix+w.Name
			all = append(all, w)
		}
	}
	for _, layout := range []string{figure.ClientHere, figure.ServerHere} {
		for _, w := range []workload{
			one(localPath, figure.Bulk, "bulk, 1 flow", 1, 0, false),
			one(localPath, figure.PingPong, "ping-pong 128 B, 1 flow", 1, 128, false),
		} {
			w.Layout, w.Name = layout, layout+": "+w.Name
			all = append(all, w)
		}
	}
	for _, n := range []int{len(services), 1000, 100_000} {
		w := one(tableSizes, figure.Handshake, fmt.Sprintf("TLS handshakes, %s routes", thousands(n)), 16, 0, false)
		w.Routes = n
		all = append(all, w)
	}
	for _, n := range []int{10, 100, 1000, 9000} {
		all = append(all, one(figure.ManyFlows, figure.PingPong, fmt.Sprintf("ping-pong 128 B, %s flows", thousands(n)), n, 128, false))
	}
	return all
}

// thousands writes a number as tables have it.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
