package main

import (
	"fmt"
	"time"
)

// workload is what contenders are measured at.
type workload struct {
	Name  string
	Kind  string // bulk, both, pingpong, mixed, handshake
	Flows int
	Size  int // of a ping-pong's piece, in bytes
	Unit  string
}

// workloads are all there are.
var workloads = []workload{
	{"bulk, 1 flow", "bulk", 1, 0, "Gbit/s"},
	{"bulk, 8 flows", "bulk", 8, 0, "Gbit/s"},
	{"both ways, 1 flow", "both", 1, 0, "Gbit/s"},
	{"ping-pong 128 B, 1 flow", "pingpong", 1, 128, "/s"},
	{"ping-pong 128 B, 16 flows", "pingpong", 16, 128, "/s"},
	{"ping-pong 128 B, 64 flows", "pingpong", 64, 128, "/s"},
	{"ping-pong 128 B, 1,000 flows", "pingpong", 1000, 128, "/s"},
	{"ping-pong 4 KiB, 1 flow", "pingpong", 1, 4096, "/s"},
	{"ping-pong 4 KiB, 64 flows", "pingpong", 64, 4096, "/s"},
	{"mixed, 60 ping-pong and 4 bulk", "mixed", 64, 128, "/s"},
	{"TLS handshakes, 1 at a time", "handshake", 1, 0, "/s"},
	{"TLS handshakes, 16 at a time", "handshake", 16, 0, "/s"},
}

// bulkOfMixed is how many of the mixed workload's flows are bulk.
const bulkOfMixed = 4

func findWorkloads(match func(string) bool) ([]workload, error) {
	var found []workload
	for _, w := range workloads {
		if match(w.Name) {
			found = append(found, w)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no workload of that name")
	}
	return found, nil
}

// order is what the client's process is told to do.
type order struct {
	Addr     string // of the contender
	Name     string // server name
	Workload workload
	Time     time.Duration
}
