package consul

import (
	"testing"
	"time"

	"sluice/userspace/route"
)

// lastTable is what an agent's source publishes: the table of an earlier process.
func lastTable(t *testing.T, a *fakeAgent, want ...string) *route.Table {
	t.Helper()
	r := a.start(nil)
	r.has(want...)
	r.stop()
	table, _ := r.now()
	return table
}

// TestLastTable: the table of an earlier process is what a first answer is held
// against.
func TestLastTable(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	last := lastTable(t, a, wantThree...)

	b := newFakeAgent(t, false)
	b.services(map[string][]string{"a": {"10.0.0.11:80"}})
	r := b.start(func(s *Source) { s.Last = last; s.times.settle = time.Hour })
	r.has("a=10.0.0.11:80", "b=10.0.0.2:80", "c=10.0.0.3:80,10.0.0.4:80")
	for name := range three {
		if table, _ := r.now(); table.Route(name+".default.dc1.internal."+trustDomain) == nil {
			t.Errorf("no route of %s", name)
		}
	}
}

// TestLastTableSettles: one service that is gone since the earlier process leaves when
// Consul, which answered, has settled.
func TestLastTableSettles(t *testing.T) {
	a := newFakeAgent(t, false)
	a.services(three)
	last := lastTable(t, a, wantThree...)
	a.services(map[string][]string{"a": {"10.0.0.1:80"}, "b": {"10.0.0.2:80"}})
	r := a.start(func(s *Source) { s.Last = last; s.times.settle = 100 * time.Millisecond })
	r.has("a=10.0.0.1:80", "b=10.0.0.2:80")
	r.logged("kept until it has settled")
}

// TestLastTableOfOthers: what is made of other datacenters and peers stays while these
// are not heard of, settled or not, and follows when they are.
func TestLastTableOfOthers(t *testing.T) {
	const peerDomain = "99999999-2222-3333-4444-555555555555.consul"
	const api = "api.default.default.dc1.external." + peerDomain
	imported := func(addr string) []map[string]any {
		return []map[string]any{{
			"Node":    map[string]any{"Node": "n"},
			"Service": map[string]any{"ID": "gw", "Service": "api", "Address": addr, "Port": 443, "Connect": map[string]any{"PeerMeta": map[string]any{"SNI": []string{api}}}},
		}}
	}
	peering := func(names ...string) []map[string]any {
		return []map[string]any{{"Name": "cloud", "StreamStatus": map[string]any{"ImportedServices": names}}}
	}
	a := newFakeAgent(t, false)
	a.change(func() {
		a.putServices(three)
		a.put("/v1/catalog/datacenters", []string{"dc1", "dc2"})
		a.put("/v1/catalog/services?dc=dc2", map[string]any{"gw": nil})
		a.put("/v1/health/service/gw?dc=dc2", instancesAt("gw", "198.51.100.1:443"))
		a.put("/v1/peerings", peering("api"))
		a.put("/v1/health/connect/api?peer=cloud", imported("203.0.113.1"))
	})
	all := append([]string{"dc2.internal=198.51.100.1:443", api + "=203.0.113.1:443"}, wantThree...)
	last := lastTable(t, a, all...)
	from := func(s *Source) { s.Last, s.times.optional = last, 50*time.Millisecond }

	t.Run("cut off", func(t *testing.T) {
		a.breaks(hang, "/v1/catalog/services?dc=dc2", "/v1/peerings")
		r := a.start(from)
		r.has(all...)
		a.services(map[string][]string{"a": {"10.0.0.11:80"}, "b": {"10.0.0.2:80"}})
		others := all[:2:2]
		r.has(append(others, "a=10.0.0.11:80", "b=10.0.0.2:80")...)
		if n := r.Status().Kept; n != 2 {
			t.Errorf("%d clusters kept, want 2", n)
		}
		a.mends()
		a.server.CloseClientConnections()
		a.set("/v1/health/service/gw?dc=dc2", instancesAt("gw", "198.51.100.2:443"))
		r.has("dc2.internal=198.51.100.2:443", all[1], "a=10.0.0.11:80", "b=10.0.0.2:80")
		eventually(t, "nothing to be kept", func() bool { return r.Status().Kept == 0 }, nil)
	})

	// The leader lists what a peer exports only while it hears from it.
	t.Run("the peer's stream is down", func(t *testing.T) {
		a.change(func() {
			a.putServices(three)
			a.put("/v1/peerings", peering())
			a.put("/v1/health/connect/api?peer=cloud", imported("203.0.113.2"))
			a.put("/v1/health/service/gw?dc=dc2", instancesAt("gw", "198.51.100.1:443"))
		})
		r := a.start(from)
		r.has(append([]string{all[0], api + "=203.0.113.2:443"}, wantThree...)...)
		a.set("/v1/health/connect/api?peer=cloud", []any{})
		r.has(append([]string{all[0]}, wantThree...)...)
	})

	t.Run("the peering is gone", func(t *testing.T) {
		a.set("/v1/peerings", []any{})
		r := a.start(from)
		r.has(append([]string{all[0]}, wantThree...)...)
	})
}

func TestImportsOf(t *testing.T) {
	b := route.NewBuilder(nil, "test")
	for _, name := range []string{
		"web.default.dc1.internal.td.consul", "exported~web.default.dc1.internal.td.consul", "api.default.default.dc1.external.other.consul",
		"server.dc2.peering.other.consul", "external",
	} {
		if err := b.PutCluster(&route.Cluster{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if got := importsOf(table); len(got) != 1 || got["api"] != struct{}{} {
		t.Errorf("imports %v", got)
	}
	if got := importsOf(nil); len(got) != 0 {
		t.Errorf("imports %v of no table", got)
	}
}
