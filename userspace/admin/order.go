package admin

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Order says which flows come first, and how many of them there are to be.
type Order struct {
	By    string // one of Columns; "": "id"
	Limit int    // 0: all
}

// columns compare flows by what they can be sorted by. The largest amounts and ages come
// first.
var columns = map[string]func(a, b *Flow) int{
	"id":          func(a, b *Flow) int { return cmp.Compare(a.ID, b.ID) },
	"source":      func(a, b *Flow) int { return a.Source.Compare(b.Source) },
	"sni":         func(a, b *Flow) int { return cmp.Compare(a.SNI, b.SNI) },
	"route":       func(a, b *Flow) int { return cmp.Compare(a.Route, b.Route) },
	"endpoint":    func(a, b *Flow) int { return cmp.Compare(a.Endpoint, b.Endpoint) },
	"path":        func(a, b *Flow) int { return cmp.Compare(a.Path, b.Path) },
	"state":       func(a, b *Flow) int { return cmp.Compare(a.State, b.State) },
	"bytes":       func(a, b *Flow) int { return cmp.Compare(b.Sent+b.Received, a.Sent+a.Received) },
	"rate":        func(a, b *Flow) int { return cmp.Compare(b.Rate(), a.Rate()) },
	"rtt":         func(a, b *Flow) int { return cmp.Compare(b.rtt(), a.rtt()) },
	"retransmits": func(a, b *Flow) int { return cmp.Compare(b.retransmits(), a.retransmits()) },
	"age":         func(a, b *Flow) int { return a.Start.Compare(b.Start) },
}

// Columns are what flows can be sorted by.
func Columns() []string { return slices.Sorted(maps.Keys(columns)) }

// Rate is what the flow moves in both directions, in bytes a second.
func (f *Flow) Rate() float64 { return f.SentRate + f.ReceivedRate }

// sockets yields those of the flow that are known.
func (f *Flow) sockets() iter.Seq[*TCP] {
	return func(yield func(*TCP) bool) {
		_ = (f.Downstream == nil || yield(f.Downstream)) && (f.UpstreamTCP == nil || yield(f.UpstreamTCP))
	}
}

// rtt is that of the slower side.
func (f *Flow) rtt() (s float64) {
	for t := range f.sockets() {
		s = max(s, t.RTT)
	}
	return s
}

func (f *Flow) retransmits() (n uint32) {
	for t := range f.sockets() {
		n += t.Retransmits
	}
	return n
}

// Check finds what is wrong with an order.
func (o Order) Check() error {
	if o.By != "" && columns[o.By] == nil {
		return fmt.Errorf("flows cannot be sorted by %q: there is %s", o.By, strings.Join(Columns(), ", "))
	}
	if o.Limit < 0 {
		return errors.New("the limit of flows is negative")
	}
	return nil
}

// Sort returns the flows in this order, as many as there are to be. It uses the slice.
func (o Order) Sort(flows []*Flow) []*Flow {
	by := columns[cmp.Or(o.By, "id")]
	slices.SortFunc(flows, func(a, b *Flow) int { return cmp.Or(by(a, b), cmp.Compare(a.ID, b.ID)) })
	if o.Limit > 0 && len(flows) > o.Limit {
		clear(flows[o.Limit:])
		flows = flows[:o.Limit]
	}
	return flows
}

// first keeps the first flows in an order, of any number that it is given.
type first struct {
	order Order // with a limit
	flows []*Flow
}

func (k *first) add(f *Flow) error {
	k.flows = append(k.flows, f)
	// Sorting at twice the limit costs little for each, and bounds what is held.
	if len(k.flows) >= 2*k.order.Limit+100 {
		k.flows = k.order.Sort(k.flows)
	}
	return nil
}

func (k *first) list() []*Flow { return k.order.Sort(k.flows) }
