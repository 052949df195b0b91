package explain

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"sluice/userspace/route"
)

// Row is a route and what it is doing.
type Row struct {
	Name            string            `json:"name"`
	Cluster         string            `json:"cluster,omitempty"`
	Healthy         int               `json:"healthy"` // endpoints with an address that are not critical
	Endpoints       int               `json:"endpoints"`
	Path            string            `json:"path"`               // the one that is wanted
	Override        bool              `json:"override,omitempty"` // an operator overrules the route's options
	Active          int64             `json:"active"`             // flows now
	Flows           uint64            `json:"flows"`              // since they are counted
	Sent            uint64            `json:"sent"`               // bytes to upstreams
	Received        uint64            `json:"received"`           // and from them
	KernelSent      uint64            `json:"kernel_sent"`        // of those, what the kernel's programs moved
	KernelReceived  uint64            `json:"kernel_received"`
	ConnectFailures uint64            `json:"connect_failures"`
	Refused         map[string]uint64 `json:"refused,omitempty"` // flows, by reason
	Refuse          string            `json:"refuse,omitempty"`  // why the route refuses all flows
	Rates           *Rates            `json:"rates,omitempty"`   // nil: there is no former sample
}

// Rates are by the second, between two samples.
type Rates struct {
	Flows    float64 `json:"flows"` // begun
	Sent     float64 `json:"sent"`  // bytes
	Received float64 `json:"received"`
}

// Match is a choice of routes.
type Match func(name string) bool

// Choose returns the routes of a table that a word stands for: the one that has exactly
// this name; or else with a "*" in it all whose names are like that, where "*" is any
// text; or else those whose service, datacenter or server has the word in its name, and
// if the word has a dot in it, or the route is none of Consul's, those that have it in
// theirs. "" is for all.
func Choose(t *route.Table, word string) (Match, error) {
	word = strings.TrimSuffix(strings.ToLower(word), ".")
	switch {
	case word == "":
		return func(string) bool { return true }, nil
	case t != nil && t.Route(word) != nil:
		return func(name string) bool { return name == word }, nil
	case strings.ContainsAny(word, `[]?\/`):
		return nil, fmt.Errorf("%q: a name of routes has letters, digits, \"-\", \"_\" and dots, and \"*\" for any", word)
	case strings.Contains(word, "*"):
		return func(name string) bool { ok, _ := path.Match(word, name); return ok }, nil
	}
	return func(name string) bool { return names(name, word) }, nil
}

// names tells whether the route is that of something with the word in its name.
func names(name, word string) bool {
	if !strings.Contains(name, word) {
		return false
	}
	n, ok := ParseName(strings.TrimPrefix(name, "*."))
	if !ok || strings.Contains(word, ".") {
		return true
	}
	return strings.Contains(cmp.Or(n.Service, n.Node, n.Datacenter), word)
}

// Rows are the chosen routes by name. The former sample may be nil; with it there are
// rates.
func Rows(f *Facts, chosen Match, former *Sample) []Row {
	if f.Table == nil {
		return []Row{}
	}
	var routes []*route.Route
	for r := range f.Table.Routes() {
		if chosen(r.Name) {
			routes = append(routes, r)
		}
	}
	slices.SortFunc(routes, func(a, b *route.Route) int { return strings.Compare(a.Name, b.Name) })
	rows := make([]Row, len(routes))
	for i, r := range routes {
		rows[i] = f.row(r)
	}
	Count(rows, &f.Counts, former)
	return rows
}

// Count puts the counters of a sample into rows, and the rates since a former one, which
// may be nil.
func Count(rows []Row, now, former *Sample) {
	var since time.Duration
	if former != nil {
		since = now.At.Sub(former.At)
	}
	for i := range rows {
		r := &rows[i]
		c := now.Routes[r.Name]
		r.count(&c)
		if since > 0 {
			r.Rates = c.since(former.Routes[r.Name], since)
		}
	}
}

// row is a route, without its counters.
func (f *Facts) row(r *route.Route) Row {
	over := f.override(r.Name)
	row := Row{
		Name: r.Name, Cluster: r.Cluster, Refuse: r.Refuse,
		Path: cmp.Or(over.Path, r.Path, f.Settings.Path, pathAuto), Override: over != route.Options{},
	}
	if cluster := f.Table.Cluster(r.Cluster); cluster != nil {
		row.Endpoints = len(cluster.Endpoints)
		for i := range cluster.Endpoints {
			if e := &cluster.Endpoints[i]; e.Health != route.Critical && len(e.Addrs) > 0 {
				row.Healthy++
			}
		}
	}
	return row
}

func (r *Row) count(c *Counters) {
	r.Active, r.Flows, r.Sent, r.Received = c.Active, c.Flows, c.Sent, c.Received
	r.KernelSent, r.KernelReceived, r.ConnectFailures = c.Kernel[0], c.Kernel[1], c.ConnectFailures
	r.Refused = nil
	for end, n := range c.Refused {
		if n == 0 {
			continue
		}
		if r.Refused == nil {
			r.Refused = make(map[string]uint64, len(c.Refused))
		}
		r.Refused[end.String()] += n
	}
}

// since are the rates between two samples, of a route whose counters may have begun
// anew.
func (c *Counters) since(was Counters, d time.Duration) *Rates {
	rate := func(now, was uint64) float64 {
		if now < was {
			was = 0
		}
		return float64(now-was) / d.Seconds()
	}
	return &Rates{Flows: rate(c.Flows, was.Flows), Sent: rate(c.Sent, was.Sent), Received: rate(c.Received, was.Received)}
}
