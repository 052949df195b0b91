package main

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"sluice/scripts/lab"
	"sluice/scripts/show"
)

// gateway is one of the demo's two gateways, which has its table from a file.
type gateway struct {
	*show.Gateway
	listen []netip.AddrPort // IPv4, IPv6
	routes string           // path of its table
	table  string           // what is in it
}

func newGateway(l *lab.Lab, ns *lab.Namespace, sluice string) *gateway {
	g := &gateway{
		listen: []netip.AddrPort{
			netip.AddrPortFrom(ns.Left.IPv4, port),
			netip.AddrPortFrom(ns.Left.IPv6, port),
		},
		routes: filepath.Join(l.Dir, ns.Name+".hcl"),
	}
	g.Gateway = show.NewGateway(l, ns, sluice,
		"-listen", fmt.Sprintf("%s,%s", g.listen[0], g.listen[1]),
		"-routes", g.routes,
		"-local-acceleration", "force", // nobody here asks how many bytes wait
		"-drain-timeout", "5s")
	return g
}
