package explain

import (
	"slices"
	"testing"

	"sluice/userspace/route"
)

// tableOf has a route of each of these names, to a cluster that is named like the name
// or, of a wildcard, like what is under it.
func tableOf(t testing.TB, names ...string) *route.Table {
	t.Helper()
	var routes []*route.Route
	clusters := map[string]*route.Cluster{}
	for _, name := range names {
		under := name
		if len(name) > 2 && name[0] == '*' {
			under = name[2:]
		}
		clusters[under] = &route.Cluster{Name: under}
		routes = append(routes, &route.Route{Name: name, Cluster: under})
	}
	var all []*route.Cluster
	for _, c := range clusters {
		all = append(all, c)
	}
	return replace(t, routes, all)
}

// TestSurvey holds what is told of the mesh by nothing but names.
func TestSurvey(t *testing.T) {
	for _, c := range []struct {
		name  string
		meta  Meta
		table []string
		home  home
		known []string
	}{
		{name: "not Consul's", table: []string{"a.example", "*.example", "*"}},
		{
			name: "a primary datacenter",
			table: []string{
				"web.default.dc1.internal." + td, "dc2.internal." + td, "*.dc2.internal." + td, "server.dc1.consul",
				"*.server.dc2.consul", "server.dc1.peering." + td, "server.dc3.peering." + peerTD,
			},
			home: home{"dc1", "", td}, known: []string{"dc1", "dc2"},
		},
		{
			name: "a secondary one, with a service of the first by its own route",
			table: []string{
				"web.default.dc2.internal." + td, "db.default.dc2.internal." + td, "db.default.dc1.internal." + td,
				"*.dc1.internal." + td, "*.dc3.internal." + td,
			},
			home: home{"dc2", "", td}, known: []string{"dc2", "dc1", "dc3"},
		},
		{
			name:  "no service yet",
			table: []string{"server.dc1.peering." + td, "*.dc2.internal." + td},
			home:  home{"dc1", "", td}, known: []string{"dc1", "dc2"},
		},
		{
			name:  "ways only",
			table: []string{"*.dc2.internal." + td, "*.dc3.internal." + td},
			home:  home{"", "", td}, known: []string{"dc2", "dc3"},
		},
		{
			name:  "ways only, of a gateway that knows where it is",
			meta:  Meta{Datacenter: "dc1", TrustDomain: td},
			table: []string{"*.dc2.internal." + td, "*.dc3.internal." + peerTD},
			home:  home{"dc1", "", td}, known: []string{"dc1", "dc2"},
		},
		{
			name:  "a partition",
			table: []string{"web.default.blue.dc1.internal-v1." + td, "*.blue.dc2.internal-v1." + td},
			home:  home{"dc1", "blue", td}, known: []string{"dc1", "dc2"},
		},
		{
			name:  "as many services of one as of another",
			table: []string{"web.default.dc2.internal." + td, "web.default.dc1.internal." + td},
			home:  home{"dc1", "", td}, known: []string{"dc1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := look(&Facts{Table: tableOf(t, c.table...), Meta: c.meta})
			if s.home != c.home {
				t.Errorf("home %+v, want %+v", s.home, c.home)
			}
			if got := s.known(); !slices.Equal(got, c.known) {
				t.Errorf("known are %q, want %q", got, c.known)
			}
			if s.isConsul() != (c.home.domain != "") {
				t.Errorf("is Consul's: %v", s.isConsul())
			}
		})
	}
}

// TestComplete holds what the beginnings of names are taken for.
func TestComplete(t *testing.T) {
	part := ".blue.dc1.internal-v1." + td
	for _, c := range []struct {
		asked, want string
		table       []string
	}{
		{"web", "web.default" + part, []string{"web.default" + part}},
		{"web.team", "web.team" + part, []string{"web.team" + part, "web.default" + part}},
		{"v1.web", "v1.web.default" + part, []string{"v1.web.default" + part, "web.default" + part}},
		{"v1.web.team", "v1.web.team" + part, []string{"v1.web.team" + part, "db.team" + part}},
		{"web.dc2", "web.default.blue.dc2.internal-v1." + td, []string{"db.default" + part, "*.blue.dc2.internal-v1." + td}},
		{"v1.web.dc2", "v1.web.default.blue.dc2.internal-v1." + td, []string{"db.default" + part, "*.blue.dc2.internal-v1." + td}},
		{"v1.web.default.dc2", "v1.web.default.blue.dc2.internal-v1." + td, []string{"db.default" + part, "*.blue.dc2.internal-v1." + td}},
		{"web.default.dc1.internal", "web.default.dc1.internal." + td, []string{"web.default.dc1.internal." + td}},
		{"web", "web.default.dc1.internal." + td, []string{"web.default.dc1.internal." + td, "web.default.default.peer.external." + td}},
		{"www", "www.example", []string{"www.example", "api.example"}},
		{"www", "www", []string{"*", "www.example"}}, // the wildcard has it as it is
		{"a.b.c.d.e", "a.b.c.d.e", []string{"db.default" + part}},
		{"www.example.com", "www.example.com", []string{"db.default" + part}},
		{"v1.www.example.com", "v1.www.example.com", []string{"db.default" + part}},
	} {
		if e := Explain(&Facts{Table: tableOf(t, c.table...)}, c.asked); e.Name != c.want {
			t.Errorf("%s among %q is taken for %s, want %s", c.asked, c.table, e.Name, c.want)
		}
	}
}

// TestManyDatacenters holds that a sentence stays one.
func TestManyDatacenters(t *testing.T) {
	names := []string{internal("web")}
	for _, dc := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		names = append(names, "*."+dc+".internal."+td)
	}
	e := Explain(&Facts{Table: tableOf(t, names...)}, "web.default.zz")
	if want := "there is no way to a datacenter zz: known are dc1 (this one), a, b, c, d, e, f, g, 3 more"; e.Refusal == nil || e.Refusal.Text != want {
		t.Errorf("refused for %+v, want %q", e.Refusal, want)
	}
	if len(e.Near) != maxNear {
		t.Errorf("%d near misses", len(e.Near))
	}
	// A route to another datacenter's gateways themselves is no way to its services.
	for _, c := range []struct{ table, want string }{
		{internal("web"), "there is no way to a datacenter zz: this one, dc1, is the only one known"},
		{"dc4.internal." + td, "there is no way to a datacenter zz: no datacenter is known"},
	} {
		e := Explain(&Facts{Table: tableOf(t, c.table)}, "web.default.zz.internal."+td)
		if e.Refusal == nil || e.Refusal.Text != c.want {
			t.Errorf("refused for %+v, want %q", e.Refusal, c.want)
		}
	}
}

// FuzzExplain holds that whatever is typed is explained, and that what is served is what
// the table serves.
func FuzzExplain(f *testing.F) {
	facts := usual(f)
	for _, c := range cases {
		f.Add(c.asked)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		e := Explain(facts, asked)
		if e.Refusal != nil && (e.Refusal.Counted == "" || e.Refusal.Text == "") {
			t.Fatalf("%q: %+v", asked, e.Refusal)
		}
		r, _ := facts.Table.Lookup([]byte(e.Name))
		if served := e.Refusal == nil; served && r == nil || (r != nil) != (e.Route != nil) {
			t.Fatalf("%q: served %v as %s, and the table has %+v", asked, served, e.Name, r)
		}
		text(t, e)
	})
}
