package top

import (
	"cmp"
	"slices"

	"sluice/userspace/admin"
)

// routeRow is what the flows of one route do together.
type routeRow struct {
	name     string // empty for flows whose server name is not known yet
	flows    int
	sent     float64 // bytes a second
	received float64
	bytes    uint64 // by the flows that live
	paths    map[string]int
	waiting  int     // flows that are not carried
	rtt      float64 // the longest one to an upstream, seconds
}

// sumUp makes rows of flows.
func sumUp(flows []*admin.Flow) []*routeRow {
	byName := map[string]*routeRow{}
	var rows []*routeRow
	for _, f := range flows {
		r := byName[f.Route]
		if r == nil {
			r = &routeRow{name: f.Route, paths: map[string]int{}}
			byName[f.Route] = r
			rows = append(rows, r)
		}
		r.flows++
		r.sent += f.SentRate
		r.received += f.ReceivedRate
		r.bytes += f.Sent + f.Received
		if f.Path == "" {
			r.waiting++
		} else {
			r.paths[f.Path]++
		}
		if f.UpstreamTCP != nil {
			r.rtt = max(r.rtt, f.UpstreamTCP.RTT)
		}
	}
	return rows
}

// order is what comes first, and the next one of it when a key asks for it.
type order int

const (
	byRate order = iota
	byBytes
	byFlows // of routes; flows themselves come by age
	byName
	orders
)

func (o order) String() string { return [...]string{"rate", "bytes", "flows", "name"}[o] }

func sortRoutes(rows []*routeRow, by order) {
	slices.SortFunc(rows, func(a, b *routeRow) int {
		c := 0
		switch by {
		case byRate:
			c = cmp.Compare(b.sent+b.received, a.sent+a.received)
		case byBytes:
			c = cmp.Compare(b.bytes, a.bytes)
		case byFlows:
			c = cmp.Compare(b.flows, a.flows)
		}
		return cmp.Or(c, cmp.Compare(a.name, b.name))
	})
}

func sortFlows(flows []*admin.Flow, by order) {
	slices.SortFunc(flows, func(a, b *admin.Flow) int {
		c := 0
		switch by {
		case byRate:
			c = cmp.Compare(b.Rate(), a.Rate())
		case byBytes:
			c = cmp.Compare(b.Sent+b.Received, a.Sent+a.Received)
		case byFlows:
			c = a.Start.Compare(b.Start)
		case byName:
			c = cmp.Compare(a.SNI, b.SNI)
		}
		return cmp.Or(c, cmp.Compare(a.ID, b.ID))
	})
}
