package explain

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"sluice/userspace/admission"
	"sluice/userspace/route"
)

// Explanation is what becomes of a flow that asks for a name, step by step. A step that
// is not come to is nil. Times are in seconds.
type Explanation struct {
	Asked    string              `json:"asked"`          // as it was typed
	Name     string              `json:"name,omitempty"` // as it is looked up
	Changes  []string            `json:"changes"`        // that made the one of the other
	Source   *admission.Standing `json:"source,omitempty"`
	Consul   *Name               `json:"consul,omitempty"`
	Table    *Table              `json:"table,omitempty"`
	Route    *Route              `json:"route,omitempty"`
	Leads    *Leads              `json:"leads,omitempty"`
	Limit    *Limit              `json:"limit,omitempty"`
	Cluster  *Cluster            `json:"cluster,omitempty"`
	Path     *Path               `json:"path,omitempty"`
	Refusal  *Refusal            `json:"refusal,omitempty"` // nil: it would be served
	Near     []Near              `json:"near"`              // names that may have been meant, the nearest first
	Warnings []string            `json:"warnings"`
}

// Table is the table that the name was looked up in.
type Table struct {
	Version   uint64  `json:"version"`
	Source    string  `json:"source"`
	Index     string  `json:"index,omitempty"`
	Silent    string  `json:"silent,omitempty"` // why the gateway was not asked: what is below but the sizes and the age is not known
	Routes    int     `json:"routes"`
	Clusters  int     `json:"clusters"`
	Age       float64 `json:"age"`            // since it last changed
	Connected bool    `json:"connected"`      // its source can be asked
	Away      float64 `json:"away,omitempty"` // since when not
	Kept      int     `json:"kept"`           // clusters that stay though the source has lost them
}

// Route is the rule that the name falls under.
type Route struct {
	Name    string   `json:"name"`
	Match   string   `json:"match"`   // "exact", "wildcard" or "any"
	Why     string   `json:"why"`     // this one and no other
	Passed  []string `json:"passed"`  // wildcards that stand for the name too, the longest first
	Cluster string   `json:"cluster"` // empty: it refuses
	Refuse  string   `json:"refuse,omitempty"`
}

// Limit is how many flows of the route there may be at a time.
type Limit struct {
	Active int64  `json:"active"`
	Max    int    `json:"max"`            // 0: none
	From   string `json:"from,omitempty"` // who set it: "override", "route" or "gateway"
	All    int64  `json:"all"`            // flows of all routes
	MaxAll int    `json:"max_all"`        // of which there may be so many, 0: no limit
}

// explainer makes one explanation.
type explainer struct {
	*Facts
	*survey
	e     *Explanation
	typed string // the name before it was completed
}

// Explain tells what becomes of a flow that asks for a name, which is typed by a
// person: in upper or lower case, with a dot at its end or without, or only the first
// part of it, such as "web" or "web.default.dc2". It costs by the number of routes.
func Explain(f *Facts, asked string) *Explanation {
	x := &explainer{Facts: f, e: &Explanation{Asked: asked, Changes: []string{}, Near: []Near{}, Warnings: []string{}}}
	x.from()
	if !x.normalize() {
		return x.e
	}
	x.source()
	if f.Table == nil {
		return x.e
	}
	x.survey = look(f)
	several := x.complete()
	if n, ok := x.parse(x.e.Name); ok {
		x.e.Consul = &n
	}
	switch r, c := f.Table.Lookup([]byte(x.e.Name)); {
	case r == nil && several != nil:
		x.ambiguous(several)
	case r == nil:
		x.unknown()
	default:
		x.follow(r, c)
	}
	return x.e
}

// normalize does to a name what package sni does to those that clients send.
func (x *explainer) normalize() bool {
	name := strings.TrimSpace(x.e.Asked)
	if lower := strings.ToLower(name); lower != name {
		name = lower
		x.changed("in lower case")
	}
	if short, ok := strings.CutSuffix(name, "."); ok {
		name = short
		x.changed("without the dot at its end")
	}
	if name == "" {
		x.refuse(noName, "there is no name in it")
		return false
	}
	if _, err := netip.ParseAddr(name); err == nil {
		x.refuse(noName, fmt.Sprintf("%s is an address, and no server name (RFC 6066, 3)", name))
		return false
	}
	if strings.Contains(name, "*") {
		x.refuse(isPattern, fmt.Sprintf("no client can send the \"*\" in %s", name))
		return false
	}
	err := (&route.Route{Name: name, Cluster: "any"}).Validate()
	if err != nil {
		x.refuse(invalidName, fmt.Sprintf("%q %v", name, cmp.Or(errors.Unwrap(err), err)))
		return false
	}
	x.e.Name, x.typed = name, name
	return true
}

func (x *explainer) changed(how string) { x.e.Changes = append(x.e.Changes, how) }

func (x *explainer) warn(format string, args ...any) {
	x.e.Warnings = append(x.e.Warnings, fmt.Sprintf(format, args...))
}

// source tells of the table, and of what its state means for flows.
func (x *explainer) source() {
	if x.Facts.Table == nil {
		x.refuse(noTable, "the gateway has no table yet")
		return
	}
	m := &x.Meta
	routes, clusters := x.Facts.Table.Len()
	x.e.Table = &Table{
		Version: m.Version, Source: m.Source, Index: m.Index, Silent: m.Silent, Routes: routes, Clusters: clusters,
		Age: m.Age.Seconds(), Connected: m.Connected, Away: m.Away.Seconds(), Kept: m.Kept,
	}
	if m.State != "" {
		x.warn("the gateway is %s: it takes no flows now", m.State)
	}
	switch {
	case m.Silent != "":
		x.warn("the gateway does not answer (%s): this is by its maps, with the table that it wrote %s ago, and as if it were running", m.Silent, brief(m.Age))
	case x.stale():
		x.refuse(staleTable, fmt.Sprintf("the table's source has been away for %s, and a table may be older than that by no more than %s", brief(m.Away), brief(x.Settings.MaxAge)))
	case !m.Connected && m.Away > 0:
		x.warn("the table's source has been away for %s: the table is as it was then", brief(m.Away))
	case !m.Connected:
		x.warn("the table's source cannot be asked: the table is as it was when it last could")
	}
}

// follow goes the way of a flow that some route has the name of.
func (x *explainer) follow(r *route.Route, c *route.Cluster) {
	x.matched(r)
	x.leads(r)
	if r.Refuse != "" {
		x.routeRefuses(r)
		return
	}
	options := x.options(r)
	x.limited(r, options)
	x.cluster(c)
	x.path(options)
}

// matched tells why the name falls under this route.
func (x *explainer) matched(r *route.Route) {
	out := &Route{Name: r.Name, Cluster: r.Cluster, Refuse: r.Refuse, Passed: []string{}}
	for _, w := range wildcards(x.e.Name) {
		if w != r.Name && x.Facts.Table.Route(w) != nil {
			out.Passed = append(out.Passed, w)
		}
	}
	switch {
	case r.Name == x.e.Name:
		out.Match, out.Why = "exact", "it is the whole name"
		if len(out.Passed) > 0 {
			out.Why += ", which goes before any wildcard"
		}
	case r.Name == "*":
		out.Match, out.Why = "any", "no route has the name, and none of the wildcards stands for it but this one, for all"
	default:
		out.Match, out.Why = "wildcard", "no route has the whole name, and this wildcard stands for it"
		if len(out.Passed) > 0 {
			out.Why = "no route has the whole name, and of the wildcards that stand for it the longest counts"
		}
	}
	x.e.Route = out
}

// wildcards are those that stand for a name, the longest first.
func wildcards(name string) []string {
	var all []string
	for _, rest, more := strings.Cut(name, "."); more; _, rest, more = strings.Cut(rest, ".") {
		all = append(all, "*."+rest)
	}
	return append(all, "*")
}

// setting is an option in force and who set it.
type setting[T comparable] struct {
	value T
	from  string // "override", "route", "gateway", or empty: nobody
}

// options are those in force for a route.
type options struct {
	maxFlows, credit setting[int]
	path             setting[string]
}

func (x *explainer) options(r *route.Route) options {
	o, s := x.override(r.Name), &x.Settings
	return options{
		maxFlows: inForce(o.MaxFlows, r.MaxFlows, s.MaxPerRoute),
		credit:   inForce(o.Credit, r.Credit, s.Credit),
		path:     inForce(o.Path, r.Path, s.Path),
	}
}

// inForce is the first of these that is set.
func inForce[T comparable](override, own, general T) setting[T] {
	var none T
	for _, s := range []setting[T]{{override, "override"}, {own, "route"}, {general, "gateway"}} {
		if s.value != none {
			return s
		}
	}
	return setting[T]{}
}

// limited tells how many flows there are, and whether there may be one more. The limit
// for all counts first: a flow is under it as soon as it is accepted.
func (x *explainer) limited(r *route.Route, o options) {
	its, all := x.active(r.Name)
	l := &Limit{Active: its, Max: o.maxFlows.value, From: o.maxFlows.from, All: all, MaxAll: x.Settings.MaxFlows}
	x.e.Limit = l
	if l.MaxAll > 0 && all >= int64(l.MaxAll) {
		x.tooMany(all)
	}
	if l.Max > 0 && its >= int64(l.Max) {
		x.refuse(limitRoute, fmt.Sprintf("%d flows of the route are under way, and its limit is %d (%s)", its, l.Max, whose[l.From]))
	}
}

func (x *explainer) tooMany(all int64) {
	x.refuse(limitFlows, fmt.Sprintf("%d flows are under way, and the gateway's limit is %d", all, x.Settings.MaxFlows))
}

// whose says in words who set a setting.
var whose = map[string]string{
	"override": "an operator's override",
	"route":    "the route's own",
	"gateway":  "the gateway's, for all routes",
}
