package main

import (
	"sluice/tests/bench/figure"
)

// contender is somebody who is measured.
type contender struct {
	figure.Contender
	start   func(*place) error    // nil for none: packets are forwarded
	version []string              // the command that tells it
	at      func(w workload) bool // what it takes part in
}

type workload = figure.Workload

// The layouts in which each kind of limit is one.
func forwards(w workload) bool { return !isLocal(w) && w.Routes == 0 }
func direct(w workload) bool   { return isLocal(w) && w.Routes == 0 }
func loops(w workload) bool    { return w.Layout == figure.Local && w.Routes == 0 }

// isLocal tells whether a peer is on the gateway's host.
func isLocal(w workload) bool {
	switch w.Layout {
	case figure.Local, figure.ClientHere, figure.ServerHere:
		return true
	}
	return false
}

// everything, but that tables of many routes are for those that look them up, and one peer
// here for those who care.
func everything(w workload) bool {
	return w.Routes == 0 && w.Layout != figure.ClientHere && w.Layout != figure.ServerHere
}

func anything(workload) bool { return true }

// plainly is at the gateway of one hop: who is no candidate for more than that need
// not make the bench longer.
func plainly(w workload) bool {
	return w.Layout == figure.OneHop && w.Routes == 0 && w.Group != figure.ManyFlows
}

// contenders are all there are, in the order of the tables.
func contenders(sluice string) []contender {
	ours := func(path string, at func(workload) bool) contender {
		return contender{figure.Contender{Name: "sluice " + path, Role: figure.Sluice}, startSluice(sluice, path), []string{sluice, "version"}, at}
	}
	peer := func(name string, start func(*place) error, at func(workload) bool, version ...string) contender {
		return contender{figure.Contender{Name: name, Role: figure.Peer}, start, version, at}
	}
	limit := func(name string, at func(workload) bool) contender {
		return contender{Contender: figure.Contender{Name: name, Role: figure.Limit}, at: at}
	}
	return []contender{
		limit("IP forwarding", forwards),
		limit("no gateway", direct),
		ours("splice", anything),
		ours("sockmap", everything),
		ours("auto", everything),
		ours("local", direct),
		ours("direct", loops),
		peer("haproxy", startHAProxy, anything, "haproxy", "-v"),
		peer("nginx", startNginx, anything, "nginx", "-v"),
		peer("sniproxy", startSniproxy, plainly, "sniproxy", "-V"),
		peer("io.Copy", startCopy, plainly),
	}
}
