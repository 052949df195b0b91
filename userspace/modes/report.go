package modes

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is what was asked for, sorted.
type Report struct {
	Datacenter string     `json:"datacenter"` // of the agent; "" without any sidecar
	Upstreams  []Upstream `json:"upstreams"`
	Warnings   []string   `json:"warnings"` // a line each

	sidecars map[serviceName]int // how many a service has
}

// Upstream is one of a service's sidecars, or of some of them.
type Upstream struct {
	Service   string   `json:"service"` // that calls
	Namespace string   `json:"namespace,omitempty"`
	Sidecars  []string `json:"sidecars"` // NODE/ID, sorted

	Name       string `json:"upstream"` // "*": see Others
	Peer       string `json:"peer,omitempty"`
	Datacenter string `json:"upstream_datacenter,omitempty"` // that the upstream names
	Query      bool   `json:"prepared_query,omitempty"`
	Implicit   bool   `json:"implicit,omitempty"` // not in the registration
	Others     int    `json:"others,omitempty"`   // implicit ones that stay in the datacenter

	Ways []Way `json:"targets"`

	wanted wanted
}

// ways are all ways of the report.
func (r *Report) ways() iter.Seq[*Way] {
	return func(yield func(*Way) bool) {
		for i := range r.Upstreams {
			for j := range r.Upstreams[i].Ways {
				if !yield(&r.Upstreams[i].Ways[j]) {
					return
				}
			}
		}
	}
}

// report puts the same wishes of several sidecars together.
func (r *reader) report(wishes []wish) *Report {
	byWanted := map[wanted][]string{}
	for _, w := range wishes {
		byWanted[w.wanted] = append(byWanted[w.wanted], w.sidecar)
	}
	report := &Report{Datacenter: r.here, Upstreams: []Upstream{}, Warnings: []string{}, sidecars: map[serviceName]int{}}
	for _, s := range r.sidecars {
		report.sidecars[s.owner]++
	}
	for w, sidecars := range byWanted {
		slices.Sort(sidecars)
		report.Upstreams = append(report.Upstreams, Upstream{
			Service: w.owner.name, Namespace: w.owner.namespace, Sidecars: slices.Compact(sidecars),
			Name: w.name, Peer: w.peer, Datacenter: w.datacenter,
			Query: w.query, Implicit: w.implicit, Others: w.others,
			Ways: r.ways(&w), wanted: w,
		})
	}
	slices.SortFunc(report.Upstreams, func(a, b Upstream) int {
		return cmp.Or(
			cmp.Compare(a.Service, b.Service), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Others, b.Others), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Datacenter, b.Datacenter),
			slices.Compare(a.Sidecars, b.Sidecars),
		)
	})
	return report
}

// Label is how an upstream is called in a line: "db", "db in dc2" if it names a
// datacenter, "db of peer p".
func (u *Upstream) Label() string {
	switch {
	case u.Others == 1:
		return "1 other service by intentions"
	case u.Others > 1:
		return fmt.Sprintf("%d other services by intentions", u.Others)
	}
	s := u.Name
	if u.wanted.namespace != "" {
		s = u.wanted.namespace + "/" + s
	}
	if u.Peer != "" {
		s += " of peer " + u.Peer
	}
	if u.Datacenter != "" {
		s += " in " + u.Datacenter
	}
	if u.Query {
		s += " (prepared query)"
	}
	if u.Implicit {
		s += " (implicit)"
	}
	return s
}

// Table writes the upstreams as a table for people. The column SIDECARS has how
// many of the service's have the upstream, and which ones if not all.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tSIDECARS\tUPSTREAM\tTARGET\tMODE\tDECIDED BY\tCONNECTS TO")
	for i := range r.Upstreams {
		u := &r.Upstreams[i]
		service := u.Service
		if u.Namespace != "" {
			service = u.Namespace + "/" + service
		}
		sidecars := fmt.Sprint(len(u.Sidecars))
		if all := r.sidecars[u.wanted.owner]; len(u.Sidecars) < all {
			sidecars += fmt.Sprintf(" of %d: %s", all, strings.Join(u.Sidecars, " "))
		}
		for j := range u.Ways {
			way := &u.Ways[j]
			target := way.Target()
			if u.Others > 0 {
				target = "each in " + way.Datacenter
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", service, sidecars, u.Label(), target, way.Mode, way.Decision, way.Where())
		}
	}
	return t.Flush()
}
