package xds

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"sluice/userspace/route"
)

// The types that are subscribed to, in the order in which the agent serves them.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
)

var subscribed = []string{clusterType, endpointType, listenerType}

// mesh is what the agent has told, over all streams so far. It is the loop's.
type mesh struct {
	translator

	versions    map[string]map[string]string // by type and name, of all that was acknowledged
	clusters    map[string]*cluster
	assignments map[string][]route.Endpoint // by their names, which are the clusters' as a rule
	listeners   map[string]*listener
	plan        plan // of the listeners' chains

	users  map[string][]string // clusters whose assignment is called other than they are, by its name
	folded map[string]string   // clusters with upper case letters in their names, by the name in lower case

	waiting map[string]time.Time // since when clusters have lacked their assignment
	changed map[string]struct{}  // clusters to compile
	touched map[string]struct{}  // routes to compile
}

func newMesh(log *slog.Logger) *mesh {
	m := &mesh{
		translator:  *newTranslator(log),
		versions:    map[string]map[string]string{},
		clusters:    map[string]*cluster{},
		assignments: map[string][]route.Endpoint{},
		listeners:   map[string]*listener{},
		users:       map[string][]string{},
		folded:      map[string]string{},
		waiting:     map[string]time.Time{},
		changed:     map[string]struct{}{},
		touched:     map[string]struct{}{},
	}
	for _, t := range subscribed {
		m.versions[t] = map[string]string{}
	}
	return m
}

// take makes an answer part of the mesh.
func (m *mesh) take(resp *discoveryv3.DeltaDiscoveryResponse, now time.Time) {
	versions, ok := m.versions[resp.GetTypeUrl()]
	if !ok {
		m.warnOnce(resp.GetTypeUrl(), "answer of a type that was not asked for: left out", "type", resp.GetTypeUrl())
		return
	}
	for _, r := range resp.GetResources() {
		versions[r.GetName()] = r.GetVersion()
		if err := m.put(resp.GetTypeUrl(), r, now); err != nil {
			m.log.Warn("xds: resource that cannot be read: its last good version stays, if there was one",
				"type", resp.GetTypeUrl(), "name", r.GetName(), "err", err)
		}
	}
	for _, name := range resp.GetRemovedResources() {
		delete(versions, name)
		m.remove(resp.GetTypeUrl(), name, now)
	}
	if resp.GetTypeUrl() == listenerType {
		m.follow()
	}
}

func (m *mesh) put(kind string, r *discoveryv3.Resource, now time.Time) error {
	name := r.GetName()
	switch kind {
	case clusterType:
		var c clusterv3.Cluster
		if err := read(r, &c, c.GetName); err != nil {
			if m.clusters[name] == nil {
				m.setCluster(name, &cluster{refuse: "the agent's cluster could not be read"}, now)
			}
			return err
		}
		m.setCluster(name, m.cluster(&c), now)
	case endpointType:
		var a endpointv3.ClusterLoadAssignment
		if err := read(r, &a, a.GetClusterName); err != nil {
			return err
		}
		m.assignments[name] = m.endpoints(&a)
		m.assigned(name)
	case listenerType:
		var l listenerv3.Listener
		if err := read(r, &l, l.GetName); err != nil {
			return err
		}
		m.listeners[name] = m.listener(&l)
	}
	return nil
}

// read decodes a resource. Its own name must be the one it is filed under, by
// which it is removed.
func read(r *discoveryv3.Resource, to proto.Message, name func() string) error {
	if r.GetResource() == nil {
		return fmt.Errorf("there is nothing in it")
	}
	if err := r.GetResource().UnmarshalTo(to); err != nil {
		return err
	}
	if name() != r.GetName() {
		return fmt.Errorf("inside it is named %q", name())
	}
	return nil
}

func (m *mesh) remove(kind, name string, now time.Time) {
	switch kind {
	case clusterType:
		m.setCluster(name, nil, now)
	case endpointType:
		delete(m.assignments, name)
		m.assigned(name)
	case listenerType:
		delete(m.listeners, name)
	}
}

// setCluster puts a cluster, or removes it when c is nil.
func (m *mesh) setCluster(name string, c *cluster, now time.Time) {
	if old := m.clusters[name]; old != nil && old.assignment != "" && old.assignment != name {
		m.users[old.assignment] = slices.DeleteFunc(m.users[old.assignment], func(user string) bool { return user == name })
	}
	m.changed[name] = struct{}{}
	delete(m.waiting, name)
	if c == nil {
		delete(m.clusters, name)
		return
	}
	m.clusters[name] = c
	if lower := strings.ToLower(name); lower != name {
		m.folded[lower] = name
	}
	if c.assignment == "" {
		return
	}
	if c.assignment != name {
		m.users[c.assignment] = append(m.users[c.assignment], name)
	}
	if _, there := m.assignments[c.assignment]; !there {
		m.waiting[name] = now
	}
}

// assigned notes that an assignment came, changed or went.
func (m *mesh) assigned(name string) {
	m.changed[name] = struct{}{}
	delete(m.waiting, name)
	for _, user := range m.users[name] {
		m.changed[user] = struct{}{}
		delete(m.waiting, user)
	}
}

// content is what a cluster is to be in the table, and nil when it has no place
// there.
func (m *mesh) content(name string) *route.Cluster {
	c := m.clusters[name]
	if c == nil || c.refuse != "" {
		return nil
	}
	out := c.Cluster
	if c.assignment != "" {
		out.Endpoints = m.assignments[c.assignment]
	}
	return &out
}

// bound lists the addresses of all listeners.
func (m *mesh) bound() []Listener {
	var all []Listener
	for _, name := range slices.Sorted(maps.Keys(m.listeners)) {
		for _, addr := range m.listeners[name].addrs {
			all = append(all, Listener{shortName(name, addr.String()), addr})
		}
	}
	return all
}

// shortName is a listener's name as its operator knows it: Consul appends the
// address, "wan:10.0.0.1:8443" (agent/xds/listeners.go, makeListenerWithDefault).
func shortName(name, addr string) string {
	short, _, found := strings.Cut(name, ":"+addr)
	if !found {
		short, _, _ = strings.Cut(name, ":")
	}
	return short
}

// plan is what the chains of all listeners say together.
type plan struct {
	names map[string]target
	sni   bool                           // other names that are a cluster's lead to it
	to    map[string]map[string]struct{} // names by the cluster that they lead to
}

// covers tells whether a wildcard of the chains is for the name. Of Envoy's chains
// the one with the closest server name counts, before the one without names.
func (p *plan) covers(name string) bool {
	if _, any := p.names["*"]; any {
		return true
	}
	for {
		_, rest, more := strings.Cut(name, ".")
		if !more {
			return false
		}
		if _, wild := p.names["*."+rest]; wild {
			return true
		}
		name = rest
	}
}

// follow makes the plan of the listeners, and marks the routes that differ from
// the plan before. Sluice has one table for all its listeners. Consul's differ in
// their addresses only; should two lead a name to different places, the first of
// them by name is followed. Without any listener the plan stays: nothing could
// come in to an Envoy then, and Sluice's addresses are its own.
func (m *mesh) follow() {
	if len(m.listeners) == 0 {
		if m.plan.names != nil {
			m.warn("the agent removed all listeners: their routes stay")
		}
		return
	}
	next := plan{names: map[string]target{}, to: map[string]map[string]struct{}{}}
	for _, listener := range slices.Sorted(maps.Keys(m.listeners)) {
		for _, c := range m.listeners[listener].chains {
			for _, name := range c.names {
				m.lead(&next, listener, name, c.target)
			}
		}
	}
	all := next.sni != m.plan.sni
	differ := func(name string, stays bool) {
		m.touched[name] = struct{}{}
		all = all || !stays && strings.HasPrefix(name, "*")
	}
	for name, t := range next.names {
		if was, known := m.plan.names[name]; was != t || !known {
			differ(name, known)
		}
	}
	for name := range m.plan.names {
		if _, stays := next.names[name]; !stays {
			differ(name, false)
		}
	}
	m.plan = next
	if all {
		for name := range m.clusters {
			m.touched[strings.ToLower(name)] = struct{}{}
		}
	}
}

func (m *mesh) lead(p *plan, listener, name string, t target) {
	switch {
	case t.sni && name == "*":
		p.sni = true
		return
	case t.sni && strings.HasPrefix(name, "*."):
		m.warn("wildcard that leads to clusters by their names: its names are refused", "listener", listener, "name", name)
		t = target{refuse: "its filter chain is for any cluster below " + name[2:]}
	case t.sni:
		t = target{cluster: name}
	}
	if other, twice := p.names[name]; twice {
		if other != t {
			m.warn("server name that leads to two places: the first is taken", "name", name, "listener", listener,
				"first", cmp.Or(other.cluster, other.refuse), "second", cmp.Or(t.cluster, t.refuse))
		}
		return
	}
	p.names[name] = t
	if t.cluster != "" {
		if p.to[t.cluster] == nil {
			p.to[t.cluster] = map[string]struct{}{}
		}
		p.to[t.cluster][name] = struct{}{}
	}
}
